#!/usr/bin/python3
"""Floods of HTTP/2, each against a server that has 64 MiB, sockets with them: it survives, and meanwhile answers others. What
they cost is printed. `make floods`; ARGS: only those with all these words in their names."""
import multiprocessing
import os
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "e2e")]
from fairness import Limited, Peak, as_node, failures, judge, memory_controller  # noqa: E402
from h2 import (ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADER_TABLE_SIZE, HEADERS, INITIAL_WINDOW_SIZE, PING, PRIORITY, RST, SETTINGS,  # noqa: E402
                WINDOW, ask, frame, get, h2, integer, literal, number, settings, tls)
from kube import path  # noqa: E402

SECONDS = 5  # that each flood goes on, or stays
MAPS = b"/api/v1/namespaces/default/configmaps"
TABLE = literal(b"accept", b"application/json;as=Table;v=v1;g=meta.k8s.io")
ALL = []


def attack(name):
    def add(run):
        ALL.append((name, run))
        return run
    return add


def on_and_on(server, piece, *pairs, first=b"", connections=4):
    """The same bytes, again and again, on some connections; new ones for those that the server ends. Connections, MiB that they sent."""
    end, made, sent = time.monotonic() + SECONDS, 0, 0
    socks = [None] * connections
    while time.monotonic() < end:
        for i in range(connections):
            if not socks[i]:
                socks[i], made = h2(server, *pairs), made + 1
                socks[i].sendall(first)
            bytes_ = piece(made) if callable(piece) else piece
            socks[i].settimeout(1)
            try:
                socks[i].sendall(bytes_)
                sent += len(bytes_)
            except TimeoutError:
                pass  # it takes no more of this one; the others go on
            except OSError:
                socks[i] = None
    return f"{made} connections, {sent >> 20} MiB sent"


def many(n, make):
    """That many connections that stay."""
    socks, refused = [], 0
    for i in range(n):
        try:
            socks.append(make(i))
        except OSError:
            refused += 1
    time.sleep(SECONDS)
    return f"{len(socks)} connections, {refused} refused"


# ---- floods of frames --------------------------------------------------------------------------------------------------

@attack("rapid reset")
def _(server):
    def streams(_):
        return b"".join(ask(2 * i + 1, MAPS) + frame(RST, 0, 2 * i + 1, number(8)) for i in range(5000))
    return on_and_on(server, streams)


@attack("rapid reset of creates")
def _(server):
    def streams(made):
        out = []
        for i in range(5000):
            body = b'{"metadata":{"generateName":"reset-"}}'
            out += [frame(HEADERS, END_HEADERS, 2 * i + 1, get(MAPS, b"POST", literal(b"content-type", b"application/json"))),
                    frame(DATA, END_STREAM, 2 * i + 1, body), frame(RST, 0, 2 * i + 1, number(8))]
        return b"".join(out)
    return on_and_on(server, streams)


@attack("requests that the server has to reset")
def _(server):
    """A WINDOW_UPDATE of 0 is an error of its stream, which the server ends: no client's RST_STREAM is counted."""
    def streams(_):
        return b"".join(ask(2 * i + 1, MAPS) + frame(WINDOW, 0, 2 * i + 1, number(0)) for i in range(5000))
    return on_and_on(server, streams)


@attack("streams beyond the most, SETTINGS not acknowledged")
def _(server):
    """Each is refused with an RST_STREAM that nobody reads."""
    socks, next_id, end, made = {}, {}, time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        for i in range(4):
            if i not in socks:
                socks[i], next_id[i], made = h2(server, (INITIAL_WINDOW_SIZE, 0)), 1, made + 1
                socks[i].settimeout(1)
            try:
                socks[i].sendall(b"".join(ask(next_id[i] + 2 * k, MAPS) for k in range(1000)))
            except OSError:
                del socks[i]
                continue
            next_id[i] += 2000
    return f"{made} connections, {sum(next_id.values()) // 2} streams on the last ones"


@attack("CONTINUATION without an end")
def _(server):
    return on_and_on(server, frame(CONTINUATION, 0, 1, literal(b"x", b"y" * 100) * 100), first=frame(HEADERS, 1, 1, get(b"/api")))


@attack("empty CONTINUATION without an end")
def _(server):
    return on_and_on(server, frame(CONTINUATION, 0, 1) * 1000, first=frame(HEADERS, 1, 1, get(b"/api")))


