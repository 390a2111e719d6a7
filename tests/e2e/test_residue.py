"""--ephemeral and reset take everything away: the machine is as it was before."""
import os
import subprocess
import sys

from conftest import Space
from kube import top
from server import KOGGE

RESIDUE = os.path.join(top(), "tests", "residue")


def snapshot(file):
    with open(file, "w", encoding="utf-8") as f:
        subprocess.run([sys.executable, RESIDUE, "snapshot"], stdout=f, check=True)


def compare(before, after, instance):
    """Other programs of a busy machine come and go: only what bears a name of ours, or belongs to the network, is asked for."""
    done = subprocess.run([sys.executable, RESIDUE, "compare", "--processes", f"kogge server|/run/kogge-{instance}/", before, after],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


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
    snapshot(before)
    fill(server)
    assert server.stop() == 0
    snapshot(after)
    compare(before, after, server.slot.instance)
    assert not os.path.exists(server.data)


def test_reset_after_a_crash(fresh, tmp_path):
    before, after = str(tmp_path / "before"), str(tmp_path / "after")
    server = fresh(ephemeral=False)
    snapshot(before)
    fill(server)
    server.kill_all(containerd=True)
    done = subprocess.run([KOGGE, "reset", "--force", "--data-dir", server.data, "--instance", server.slot.instance],
                          capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    snapshot(after)
    compare(before, after, server.slot.instance)
