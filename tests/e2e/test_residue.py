"""--ephemeral and reset take everything away: the machine is as it was before."""
import glob
import os
import re
import subprocess
import sys

from conftest import Space
from kube import top, until
from server import KOGGE

RESIDUE = os.path.join(top(), "tests", "residue")


def snapshot(file):
    with open(file, "w", encoding="utf-8") as f:
        subprocess.run([sys.executable, RESIDUE, "snapshot"], stdout=f, check=True)


def compared(before, after, processes):
    """What differs, a line each."""
    done = subprocess.run([sys.executable, RESIDUE, "compare", "--processes", processes, before, after], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done
    return done.stdout.splitlines()[:-1]


def others(slot):
    return [f for f in glob.glob("/run/kogge*") if f != f"/run/kogge-{slot.instance}"]


def begin(before, alone):
    """The snapshot of a machine on which nothing changes any more: what an earlier test had may be on its way out."""
    def still():
        snapshot(before + ".first")
        snapshot(before)
        return not alone or not compared(before + ".first", before, "kogge")
    until(still, 20, "a machine that stays as it is")


def left_over(before, after, server, alone):
    """Exact when no other instance runs here; beside others, whose things come and go, only what bears a name or an address of ours."""
    slot = server.slot
    snapshot(after)
    left = compared(before, after, f"{server.data}|/run/kogge-{slot.instance}/")
    if alone and not others(slot):
        return left
    nets = [re.escape(net.replace("0.0/16", "")) for net in (slot.pods, slot.services)]
    ours = re.compile(rf"kogge-{slot.instance}\b|{re.escape(server.data)}\b|\b({'|'.join(nets)})\d")
    return [line for line in left if ": + " in line and ours.search(line)]


def compare(before, after, server, alone):
    """Links alone may be there a little longer: the kernel takes a network namespace away some time after its last process."""
    left = left_over(before, after, server, alone)
    if left and all(line.startswith("network: ") for line in left):
        until(lambda: not left_over(before, after, server, alone), 10, f"the network as it was; not {left}")
    else:
        assert not left, left


def fill(server):
    server.add_images("busybox", "web-v1")
    server.start().wait_ready().wait_images("web:v1", "busybox:test")
    space = Space(server)
    space.create("secrets", {"metadata": {"name": "keys"}, "stringData": {"a": "b"}})
    space.web(2)
    space.service(type="NodePort")
    space.box(container={"volumeMounts": [{"name": "keys", "mountPath": "/keys"}]}, volumes=[{"name": "keys", "secret": {"secretName": "keys"}}])
    space.wait_deployment()
    space.wait_pod("box")


def test_ephemeral(fresh, tmp_path):
    before, after = str(tmp_path / "before"), str(tmp_path / "after")
    server = fresh()
    alone = not others(server.slot)
    begin(before, alone)
    fill(server)
    assert server.stop() == 0
    compare(before, after, server, alone)
    assert not os.path.exists(server.data)


def test_reset_after_a_crash(fresh, tmp_path):
    before, after = str(tmp_path / "before"), str(tmp_path / "after")
    server = fresh(ephemeral=False)
    alone = not others(server.slot)
    begin(before, alone)
    fill(server)
    server.kill_all(containerd=True)
    done = subprocess.run([KOGGE, "reset", "--force", "--data-dir", server.data, "--instance", server.slot.instance],
                          capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    compare(before, after, server, alone)
