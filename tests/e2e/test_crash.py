"""kill -9 of everything, again and again, under writes: containers live on, nothing acknowledged is lost."""
import datetime
import http.client
import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time

import pytest

from kube import ApiError, Kube, is_ready, path, until
from conftest import Space, figures
from server import KOGGE


class Writer(threading.Thread):
    """Creates and changes ConfigMaps without pause and remembers what the server acknowledged."""

    def __init__(self, space, number):
        super().__init__(daemon=True)
        self.space, self.number, self.ending = space, number, False
        self.acknowledged, self.in_doubt, self.made = {}, set(), 0  # name: resourceVersion

    def run(self):
        kube = Kube(self.space.server.kubeconfig, timeout=5)
        while not self.ending:
            name = f"w{self.number}-{self.made // 3}"
            try:
                self.write(kube, name)
            except (OSError, http.client.HTTPException, ApiError) as e:
                self.in_doubt.add(name)
                if isinstance(e, ApiError) and e.code == 409:  # an unacknowledged write that did happen
                    self.made += 1
                time.sleep(0.01)

    def write(self, kube, name):
        where = path("configmaps", self.space.name)
        if self.made % 3 == 0:
            got = kube.create(where, {"metadata": {"name": name}, "data": {"n": "0"}})
        else:
            got = kube.patch(f"{where}/{name}", {"data": {"n": str(self.made)}})
        self.acknowledged[name] = int(got["metadata"]["resourceVersion"])
        self.made += 1


def check_acknowledged(space, writers):
    stored = {c["metadata"]["name"]: int(c["metadata"]["resourceVersion"]) for c in space.items("configmaps")}
    for writer in writers:
        for name, version in list(writer.acknowledged.items()):
            assert name in stored, f"{name} was acknowledged at {version} and is gone"
            if name in writer.in_doubt:
                assert stored[name] >= version
            else:
                assert stored[name] == version, f"{name}: acknowledged {version}, stored {stored[name]}"


def container_states(space):
    """pod → (container id, restart count)"""
    return {p["metadata"]["name"]: (c["containerID"], c["restartCount"])
            for p in space.items("pods") for c in p["status"]["containerStatuses"]}


def answers(address):
    connection = http.client.HTTPConnection(address, 80, timeout=0.5)
    try:
        connection.request("GET", "/", headers={"Connection": "close"})
        return connection.getresponse().status == 200
    finally:
        connection.close()


def is_alive(server, since):
    """The node is Ready, and said so itself after `since`."""
    kube = server.kube.clone()
    node = kube.get(path("nodes"))["items"][0]
    lease = kube.get(path("leases", "kube-node-lease", node["metadata"]["name"]))
    return is_ready(node) and lease["spec"]["renewTime"] > since


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def revive(server, address):
    """Starts it again; seconds until /readyz, a Ready node and an answer of the old ClusterIP."""
    began, since, times = time.monotonic(), now(), {}
    server.start()
    questions = {"readyz": lambda: server.kube.ready(), "node": lambda: is_alive(server, since), "service": lambda: answers(address)}
    for name, question in questions.items():
        until(lambda q=question: server.alive() and q(), 60, f"{name} after the kill", every=0.01)
        times[name] = round(time.monotonic() - began, 2)
    return times


@pytest.fixture
def crashing(fresh):
    server = fresh(ephemeral=False)
    server.add_images("busybox", "web-v1")
    server.start().wait_ready().wait_images("web:v1", "busybox:test")
    space = Space(server)
    space.web(3)
    service = space.service()
    space.box(script="sleep 100000")
    space.wait_deployment()
    space.wait_pod("box")
    until(lambda: answers(service["spec"]["clusterIP"]), 10, "the service")
    return server, space, service["spec"]["clusterIP"]


def rounds(server, space, address, count, containerd, chance):
    writers = [Writer(space, f"{count}-{n}") for n in range(3)]
    for writer in writers:
        writer.start()
    all_times = []
    for _ in range(count):
        time.sleep(chance.uniform(0.2, 1.5))
        server.kill_all(containerd)
        all_times.append(revive(server, address))
        yield
    for writer in writers:
        writer.ending = True
    for writer in writers:
        writer.join(20)
    check_acknowledged(space, writers)
    writes = sum(w.made for w in writers)
    figures("kill -9" + (" of containerd too" if containerd else ""), rounds=count, writes=writes,
            slowest_seconds={k: max(t[k] for t in all_times) for k in all_times[0]})
    assert writes > count


