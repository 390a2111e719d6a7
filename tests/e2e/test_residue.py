"""--ephemeral and reset take everything away: the machine is as it was before."""
import glob
import os
import re
import subprocess
import sys

from conftest import Space
from kube import top
from server import KOGGE

RESIDUE = os.path.join(top(), "tests", "residue")


def snapshot(file):
    with open(file, "w", encoding="utf-8") as f:
        subprocess.run([sys.executable, RESIDUE, "snapshot"], stdout=f, check=True)


def others(slot):
    return [f for f in glob.glob("/run/kogge*") if f != f"/run/kogge-{slot.instance}"]


def compare(before, after, server, alone):
    """Exact when no other instance runs here; beside others, whose things come and go, only what bears a name or an address of ours."""
    slot = server.slot
    done = subprocess.run([sys.executable, RESIDUE, "compare", "--processes", f"{server.data}|/run/kogge-{slot.instance}/", before, after],
                          capture_output=True, text=True, check=False)
    left = done.stdout
    if not alone or others(slot):
        nets = [re.escape(net.replace("0.0/16", "")) for net in (slot.pods, slot.services)]
        ours = re.compile(rf"kogge-{slot.instance}\b|{re.escape(server.data)}\b|\b({'|'.join(nets)})\d")
        left = "\n".join(line for line in left.splitlines() if ": + " in line and ours.search(line))
        assert not left, left
    else:
        assert done.returncode == 0, left


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
    snapshot(before)
    fill(server)
    assert server.stop() == 0
    snapshot(after)
    compare(before, after, server, alone)
    assert not os.path.exists(server.data)


def test_reset_after_a_crash(fresh, tmp_path):
    before, after = str(tmp_path / "before"), str(tmp_path / "after")
    server = fresh(ephemeral=False)
    alone = not others(server.slot)
    snapshot(before)
    fill(server)
    server.kill_all(containerd=True)
    done = subprocess.run([KOGGE, "reset", "--force", "--data-dir", server.data, "--instance", server.slot.instance],
                          capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    snapshot(after)
    compare(before, after, server, alone)
