#!/usr/bin/python3
"""No request starves another: leases and /readyz answer within 100 ms whatever else hangs, and 64 MiB, sockets with them, are enough for a crowd of
1,000 half-open connections, 1,000 watchers that do not read and somebody who sends all malformed requests of the differential test at once. Run by `make fairness`; needs root for the memory limit."""
import json
import os
import resource
import socket
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.dirname(HERE), os.path.join(os.path.dirname(HERE), "e2e"), os.path.join(os.path.dirname(HERE), "differential")]
import refused  # noqa: E402
import run as differential  # noqa: E402
from kube import ApiError, path, until  # noqa: E402
from server import Server  # noqa: E402
from webhook_server import Hook, configuration  # noqa: E402

LIMIT_MS, CROWD, MEMORY, SOCKETS = 100, 1000, 52 << 20, 12 << 20
failures = []


def judge(fine, text):
    print(("ok      " if fine else "FAILED  ") + text, flush=True)
    if not fine:
        failures.append(text)
        Server.failures += 1


# ---- the memory limit ------------------------------------------------------------------------------------------------

class V1:
    """The memory controller of cgroup v1. It counts what sockets hold only with a limit of their own, and apart from all else."""
    root, limit = "/sys/fs/cgroup/memory", MEMORY

    def set_limit(self):
        put(self.group + "/memory.limit_in_bytes", self.limit)
        put(self.group + "/memory.kmem.tcp.limit_in_bytes", self.limit)

    def anonymous(self):
        return self.stat()["total_rss"] + self.number("kmem.usage_in_bytes")

    def sockets(self):
        return self.number("kmem.tcp.usage_in_bytes")

    def oom_kills(self):
        return words(self.group + "/memory.oom_control").get("oom_kill", 0)

    def own_line(self, line):
        return ":memory:" in line

    def __init__(self):
        self.group = f"{self.root}/kogge-fairness-{os.getpid()}"

    def enter(self):
        """All processes that we start from now on are born there; the way back."""
        os.makedirs(self.group, exist_ok=True)
        self.set_limit()
        with open(f"/proc/{os.getpid()}/cgroup", encoding="utf-8") as f:
            before = next((line.strip().split(":", 2)[2] for line in f if self.own_line(line)), "/")
        put(self.group + "/cgroup.procs", os.getpid())
        return lambda: put(self.root + before + "/cgroup.procs", os.getpid())

    def stat(self):
        return words(self.group + "/memory.stat")

    def number(self, what):
        with open(f"{self.group}/memory.{what}", encoding="utf-8") as f:
            return int(f.read().split()[0])

    def remove(self):
        try:
            os.rmdir(self.group)
        except OSError:
            pass


class V2(V1):
    """That of cgroup v2: sockets count with all else, so there is more for them."""
    root, limit = "/sys/fs/cgroup", MEMORY + SOCKETS

    def set_limit(self):
        put(self.group + "/memory.max", self.limit)
        if os.path.exists(self.group + "/memory.swap.max"):
            put(self.group + "/memory.swap.max", 0)

    def enter(self):
        if "memory" not in text(self.root + "/cgroup.subtree_control").split():
            put(self.root + "/cgroup.subtree_control", "+memory")
        return super().enter()

    def anonymous(self):
        stat = self.stat()
        return stat["anon"] + stat.get("kernel", stat["kernel_stack"] + stat.get("pagetables", 0) + stat["slab"])

    def sockets(self):
        return self.stat()["sock"]

    def oom_kills(self):
        return words(self.group + "/memory.events").get("oom_kill", 0)

    def own_line(self, line):
        return line.startswith("0::")


def put(name, value):
    with open(name, "w", encoding="utf-8") as f:
        f.write(str(value))


def text(name):
    try:
        with open(name, encoding="utf-8") as f:
            return f.read()
    except OSError:
        return ""


def words(name):
    return {key: int(value) for key, value in (line.split() for line in text(name).splitlines())}


def memory_controller():
    """Of whichever hierarchy has it; None: nobody, or it is not ours to use."""
    if os.geteuid() != 0:
        return None
    if os.path.exists(V1.root + "/memory.limit_in_bytes"):
        return V1()
    return V2() if "memory" in text(V2.root + "/cgroup.controllers").split() else None


class Limited(Server):
    """All its processes are born in a cgroup with a limit."""

    def __init__(self, cgroup):
        super().__init__(node=False)
        self.cgroup = cgroup

    def start(self, **env):
        leave = self.cgroup.enter()
        try:
            return super().start(**env)
        finally:
            leave()

    def end(self):
        super().end()
        self.cgroup.remove()

    def judge_alive(self):
        judge(self.cgroup.oom_kills() == 0 and self.process.poll() is None, f"no process was killed within {self.cgroup.limit >> 20} MiB")


