"""A server ends at once, whatever its clients are doing."""
import os
import signal
import time

import pytest

from conftest import KUBECTLS, Kubectl, Space, figures


@pytest.fixture
def busy(fresh, tmp_path):
    """A server with a pod, and a kubectl for it."""
    server = fresh()
    server.add_images("busybox", "web-v1")
    server.start().wait_ready().wait_images("busybox:test", "web:v1")
    space = Space(server)
    space.box(script="while :; do echo tick; sleep 1; done")
    space.web(1)
    space.wait_pod("box")
    space.wait_deployment()
    return server, [Kubectl(program, server, tmp_path, space.name) for _, program in KUBECTLS]


def stop(server, what):
    began = time.monotonic()
    assert server.stop() == 0
    figures(f"stop {what}", seconds=round(time.monotonic() - began, 2))
    log = server.last_log(400)
    assert "does not end" not in log and "something still waits" not in log


def test_after_refused_streams(busy):
    server, kubectls = busy
    for kubectl in kubectls:
        kubectl.fails("exec", "box", "--", "no-such-program")
        kubectl.fails("exec", "box", "-c", "nobody", "--", "true")
        kubectl.fails("exec", "box", "--as=system:serviceaccount:default:default", "--", "true")
        kubectl.fails("exec", "nobody", "--", "true")
        kubectl.fails("logs", "box", "--previous")
        kubectl.fails("attach", "-i", "box", "-c", "nobody")
        kubectl.run("exec", "box", "--", "sh", "-c", "exit 3")
    stop(server, "after refused streams")


def test_signal_to_the_whole_group(busy):
    """Ctrl-C in a terminal, and timeout(1): the node must not lose the API before it has ended."""
    server, _ = busy
    os.killpg(server.process.pid, signal.SIGINT)
    stop(server, "by a signal to the group")


def test_under_open_streams(busy):
    server, kubectls = busy
    streams = []
    for kubectl in kubectls:
        streams += [kubectl.start(*args) for args in (("exec", "-i", "box", "--", "cat"), ("exec", "box", "--", "sleep", "1000"), ("logs", "-f", "box"),
                                                      ("attach", "box"), ("port-forward", "deployment/web", ":8080"), ("get", "pods", "-w"))]
    try:
        time.sleep(2)
        assert all(s.poll() is None for s in streams), [s.args for s in streams if s.poll() is not None]
        stop(server, "under open streams")
    finally:
        for one in streams:
            one.kill()
            one.communicate()


def test_while_pods_start_and_end(busy):
    server, _ = busy
    space = Space(server)
    for n in range(5):
        space.box(f"box-{n}", container={"image": "busybox:test" if n % 2 else "missing:v1"}, terminationGracePeriodSeconds=30)
    space.create("pods", {"metadata": {"name": "deaf"}, "spec": {"terminationGracePeriodSeconds": 60, "containers": [
        {"name": "deaf", "image": "busybox:test", "command": ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]}]}})
    space.wait_pod("deaf")
    server.kube.call("DELETE", f"/api/v1/namespaces/{space.name}/pods/deaf")
    time.sleep(0.3)
    stop(server, "while pods start and end")
