"""The program itself: help, errors that say what to do, kubeconfig, status."""
import json
import os
import socket
import subprocess

import pytest
import yaml

from kube import ApiError, path, until
from server import KOGGE, free_port


def kogge(*args, env=None, user=None, timeout=300):
    return subprocess.run([KOGGE, *map(str, args)], capture_output=True, text=True, timeout=timeout, check=False,
                          env={**os.environ, **(env or {})}, user=user, group=user, extra_groups=[] if user else None)


def test_help():
    text = kogge("--help").stdout
    for command in ("server", "status", "check", "image", "kubeconfig", "reset", "version"):
        assert command in text
        shown = kogge(command, "--help")
        assert shown.returncode == 0 and "Examples:" in shown.stdout and f"kogge {command}" in shown.stdout
    assert kogge("version").stdout.startswith("kogge ")
    assert json.loads(kogge("version", "--output", "json").stdout)["kubernetes"].startswith("v1.34")


def test_slips_of_the_finger(data):
    for args, words in ((["sevrer"], "there is no command"), (["server", "--prot", "1"], "--prot"), (["server", "--port"], "wants a value"),
                        (["server", "--port", "many"], "port"), (["server", "extra"], "takes no argument"), (["image", "eat"], "import"),
                        (["server", "--service-cidr", "x", "--data-dir", data], "--service-cidr"),
                        (["server", "--instance", "NO!", "--data-dir", data], "--instance")):
        done = kogge(*args)
        assert done.returncode in (1, 2) and words in done.stderr, (args, done)
    assert not os.listdir(data)


def test_unknown_setting(data):
    file = os.path.join(data, "config.yaml")
    with open(file, "w", encoding="utf-8") as f:
        f.write("prot: 1\n")
    assert '"prot"' in kogge("server", "--config", file, "--data-dir", data).stderr


def test_port_taken(data):
    with socket.socket() as s:
        s.bind(("0.0.0.0", 0))
        s.listen()
        port = s.getsockname()[1]
        done = kogge("server", "--no-node", "--data-dir", data, "--port", port)
        assert done.returncode == 1 and f"port {port} is taken" in done.stderr and "--port" in done.stderr


def test_not_root(data):
    done = kogge("server", "--data-dir", os.path.join(data, "d"), "--port", free_port(), user=65534)
    assert done.returncode == 1 and "needs root" in done.stderr and "--no-node" in done.stderr


def test_no_containerd(data):
    done = kogge("server", "--data-dir", data, "--port", free_port(), "--node-port", free_port(), env={"PATH": data})
    assert done.returncode == 1 and "containerd is not installed: apt-get install containerd" in done.stderr


def test_check(data):
    done = kogge("check", "--data-dir", data, "--port", free_port(), "--node-port", free_port())
    assert done.returncode == 0 and "[+] containerd" in done.stdout
    rows = json.loads(kogge("check", "--output", "json", "--data-dir", data).stdout)
    assert {"root", "disk", "clock"} <= {r["check"] for r in rows}


def test_two_servers_on_one_folder(fresh):
    server = fresh(node=False, ephemeral=False).start().wait_ready()
    done = kogge("server", "--no-node", "--data-dir", server.data, "--port", free_port())
    assert done.returncode == 1 and f"another kogge server (pid {server.process.pid})" in done.stderr