class Peak:
    """The most of it while something goes on: what cannot be taken back (not the pages of files), and sockets."""

    def __init__(self, cgroup):
        self.cgroup, self.own, self.in_sockets = cgroup, 0, 0
        self.thread, self.stop = threading.Thread(target=self.run, daemon=True), False
        self.thread.start()

    def run(self):
        while not self.stop:
            self.own, self.in_sockets = max(self.own, self.cgroup.anonymous()), max(self.in_sockets, self.cgroup.sockets())
            time.sleep(0.02)

    def end(self):
        self.stop = True
        self.thread.join()

    def tell(self, what):
        self.end()
        print(f"        {what}: at most {self.own >> 10} KiB of processes and kernel, {self.in_sockets >> 10} KiB in sockets", flush=True)


# ---- what must stay quick ----------------------------------------------------------------------------------------------

class Disk:
    """What the disk itself takes meanwhile, to be told apart: a page and an fdatasync beside the server's files, every two milliseconds."""

    def __init__(self, folder):
        self.file, self.slow, self.began, self.stop = tempfile.TemporaryFile(dir=folder), [], time.monotonic(), False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stop:
            os.pwrite(self.file.fileno(), os.urandom(4096), 0)
            self.began = time.monotonic()
            os.fdatasync(self.file.fileno())
            if time.monotonic() - self.began > 0.01:
                self.slow.append((self.began, time.monotonic()))
            time.sleep(0.002)

    def took(self, since, till):
        """Seconds of that time, at the most, that one of those took."""
        while self.began < till:
            time.sleep(0.01)
        return max([0.0] + [min(end, till) - max(began, since) for began, end in self.slow])

    def end(self):
        self.stop = True
        self.thread.join()
        self.file.close()


def measure(server, during, rounds=60):
    disk, held_up = Disk(server.data), 0.0
    kube = server.kube.clone(30)
    lease = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
    name = f"n{time.monotonic_ns()}"
    node = {"Impersonate-User": f"system:node:{name}", "Impersonate-Group": "system:nodes"}
    as_node(kube, "POST", lease, node, {"metadata": {"name": name, "namespace": "kube-node-lease"}, "spec": {"holderIdentity": name}})
    slowest = {"lease": 0.0, "/readyz": 0.0}
    for i in range(rounds):
        for what, call in (("/readyz", lambda: kube.text("GET", "/readyz", None, None)),
                           ("lease", lambda: as_node(kube, "PATCH", f"{lease}/{name}", node, {"spec": {"leaseDurationSeconds": 40 + i}}))):
            began = time.monotonic()
            call()
            ended = time.monotonic()
            disks = disk.took(began, ended) if what == "lease" and ended - began > LIMIT_MS / 1000 else 0.0
            held_up = max(held_up, disks * 1000)
            slowest[what] = max(slowest[what], (ended - began - disks) * 1000)
        time.sleep(0.02)
    disk.end()
    if held_up:
        print(f"        {during}: the disk held a lease up for {held_up:.1f} ms, which are taken off", flush=True)
    for what, ms in slowest.items():
        judge(ms <= LIMIT_MS, f"{during}: slowest of {rounds} {what}: {ms:.1f} ms (at most {LIMIT_MS})")


def as_node(kube, method, where, identity, body):
    connection = kube._reuse() or kube._connect(30)
    kube.connection = connection
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    connection.request(method, where, json.dumps(body), {"Content-Type": kind, **identity})
    answer = connection.getresponse()
    data = answer.read()
    if answer.status >= 300:
        raise ApiError(answer.status, json.loads(data))
    return data


# ---- who is in the way ------------------------------------------------------------------------------------------------

def raw(server, tls=True):
    sock = socket.create_connection((server.kube.server.hostname, server.port), timeout=30)
    return server.kube.tls.wrap_socket(sock, server_hostname=server.kube.server.hostname) if tls else sock


def slow_writers(server, hook, n):
    """Creates that hang in a webhook, and bodies that do not end."""
    server.kube.create("/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
                       configuration("ValidatingWebhookConfiguration", "hangs", hook.url(), timeoutSeconds=30, failurePolicy="Ignore"))

    def create(i):
        try:
            server.kube.clone(60).create(path("configmaps", "default"), {"metadata": {"name": f"slow-{i}"}})
        except (ApiError, OSError):
            pass
    threads = [threading.Thread(target=create, args=(i,), daemon=True) for i in range(n)]
    for t in threads:
        t.start()
    bodies = []
    for _ in range(n):
        sock = raw(server)
        sock.sendall(b"POST /api/v1/namespaces/default/secrets HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{")
        bodies.append(sock)
    end = time.monotonic() + 20
    while time.monotonic() < end and len(hook.seen) < 20:
        time.sleep(0.05)
    judge(len(hook.seen) >= 20, f"{len(hook.seen)} creates hang in the webhook")
    return threads, bodies


def stalled_bodies(server, n):
    """Bodies of 3 MiB that stop shortly before their end; how many were refused with 429."""
    head = b"POST /api/v1/namespaces/default/secrets HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 3000000\r\n\r\n{"
    socks, turned_away = [], 0
    for _ in range(n):
        sock = raw(server)
        sock.settimeout(0.2)
        try:
            sock.sendall(head + b" " * 2_900_000)
            turned_away += b" 429 " in sock.recv(200)
        except TimeoutError:
            pass  # it waits for the rest
        except OSError:
            turned_away += 1  # refused, and closed while we were sending
        socks.append(sock)
    return socks, turned_away


