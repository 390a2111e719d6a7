"""A Kogge server of our own for a test: free ports, address ranges nobody uses, a folder that goes away."""
import fcntl
import ipaddress
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from kube import Kube, is_ready, path, top, until  # noqa: E402

KOGGE = os.environ.get("KOGGE", os.path.join(top(), "build", "kogge"))
IMAGES = os.path.join(top(), "build", "images")


def is_free(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("", port))
        except OSError:
            return False
    return True


GIVEN = set()


def free_port():
    """Below the range from which the kernel gives ports to clients, above those of slots; no port twice."""
    port = next(p for p in random.sample(range(24000, 30000), 1000) if p not in GIVEN and is_free(p))
    GIVEN.add(port)
    return port


def is_file(f, name):
    """Whether f is what bears that name now."""
    try:
        return os.path.samestat(os.fstat(f.fileno()), os.stat(name))
    except FileNotFoundError:
        return False


def routes():
    lines = subprocess.run(["ip", "-4", "route", "show", "table", "all"], capture_output=True, text=True, check=False).stdout
    for word in lines.split():
        try:
            yield ipaddress.ip_network(word, strict=False)
        except ValueError:
            continue


def kill(pids):
    """-9, those that are still there."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


class Slot:
    """A number that no other test on this machine has: instance name, address ranges and node ports follow from it."""

    def __init__(self):
        taken = list(routes())
        for n in range(40):
            lock = open(os.path.join(tempfile.gettempdir(), f"kogge-test-slot-{n}"), "w", encoding="utf-8")
            pods, services = f"10.{100 + 2 * n}.0.0/16", f"10.{101 + 2 * n}.0.0/16"
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.close()
                continue
            nets = [ipaddress.ip_network(c) for c in (pods, services)]
            # a slot that was given back meanwhile took its file along
            if not is_file(lock, lock.name) or os.path.exists(f"/run/kogge-t{n}") or any(r.overlaps(c) for r in taken for c in nets if r.prefixlen):
                lock.close()
                continue
            # below the range from which the kernel gives ports to clients: a server that starts again finds them free
            ports = [p for p in range(21000 + 50 * n, 21050 + 50 * n) if is_free(p)]
            self.port, self.node_port = ports[:2]
            self.n, self.pods, self.services, self.lock = n, pods, services, lock
            self.instance, self.node_ports = f"t{n}", f"{30000 + 60 * n}-{30059 + 60 * n}"
            return
        raise RuntimeError("no free slot: stale /run/kogge-t* folders? kogge reset --instance tN --data-dir D takes them away")

    def free(self):
        os.unlink(self.lock.name)
        self.lock.close()


class Server:
    failures = 0  # so far, of all tests: whoever judges them counts them here

    def __init__(self, node=True, ephemeral=True, flags=(), data=None):
        self.slot, self.node, self.program = Slot(), node, KOGGE
        self.own_data = data is None
        self.data = data or tempfile.mkdtemp(prefix="kogge-e2e-")
        os.makedirs(self.data, exist_ok=True)
        os.chmod(self.data, 0o755)  # the control process has a uid of its own
        self.port, self.node_port = self.slot.port, self.slot.node_port
        self.flags = ["--instance", self.slot.instance, "--port", str(self.port), "--cluster-cidr", self.slot.pods, "--service-cidr", self.slot.services,
                      "--service-node-port-range", self.slot.node_ports, "--log-level", "debug", *flags]
        self.flags += ["--node-port", str(self.node_port)] if node else ["--no-node"]
        self.flags += ["--ephemeral"] if ephemeral else []
        self.kubeconfig, self.log = os.path.join(self.data, "admin.kubeconfig"), self.data + ".log"
        self.process = self.kube = None
        self.failures_before = Server.failures

    def add_images(self, *names):
        os.makedirs(os.path.join(self.data, "images"), exist_ok=True)
        for name in names:
            shutil.copy(os.path.join(IMAGES, name + ".tar"), os.path.join(self.data, "images", name + ".tar"))

    def start(self, *before, **env):
        """before: a command that runs it."""
        self.started = time.monotonic()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([*before, self.program, "server", "--data-dir", self.data, *self.flags], stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL, start_new_session=True, env={**os.environ, **env})
        return self

    def alive(self):
        assert self.process.poll() is None, f"the server ended with code {self.process.returncode}:\n{self.last_log()}"
        return True

    def wait_api(self, seconds=30):
        until(lambda: self.alive() and os.path.exists(self.kubeconfig), seconds, "admin.kubeconfig", every=0.01)
        self.kube = Kube(self.kubeconfig)
        until(lambda: self.alive() and self.kube.ready(), seconds, "/readyz", every=0.01)
        return self

    def nodes(self):
        return self.kube.get(path("nodes"))["items"]

    def wait_node(self, seconds=60):
        until(lambda: self.alive() and any(is_ready(n) for n in self.nodes()), seconds, "a Ready node", every=0.02)
        return self

    def wait_images(self, *names, seconds=60):
        def all_there():
            have = {n for node in self.nodes() for i in node["status"].get("images", []) for n in i["names"]}
            return all(any(name in h for h in have) for name in names)
        until(all_there, seconds, f"images {names}", every=0.2)
        return self

    def wait_ready(self):
        self.wait_api()
        if self.node:
            self.wait_node()
            until(lambda: self.kube.get(path("serviceaccounts", "default", "default")), 30, "service account default")
        return self

    def node_ip(self):
        return next(a["address"] for a in self.nodes()[0]["status"]["addresses"] if a["type"] == "InternalIP")

    def stop(self, seconds=180):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(seconds)
        return self.process.returncode if self.process else 0

    def children(self):
        """Pids of the supervisor's own processes but containerd, by name."""
        found = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
                    comm, rest = f.read().split("(", 1)[1].rsplit(")", 1)
            except OSError:
                continue
            if int(rest.split()[1]) == self.process.pid and not comm.startswith("containerd"):
                found[int(pid)] = comm
        return found

    def pid_of(self, name):
        """Of the process with that name; None while there is none."""
        return next((pid for pid, comm in self.children().items() if comm == name), None)

    def control_cpu_s(self):
        """Seconds of processors that the control process has had."""
        with open(f"/proc/{self.pid_of('kogge-control')}/stat", encoding="utf-8") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def containerd_pid(self):
        with open(f"/run/kogge-{self.slot.instance}/containerd.pid", encoding="utf-8") as f:
            return int(f.read())

    def kill_all(self, containerd=False):
        pids = [self.process.pid, *self.children()] + ([self.containerd_pid()] if containerd else [])
        kill(pids)
        self.process.wait()

    def containers(self):
        """Pids of all processes in containers: children of this instance's shims."""
        mark = f"/run/kogge-{self.slot.instance}/".encode()
        shims, parents = set(), {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    line = f.read()
                with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
                    parents[int(pid)] = int(f.read().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            if b"containerd-shim" in line and mark in line:
                shims.add(int(pid))
        return sorted(p for p, parent in parents.items() if parent in shims and p not in shims)

    def last_log(self, lines=60):
        try:
            with open(self.log, encoding="utf-8", errors="replace") as f:
                return "".join(f.readlines()[-lines:])
        except OSError:
            return "(no log)"

    def saw_failures(self):
        """Whether something failed while it was there, or is just failing: then end() is called in a `finally`."""
        return Server.failures > self.failures_before or sys.exc_info()[0] is not None

    def end(self):
        """Stops it and takes away whatever is left, also after a failure; but then its log stays."""
        try:
            self.stop()
        except subprocess.TimeoutExpired:
            Server.failures += 1
            self.kill_all()
        if os.path.exists(os.path.join(self.data, "supervisor.pid")) or os.path.exists(f"/run/kogge-{self.slot.instance}"):
            subprocess.run([self.program, "reset", "--force", "--quiet", "--data-dir", self.data, "--instance", self.slot.instance],
                           timeout=120, check=False, stdout=subprocess.DEVNULL)
        if self.own_data:
            shutil.rmtree(self.data, ignore_errors=True)
        if os.path.exists(self.log) and not self.saw_failures():
            os.unlink(self.log)
        self.slot.free()
