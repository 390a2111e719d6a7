"""Where images come from: registries with and without credentials, mirrors, and what a person reads when none has it."""
import base64
import io
import json
import os
import subprocess
import tarfile

import pytest
from registry import Registry
from server import IMAGES, KOGGE

from kube import is_ready, path, until


@pytest.fixture
def registry():
    made = []

    def make(auth=None):
        made.append(Registry(os.path.join(IMAGES, "busybox.tar"), auth))
        return made[-1]
    yield make
    for one in made:
        one.close()


def events(space, name):
    return [e for e in space.items("events") if e["involvedObject"]["name"] == name]


def secret(space, name, registry, password):
    config = {"auths": {f"http://{registry.host}": {"username": registry.user, "password": password}}}
    space.create("secrets", {"metadata": {"name": name}, "type": "kubernetes.io/dockerconfigjson",
                             "data": {".dockerconfigjson": base64.b64encode(json.dumps(config).encode()).decode()}})


def waiting(pod):
    return pod["status"].get("containerStatuses", [{}])[0].get("state", {}).get("waiting", {})


@pytest.mark.parametrize("auth", [None, "basic", "token"])
def test_a_registry(space, registry, auth):
    source = registry(auth)
    image = f"{source.host}/{space.name}/box:1"
    if auth:
        secret(space, "wrong", source, "wrong")
        space.box("refused", container={"image": image}, imagePullSecrets=[{"name": "wrong"}])
        pod = space.wait("pods", "refused", lambda p: waiting(p).get("reason") == "ImagePullBackOff")
        assert "refuses the credentials" in waiting(pod)["message"], pod
        secret(space, "right", source, source.password)
    space.box("box", container={"image": image}, imagePullSecrets=[{"name": "wrong"}, {"name": "right"}] if auth else [])
    space.wait_pod("box")

    def told():
        words = {e["reason"]: e["message"] for e in events(space, "box")}
        return "Pulling" in words and "Pulled" in words and words
    words = until(told, 10, "the Events")
    assert words["Pulling"] == f'Pulling image "{image}"'
    assert words["Pulled"].startswith(f'Successfully pulled image "{image}" in ')


def test_no_registry_says_what_to_do(space):
    space.box("web", container={"image": "registry.invalid/nginx"})
    space.wait("pods", "web", lambda p: waiting(p).get("reason") == "ImagePullBackOff")

    def told():
        return {(e["reason"], e["message"].split(":")[0]): e["message"] for e in events(space, "web")}
    until(lambda: ("BackOff", 'Back-off pulling image "registry.invalid/nginx"') in told(), 10, "the Event of the back-off")
    failed = until(lambda: told().get(("Failed", 'Failed to pull image "registry.invalid/nginx"')), 10, "the Event of the attempt")
    for part in ("registry registry.invalid cannot be reached", "kogge image import", '":latest" means Always', "registry.invalid/v2/"):
        assert part in failed, failed


def named(archive, ret, name):
    """The same image under another name."""
    with tarfile.open(archive) as old, tarfile.open(ret, "w") as new:
        for member in old:
            data = old.extractfile(member).read() if member.isfile() else b""
            if member.name == "manifest.json":
                data = data.replace(b"docker.io/library/busybox:test", name.encode())
                member.size = len(data)
            new.addfile(member, io.BytesIO(data))


def test_a_pod_waits_for_an_image_that_is_imported_later(cluster, space, tmp_path):
    """It starts at once: its back-off ends with the import."""
    name, archive = f"registry.invalid/{space.name}/late:1", tmp_path / "late.tar"
    named(os.path.join(IMAGES, "busybox.tar"), archive, name)
    space.box("late", container={"image": name})
    # an Event each, where their words differ: a resolver's name the port that they asked from
    until(lambda: sum(e.get("count", 1) for e in events(space, "late") if e["reason"] == "Failed" and "Failed to pull" in e["message"]) > 1,
          30, "the second attempt")
    said = subprocess.run([KOGGE, "image", "import", str(archive), "--data-dir", cluster.data, "--instance", cluster.slot.instance],
                          capture_output=True, text=True, check=True)
    assert said.stdout == f"{name}\n"
    space.wait_pod("late")
    assert f"pod {space.name}/late: image {name} came" in cluster.last_log(100000)


def test_import_without_a_server_says_so(tmp_path):
    said = subprocess.run([KOGGE, "image", "import", os.path.join(IMAGES, "busybox.tar"), "--data-dir", str(tmp_path),
                           "--instance", "nobody"], capture_output=True, text=True, check=False)
    assert said.returncode == 1 and "Is a server running here" in said.stderr, said


def test_an_image_that_the_registry_has_not(space, registry):
    source = registry()
    image = f"{source.host}/{space.name}/nothing@sha256:{'0' * 64}"
    space.box("box", container={"image": image})
    pod = space.wait("pods", "box", lambda p: waiting(p).get("reason") == "ImagePullBackOff")
    assert f"registry {source.host} has no such image" in waiting(pod)["message"]


def test_a_mirror(fresh, registry, tmp_path):
    """registries.yaml sends docker.io to a mirror with its own credentials; a change of the file needs no restart."""
    source, config = registry("basic"), tmp_path / "registries.yaml"
    config.write_text("")
    server = fresh(flags=["--registries", str(config)]).start()
    server.wait_ready()
    body = {"metadata": {"name": "box"}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [
        {"name": "box", "image": "mirrored/box:1", "command": ["sleep", "1000"]}]}}
    config.write_text(f"""
mirrors: {{docker.io: {{endpoint: ["http://{source.host}"]}}}}
configs: {{"{source.host}": {{auth: {{username: {source.user}, password: {source.password}}}}}}}
""")
    until(lambda: server.kube.get(path("serviceaccounts", "default", "default")), 20, "the default service account")
    server.kube.create(path("pods", "default"), body)
    until(lambda: is_ready(server.kube.get(path("pods", "default", "box"))), 60, "an image of the mirror runs")
    assert any(a.startswith("/v2/mirrored/box/") for a in source.asked)