def half_open(server, n):
    """Half say nothing or the start of a handshake, half the start of a request."""
    hello = bytes.fromhex("1603010200010001fc0303")
    made = []
    for i in range(n):
        sock = raw(server, tls=i % 2 == 1)
        sock.sendall(b"GET /api/v1/pods HTTP/1.1\r\nHost: x\r\nX-Slow: " if i % 2 else hello[:i % len(hello)] or b"\x16")
        made.append(sock)
    return made


def slow_watchers(server, n):
    """The server may turn away some: there are more connections then than it has memory for."""
    made = []
    for _ in range(n):
        try:
            sock = raw(server)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.sendall(b"GET /api/v1/namespaces/default/configmaps?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n")
            made.append(sock)
        except OSError:
            pass
    judge(len(made) >= n // 2, f"of {n} slow watchers {n - len(made)} were turned away")
    return made


def malformed(server, answered):
    """All refused cases of the differential test, over and over until told to stop."""
    asking = differential.Server(server.kubeconfig)
    asking.kube.create("/api/v1/namespaces", {"metadata": {"name": differential.NAMESPACE}})
    for method, where, body in refused.setup():  # but for its Service, whose address is not of this server's range
        asking.ask(method, where, body, "application/json")

    def go():
        while not answered["stop"]:
            for _, method, where, body, kind in refused.cases():
                answered["n"] += asking.ask(method, where, body, kind)[0] >= 400
                if answered["stop"]:
                    return
    thread = threading.Thread(target=go, daemon=True)
    thread.start()
    return thread


def close(socks):
    for s in socks:
        s.close()


# ---- the runs ------------------------------------------------------------------------------------------------------------

def hanging_webhook(folder):
    server, hook = Server(node=False), Hook(folder, None)
    hook.answer = hook.hold
    try:
        server.start().wait_ready()
        measure(server, "idle")
        threads, bodies = slow_writers(server, hook, 100)
        measure(server, "100 creates in a hanging webhook, 100 bodies that do not end")
        with tempfile.TemporaryDirectory() as other:
            fine = Hook(other, lambda request: {"allowed": True})
            server.kube.create("/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
                               configuration("ValidatingWebhookConfiguration", "answers", fine.url(), resources=("secrets",)))
            until(lambda: fine.seen or server.kube.create(path("secrets", "default"), {"metadata": {"generateName": "asked-"}}) and fine.seen, 20,
                  "the other webhook is asked")
            for i in range(20):
                server.kube.create(path("secrets", "default"), {"metadata": {"name": f"other-{i}"}})
            judge(len(fine.seen) > 20, "20 creates that another webhook allows are not refused meanwhile")
            fine.end()
        hook.release.set()
        for t in threads:
            t.join(60)
        close(bodies)
    finally:
        hook.end()
        server.end()


def crowd(cgroup):
    server = Limited(cgroup)
    try:
        server.start().wait_ready()
        peak, answered = Peak(cgroup), {"n": 0, "stop": False}
        thread = malformed(server, answered)
        socks = half_open(server, CROWD)
        measure(server, f"{CROWD} half-open connections")
        socks += slow_watchers(server, CROWD)
        server.kube.create(path("configmaps", "default"), {"metadata": {"name": "busy"}, "data": {"k": "x"}})
        for i in range(100):
            server.kube.patch(path("configmaps", "default", "busy"), {"data": {"k": f"{i}" + "x" * 50000}})
        measure(server, f"{CROWD} half-open connections and {CROWD} slow watchers")
        until(lambda: answered["n"] >= 600, 60, "the malformed requests are answered")
        answered["stop"] = True
        thread.join(60)
        judge(not thread.is_alive(), f"{answered['n']} malformed requests were refused meanwhile")
        peak.tell("those, and 100 events of 50 KB to each watcher")
        server.judge_alive()
        close(socks)
        judge(len(server.kube.get(path("configmaps", "default"))["items"]) >= 1, "the server serves on")
    finally:
        server.end()


def heavy(cgroup):
    server = Limited(cgroup)
    try:
        server.start().wait_ready()
        peak = Peak(cgroup)
        socks, turned_away = stalled_bodies(server, 60)
        judge(30 <= turned_away < 60, f"of 60 bodies of 3 MiB that stop before their end {turned_away} were refused, the others are waited for")
        peak.tell("those bodies")
        measure(server, "those bodies")
        server.judge_alive()
        close(socks)
        until(lambda: server.kube.create(path("secrets", "default"), {"metadata": {"generateName": "big-"}, "data": {"k": "eHh4" * 200000}}), 20,
              "a large body is taken again")
    finally:
        server.end()


def main():
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    with tempfile.TemporaryDirectory() as folder:
        hanging_webhook(folder)
    if cgroup := memory_controller():
        print(f"        memory is limited by cgroup {type(cgroup).__name__.lower()}, to {cgroup.limit >> 20} MiB")
        crowd(cgroup)
        heavy(cgroup)
    else:
        print("        the crowd is left out: it needs root and a memory controller of cgroup v1 or v2")
    print(f"fairness: {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
