"""A route that is cut for real, both ways and without a word, while a relayed connection stands still: it ends all the same."""
import ctypes
import os
import socket
import subprocess
import threading

import pytest

from custom import Hook, condition
from kube import until
from test_aggregation import EXEC, GROUP, SERVICES, SPDY, VERSION, Flunders, api_service, available, hook, own_address, switched, wardle, wired  # noqa: F401

FAR = "far.example.com"
CLONE_NEWNET = 0x40000000


def run(*command):
    subprocess.run(command, check=True, capture_output=True, timeout=60)


class Elsewhere:
    """A network of its own behind a link, which cut() cuts."""

    def __init__(self, n):
        self.name, self.link, self.here, self.there = f"kogge-cut-{n}", f"kgcut{n}", f"198.18.{n}.1", f"198.18.{n}.2"
        run("ip", "netns", "add", self.name)
        run("ip", "link", "add", self.link, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        run("ip", "addr", "add", self.here + "/30", "dev", self.link)
        run("ip", "link", "set", self.link, "up")
        for command in ("addr add %s/30 dev eth0" % self.there, "link set eth0 up", "link set lo up"):
            run("ip", "-n", self.name, *command.split())

    def do(self, what):
        """What what() gives there; its sockets stay there."""
        given = []

        def enter():
            fd = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
            assert ctypes.CDLL(None, use_errno=True).setns(fd, CLONE_NEWNET) == 0
            os.close(fd)
            given.append(what())
        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        return given[0]

    def cut(self):
        for chain in ("input", "output"):
            run("ip", "netns", "exec", self.name, "nft", f"add table ip cut; add chain ip cut {chain} {{ type filter hook {chain} priority 0; policy drop; }}")

    def end(self):
        subprocess.run(["ip", "link", "del", self.link], check=False, capture_output=True, timeout=60)
        subprocess.run(["ip", "netns", "del", self.name], check=False, capture_output=True, timeout=60)


@pytest.fixture
def elsewhere(server):
    one = Elsewhere(server.slot.n)
    yield one
    one.end()


@pytest.fixture
def far(server, elsewhere, tmp_path_factory):
    """A server there, behind an APIService of its own."""
    kube, at = server.kube, "/api/v1/namespaces/default"
    one = elsewhere.do(lambda: Hook(str(tmp_path_factory.mktemp("far")), wardle, elsewhere.there))
    name = f"{SERVICES}/{VERSION}.{FAR}"
    kube.create(f"{at}/services", {"metadata": {"name": "far"}, "spec": {"ports": [{"port": 443, "targetPort": one.port}]}})
    kube.create(f"{at}/endpoints", {"metadata": {"name": "far"}, "subsets": [{"addresses": [{"ip": elsewhere.there}], "ports": [{"port": one.port}]}]})
    kube.create(SERVICES, {"metadata": {"name": f"{VERSION}.{FAR}"}, "spec": {
        "group": FAR, "version": VERSION, "groupPriorityMinimum": 2000, "versionPriority": 200, "insecureSkipTLSVerify": True,
        "service": {"namespace": "default", "name": "far"}}})
    until(lambda: condition(kube.get(name), "Available").get("status") == "True", 60, "it is available")
    yield one
    for path in (name, f"{at}/endpoints/far", f"{at}/services/far"):
        kube.delete(path)
    one.end()


def upgraded(kube, address, path):
    tls = kube.tls
    tls.set_alpn_protocols(["http/1.1"])
    sock = tls.wrap_socket(socket.create_connection((address, kube.server.port), timeout=60), server_hostname=kube.server.hostname)
    sock.sendall("\r\n".join([f"POST {path} HTTP/1.1", *SPDY, "Host: x", "", ""]).encode())
    assert b" 101 " in sock.recv(1000)
    return sock


def fill(write):
    """Writes until nothing is taken any more."""
    try:
        while True:
            write(b"x" * 65536)
    except TimeoutError:
        pass


def has_ended(sock):
    try:
        return not sock.recv(1)
    except TimeoutError:
        return False
    except OSError:
        return True


def test_stalled_connections_end_when_the_route_is_cut(server, elsewhere, far, hook, wired):  # noqa: F811
    """The other end of one is a server that reads nothing, that of the other a client. Without a look at them the kernel would ask on for a
    quarter of an hour."""
    leave, full, ended = threading.Event(), threading.Event(), threading.Event()

    def reads_nothing(handler):
        switched(handler)
        leave.wait(900)

    def says_all(handler):
        switched(handler)
        handler.connection.settimeout(2)
        fill(handler.connection.sendall)
        full.set()
        until(lambda: has_ended(handler.connection), 200, "the connection ends")
        ended.set()
    hook.serve, hook.upgrade, far.upgrade = Flunders(), says_all, reads_nothing
    wired.create(SERVICES, api_service(hook))
    available(wired, "True")
    to_far = upgraded(wired.clone(), wired.server.hostname, EXEC.replace(GROUP, FAR))
    to_far.settimeout(2)
    fill(to_far.sendall)
    from_far = elsewhere.do(lambda: upgraded(wired.clone(), elsewhere.here, EXEC))
    assert full.wait(300)
    elsewhere.cut()
    until(lambda: has_ended(to_far), 200, "the server is gone, so the client's connection ends", every=0.5)
    assert ended.wait(300), "the client is gone, so the server's connection ends"
    until(wired.ready, 60, "a connection that was idle for so long is made anew")
    leave.set()
    from_far.close()
    to_far.close()