def test_without_root_as_an_ordinary_user(data):
    folder, port = os.path.join(data, "own"), free_port()
    os.mkdir(folder)
    os.chown(folder, 65534, 65534)
    process = subprocess.Popen([KOGGE, "server", "--no-node", "--data-dir", folder, "--port", str(port)], user=65534, group=65534, extra_groups=[],
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        kubeconfig = os.path.join(folder, "admin.kubeconfig")
        until(lambda: os.path.exists(kubeconfig), 20, "admin.kubeconfig")
        from kube import Kube
        kube = Kube(kubeconfig)
        until(kube.ready, 20, "/readyz")
        kube.create(path("configmaps", "default"), {"metadata": {"name": "one"}})
    finally:
        process.terminate()
        out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out


def test_corrupt_store(fresh):
    server = fresh(node=False, ephemeral=False).start().wait_ready()
    for n in range(50):
        server.kube.create(path("configmaps", "default"), {"metadata": {"name": f"c{n}"}, "data": {"x": "y" * 500}})
    server.stop()
    store = os.path.join(server.data, "control", "store.db")
    size = os.path.getsize(store)
    with open(store, "r+b") as f:
        for at in range(4096, size, 4096):
            f.seek(at)
            f.write(b"\xff" * 1000)
    server.start()

    def told():
        log = server.last_log(400)
        return "store.db" in log and ("corrupt" in log or "damaged" in log or "malformed" in log or "checksum" in log)
    until(told, 30, "what is wrong with the store")
    assert not server.kube.clone(timeout=1).ready() if server.process.poll() is None else True


def test_kubeconfig(fresh, tmp_path):
    server = fresh(node=False).start().wait_ready()
    file = tmp_path / "config"
    theirs = {"apiVersion": "v1", "kind": "Config", "current-context": "old", "contexts": [{"name": "old", "context": {"cluster": "old", "user": "old"}}],
              "clusters": [{"name": "old", "cluster": {"server": "https://192.0.2.1"}}], "users": [{"name": "old", "user": {"token": "t"}}]}
    file.write_text(yaml.safe_dump(theirs))
    done = kogge("kubeconfig", "--data-dir", server.data, "--kubeconfig", file)
    assert done.returncode == 0, done.stderr
    merged = yaml.safe_load(file.read_text())
    assert len(merged["contexts"]) == 2 and merged["current-context"].startswith("kogge") and file.stat().st_mode & 0o077 == 0
    backups = [f for f in os.listdir(tmp_path) if "before-kogge" in f]
    assert len(backups) == 1 and yaml.safe_load((tmp_path / backups[0]).read_text()) == theirs
    assert "client-key-data" in kogge("kubeconfig", "--print", "--data-dir", server.data).stdout
    assert "already" in kogge("kubeconfig", "--data-dir", server.data, "--kubeconfig", file).stdout and len(os.listdir(tmp_path)) == 2


def withdraw(server, file):
    done = kogge("kubeconfig", "--remove", "--data-dir", server.data, "--kubeconfig", file)
    assert done.returncode == 0, done.stderr


def test_kubeconfig_remove(fresh, tmp_path):
    server = fresh(node=False).start().wait_ready()
    folder = tmp_path / "kube"
    file = folder / "config"
    put = ("kubeconfig", "--data-dir", server.data, "--kubeconfig", file)

    kogge(*put)
    withdraw(server, file)
    assert not folder.exists()  # it was made for us

    theirs = "# mine\napiVersion: v1\nkind: Config\ncontexts: [{name: old, context: {cluster: old, user: old}}]\ncurrent-context: old\n"
    folder.mkdir()
    file.write_text(theirs)
    file.chmod(0o640)
    kogge(*put)
    merged = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump(dict(merged, **{"current-context": "old"})))
    kogge(*put)  # a second backup, with our context in it
    withdraw(server, file)
    assert file.read_text() == theirs and file.stat().st_mode & 0o777 == 0o640 and os.listdir(folder) == ["config"]

    kogge(*put)
    merged = yaml.safe_load(file.read_text())
    merged["contexts"].append({"name": "later", "context": {"cluster": "old", "user": "old"}})
    file.write_text(yaml.safe_dump(merged))
    withdraw(server, file)
    left = yaml.safe_load(file.read_text())
    assert [c["name"] for c in left["contexts"]] == ["old", "later"] and not left["clusters"] and not left["current-context"]
    assert len(os.listdir(folder)) == 2  # the backup stays: the file is not what it was

    file.write_text(theirs)
    withdraw(server, file)
    assert file.read_text() == theirs


def test_status(cluster):
    done = kogge("status", "--data-dir", cluster.data, "--instance", cluster.slot.instance)
    assert done.returncode in (0, 3) and "1 of 1 ready" in done.stdout, done
    assert json.loads(kogge("status", "--output", "json", "--data-dir", cluster.data).stdout)["server"]["ready"] is True
    listed = kogge("image", "list", "--data-dir", cluster.data, "--instance", cluster.slot.instance)
    assert "library/web:v1" in listed.stdout, listed


def test_status_without_a_server(data):
    done = kogge("status", "--data-dir", data)
    assert done.returncode == 1 and "admin.kubeconfig" in done.stderr


def test_reset_spares_other_folders(data):
    with open(os.path.join(data, "precious"), "w", encoding="utf-8") as f:
        f.write("x")
    done = kogge("reset", "--force", "--data-dir", data)
    assert done.returncode == 1 and "not a data folder" in done.stderr and os.path.exists(os.path.join(data, "precious"))


@pytest.fixture
def small_disk(data):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300m,mode=755", "kogge-test", data], check=True)
    yield data
    subprocess.run(["umount", "-l", data], check=True)


def test_too_little_disk(small_disk):
    with open(os.path.join(small_disk, "filler"), "wb") as f:
        f.write(b"\0" * (280 << 20))
    done = kogge("server", "--no-node", "--data-dir", os.path.join(small_disk, "d"), "--port", free_port())
    assert done.returncode == 1 and "MiB are free" in done.stderr


def test_disk_full(small_disk, fresh):
    """Writes are refused with what is missing, reads go on, and when there is room again so do writes."""
    server = fresh(node=False, ephemeral=False, data=os.path.join(small_disk, "d"))
    server.log = os.path.join("/tmp", f"kogge-full-{server.port}.log")
    server.start().wait_ready()
    where = path("configmaps", "default")
    server.kube.create(where, {"metadata": {"name": "before"}})
    filler = os.path.join(small_disk, "filler")
    try:
        with open(filler, "wb", buffering=0) as f:
            while True:
                f.write(b"\0" * (1 << 20))
    except OSError:
        pass

    def refused():
        try:
            server.kube.create(where, {"metadata": {"generateName": "more-"}, "data": {"x": "y" * 500000}})
            return False
        except ApiError as e:
            assert e.code == 507 and ("full" in str(e) or "space" in str(e)), e
            return True
    until(refused, 30, "507")
    assert server.kube.get(f"{where}/before")["metadata"]["name"] == "before"
    os.unlink(filler)
    until(lambda: server.kube.create(where, {"metadata": {"name": "after"}}), 20, "writes again")
