"""Clients that mean harm or do not read: the server stays quick for others, and small."""
import re
import resource
import socket
import ssl
import struct
import threading
import time

import pytest
from conftest import figures
from h2 import (CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST, SETTINGS, WINDOW, flood, frame, frames, get, h2,
                integer, literal, number, tls)
from kube import path, until
from server import Server


@pytest.fixture(scope="module")
def server():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    s = Server(node=False).start()
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # ours: thousands of connections
    try:
        yield s.wait_ready()
    finally:
        s.end()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def control_pid(server):
    return until(lambda: server.pid_of("kogge-control"), 10, "a control process")


def anon_kib(server):
    with open(f"/proc/{control_pid(server)}/smaps_rollup", encoding="utf-8") as f:
        return int(re.search(r"^Anonymous:\s+(\d+)", f.read(), re.M)[1])


class Others:
    """What another client sees meanwhile."""

    def __init__(self, server):
        self.kube, self.slowest, self.stop, self.failed = server.kube.clone(120), 0.0, False, None
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while not self.stop:
            began = time.monotonic()
            try:
                self.kube.get(path("namespaces", None, "default"))
            except Exception as e:  # the test's, which is in another thread
                self.failed = e
                return
            self.slowest = max(self.slowest, time.monotonic() - began)
            time.sleep(0.01)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop = True
        self.thread.join(150)
        assert not self.thread.is_alive(), "another client waits for ever"
        assert self.failed is None, f"another client is not served: {self.failed!r}"


def unharmed(server, what, attack, most_mib=40):
    """The attack costs at most so much memory, other clients are served meanwhile, and the server is the same afterwards."""
    before, cpu, began, pid = anon_kib(server), server.control_cpu_s(), time.monotonic(), control_pid(server)
    with Others(server) as others:
        result = attack()
        peak = anon_kib(server)
    assert control_pid(server) == pid, "the control process died"
    figures(what, result=result, mib_more=round((peak - before) / 1024, 1), slowest_ms=round(others.slowest * 1000), cpu_s=round(server.control_cpu_s() - cpu, 2),
            seconds=round(time.monotonic() - began, 1))
    assert peak - before < most_mib << 10, f"{what}: {(peak - before) >> 10} MiB more"
    return result


# ---- watches -----------------------------------------------------------------------------------------------------------

def test_watchers_that_do_not_read_their_initial_list(server):
    for i in range(1500):
        server.kube.create(path("secrets", "default"), {"metadata": {"name": f"small-{i}"}, "data": {"k": "eHh4" * 100}})

    def attack():
        socks = [tls(server, window=4096) for _ in range(200)]
        for s in socks:
            s.sendall(b"GET /api/v1/namespaces/default/secrets?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(3)
        return len(socks)
    unharmed(server, "200 watchers of 1,500 objects that read nothing", attack, 40)


def test_initial_list_is_whole_for_a_slow_reader(server):
    sock, got = tls(server, window=4096), b""
    sock.sendall(b"GET /api/v1/namespaces/default/secrets?watch=1&allowWatchBookmarks=true&sendInitialEvents=true"
                 b"&resourceVersionMatch=NotOlderThan HTTP/1.1\r\nHost: x\r\n\r\n")
    time.sleep(0.5)
    server.kube.create(path("secrets", "default"), {"metadata": {"name": "later"}})
    end = time.monotonic() + 300
    while b'"name":"later"' not in got:
        assert time.monotonic() < end
        got += sock.recv(65536)
    text = re.sub(rb"\r\n[0-9a-f]+\r\n", b"", got)
    assert len(set(re.findall(rb'"name":"(small-\d+)"', text))) == 1500
    assert text.index(b"initial-events-end") < text.index(b'"name":"later"')


# ---- HTTP/2 ------------------------------------------------------------------------------------------------------------

def test_rapid_reset(server):
    def attack():
        sock = h2(server)
        one = lambda i: frame(HEADERS, 5, 2 * i + 1, get(b"/api/v1/pods")) + frame(RST, 0, 2 * i + 1, struct.pack(">I", 8))
        return flood(sock, one, 50000)
    unharmed(server, "rapid reset", attack)


def test_continuation_flood(server):
    def attack():
        sock = h2(server)
        sock.sendall(frame(HEADERS, 1, 1, get(b"/api/v1/pods")))
        return flood(sock, frame(CONTINUATION, 0, 1, literal(b"x", b"y" * 100) * 100), 5000)
    assert unharmed(server, "CONTINUATION flood", attack) < 5000


@pytest.mark.parametrize("what,last", [("fields", b"y"), ("trailers", b"y"), ("invalid fields", b"\x01")])
def test_hpack_bomb(server, what, last):
    """One byte names a field of 3,900: what is far too long ends the connection, and is not looked at any more."""
    sock = h2(server)
    sock.settimeout(20)
    sock.sendall(frame(HEADERS, END_HEADERS | END_STREAM, 1, get(b"/api") + b"\x40\x01x\x7f" + integer(3900 - 127) + b"y" * 3899 + last))
    if what == "fields":
        sock.sendall(frame(HEADERS, END_HEADERS | END_STREAM, 3, get(b"/api") + b"\xbe" * 30))
        assert any(kind == DATA and stream == 3 and b"Too Large" in body for kind, _, stream, body in frames(sock))
    if what == "trailers":
        sock.sendall(frame(HEADERS, END_HEADERS, 5, get(b"/api/v1/namespaces/default/configmaps", b"POST")) +
                     frame(HEADERS, END_HEADERS | END_STREAM, 5, b"\xbe" * 16000))
    else:
        sock.sendall(frame(HEADERS, END_HEADERS | END_STREAM, 5, get(b"/api") + b"\xbe" * 16000))
    assert [number(11)] == [body[4:8] for kind, _, _, body in frames(sock) if kind == GOAWAY]  # ENHANCE_YOUR_CALM


@pytest.mark.parametrize("what,piece", [
    ("SETTINGS", frame(SETTINGS, 0, 0, struct.pack(">HI", 3, 100))), ("PING", frame(PING, 0, 0, b"12345678")),
    ("empty DATA", frame(DATA, 0, 1)), ("WINDOW_UPDATE", frame(WINDOW, 0, 0, struct.pack(">I", 1))),
    ("unknown frames", frame(0xEE, 0, 0, b"x" * 100))])
def test_control_frame_floods(server, what, piece):
    """The answers to PING and SETTINGS are not read: they do not pile up."""
    def attack():
        sock = h2(server)
        if what == "empty DATA":
            sock.sendall(frame(HEADERS, 4, 1, get(b"/api/v1/namespaces/default/secrets", b"POST")))
        sent = 0
        for _ in range(200):
            sent += flood(sock, piece * 1000, 1)
        return sent
    unharmed(server, what + " flood", attack)


def test_streams_without_window_and_tiny_ones(server):
    for i in range(200):
        server.kube.create(path("configmaps", "default"), {"metadata": {"name": f"big-{i}"}, "data": {"k": "x" * 20000}})

    def attack():
        socks = []
        for window in (0, 1):
            for _ in range(4):
                sock = h2(server, (4, window))
                for k in range(100):
                    sock.sendall(frame(HEADERS, 5, 2 * k + 1, get(b"/api/v1/namespaces/default/configmaps")))
                socks.append(sock)
        time.sleep(2)
        return len(socks)
    unharmed(server, "800 LISTs of 4 MB without window", attack, 100)


# ---- HTTP/1.1 ----------------------------------------------------------------------------------------------------------

def test_huge_headers(server):
    sock = tls(server)
    try:
        sock.sendall(b"GET /api/v1/pods HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: %s\r\n" % (i, b"y" * 1000) for i in range(200)))
    except OSError:
        pass
    assert b" 431 " in sock.recv(1000)


