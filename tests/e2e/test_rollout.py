"""Three rolling updates of ten replicas in a row under load: no request fails."""
import json
import os
import subprocess

import pytest

from conftest import figures
from kube import path, top, until


@pytest.fixture(scope="session")
def load(tmp_path_factory):
    program = str(tmp_path_factory.mktemp("load") / "load")
    source = os.path.join(top(), "tests", "e2e", "load.c")
    subprocess.run(["gcc", "-std=gnu17", "-O2", "-Wall", "-Werror", "-pthread", "-o", program, source], check=True)
    return program


def update(space, version):
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "web", "image": f"web:{version}"}]}}}}
    space.kube.patch(path("deployments", space.name, "web"), patch, "application/strategic-merge-patch+json")
    space.wait_deployment(seconds=120)


def test_no_request_fails(space, load):
    space.web(10)
    service = space.service()
    space.wait_deployment()
    until(lambda: len((space.get("endpoints", "web").get("subsets") or [{}])[0].get("addresses", [])) == 10, 20, "ten endpoints")
    clients = subprocess.Popen([load, service["spec"]["clusterIP"], "80", "4", "250"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        for version in ("v2", "v3", "v1"):
            update(space, version)
    finally:
        out, failures = clients.communicate(timeout=300)
    result = json.loads(out)
    figures("three rollouts of ten replicas under load", **result)
    assert failures == "", f"{result}\n{failures[:2000]}"
    assert all(result[k] == 0 for k in ("refused", "reset", "timeout", "wrong")) and result["good"] >= 1000
