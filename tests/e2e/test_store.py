"""Encryption at rest, snapshots and the way back: `kogge store`, and a canary that must be found nowhere."""
import base64
import itertools
import os
import shutil
import signal
import sqlite3
import subprocess
import zlib

import pytest
from kube import path, top, until
from server import KOGGE

CANARY = os.urandom(16).hex().encode()  # 32 bytes that stand nowhere else


def traces(secret):
    """How a secret may show: raw, hexadecimal, base64 at its three alignments."""
    yield secret
    yield secret.hex().encode()
    for shift in range(3):
        text = base64.b64encode(b"\0" * shift + secret)
        yield text[4 if shift else 0:-4]  # without what the neighbours decide


def plain_parts(data):
    """The bytes, and what unpacks out of them."""
    yield data
    at = data.find(b"\x1f\x8b\x08")
    while at >= 0:
        try:
            yield zlib.decompressobj(31).decompress(data[at:])
        except zlib.error:
            pass
        at = data.find(b"\x1f\x8b\x08", at + 1)


def found_in(folder, *more):
    files = [os.path.join(d, f) for d, _, names in os.walk(folder) for f in names] + list(more)
    looked, hits = 0, []
    for name in files:
        try:
            with open(name, "rb") as f:
                data = f.read()
        except OSError:  # gone meanwhile, or a socket
            continue
        looked += 1
        if any(t in part for part in plain_parts(data) for t in traces(CANARY)):
            hits.append(name)
    assert looked > 10
    return hits


def store(server, *args, ok=True, stdin=subprocess.DEVNULL):
    done = subprocess.run([KOGGE, "store", *args, "--data-dir", server.data, "--instance", server.slot.instance],
                          capture_output=True, text=True, timeout=300, check=False, stdin=stdin)
    assert (done.returncode == 0) == ok, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def server(fresh):
    return fresh(node=False, ephemeral=False).start().wait_ready()


def make_secret(server, name="canary", data=CANARY):
    server.kube.create(path("secrets", "default"), {"metadata": {"name": name}, "data": {"k": base64.b64encode(data).decode()}})


def secret_of(server, name="canary"):
    return base64.b64decode(server.kube.get(path("secrets", "default", name))["data"]["k"])


def values(server, prefix=b"secrets/"):
    db = sqlite3.connect(f"file:{server.data}/control/store.db?mode=ro", uri=True)
    rows = db.execute("SELECT r.value FROM current c JOIN revision r ON r.rev = c.rev WHERE c.key >= ? AND c.key < ? AND c.created > 0",
                      (prefix, prefix[:-1] + b"0")).fetchall()
    db.close()
    return [bytes(r[0]) for r in rows]


def test_a_secret_is_found_in_no_file(server, tmp_path):
    make_secret(server)
    store(server, "snapshot", str(tmp_path / "s.db"))
    server.kube.patch(path("secrets", "default", "canary"), {"metadata": {"labels": {"a": "b"}}})
    assert found_in(server.data, str(tmp_path / "s.db"), server.log) == []
    server.stop()
    assert found_in(server.data, str(tmp_path / "s.db"), server.log) == []


def test_the_search_finds_what_is_plain(server):
    server.kube.create(path("configmaps", "default"), {"metadata": {"name": "plain"}, "binaryData": {"k": base64.b64encode(b"x" + CANARY).decode()}})
    assert found_in(server.data)


def test_restore_on_another_machine_wants_the_recovery_key(server, fresh, tmp_path):
    snapshot, key = str(tmp_path / "s.db"), str(tmp_path / "key")
    make_secret(server)
    store(server, "snapshot", snapshot)
    shown = int(server.kube.get(path("secrets", "default"))["metadata"]["resourceVersion"])
    with open(os.path.join(server.data, "recovery-key"), encoding="ascii") as f, open(key, "w", encoding="ascii") as out:
        out.write(f.read().lower().replace("-", " "))

    other = fresh(node=False, ephemeral=False)
    refused = store(other, "restore", snapshot, ok=False)
    assert "recovery-key-file" in refused
    assert not os.path.exists(f"{other.data}/control/store.db")
    assert "is restored" in store(other, "restore", snapshot, "--recovery-key-file", key)
    other.start().wait_ready()
    assert secret_of(other) == CANARY
    assert int(other.kube.get(path("secrets", "default"))["metadata"]["resourceVersion"]) > shown, "a version never goes backwards"


