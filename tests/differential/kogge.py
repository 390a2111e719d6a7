#!/usr/bin/env python3
"""Starts a Kogge of its own, without controllers, and compares it with the recording (run.py compare)."""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "e2e")]
import run  # noqa: E402
from server import Server  # noqa: E402


def server():
    return Server(node=False, flags=["--without", "controllers,scheduler", "--service-cidr", "10.96.0.0/16",
                                     "--service-node-port-range", "30000-32767"])


def main():
    kogge = server()
    try:
        kogge.start().wait_api()
        failed = run.compare(kogge.kubeconfig)
        Server.failures += failed
        return failed
    finally:
        kogge.end()


if __name__ == "__main__":
    sys.exit(main())
