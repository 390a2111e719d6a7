"""The machine shuts down: pods end in order, within their grace periods, and run again when it is back."""
import time

import pytest

from conftest import Space
from kube import is_ready, path, until
from logind import Logind

GRACE_S, CRITICAL_S = 8, 3
MESSAGE = "Pod was terminated in response to imminent node shutdown."


@pytest.fixture
def logind(tmp_path):
    one = Logind(str(tmp_path), delay_s=GRACE_S + 4)
    yield one
    one.end()


@pytest.fixture
def going(fresh, logind):
    """A server that delays shutdowns of a machine, and a namespace on it."""
    server = fresh(ephemeral=False, flags=["--shutdown-grace-period", str(GRACE_S), "--shutdown-grace-period-critical-pods", str(CRITICAL_S)])
    server.add_images("busybox")
    server.start(DBUS_SYSTEM_BUS_ADDRESS=logind.address).wait_ready().wait_images("busybox:test")
    until(logind.held, 20, "the node delays a shutdown")
    return server, Space(server)


def main(pod):
    return pod["status"]["containerStatuses"][0]


def end_of(pod):
    return main(pod)["state"]["terminated"]


def node_ready(server):
    return next(c for c in server.nodes()[0]["status"]["conditions"] if c["type"] == "Ready")


def slow(seconds):
    return {"command": ["sh", "-c", f"trap 'sleep {seconds}; exit 0' TERM; sleep 100000 & wait"]}


def test_pods_end_in_order_and_come_back(going, logind):
    server, space = going
    space.box("slow", container=slow(2), terminationGracePeriodSeconds=100)
    space.box("stubborn", container={"command": ["sh", "-c", "trap '' TERM; while :; do sleep 0.2; done"]}, terminationGracePeriodSeconds=100)
    space.box("once", restartPolicy="Never")
    space.kube.create(path("pods", "kube-system"), {"metadata": {"name": "critical"}, "spec": {
        "priorityClassName": "system-node-critical", "containers": [{"name": "c", "image": "busybox:test", **slow(0)}]}})
    before = {name: space.wait_pod(name) for name in ("slow", "stubborn", "once")}
    critical = path("pods", "kube-system", "critical")
    before["critical"] = until(lambda: next((p for p in [server.kube.get(critical)] if is_ready(p)), None), 60, "critical runs")

    began = time.monotonic()
    logind.say(True)
    until(lambda: node_ready(server)["status"] == "False", 5, "the node is NotReady")
    assert node_ready(server)["reason"] == "KubeletNotReady" and node_ready(server)["message"] == "node is shutting down"
    space.box("late", nodeName=server.nodes()[0]["metadata"]["name"], tolerations=[{"operator": "Exists"}])
    assert logind.held()
    until(lambda: not logind.held(), GRACE_S + 10, "the machine may go")
    after = {name: space.get("pods", name) for name in ("slow", "stubborn", "once")}
    after["critical"] = server.kube.get(critical)
    assert time.monotonic() - began > GRACE_S - CRITICAL_S  # stubborn had all there was for its kind
    assert not server.containers()
    for name, pod in after.items():
        assert (pod["status"]["reason"], pod["status"]["message"]) == ("Terminated", MESSAGE), name
        assert pod["metadata"]["uid"] == before[name]["metadata"]["uid"] and not is_ready(pod)
    assert end_of(after["slow"])["exitCode"] == 0 and end_of(after["stubborn"])["exitCode"] == 137
    assert end_of(after["critical"])["finishedAt"] >= max(end_of(after[n])["finishedAt"] for n in ("slow", "stubborn", "once"))
    assert after["once"]["status"]["phase"] == "Failed"
    assert {c["type"]: c.get("reason") for c in after["once"]["status"]["conditions"]}["DisruptionTarget"] == "TerminationByKubelet"
    assert "containerID" not in space.get("pods", "late")["status"].get("containerStatuses", [{}])[0]

    server.kill_all(containerd=True)  # as the machine does
    logind.say(False)
    server.start(DBUS_SYSTEM_BUS_ADDRESS=logind.address).wait_ready()
    for name in ("slow", "stubborn", "late"):
        pod = space.wait_pod(name)
        assert pod["metadata"]["uid"] == before.get(name, pod)["metadata"]["uid"]
        assert "reason" not in pod["status"] and "message" not in pod["status"]
        assert main(pod)["restartCount"] == (name != "late")
    assert space.get("pods", "once")["status"]["phase"] == "Failed"
    until(logind.held, 20, "the next shutdown is delayed, too")


def test_a_shutdown_that_is_called_off(going, logind):
    server, space = going
    space.box("box")
    uid = space.wait_pod("box")["metadata"]["uid"]
    logind.say(True)
    until(lambda: not logind.held(), GRACE_S + 10, "the machine may go")
    assert end_of(space.get("pods", "box"))["exitCode"] == 0
    logind.say(False)
    pod = space.wait("pods", "box", lambda p: is_ready(p) and "reason" not in p["status"])
    assert pod["metadata"]["uid"] == uid and main(pod)["restartCount"] == 1
    until(lambda: node_ready(server)["status"] == "True", 20, "the node is Ready")
    until(logind.held, 20, "the next shutdown is delayed, too")