def test_pipelined_requests(server):
    n = 100000
    sock, answers = tls(server), 0

    def send():
        sock.sendall((b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 100) * (n // 100))

    def attack():
        nonlocal answers
        t = threading.Thread(target=send, daemon=True)
        t.start()
        left = b""
        while answers < n:
            text = left + sock.recv(65536)
            answers += text.count(b"HTTP/1.1 200")
            left = text[-11:] if not text.endswith(b"HTTP/1.1 200") else b""
        t.join()
        return answers
    assert unharmed(server, "100,000 pipelined requests", attack) == n


def test_pipelined_requests_that_nobody_reads(server):
    def attack():
        return flood(tls(server), b"GET /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: x\r\n\r\n" * 100, 1000)
    unharmed(server, "pipelined LISTs that nobody reads", attack)


def test_lists_that_nobody_reads(server):
    def attack():
        socks = [tls(server, window=4096) for _ in range(200)]
        for s in socks:
            s.sendall(b"GET /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(3)
        return len(socks)
    unharmed(server, "200 LISTs of 4 MB that nobody reads", attack)


# ---- half open ---------------------------------------------------------------------------------------------------------

def test_ten_thousand_half_open_connections(server):
    def attack():
        socks = []
        for i in range(10000):
            s = socket.create_connection((server.kube.server.hostname, server.port), timeout=120)
            s.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[:i % 11 + 1])
            socks.append(s)
        return len(socks)
    unharmed(server, "10,000 half-open connections", attack, 30)


def test_hellos_without_an_end(server):
    """Whole ClientHellos whose sender then says nothing: each makes a TLS session."""
    context, out = ssl.create_default_context(), ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost")
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        pass
    hello = out.read()

    def attack():
        socks = []
        for _ in range(3000):
            s = socket.create_connection((server.kube.server.hostname, server.port), timeout=120)
            s.sendall(hello)
            socks.append(s)
        return len(socks)
    unharmed(server, "3,000 ClientHellos without an end", attack, 120)


def test_connections_cut_at_each_phase(server):
    request = b"POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 60\r\n\r\n" + b"{" * 30

    def attack():
        for i in range(0, len(request), 7):
            sock = tls(server)
            sock.sendall(request[:i])
            if i % 2:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        return len(request) // 7
    unharmed(server, "cut at each phase", attack)


# ---- few files ---------------------------------------------------------------------------------------------------------

def test_few_files():
    """256 files: half-open connections go, leases go on, the log says why and does not repeat itself."""
    small = Server(node=False)
    try:
        small.start("prlimit", "--nofile=256:256")
        small.wait_ready()
        lease = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        small.kube.create(lease, {"metadata": {"name": "n1", "namespace": "kube-node-lease"}})
        socks = []
        for _ in range(600):
            try:
                socks.append(socket.create_connection((small.kube.server.hostname, small.port), timeout=2))
            except OSError:
                break
        cpu, slowest = small.control_cpu_s(), 0.0
        for i in range(40):
            began = time.monotonic()
            small.kube.patch(lease + "/n1", {"spec": {"leaseDurationSeconds": 40 + i}})
            assert small.kube.clone(120).text("GET", "/readyz")[0] == 200  # on a connection of its own
            slowest = max(slowest, time.monotonic() - began)
            time.sleep(0.05)
        figures("256 files, 600 half-open connections", cpu_s=round(small.control_cpu_s() - cpu, 2), slowest_ms=round(slowest * 1000))
        with open(small.log, encoding="utf-8") as f:
            log = f.read()
        assert re.search(r"\d+ connections are the most", log), log[-2000:]
        assert log.count("connections are the most") + log.count("cannot accept") < 5
    finally:
        small.end()