def test_restore_refuses_a_running_server_and_a_damaged_file(server, tmp_path):
    snapshot = str(tmp_path / "s.db")
    store(server, "snapshot", snapshot)
    assert "in use" in store(server, "restore", snapshot, ok=False)
    with open(snapshot, "r+b") as f:
        f.seek(os.path.getsize(snapshot) // 2)
        f.write(b"\xff" * 4096)
    server.stop()
    assert "damaged" in store(server, "restore", snapshot, ok=False)
    assert "whole" in store(server, "check")


def test_rotation_leaves_no_value_under_the_old_key(server):
    for i in range(50):
        make_secret(server, f"s{i}", CANARY)
    before = {v.split(b":")[4] for v in values(server)}
    assert "every value is under the new key" in store(server, "rotate-key")
    until(server.kube.ready, 20, "/readyz")
    after = {v.split(b":")[4] for v in values(server)}
    assert len(before) == len(after) == 1 and before != after
    assert all(secret_of(server, f"s{i}") == CANARY for i in range(50))
    server.stop()
    server.start().wait_ready()
    assert secret_of(server, "s7") == CANARY


def test_a_plain_store_is_encrypted_when_it_starts(fresh, tmp_path):
    config = tmp_path / "e.yaml"
    config.write_text("apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n"
                      "resources: [{resources: [secrets], providers: [{identity: {}}]}]\n")
    server = fresh(node=False, ephemeral=False, flags=["--encryption-provider-config", str(config)]).start().wait_ready()
    make_secret(server)
    assert all(v.startswith(b"{") for v in values(server))
    server.stop()
    server.flags.remove("--encryption-provider-config")
    server.flags.remove(str(config))
    server.start().wait_ready()
    until(lambda: all(v.startswith(b"k8s:enc:kogge:v1:") for v in values(server)), 20, "encrypted secrets")
    assert secret_of(server) == CANARY


def refused(server):
    """What a server says that does not start."""
    server.start()
    assert server.process.wait(60) != 0
    return server.last_log()


def contents(name):
    with open(name, "rb") as f:
        return f.read()


def test_lost_keys_are_not_made_anew(server, tmp_path):
    make_secret(server)
    server.stop()
    keys, recovery = f"{server.data}/control/pki/sealing.keys", f"{server.data}/recovery-key"
    before = contents(recovery)
    os.unlink(keys)
    assert "sealing.keys is missing" in refused(server)
    assert not os.path.exists(keys) and contents(recovery) == before
    store(server, "snapshot", str(tmp_path / "s.db"))  # the way back, as the message says
    store(server, "restore", str(tmp_path / "s.db"), "--recovery-key-file", recovery)
    server.start().wait_ready()
    assert secret_of(server) == CANARY


def test_no_server_begins_where_a_restore_was_cut_short(server, tmp_path):
    snapshot, file = str(tmp_path / "s.db"), f"{server.data}/control/store.db"
    make_secret(server)
    store(server, "snapshot", snapshot)
    server.stop()
    os.rename(file, file + ".before-now")
    with open(file + ".restoring", "wb") as f:
        f.write(contents(snapshot))
    assert "cut short" in refused(server)
    store(server, "restore", snapshot)
    assert not os.path.exists(file + ".restoring")
    server.start().wait_ready()
    assert secret_of(server) == CANARY


def test_what_a_restore_set_aside_can_be_brought_back(server, tmp_path):
    snapshot = str(tmp_path / "s.db")
    store(server, "snapshot", snapshot)
    make_secret(server)
    server.stop()
    store(server, "restore", snapshot)
    server.start().wait_ready()
    shown = int(server.kube.get(path("secrets", "default"))["metadata"]["resourceVersion"])
    server.stop()
    aside = next(f"{server.data}/control/{name}" for name in os.listdir(server.data + "/control") if ".before-" in name)
    store(server, "restore", aside)
    server.start().wait_ready()
    assert secret_of(server) == CANARY
    assert int(server.kube.get(path("secrets", "default"))["metadata"]["resourceVersion"]) > shown


def test_a_file_that_root_put_there_is_the_stores(server):
    make_secret(server)
    server.stop()
    for name in ("store.db", "store.db-lock", "pki/sealing.keys"):
        os.chown(f"{server.data}/control/{name}", 0, 0)
    server.start().wait_ready()
    assert secret_of(server) == CANARY


# ---- a store that is gone --------------------------------------------------------------------------------------------

def move(server, name):
    os.rename(f"{server.data}/{name}", f"{server.data}/{name}.elsewhere")


def move_back(server, name):
    subprocess.run(["rm", "-rf", f"{server.data}/{name}"], check=True)
    os.rename(f"{server.data}/{name}.elsewhere", f"{server.data}/{name}")


@pytest.mark.parametrize("lost, left, trace", [("control/store.db", None, "sealing.keys"), ("control/store.db", "empty", "sealing.keys"),
                                               ("control", None, "recovery-key")])
def test_a_cluster_that_lost_its_store_is_not_begun_anew(server, lost, left, trace):
    """Moved by mistake, not mounted, cut to nothing: the server says so, makes nothing, and goes on when it is back."""
    make_secret(server)
    server.stop()
    move(server, lost)
    if left:
        open(f"{server.data}/{lost}", "wb").close()
    said = refused(server)
    for part in ("control/store.db is " + (left or "missing"), trace, "kogge store restore", "kogge reset"):
        assert part in said, said
    assert not os.path.exists(f"{server.data}/control/store.db") or os.path.getsize(f"{server.data}/control/store.db") == 0
    assert not os.path.exists(f"{server.data}/control/pki/ca.crt") or lost != "control"
    move_back(server, lost)
    server.start().wait_ready()
    assert secret_of(server) == CANARY


def test_a_store_that_vanishes_beside_the_server_is_not_begun_anew(server):
    """Control starts again, for new keys here: it waits until the file is back."""
    make_secret(server)
    before = server.pid_of("kogge-control")
    until(lambda: server.pid_of("kogge-control"), 20, "control")
    move(server, "control/store.db")
    os.kill(before, signal.SIGKILL)  # its log is the file's, and stays
    until(lambda: "control/store.db is missing" in server.last_log(), 60, "it says what is missing")
    assert not os.path.exists(f"{server.data}/control/store.db")
    move_back(server, "control/store.db")
    until(server.kube.clone().ready, 60, "/readyz")
    assert secret_of(server) == CANARY


def test_reset_begins_anew(server):
    server.stop()
    move(server, "control/store.db")
    refused(server)
    done = subprocess.run([KOGGE, "reset", "--data-dir", server.data, "--instance", server.slot.instance], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done
    os.makedirs(server.data)
    os.chmod(server.data, 0o755)
    server.start().wait_ready()


def test_restore_where_the_store_is_gone(server, tmp_path):
    snapshot = str(tmp_path / "s.db")
    make_secret(server)
    store(server, "snapshot", snapshot)
    server.stop()
    os.unlink(f"{server.data}/control/store.db")
    refused(server)
    store(server, "restore", snapshot)
    server.start().wait_ready()
    assert secret_of(server) == CANARY


# ---- a log that lost its end -----------------------------------------------------------------------------------------

def commits(log):
    """Where each transaction of a write-ahead log ends."""
    data, at, ends = contents(log), 32, []
    page = int.from_bytes(data[8:12], "big")
    while data[at + 8:at + 16] == data[16:24] and at + 24 + page <= len(data):
        at += 24 + page
        if any(data[at - page - 20:at - page - 16]):
            ends.append(at)
    return ends


def killed_with_maps(server, n=10):
    """The log's name, the newest version that was shown."""
    for i in range(n):
        make_map(server, f"m{i}")
    shown = int(server.kube.get(path("configmaps", "default"))["metadata"]["resourceVersion"])
    server.kill_all()
    return f"{server.data}/control/store.db-wal", shown


def maps(server):
    return {m["metadata"]["name"] for m in server.kube.get(path("configmaps", "default"))["items"]} & {f"m{i}" for i in range(10)}


LACKS = "lacks writes that were acknowledged"


@pytest.mark.parametrize("how", ["torn", "commits", "empty", "gone"])
def test_a_log_that_lost_its_end_is_not_taken_for_a_whole_one(server, how):
    """Nothing that was answered is forgotten without a word: the server waits for the right log, and goes on with it."""
    log, shown = killed_with_maps(server)
    whole = contents(log)
    if how == "gone":
        os.unlink(log)
    else:
        os.truncate(log, {"torn": commits(log)[-1] - 3000, "commits": commits(log)[-5], "empty": 0}[how])
    assert LACKS in store(server, "check", ok=False)
    server.start()
    until(lambda: LACKS in server.last_log(), 30, "what is wrong")
    for part in ("store.db-wal", "kogge store restore FILE", "kogge store snapshot FILE"):
        assert part in server.last_log()
    with open(log, "wb") as f:
        f.write(whole)
    server.wait_ready()
    assert len(maps(server)) == 10
    assert int(server.kube.get(path("configmaps", "default"))["metadata"]["resourceVersion"]) >= shown


def test_to_go_on_without_what_a_log_lost_is_said(server, tmp_path):
    log, shown = killed_with_maps(server)
    os.truncate(log, commits(log)[-5])
    store(server, "snapshot", str(tmp_path / "s.db"))
    store(server, "restore", str(tmp_path / "s.db"))
    server.start().wait_ready()
    assert 0 < len(maps(server)) < 10
    assert int(server.kube.get(path("configmaps", "default"))["metadata"]["resourceVersion"]) > shown
    _, kind, said = next(server.kube.watch(path("configmaps", "default"), 5, since=shown))
    assert kind == "ERROR" and said["code"] == 410
    server.kill_all()
    assert "whole" in store(server, "check")


# ---- killed, and out of space, at every step -------------------------------------------------------------------------

@pytest.fixture(scope="session")
def stop_at(tmp_path_factory):
    library = str(tmp_path_factory.mktemp("stop") / "stop_at.so")
    source = os.path.join(top(), "tests", "e2e", "stop_at.c")
    subprocess.run(["gcc", "-std=gnu17", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


class Stopped:
    """The data of a server that was killed, its log as it was, and copies of it to work on."""

    def __init__(self, server, tmp_path):
        self.server, self.snapshot, self.data = server, str(tmp_path / "s.db"), str(tmp_path / "copy")
        make_map(server, "in-snapshot")
        store(server, "snapshot", self.snapshot)
        make_map(server, "only-in-old")
        server.kill_all()
        assert os.path.getsize(f"{server.data}/control/store.db-wal") > 0

    def renew(self):
        subprocess.run(["rm", "-rf", self.data], check=True)
        subprocess.run(["cp", "-a", self.server.data, self.data], check=True)

    def run(self, *args, **env):
        return subprocess.run([KOGGE, *args, "--data-dir", self.data, "--instance", self.server.slot.instance], capture_output=True, text=True,
                              timeout=300, check=False, stdin=subprocess.DEVNULL, env={**os.environ, **env})

    def must(self, *args):
        done = self.run(*args)
        assert done.returncode == 0, done
        return done

    def at_every_step(self, library, how, *args):
        """Yields what came of it each time, with fresh data; ends when it was not stopped."""
        for n in itertools.count(1):
            self.renew()
            done = self.run(*args, LD_PRELOAD=library, **{how: str(n)})
            yield n, done
            if done.returncode == 0:
                assert n > 3
                return

    def keys(self):
        with open(f"{self.data}/control/pki/sealing.keys", encoding="ascii") as f:
            return [line for line in f if line.startswith("key ")]

    def maps_in(self, name):
        """A copy is looked at: looking folds a log."""
        db = f"{self.data}/look.db"
        for ending in ("", "-wal"):
            if os.path.exists(name + ending):
                shutil.copy(name + ending, db + ending)
        c = sqlite3.connect(db)
        found = {bytes(row[0]).decode().rsplit("/", 1)[1] for row in c.execute("SELECT key FROM current WHERE key >= x'%s' AND key < x'%s'" % (
            b"configmaps/default/".hex(), b"configmaps/default0".hex()))} & {"in-snapshot", "only-in-old"}
        c.close()
        os.unlink(db)
        return found

    def starts(self):
        """Whether a server would begin, as far as its store is concerned."""
        return "[+] store" in self.run("check").stdout


def make_map(server, name):
    server.kube.create(path("configmaps", "default"), {"metadata": {"name": name}})


OLD, NEW = {"in-snapshot", "only-in-old"}, {"in-snapshot"}


@pytest.mark.parametrize("how", ["KILL_AT", "FULL_AT"])
def test_a_restore_that_is_stopped_at_any_step(server, tmp_path, stop_at, how):
    """There is the old store or the new one, whole; or no server starts. Done again it comes to its end, and the old one is kept."""
    stopped = Stopped(server, tmp_path)
    file = f"{stopped.data}/control/store.db"
    for n, done in stopped.at_every_step(stop_at, how, "store", "restore", stopped.snapshot):
        if how == "FULL_AT" and done.returncode:
            assert done.returncode == 1 and ("full" in done.stderr or "No space left" in done.stderr), (n, done)
        if stopped.starts():
            assert stopped.maps_in(file) in (OLD, NEW), (n, done)
        else:
            assert "cut short" in stopped.run("check").stdout and not os.path.exists(file), (n, done)
        if done.returncode:
            stopped.must("store", "restore", stopped.snapshot)
        stopped.must("store", "check")
        assert stopped.maps_in(file) == NEW and stopped.starts(), n
        left = sorted(name for name in os.listdir(f"{stopped.data}/control") if name.startswith("store.db"))
        aside = [name for name in left if ".before-" in name and not name.endswith("-wal")]
        assert OLD in [stopped.maps_in(f"{stopped.data}/control/{name}") for name in aside], (n, left)
        assert not [name for name in left if ".restoring" in name], (n, left)


@pytest.mark.parametrize("how", ["KILL_AT", "FULL_AT"])
def test_a_rotation_that_is_stopped_at_any_step(server, tmp_path, stop_at, how):
    """No key is lost, and it can be done again, also by the control process."""
    stopped = Stopped(server, tmp_path)
    stopped.renew()
    before = stopped.keys()
    for n, done in stopped.at_every_step(stop_at, how, "store", "rotate-key"):
        if how == "FULL_AT" and done.returncode:
            assert "No space left" in done.stderr, (n, done)
        now = stopped.keys()
        assert now[-1:] == before and len(now) <= 2, (n, done)
        stopped.must("store", "rotate-key")
        assert stopped.keys()[1:] == now, n


@pytest.mark.parametrize("how", ["KILL_AT", "FULL_AT"])
def test_a_snapshot_that_is_stopped_at_any_step(server, tmp_path, stop_at, how):
    stopped, to = Stopped(server, tmp_path), str(tmp_path / "new.db")
    for n, done in stopped.at_every_step(stop_at, how, "store", "snapshot", to):
        if done.returncode and os.path.exists(to):
            os.unlink(to) if stopped.run("store", "check", to).returncode == 0 else pytest.fail(f"{n}: {done}")
        if done.returncode:
            stopped.must("store", "snapshot", to)
        stopped.must("store", "check", to)
        os.unlink(to)
        assert not [name for name in os.listdir(tmp_path) if name.startswith("new.db")], n


def test_a_first_start_that_is_killed_at_any_step_is_made_again(fresh, stop_at):
    """Whatever it had made by then: it is not taken for a cluster that lost its store."""
    server, kills = fresh(node=False, ephemeral=False), 0
    for n in itertools.count(1, 5):
        server.start(LD_PRELOAD=stop_at, KILL_AT=str(n))
        until(lambda: server.process.poll() is not None or os.path.exists(server.kubeconfig) or server.pid_of("kogge-control"), 60, "it is killed, or starts")
        if server.process.poll() is None:
            break
        kills += 1
        server.start().wait_ready().stop()
        for name in os.listdir(server.data):
            subprocess.run(["rm", "-rf", f"{server.data}/{name}"], check=True)
    assert kills > 5
    server.kill_all()  # control was to be killed, too, again and again
    server.start().wait_ready()


# ---- what is typed ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("args, code, said", [
    ([], 2, "wants one of"), (["shrink"], 2, "wants one of"), (["snapshot"], 2, "a file name to write to"), (["restore"], 2, "the file of a snapshot"),
    (["snapshot", "a", "b"], 2, 'what is "b"'), (["rotate-key", "now"], 2, 'what is "now"'), (["restore", "/none/such.db"], 1, "No such file"),
    (["check", "/none/such.db"], 1, "No such file"), (["snapshot", "/none/such/s.db"], 1, "No such file"), (["check", "/etc/hostname"], 1, "not a SQLite database")])
def test_what_is_typed_wrong_is_told(data, args, code, said):
    done = subprocess.run([KOGGE, "store", *args, "--data-dir", data], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done
    assert said in done.stderr or (args[:1] == ["snapshot"] and len(args) == 2 and "No such file" in done.stderr), done


def test_help_of_store_names_everything():
    done = subprocess.run([KOGGE, "store", "--help"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and all(w in done.stdout for w in ("check [FILE]", "snapshot FILE", "restore FILE", "rotate-key", "--recovery-key-file"))
