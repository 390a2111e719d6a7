"""Sessions whose client stops reading, or whose container does: they cost little, disturb nobody, go on when they may, and leave nothing
when the client goes."""
import contextlib
import os
import re
import signal
import socket
import subprocess
import time

import pytest
from conftest import KUBECTLS, Kubectl, figures
from kube import until

MOST_MIB = 24  # more that control and node may hold for all of them, each
LINES, WIDTH = 700, 8000  # within one file of a container's log
SAY = f"i=0; while [ $i -lt {LINES} ]; do printf '%0{WIDTH}d\\n' $i; i=$((i + 1)); done"
SAID = b"".join(b"%0*d\n" % (WIDTH, i) for i in range(LINES))


def mib(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as f:
        return sum(int(line.split()[1]) for line in f if line.startswith(("Pss_Anon:", "SwapPss:"))) / 1024


def sockets(pid):
    found = 0
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            found += os.readlink(f"/proc/{pid}/fd/{fd}").startswith("socket:")
    return found


def sessions_of_node(server):
    """Connections to its port, as the kernel has them: the API server's and the node's end of each."""
    port = f":{server.node_port:04X}"
    with open("/proc/net/tcp", encoding="utf-8") as f:
        lines = [line.split() for line in f.readlines()[1:]]
    return sum(port in (local[-5:], remote[-5:]) for _, local, remote, state, *_ in lines if state not in ("0A", "06"))  # LISTEN, TIME_WAIT


class Cost:
    """What the server's processes hold, beside what they held before."""

    def __init__(self, server):
        self.pids = {name: pid for pid, name in server.children().items()}
        self.before = self.now()

    def now(self):
        return {name: (mib(pid), sockets(pid)) for name, pid in self.pids.items()}

    def more(self, k):
        return {name: round(now[k] - self.before[name][k], 1) for name, now in self.now().items()}

    def memory(self):
        return self.more(0)

    def sockets(self):
        return self.more(1)


@pytest.fixture
def boxes(cluster, space, tmp_path):
    """A pod that has much to say in a file and to whoever connects, one that has it in its log, and each kubectl."""
    space.box(script=SAY + " > /tmp/said; httpd -f -p 9000 -h /tmp")
    space.box("talks", script=SAY + "; sleep 100000")
    space.wait_pod("box")
    space.wait_pod("talks")
    kubectls = [Kubectl(program, cluster, tmp_path, space.name) for _, program in KUBECTLS]
    until(lambda: kubectls[0].run("exec", "box", "--", "wc", "-c", "/tmp/said").stdout.startswith(f"{len(SAID)} "), 60, "all is said")
    return kubectls


class Session:
    """A client that does not read until it is told to."""

    def __init__(self, kubectl, *command, stdin=subprocess.DEVNULL):
        self.process = subprocess.Popen(kubectl.command(*command), stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=kubectl.env)

    def read_on(self):
        got = self.process.stdout.read(len(SAID))
        self.end()
        return got

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.communicate()


class Forward(Session):
    def __init__(self, kubectl):
        super().__init__(kubectl, "port-forward", "box", ":9000", "--address=127.0.0.1")
        port = re.search(rb"127\.0\.0\.1:(\d+)", self.process.stdout.readline())[1]
        self.client = socket.create_connection(("127.0.0.1", int(port)), timeout=120)
        self.client.sendall(b"GET /said HTTP/1.0\r\n\r\n")

    def read_on(self):
        got = b"".join(iter(lambda: self.client.recv(1 << 20), b""))
        self.client.close()
        self.end()
        return got.split(b"\r\n\r\n", 1)[1]


class Attach(Session):
    """To a container that says all of it when it hears a word."""

    def __init__(self, kubectl, space, name):
        space.box(name, container={"command": ["sh", "-c", f"trap 'exit 0' TERM; while read word; do {SAY}; done; sleep 100000 & wait"], "stdin": True})
        space.wait_pod(name)
        super().__init__(kubectl, "attach", "-i", name, stdin=subprocess.PIPE)
        self.process.stdin.write(b"now\n")
        self.process.stdin.flush()

    def read_on(self):
        while (first := self.process.stdout.readline()) and len(first) != WIDTH + 1:  # old ones explain themselves
            pass
        got = first + self.process.stdout.read(len(SAID) - len(first))
        self.end()
        return got


class Copy(Session):
    """kubectl writes to a file, so it is stopped itself."""

    def __init__(self, kubectl, folder):
        self.to = folder / f"copy-{id(self)}"
        super().__init__(kubectl, "cp", "box:/tmp/said", str(self.to))
        time.sleep(0.5)
        self.process.send_signal(signal.SIGSTOP)

    def read_on(self):
        self.process.send_signal(signal.SIGCONT)
        self.process.communicate()
        return self.to.read_bytes()


def test_clients_that_stop_reading(cluster, space, boxes, tmp_path):
    cost, sessions = Cost(cluster), []
    for n, kubectl in enumerate(boxes):
        for what, begin in (("exec", lambda k: Session(k, "exec", "box", "--", "cat", "/tmp/said")), ("logs -f", lambda k: Session(k, "logs", "-f", "talks")),
                            ("port-forward", Forward), ("cp", lambda k: Copy(k, tmp_path)), ("attach", lambda k: Attach(k, space, f"attached-{n}"))):
            sessions += [(what, kubectl.version, begin(kubectl)) for _ in range(1 if what == "attach" else 4)]
    time.sleep(3)
    memory, began = cost.memory(), time.monotonic()
    for kubectl in boxes:
        assert kubectl("exec", "box", "--", "echo", "hello") == "hello\n"
        assert kubectl("logs", "talks", "--limit-bytes=8") == "0" * 8
    figures(f"{len(sessions)} clients that do not read", mib_more=memory, others_ms=round(1000 * (time.monotonic() - began) / 2 / len(boxes)))
    for what, version, session in sessions:
        got = session.read_on()
        assert got == SAID, f"{what} of kubectl {version}: {len(got)} bytes of {len(SAID)}"
    assert max(memory.values()) < MOST_MIB, memory


def test_clients_that_are_killed(cluster, boxes):
    """Also when their end stands behind input that nobody reads."""
    cost, sessions = Cost(cluster), []
    with open("/dev/zero", "rb") as zero:
        for kubectl in boxes:
            sessions += [Session(kubectl, "exec", "box", "--", "cat", "/dev/zero") for _ in range(10)]
            sessions += [Session(kubectl, "exec", "-i", "box", "--", "sleep", "10000", stdin=zero) for _ in range(10)]
        until(lambda: sessions_of_node(cluster) >= 2 * len(sessions), 60, "all sessions are there")
    time.sleep(3)
    memory, began = cost.memory(), time.monotonic()
    assert boxes[0]("exec", "box", "--", "echo", "hello") == "hello\n"
    other_ms = round(1000 * (time.monotonic() - began))
    for s in sessions:
        s.end(signal.SIGKILL)
    began = time.monotonic()
    try:
        until(lambda: cluster.kube.ready() and not sessions_of_node(cluster), 200, "nothing of them is left", every=0.2)
    finally:
        figures(f"{len(sessions)} sessions that are stuck and killed", mib_more=memory, exec_ms=other_ms, gone_s=round(time.monotonic() - began, 1),
                left=cost.sockets())
    assert max(memory.values()) < MOST_MIB, memory