def test_kill_nine(crashing):
    server, space, address = crashing
    chance = random.Random(int(time.time()))
    before, pids = container_states(space), server.containers()
    assert len(pids) >= 4
    for _ in rounds(server, space, address, 15, False, chance):
        assert server.containers() == pids
    time.sleep(1)
    assert container_states(space) == before
    for _ in rounds(server, space, address, 5, True, chance):
        pass
    # A container that was started again must say so; one that was not must not.
    until(lambda: all(is_ready(p) for p in space.items("pods")), 60, "all pods Ready")
    after = container_states(space)
    assert set(after) == set(before), "pods were replaced"
    for pod, (container, restarts) in after.items():
        assert (restarts > before[pod][1]) == (container != before[pod][0]), f"{pod}: {before[pod]} → {after[pod]}"
    space.box("later")
    space.wait_pod("later")


def test_leases_of_a_killed_containerd_are_ended(fresh):
    """They would keep what its calls had begun for a day. Those of the containerd that runs are its callers' own."""
    server = fresh()
    server.start().wait_ready()
    ctr = ("ctr", "-a", f"/run/kogge-{server.slot.instance}/containerd.sock", "-n", "k8s.io")

    def leases():
        return subprocess.run([*ctr, "leases", "ls", "-q"], capture_output=True, text=True, check=False).stdout.split()
    subprocess.run([*ctr, "leases", "create", "--id", "old"], check=True, stdout=subprocess.DEVNULL)
    assert "old" in leases()
    pid = server.containerd_pid()
    os.kill(pid, signal.SIGKILL)
    until(lambda: server.containerd_pid() != pid and subprocess.run([*ctr, "version"], capture_output=True, check=False).returncode == 0, 30, "another containerd")
    subprocess.run([*ctr, "leases", "create", "--id", "new"], check=True, stdout=subprocess.DEVNULL)
    until(lambda: leases() == ["new"], 30, "only the new lease")

    before = server.pid_of("kogge-node")
    os.kill(before, signal.SIGKILL)  # another one looks at everything
    until(lambda: server.pid_of("kogge-node") not in (None, before), 20, "another node process")
    server.wait_node()
    time.sleep(2)
    assert "new" in leases()