FRAMES = {"PING": frame(PING, 0, 0, b"12345678"), "PING acks": frame(PING, ACK, 0, b"12345678"), "SETTINGS": settings((3, 100)),
          "SETTINGS of all sizes": settings((4, 0)) + settings((4, 65535)), "SETTINGS acks": frame(SETTINGS, ACK, 0),
          "empty DATA": frame(DATA, 0, 1), "padded DATA": frame(DATA, 8, 1, b"\xff" + b"\0" * 255),
          "PRIORITY": b"".join(frame(PRIORITY, 0, 2 * i + 1, number(2 * i + 3) + b"\x10") for i in range(50)),
          "WINDOW_UPDATE": frame(WINDOW, 0, 0, number(1)), "WINDOW_UPDATE of a stream": frame(WINDOW, 0, 1, number(1)), "unknown frames": frame(0xEE, 0, 0, b"x" * 100)}
for _name, _frame in FRAMES.items():
    ALL.append(("frames: " + _name, lambda server, f=_frame: on_and_on(
        server, f * (20000 // len(f)), first=frame(HEADERS, END_HEADERS, 1, get(MAPS, b"POST")))))


# ---- what grows when it is decoded ---------------------------------------------------------------------------------------

@attack("HPACK bomb")
def _(server):
    """A field of 4,000 bytes, named by one byte 16,000 times in each head."""
    first = frame(HEADERS, 5, 1, get(b"/api") + b"\x40\x01x\x7f" + integer(3900 - 127) + b"y" * 3900)
    socks, end, made, n = [], time.monotonic() + SECONDS, 0, 0
    while time.monotonic() < end:
        if not socks:
            socks, n, made = [h2(server)], 3, made + 1
            socks[0].sendall(first)
        try:
            socks[0].sendall(frame(HEADERS, 5, n, get(b"/api") + b"\xbe" * 16000))
            n += 2
        except OSError:
            socks = []
    return f"{made} connections, {n // 2} bombs on the last"


@attack("HEADER_TABLE_SIZE of 4 GiB, and distinct fields in answers")
def _(server):
    return on_and_on(server, lambda i: b"".join(ask(2 * k + 1, b"/api/v1/namespaces/default/configmaps/none-%d" % k) for k in range(200)),
                     (HEADER_TABLE_SIZE, 0xFFFFFFFF), connections=50)


# ---- what waits ----------------------------------------------------------------------------------------------------------

def heads(server, n, field):
    def make(_):
        sock = h2(server)
        for k in range(250):
            sock.sendall(frame(HEADERS, END_HEADERS, 2 * k + 1, get(MAPS, b"POST", field)))
        return sock
    return many(n, make)


@attack("heads of 8 KiB whose bodies do not come, 250 on a connection")
def _(server):
    return heads(server, 100, literal(b"x", b"y" * 7000))


@attack("heads of 60 KiB whose bodies do not come, 250 on a connection")
def _(server):
    def make(_):
        sock = h2(server)
        block = literal(b"x", b"y" * 15000)
        for k in range(250):
            sock.sendall(frame(HEADERS, 0, 2 * k + 1, get(MAPS, b"POST")) + frame(CONTINUATION, 0, 2 * k + 1, block) * 3 +
                         frame(CONTINUATION, 4, 2 * k + 1, block))
        return sock
    return many(20, make)


@attack("bodies of 60 KiB that do not end, 250 on a connection")
def _(server):
    def make(_):
        sock = h2(server)
        sock.settimeout(2)
        for k in range(250):
            sock.sendall(frame(HEADERS, END_HEADERS, 2 * k + 1, get(MAPS, b"POST")))
            for _ in range(4):
                sock.sendall(frame(DATA, 0, 2 * k + 1, b" " * 15000))
        return sock
    return many(20, make)


@attack("watches, 250 on a connection")
def _(server):
    def make(_):
        sock = h2(server)
        sock.sendall(b"".join(ask(2 * k + 1, MAPS + b"?watch=1&resourceVersion=0") for k in range(250)))
        return sock
    return many(100, make)


def unread(server, n, where, more=b"", window=0, updates=False):
    """LISTs without window; updates: one byte of it for each, every half second."""
    socks, refused = [], 0
    for _ in range(n):
        try:
            sock = h2(server, (INITIAL_WINDOW_SIZE, window))
            sock.sendall(b"".join(ask(2 * k + 1, where, more) for k in range(250)))
            socks.append(sock)
        except OSError:
            refused += 1
    end, ended = time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        time.sleep(0.5)
        for s in list(socks) if updates else ():
            try:
                s.sendall(b"".join(frame(WINDOW, 0, 2 * k + 1, number(1)) for k in range(250)))
            except OSError:
                socks.remove(s)
                ended += 1
    return f"{len(socks)} connections, {refused} refused, {ended} ended"


for _name, _where, _more in (("LISTs", MAPS, b""), ("LISTs as Tables", MAPS, TABLE), ("objects of 300 KB", MAPS + b"/large", b""),
                             ("/openapi/v2", b"/openapi/v2", b""), ("/metrics", b"/metrics", b"")):
    for _updates in (False, True):
        ALL.append((f"window of {'1 byte a time' if _updates else '0'}: {_name}", lambda server, w=_where, m=_more, u=_updates: unread(server, 30, w, m, updates=u)))


@attack("watches without window while objects change")
def _(server):
    socks = []
    for _ in range(30):
        sock = h2(server, (INITIAL_WINDOW_SIZE, 0))
        sock.sendall(b"".join(ask(2 * k + 1, MAPS + b"?watch=1") for k in range(250)))
        socks.append(sock)
    kube = server.kube.clone(60)
    end, n = time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        kube.patch(path("configmaps", "default", "large"), {"data": {"n": str(n)}})
        n += 1
    return f"{len(socks)} connections, {n} changes"


@attack("one user's connections, all of them with a watch")
def _(server):
    def make(_):
        sock = tls(server)
        sock.settimeout(20)
        sock.sendall(b"GET " + MAPS + b"?watch=1&resourceVersion=0 HTTP/1.1\r\nHost: x\r\n\r\n")
        sock.recv(100)
        return sock
    return many(1500, make)


# ---- what others see -----------------------------------------------------------------------------------------------------

class Others:
    """A node's lease and /readyz, on a connection that lasts, and a new connection now and then."""

    def __init__(self, server):
        self.server, self.stop, self.slowest, self.failed, self.n = server, False, {"lease": 0.0, "/readyz": 0.0, "new": 0.0}, [], 0
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def timed(self, what, call):
        began = time.monotonic()
        try:
            call()
        except Exception as e:  # pylint: disable=broad-except
            self.failed.append(f"{what}: {e!r}"[:200])
        self.slowest[what] = max(self.slowest[what], (time.monotonic() - began) * 1000)

    def run(self):
        kube, name = self.server.kube.clone(30), f"n{time.monotonic_ns()}"
        node = {"Impersonate-User": f"system:node:{name}", "Impersonate-Group": "system:nodes"}
        lease = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        as_node(kube, "POST", lease, node, {"metadata": {"name": name, "namespace": "kube-node-lease"}, "spec": {"holderIdentity": name}})
        while not self.stop:
            self.timed("lease", lambda: as_node(kube, "PATCH", f"{lease}/{name}", node, {"spec": {"leaseDurationSeconds": 40 + self.n % 100}}))
            self.timed("/readyz", lambda: kube.text("GET", "/readyz", None, None))
            if self.n % 5 == 0:
                self.timed("new", lambda: self.server.kube.clone(30).text("GET", "/readyz", None, None))
            self.n += 1
            time.sleep(0.02)

    def end(self):
        self.stop = True
        self.thread.join(60)


def prepare(server):
    for i in range(100):
        server.kube.create(path("configmaps", "default"), {"metadata": {"name": f"some-{i}"}, "data": {"k": "x" * 2000}})
    server.kube.create(path("configmaps", "default"), {"metadata": {"name": "large"}, "data": {"k": "x" * 300000}})


def one(cgroup, name, run):
    server = Limited(cgroup)
    try:
        server.start().wait_ready()
        prepare(server)
        pid = server.pid_of("kogge-control")
        told, tell = multiprocessing.Pipe(False)
        begin = multiprocessing.Event()

        def flood():
            begin.wait()
            tell.send(run(server))
        child = multiprocessing.Process(target=flood, daemon=True)
        child.start()  # before there are threads, whose locks it would find held
        cpu, before = server.control_cpu_s(), cgroup.anonymous()
        others, peak = Others(server), Peak(cgroup)
        began = time.monotonic()
        begin.set()
        result = told.recv() if told.poll(120) else "the flood did not end"
        seconds = time.monotonic() - began
        others.end()
        peak.end()
        alive = server.pid_of("kogge-control") == pid
        print(f"        {name}: {result}; {seconds:.1f} s, CPU {server.control_cpu_s() - cpu if alive else -1:.1f} s, {(peak.own - before) / (1 << 20):.1f} MiB more, "
              f"sockets {peak.in_sockets / (1 << 20):.1f} MiB, slowest ms: " +
              ", ".join(f"{k} {v:.0f}" for k, v in others.slowest.items()) + f" of {others.n}", flush=True)
        if others.failed:
            print(f"        {len(others.failed)} failed: {others.failed[0]}", flush=True)
        child.kill()
        child.join()
        judge(alive and cgroup.oom_kills() == 0, f"{name}: survived")
        judge(not others.failed, f"{name}: others were served")
    finally:
        server.end()


def main():
    cgroup = memory_controller()
    if not cgroup:
        print("        the floods are left out: they need root and a memory controller of cgroup v1 or v2")
        return 0
    for name, run in ALL:
        if all(word in name for word in sys.argv[1:]):
            one(cgroup, name, run)
    print(f"floods: {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
