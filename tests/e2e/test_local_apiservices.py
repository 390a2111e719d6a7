"""The group versions that this server serves itself are APIServices, too."""
import pytest

from conftest import KUBECTLS, Kubectl
from custom import CRDS, GROUP, condition, definition, version
from kube import ApiError, until
from server import Server

SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
MANAGED = "kube-aggregator.kubernetes.io/automanaged"


@pytest.fixture(scope="module")
def server():
    one = Server(node=False, ephemeral=False)
    try:
        one.start().wait_api()
        yield one
    finally:
        one.end()


def served(kube):
    return {f"{v['version']}.{g['name']}" for g in kube.get("/apis")["groups"] for v in g["versions"]}


def names(kube):
    return {s["metadata"]["name"] for s in kube.get(SERVICES)["items"]}


def find(kube, name):
    try:
        return kube.get(f"{SERVICES}/{name}")
    except ApiError as e:
        assert e.code == 404
        return None


def test_all_builtin_ones_are_there(server):
    kube = server.kube
    assert names(kube) == served(kube) - {"v1.apiregistration.k8s.io", "v1beta1.metrics.k8s.io"} | {"v1."}
    core = kube.get(f"{SERVICES}/v1.")
    assert core["spec"] == {"version": "v1", "groupPriorityMinimum": 18000, "versionPriority": 1}
    assert core["metadata"]["labels"] == {MANAGED: "onstart"}
    assert condition(core, "Available") == {**condition(core, "Available"), "status": "True", "reason": "Local"}


@pytest.mark.parametrize("program", [p for _, p in KUBECTLS], ids=[v for v, _ in KUBECTLS])
def test_kubectl_shows_them(server, tmp_path, program):
    rows = {line.split()[0]: line.split()[1:3] for line in Kubectl(program, server, tmp_path, "default")("get", "apiservices").splitlines()}
    assert rows["v1.apps"] == ["Local", "True"]


def test_those_of_custom_kinds_come_and_go(server):
    kube, name = server.kube, f"v1.{GROUP}"
    kube.create(CRDS, definition("lamps", "Lamp", version()))
    made = until(lambda: find(kube, name), 10, "the group version is told")
    assert made["metadata"]["labels"] == {MANAGED: "true"} and made["spec"]["groupPriorityMinimum"] == 1000 and made["spec"]["versionPriority"] == 100
    kube.delete(f"{SERVICES}/{name}")
    again = until(lambda: find(kube, name), 10, "it is made again")
    assert again["metadata"]["uid"] != made["metadata"]["uid"]
    kube.patch(f"{SERVICES}/{name}", {"spec": {"versionPriority": 7}})
    server.stop()
    server.start().wait_api()
    until(lambda: find(kube, name)["spec"]["versionPriority"] == 100, 10, "it is as it was")
    kube.delete(f"{CRDS}/lamps.{GROUP}")
    until(lambda: not find(kube, name), 10, "it goes with the last kind")


def test_what_is_somebodys_own_stays(server):
    kube = server.kube
    for name, label in (("v1.gone.example.com", {MANAGED: "onstart"}), ("v1.mine.example.com", {})):
        kube.create(SERVICES, {"metadata": {"name": name, "labels": label},
                               "spec": {"group": name[3:], "version": "v1", "groupPriorityMinimum": 10, "versionPriority": 10}})
    kube.delete(f"{SERVICES}/v1.apps")
    server.stop()
    server.start().wait_api()
    until(lambda: not find(kube, "v1.gone.example.com"), 10, "one that nothing serves goes")
    assert find(kube, "v1.mine.example.com") and find(kube, "v1.apps")
