#!/usr/bin/env python3
"""Starts a Kogge of its own, without controllers, and compares it with the recording (run.py compare)."""
import contextlib
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "e2e")]
import run  # noqa: E402
from server import Server  # noqa: E402


def server():
    return Server(node=False, flags=["--without", "controllers,scheduler", "--service-cidr", "10.96.0.0/16",
                                     "--service-node-port-range", "30000-32767"])


@contextlib.contextmanager
def beside(kubeconfig):
    """The kubeconfig of the server that is compared with the peer: one that runs, or else one of our own meanwhile."""
    if kubeconfig:
        yield kubeconfig
        return
    own = server()
    try:
        own.start().wait_api()
        yield own.kubeconfig
    finally:
        own.end()


def main():
    with beside(None) as kubeconfig:
        failed = run.compare(kubeconfig)
        Server.failures += failed
        return failed


if __name__ == "__main__":
    sys.exit(main())
