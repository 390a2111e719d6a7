"""Webhooks, aggregated servers and pods' servers that answer slowly, hugely, never or with nonsense: what it costs, and what is said."""
import base64
import gzip
import json
import re
import socket
import ssl
import threading
import time

import pytest
from conftest import figures
from custom import condition
from kube import ApiError, path, until
from test_aggregation import NAME, SERVICES, available, own_address
from test_stop import stop
from webhook_server import certificate, configuration

MOST_MIB = 24
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def endless(first, piece, pause=0):
    """Sends first, and then piece for ever."""
    def answer(sock, stop):
        sock.sendall(first)
        while not stop.is_set():
            sock.sendall(piece)
            time.sleep(pause)
    return answer


def once(*pieces):
    def answer(sock, stop):
        for piece in pieces:
            sock.sendall(piece)
    return answer


def chunk(piece):
    return b"%x\r\n%s\r\n" % (len(piece), piece)


BOMB = gzip.compress(b" " * (64 << 20))
# name: (what it sends, what a webhook's caller is told)
BAD = {
    "hangs up": (once(), "hung up"),
    "never": (lambda sock, stop: stop.wait(60), "deadline exceeded"),
    "garbage": (once(b"\x00\x01\x02 this is not HTTP\r\n\r\n"), "not HTTP"),
    "not JSON": (once(HEAD + b"Content-Length: 5\r\n\r\n<xml>"), "not JSON"),
    "nothing": (once(HEAD + b"Content-Length: 0\r\n\r\n"), "not JSON"),
    "redirects to itself": (once(b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"), "307"),
    "closes in the middle": (once(HEAD + b"Content-Length: 1000\r\n\r\n{"), "hung up"),
    "a chunk of nonsense": (once(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"), "chunked"),
    "gigabytes": (endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", chunk(b" " * 65536)), "larger than expected"),
    "a length of a terabyte": (endless(HEAD + b"Content-Length: 1000000000000\r\n\r\n", b" " * 65536), "larger than expected"),
    "headers without end": (endless(HEAD, b"X: " + b"y" * 8000 + b"\r\n"), "not HTTP"),
    "answers before the answer": (endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000), "deadline exceeded"),
    "byte by byte": (endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", chunk(b" "), 0.05), "deadline exceeded"),
    "a bomb": (once(HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB), BOMB), "not JSON"),
}


DISCOVERY_PATH = b"GET /apis/wardle.example.com/v1alpha1 "
DISCOVERY = json.dumps({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "wardle.example.com/v1alpha1", "resources": [
    {"name": "flunders", "singularName": "flunder", "namespaced": True, "kind": "Flunder", "verbs": ["get", "list"]}]}).encode()


class Bad:
    """A TLS server that answers every request, but for discovery, with what `answer` does."""
    discovery = staticmethod(once(HEAD + b"Content-Length: %d\r\n\r\n" % len(DISCOVERY), DISCOVERY))

    def __init__(self, folder, names):
        cert, key = certificate(str(folder), names)
        with open(cert, "rb") as f:
            self.pem = f.read()
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(cert, key)
        self.listener = socket.create_server(("0.0.0.0", 0))
        self.port, self.answer, self.head, self.stop = self.listener.getsockname()[1], once(), b"", threading.Event()
        self.asked = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        try:
            with self.tls.wrap_socket(sock, server_side=True) as s:
                head = b""
                while b"\r\n\r\n" not in head:
                    piece = s.recv(65536)
                    if not piece:
                        return
                    head += piece
                self.head = head
                self.asked.append(head.split(b"\r\n")[0])
                if length := re.search(rb"(?i)content-length: (\d+)", head):
                    left = int(length[1]) - len(head.split(b"\r\n\r\n", 1)[1])
                    while left > 0:
                        left -= len(s.recv(65536))
                (self.discovery if head.startswith(DISCOVERY_PATH) else self.answer)(s, self.stop)
        except OSError:
            pass

    def end(self):
        self.stop.set()
        self.listener.close()


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    one = Bad(tmp_path_factory.mktemp("bad"), "IP:127.0.0.1,DNS:bad.default.svc")
    yield one
    one.end()


def control_mib(server):
    for pid in server.children():
        with open(f"/proc/{pid}/comm", encoding="utf-8") as f:
            if "control" not in f.read():
                continue
        with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as f:
            return int(re.search(r"^Anonymous:\s+(\d+)", f.read(), re.M)[1]) / 1024
    raise AssertionError("no control process")


class Peak:
    """The most that the control process held more while it is open."""

    def __init__(self, server):
        self.server, self.before, self.most, self.stop = server, control_mib(server), 0, threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while not self.stop.wait(0.05):
            self.most = max(self.most, control_mib(self.server) - self.before)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()


# ---- webhooks ----------------------------------------------------------------------------------------------------------

@pytest.fixture
def webhook(server, bad):
    where = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    client = {"url": f"https://127.0.0.1:{bad.port}/", "caBundle": base64.b64encode(bad.pem).decode()}
    server.kube.create(where, configuration("ValidatingWebhookConfiguration", "bad", client, timeoutSeconds=1, failurePolicy="Fail"))
    yield
    server.kube.delete(where + "/bad")


@pytest.mark.parametrize("what", BAD)
def test_webhook(server, bad, webhook, what):
    bad.answer, expected = BAD[what]
    with Peak(server) as peak:
        with pytest.raises(ApiError) as e:
            server.kube.create(path("configmaps", "default"), {"metadata": {"generateName": "x-"}})
    figures("a webhook: " + what, mib_more=round(peak.most, 1), says=str(e.value)[-120:])
    assert e.value.code == 500 and 'failed calling webhook "bad.example.com"' in str(e.value) and expected in str(e.value), str(e.value)
    assert peak.most < MOST_MIB


# ---- aggregated servers --------------------------------------------------------------------------------------------------

def service(kube, server, name):
    at = "/api/v1/namespaces/default"
    kube.create(f"{at}/services", {"metadata": {"name": name}, "spec": {"ports": [{"port": 443, "targetPort": server.port}]}})
    kube.create(f"{at}/endpoints", {"metadata": {"name": name}, "subsets": [{"addresses": [{"ip": own_address()}], "ports": [{"port": server.port}]}]})


def api_service(kube, name, group="wardle.example.com"):
    kube.create(SERVICES, {"metadata": {"name": f"v1alpha1.{group}"}, "spec": {
        "group": group, "version": "v1alpha1", "groupPriorityMinimum": 2000, "versionPriority": 200,
        "service": {"namespace": "default", "name": name, "port": 443}, "insecureSkipTLSVerify": True}})


def aggregate(kube, bad):
    """Where it serves its kind."""
    service(kube, bad, "bad")
    api_service(kube, "bad")
    available(kube, "True")
    return "/apis/wardle.example.com/v1alpha1/namespaces/default/flunders"


@pytest.fixture(scope="module")
def aggregated(server, bad):
    return aggregate(server.kube, bad)


def ask(server, where, headers=""):
    sock = socket.create_connection((server.kube.server.hostname, server.port), timeout=20)
    server.kube.tls.set_alpn_protocols(["http/1.1"])
    sock = server.kube.tls.wrap_socket(sock, server_hostname=server.kube.server.hostname)
    sock.sendall(f"GET {where} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode())
    return sock


def read(sock, most, seconds=10):
    """What comes, until it ends, or is that much, or nothing came for so long."""
    sock.settimeout(seconds)
    got = bytearray()
    try:
        while len(got) < most and (piece := sock.recv(65536)):
            got += piece
    except TimeoutError:
        got += b"..."
    except OSError:
        pass
    return bytes(got)


def test_an_aggregated_answer_of_any_size_passes(server, bad, aggregated):
    """Also one that nobody reads."""
    bad.answer = BAD["gigabytes"][0]
    with Peak(server) as peak:
        for sock in (stuck := [ask(server, aggregated) for _ in range(20)]):
            sock.recv(100)
        time.sleep(2)
        reader = ask(server, aggregated)
        assert len(read(reader, 100 << 20)) >= 100 << 20
        for sock in (reader, *stuck):
            sock.close()
    figures("20 aggregated answers without end that nobody reads, 100 MiB of another", mib_more=round(peak.most, 1))
    assert peak.most < 2 * MOST_MIB


@pytest.mark.parametrize("what,status,whole", [
    ("hangs up", b" 503 ", True), ("garbage", b" 503 ", True), ("headers without end", b" 503 ", True), ("redirects to itself", b" 307 ", True),
    ("closes in the middle", b" 200 ", False), ("a chunk of nonsense", b" 200 ", False), ("not JSON", b" 200 ", True)])
def test_aggregated(server, bad, aggregated, what, status, whole):
    """An answer that breaks off does not look whole."""
    bad.answer = BAD[what][0]
    with Peak(server) as peak:
        got = read(ask(server, aggregated), 1 << 20, 3)
    figures("an aggregated server: " + what, mib_more=round(peak.most, 1), says=got[-120:].decode(errors="replace"))
    assert status in got.split(b"\r\n")[0] or (not got and not whole), got
    assert whole == got.endswith(b"...") and peak.most < MOST_MIB


def test_packed_answers_pass_as_they_are(server, bad, aggregated):
    """The client's Accept-Encoding is the aggregated server's to look at; nobody unpacks what it packed."""
    bomb = HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB)
    asked = []
    bad.answer = lambda sock, stop: (asked.append(bad.head), once(bomb, BOMB)(sock, stop))
    with Peak(server) as peak:
        got = read(ask(server, aggregated, "Accept-Encoding: gzip\r\n"), 1 << 20, 3)
    assert b"content-encoding: gzip" in got and b"accept-encoding: gzip" in asked[0].lower()
    assert unchunked(got.split(b"\r\n\r\n", 1)[1]) == BOMB and peak.most < MOST_MIB


def unchunked(body):
    whole = b""
    while (n := int((line := body.split(b"\r\n", 1))[0], 16)):
        whole, body = whole + line[1][:n], line[1][n + 2:]
    return whole


@pytest.mark.parametrize("what", ["hangs up", "garbage", "not JSON", "nothing", "closes in the middle", "gigabytes", "a bomb"])
def test_openapi(server, bad, aggregated, what, monkeypatch):
    """Whatever it says of its kinds: ours are described."""
    other = DISCOVERY.replace(b'"list"]', b'"list", "%s"]' % base64.b16encode(what.encode()))  # its kinds change, so it is asked again
    monkeypatch.setattr(bad, "discovery", once(HEAD + b"Content-Length: %d\r\n\r\n" % len(other), other))
    bad.answer = BAD[what][0]
    bad.asked.clear()
    with Peak(server) as peak:
        server.kube.patch(NAME, {"metadata": {"labels": {"look": base64.b16encode(what.encode()).decode()}}})
        until(lambda: any(a.startswith(b"GET /openapi/v3") for a in bad.asked), 60, "it was asked")
        own = server.kube.get("/openapi/v2")
    figures("the OpenAPI document of an aggregated server: " + what, mib_more=round(peak.most, 1))
    assert "io.k8s.api.core.v1.Pod" in own["definitions"] and peak.most < 2 * MOST_MIB
    assert not any("wardle" in p for p in own["paths"])


def test_packed_requests_are_refused(server):
    """Nothing of a bomb is unpacked, as upstream."""
    with Peak(server) as peak:
        code, text = server.kube.clone(20).text("POST", path("configmaps", "default"), BOMB)
    assert code == 400 and peak.most < MOST_MIB, (code, text)


class Hung(Bad):
    """It says what it has, and nothing else for ever."""

    def __init__(self, folder):
        self.waiting, self.most = set(), 0
        super().__init__(folder, "DNS:bad.default.svc")
        self.answer = self.hold
        kinds = DISCOVERY.replace(b'"list"]', b'"list", "delete"]')
        self.discovery = once(HEAD + b"Content-Length: %d\r\n\r\n" % len(kinds), kinds)

    def hold(self, sock, stop):
        """Until who asks goes away."""
        if b"/flunders" in self.head:
            self.count(sock, stop)
        else:
            sock.recv(1)

    def count(self, sock, _stop):
        self.waiting.add(sock)
        self.most = max(self.most, len(self.waiting))
        try:
            sock.recv(1)
        finally:
            self.waiting.discard(sock)


@pytest.fixture
def hung(tmp_path):
    one = Hung(tmp_path)
    yield one
    one.end()


def test_workers_are_left_to_others(hung, fresh):
    one = fresh(node=False).start().wait_api()
    aggregate(one.kube, hung)
    ending = [path("namespaces", name=f"ending-{i}") for i in range(6)]
    for where in ending:
        one.kube.create(path("namespaces"), {"metadata": {"name": where.rsplit("/", 1)[1]}})
        one.kube.delete(where)
    for where in ending:
        until(lambda w=where: condition(one.kube.get(w), "NamespaceDeletionContentFailure").get("status") == "True", 60, "it is said who holds it")
    one.kube.create(path("configmaps", "default"), {"metadata": {"name": "orphan", "ownerReferences": [
        {"apiVersion": "v1", "kind": "Secret", "name": "nobody", "uid": "was-never"}]}})
    until(lambda: one.kube.text("GET", path("configmaps", "default", "orphan"))[0] == 404, 60, "other work goes on")
    assert hung.most == 1
    until(lambda: hung.waiting, 60, "it is asked again")
    stop(one, "while controllers wait for a server that does not answer")


def test_nobody_waits_behind_the_silent(bad, hung, fresh):
    bad.answer, hung.answer = once(), hung.count
    one = fresh(node=False).start().wait_api()
    service(one.kube, hung, "hung")
    for i in range(8):
        api_service(one.kube, "hung", f"silent-{i}.example.com")
    until(lambda: len(hung.waiting) == 8, 60, "all are asked at the same time")
    aggregate(one.kube, bad)
    stop(one, "while eight aggregated servers do not answer")


def test_a_stop_does_not_wait_for_who_does_not_answer(hung, fresh):
    hung.discovery = hung.hold
    one = fresh(node=False).start().wait_api()
    service(one.kube, hung, "bad")
    api_service(one.kube, "bad")
    until(lambda: any(a.startswith(DISCOVERY_PATH) for a in hung.asked), 60, "it is asked what it has")
    stop(one, "while an aggregated server does not answer")


def test_nobody_takes_the_last_stream(bad, fresh):
    """A server with few files has few places for streams: whoever takes what they can leaves some to others."""
    bad.answer = BAD["gigabytes"][0]
    small = fresh(node=False).start("prlimit", "--nofile=256:256").wait_api()
    where = aggregate(small.kube, bad)
    held = []
    while len(held) < 90:
        sock = ask(small, where)
        head = sock.recv(1000)
        if b" 200 " not in head:
            break
        held.append(sock)
    assert b" 429 " in head and b"retry-after: 1" in head and b"which is their share" in head + read(sock, 300, 2), head
    other = ask(small, where, "Impersonate-User: jane\r\nImpersonate-Group: system:masters\r\n")
    assert b" 200 " in other.recv(1000)
    figures("streams that one user holds of a server with 256 files", held=len(held))
    for s in (*held, sock, other):
        s.close()
    until(lambda: b" 200 " in ask(small, where).recv(1000), 60, "there are places again")