def test_a_controller_that_crashes_is_held_off(fresh):
    """A planted abort() in one controller: the API, the node and the other controllers go on, and it is told everywhere."""
    server = fresh(ephemeral=False)
    server.add_images("busybox")
    server.start(KOGGE_DEBUG_CRASH="deployment-controller").wait_ready().wait_images("busybox:test")
    space = Space(server)
    about = path("deployments", space.name)
    template = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "x", "image": "busybox:test", "command": ["sleep", "1000"]}]}}
    body = {"metadata": {"name": "x"}, "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "x"}}, "template": template}}
    quietly(lambda: server.kube.create(about, body))  # the controller crashes at it, perhaps before the answer is out; and twice more

    def told():
        code, text = server.kube.clone(timeout=5).text("GET", "/readyz?verbose")
        return code == 200 and "controller/deployment-controller is held off" in text.decode()
    until(lambda: quietly(told), 30, "the held off controller in /readyz?verbose")
    server.kube = server.kube.clone()
    assert server.kube.get("/api/v1/componentstatuses/controller-manager")["conditions"][0]["status"] == "False"
    assert server.kube.get(f"{about}/x")["spec"]["replicas"] == 1
    server.kube.create(path("replicasets", space.name), {**body, "metadata": {"name": "y"}})
    until(lambda: any(is_ready(p) for p in space.items("pods")), 30, "a pod of the ReplicaSet")
    until(lambda: [e for e in server.kube.get(path("events", "default"))["items"] if e["reason"] == "ControllerHeldOff"], 10, "the Event")
    status = [KOGGE, "status", "--data-dir", server.data, "--instance", server.slot.instance]
    shown = subprocess.run(status, capture_output=True, text=True, timeout=120, check=False)
    assert "held off deployment-controller" in shown.stdout and shown.returncode == 3
    assert json.loads(subprocess.run([*status, "--output", "json"], capture_output=True, text=True, timeout=120, check=False).stdout)["server"]["heldOff"] == \
        ["deployment-controller"]
    server.stop()
    server.start().wait_ready()  # repaired
    until(lambda: server.kube.get(f"{about}/x").get("status", {}).get("readyReplicas") == 1, 30, "the Deployment")
    assert "[!]" not in server.kube.text("GET", "/readyz?verbose")[1].decode()
    assert "held off" not in subprocess.run(status, capture_output=True, text=True, timeout=120, check=False).stdout


def quietly(question):
    try:
        return question()
    except (OSError, http.client.HTTPException):
        return False


def test_restart_adopts(crashing):
    """SIGTERM leaves the pods; the next start finds them, and what happened meanwhile."""
    server, space, address = crashing
    before, pids = container_states(space), server.containers()
    assert server.stop() == 0
    assert server.containers() == pids
    until(lambda: answers(address), 10, "the service, without a server")
    assert "keep running" in server.last_log(1000)
    since = now()
    server.start().wait_ready()
    until(lambda: is_alive(server, since), 30, "the node")
    time.sleep(2)
    assert container_states(space) == before and server.containers() == pids
    space.kube.patch(path("deployments", space.name, "web"), {"spec": {"replicas": 1}})
    until(lambda: len(space.items("pods", "app=web")) == 1, 60, "scaled down")


HELD_RUNC = """#!/bin/sh
# Makes containers, not sandboxes, wait while the file "hold" is there; "held" says that one does. With "fail" there by then they are not made,
# and "failed" says so.
real=%s here=%s bundle=
case " $* " in *" create "*)
    for word; do [ "$last" = --bundle ] && bundle=$word; last=$word; done
    if grep -q '"io.kubernetes.cri.container-type":"container"' "$bundle/config.json"; then
        while [ -e $here/hold ]; do : > $here/held; sleep 0.02; done
        [ -e $here/fail ] && { : > $here/failed; exit 1; }
    fi ;;
esac
exec $real "$@"
"""


@pytest.fixture
def held_start(fresh, tmp_path):
    """A server whose containers do not come to be while tmp_path/hold is there."""
    runc = tmp_path / "runc"
    runc.write_text(HELD_RUNC % (shutil.which("runc"), tmp_path))
    runc.chmod(0o755)
    server = fresh(ephemeral=False)
    server.add_images("busybox")
    server.start(PATH=f"{tmp_path}:{os.environ['PATH']}").wait_ready().wait_images("busybox:test")
    return server, Space(server), tmp_path


def ctr(server, *words):
    command = ["ctr", "-a", f"/run/kogge-{server.slot.instance}/containerd.sock", "-n", "k8s.io", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def known(server, what):
    return set(ctr(server, what, "ls", "-q").stdout.split())


def cut_off(server, space, folder):
    """The node is killed while the container of pod "box" is made, and CRI gives up the start. It gives it up too when the task is there
    already, and then leaves it: a moment that cannot be hit, so that the task is made here. Its id; the supervisor is stopped, and starts
    another node when it goes on."""
    before = known(server, "containers")
    (folder / "hold").touch()
    space.box(script="sleep 100000")
    until((folder / "held").exists, 30, "a container that is made")
    container = max(known(server, "containers") - before, key=lambda c: "io.kubernetes.container.name" in ctr(server, "containers", "info", c).stdout)
    node = server.pid_of("kogge-node")
    os.kill(server.process.pid, signal.SIGSTOP)
    os.kill(node, signal.SIGKILL)
    (folder / "fail").touch()  # CRI may not have noticed yet that its caller is gone: it gives up this start in any case
    (folder / "hold").unlink()
    until((folder / "failed").exists, 30, "a container that could not be made")
    (folder / "fail").unlink()
    until(lambda: ctr(server, "tasks", "start", "--detach", container).returncode == 0, 30, "the start that CRI gave up")
    return container


def test_a_start_that_went_on_without_its_caller(held_start):
    server, space, folder = held_start
    task = cut_off(server, space, folder)
    os.kill(server.process.pid, signal.SIGCONT)
    status = space.wait_pod("box")["status"]["containerStatuses"][0]
    assert task not in known(server, "tasks") and task not in status["containerID"] and status["restartCount"] == 0


def test_such_a_start_of_a_pod_that_is_gone(held_start):
    """Its pod is forced out of the API before the node is back."""
    server, space, folder = held_start
    cut_off(server, space, folder)
    server.kube.clone().delete(path("pods", space.name, "box"), gracePeriodSeconds=0)
    os.kill(server.process.pid, signal.SIGCONT)
    until(lambda: not known(server, "tasks"), 60, "nothing that runs")


def test_an_empty_note_of_a_network_plugin(crashing):
    """What a killed containerd, or a power cut, leaves of the file in which it notes a plugin's answer."""
    server, space, _ = crashing
    pods = known(server, "tasks")
    notes = [os.path.join("/var/lib/cni/results", n) for n in os.listdir("/var/lib/cni/results") if any(p in n for p in pods)]
    assert len(notes) >= 4
    for note in notes:
        os.truncate(note, 0)
    server.kill_all(containerd=True)
    server.start().wait_ready()
    space.kube.delete(path("deployments", space.name, "web"))
    space.kube.delete(path("pods", space.name, "box"))
    until(lambda: not space.items("pods"), 60, "no pods")
    until(lambda: not server.containers() and not any(os.path.exists(n) for n in notes), 60, "nothing left")
