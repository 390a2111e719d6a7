#!/usr/bin/env python3
"""make conformance: upstream's suite (../shared/conformance, built before) against one node of this build, which must not restart meanwhile.

usage: run.py [run.sh's options: --focus RE, --names FILE, --nodes N …]      without --nodes 6 at a time; results in build/conformance/

Told at the end: whether our processes are those of the start, and what the machine has that it had not before (tests/residue; whatever others
do meanwhile is in it).
"""
import glob
import os
import re
import shutil
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(TOP, "tests"), os.path.join(TOP, "tests", "e2e")]
sys.dont_write_bytecode = True
from server import Server  # noqa: E402

SUITE = os.path.join(os.path.dirname(TOP), "shared", "conformance")
CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")), "k8s-conformance")
OUT = os.path.join(TOP, "build", "conformance")


def started(server):
    """Our processes, each with the time it began."""
    times = {}
    for pid in [server.process.pid, *server.children(), server.containerd_pid()]:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
            times[pid] = f.read().rsplit(")", 1)[1].split()[19]
    return times


def residue(name):
    """What the machine has now, in a file."""
    file = os.path.join(OUT, name)
    with open(file, "w", encoding="utf-8") as f:
        subprocess.run([os.path.join(TOP, "tests", "residue"), "snapshot"], stdout=f, check=True)
    return file


def main():
    archives = glob.glob(os.path.join(CACHE, "images", "*.tar"))
    if not archives or not os.path.exists(os.path.join(CACHE, "bin", "e2e.test")):
        sys.exit(f"the suite is not built: {SUITE}/build.sh and {SUITE}/images.sh, about a quarter of an hour")
    os.makedirs(OUT, exist_ok=True)
    untouched = residue("before.json")
    server = Server(flags=["--legacy-token-secrets"])  # the suite of 1.20 waits for a token Secret in every namespace
    server.flags[server.flags.index("debug")] = "info"
    os.makedirs(os.path.join(server.data, "images"))
    for archive in archives:
        shutil.copy(archive, os.path.join(server.data, "images"))
    try:
        server.start().wait_ready()
        server.wait_images(*(os.path.basename(a)[:-4].replace("_", ":") for a in archives), seconds=180)
        before, began = started(server), time.monotonic()
        options = sys.argv[1:] if "--nodes" in sys.argv else ["--nodes", "6", *sys.argv[1:]]
        code = subprocess.run([os.path.join(SUITE, "run.sh"), "--kubeconfig", server.kubeconfig, "--out", OUT, *options], check=False).returncode
        print(f"wall time {time.monotonic() - began:.0f} s; our processes", "are those of the start" if started(server) == before else "WERE STARTED AGAIN")
        shutil.copy(server.log, os.path.join(OUT, "server.log"))
    finally:
        server.end()
    print("left over:", end=" ", flush=True)
    left = subprocess.run([os.path.join(TOP, "tests", "residue"), "compare", "--processes", re.escape(server.data), untouched, residue("after.json")],
                          check=False).returncode
    return code or left


if __name__ == "__main__":
    sys.exit(main())
