"""The machine goes down without a word and comes back: processes, namespaces, mounts, links, nft tables, cgroups and /run are gone. A VM
does the same with a real kernel where there is one (make vm-test)."""
import glob
import os
import shutil
import subprocess
import time

import pytest

from conftest import Space, figures
from kube import is_ready, path, until
from server import kill
from test_crash import answers, container_states

PODS = 10


@pytest.fixture
def busy(fresh):
    server = fresh(ephemeral=False)
    server.add_images("busybox", "web-v1")
    server.start().wait_ready().wait_images("web:v1", "busybox:test")
    space = Space(server)
    space.web(3)
    service = space.service()
    for n in range(PODS - 3):
        space.box(f"box-{n}", script="sleep 100000", volumes=[{"name": "v", "emptyDir": {"medium": "Memory"} if n else {}}],
                  container={"volumeMounts": [{"name": "v", "mountPath": "/v"}]})
    space.wait_deployment()
    for n in range(PODS - 3):
        space.wait_pod(f"box-{n}")
    until(lambda: answers(service["spec"]["clusterIP"]), 10, "the service")
    return server, space, service["spec"]["clusterIP"]


def processes(server):
    """Of the instance: its own, containerd, shims."""
    marks = [f"/run/kogge-{server.slot.instance}/".encode(), server.data.encode()]
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                line = f.read()
        except OSError:
            continue
        if int(pid) != os.getpid() and any(mark in line for mark in marks):
            yield int(pid)


def run(*words):
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout


def mounts(server):
    with open("/proc/self/mounts", encoding="utf-8") as f:
        places = [line.split()[1] for line in f]
    return [p for p in places if p.startswith((server.data + "/", f"/run/kogge-{server.slot.instance}/"))]


def links(tag):
    names = (line.split()[0].split("@")[0] for line in run("ip", "-br", "link").splitlines())
    return [n for n in names if n == f"kogge-s{tag}" or n.startswith(f"kp{tag}-")]


def shim_files(server):
    """What shims and runc keep in /run for each container, outside the instance's folder."""
    for bundle in glob.glob(f"/run/kogge-{server.slot.instance}/containerd/io.containerd.runtime.v2.task/k8s.io/*"):
        yield f"/run/containerd/runc/k8s.io/{os.path.basename(bundle)}"
        try:
            with open(f"{bundle}/address", encoding="utf-8") as f:
                yield f.read().strip().removeprefix("unix://")
        except OSError:
            continue


def machine_goes_down(server):
    pids = set()

    def killed():
        """Also those that were started while we looked."""
        pids.update(processes(server), server.containers())
        kill(pids)
        server.process.poll()
        return not any(os.path.exists(f"/proc/{p}/exe") for p in pids) and not list(processes(server))
    until(killed, 20, "all processes gone")
    for place in reversed(mounts(server)):
        run("umount", "-l", place)
    tables = [t for t in run("nft", "list", "tables").split() if t.startswith(f"kogge-{server.slot.instance}-")]
    for table in tables:
        for name in links(table.rsplit("-", 1)[1]):
            run("ip", "link", "del", name)
        run("nft", "delete", "table", "inet", table)
    for file in filter(os.path.lexists, set(shim_files(server))):
        (shutil.rmtree if os.path.isdir(file) else os.remove)(file)
    shutil.rmtree(f"/run/kogge-{server.slot.instance}")
    for root in ["/sys/fs/cgroup", *glob.glob("/sys/fs/cgroup/*")]:  # v2; a hierarchy each of v1
        for folder, _, _ in os.walk(f"{root}/kogge-{server.slot.instance}", topdown=False):
            until(lambda f=folder: os.rmdir(f) or True, 10, f"{folder} gone")  # its processes may be on their way out
    assert tables and not mounts(server)
    return tables[0]


def test_every_pod_runs_again_under_its_name(busy):
    server, space, address = busy
    before = {p["metadata"]["name"]: p["metadata"]["uid"] for p in space.items("pods")}
    containers = container_states(space)
    table = machine_goes_down(server)
    assert not server.containers() and not links(table.rsplit("-", 1)[1]) and table not in run("nft", "list", "tables")
    began = time.monotonic()
    server.start()

    def again():
        pods = server.kube.clone().get(path("pods", space.name))["items"]
        return (all(is_ready(p) for p in pods) and {p["metadata"]["name"]: p["metadata"]["uid"] for p in pods} == before
                and all(i != containers[n][0] and r == containers[n][1] + 1 for n, (i, r) in container_states(space).items()))
    until(lambda: server.alive() and again(), 60, "every pod again", every=0.02)
    until(lambda: answers(address), 10, "the service")
    figures("a machine that comes back", pods=len(before), seconds=round(time.monotonic() - began, 2))
    assert table in run("nft", "list", "tables")
