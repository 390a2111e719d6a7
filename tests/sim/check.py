#!/usr/bin/env python3
"""What the simulation promises: the same seed gives the same trace anywhere, and it finds bugs that are planted.

Usage: check.py same|bugs BUILD_DIR

same: seeds run in BUILD_DIR's program twice and in one built with -O0; all three hashes are equal.
bugs: each bugs/*.patch is applied to a copy of the tree, built, and must make some seed fail; without it none fails.
Ends with "N passed, N failed".
"""
import filecmp
import glob
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
TARGET = "tests/sim/sim_test"
SAME_SEEDS, BUG_SEEDS = range(1, 13), range(1, 21)


def run(*command, cwd=TOP):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")


def build(source, folder, *flags):
    if not os.path.exists(os.path.join(folder, "build.ninja")):
        run("meson", "setup", folder, *flags, cwd=source)
    run("ninja", "-C", folder, TARGET, cwd=source)
    return os.path.join(folder, TARGET)


def seeds(program, numbers):
    """The line of each seed. A program that ends by itself (a deadlock, a broken promise) has found something, too."""
    done = subprocess.run([program, *map(str, numbers)], capture_output=True, text=True, check=False, timeout=3000)
    return done.stdout.splitlines() + ([f"ended with code {done.returncode}: FAILED"] if done.returncode not in (0, 1) else [])


def same(folder):
    programs = [os.path.join(folder, TARGET)] * 2 + [build(TOP, os.path.join(TOP, "build", "O0"), "--buildtype=debug", "-Doptimization=0")]
    first, *others = (seeds(p, SAME_SEEDS) for p in programs)
    for lines in others:
        for a, b in zip(first, lines, strict=True):
            yield a.split(":")[0], a == b and "FAILED" not in a, f"{a} / {b}"


def copy_tree(to):
    """Tracked files. Those that are the same stay untouched, so that a second run builds little."""
    names = subprocess.run(["git", "ls-files", "src", "api", "tools", "tests", "bench", "meson.build", "meson_options.txt"],
                           cwd=TOP, capture_output=True, text=True, check=True).stdout
    for name in names.splitlines():
        source, target = os.path.join(TOP, name), os.path.join(to, name)
        if not os.path.exists(target) or not filecmp.cmp(source, target, shallow=False):
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copy(source, target)


def bugs(_):
    copy, folder = os.path.join(TOP, "build", "bugs", "tree"), os.path.join(TOP, "build", "bugs", "build")
    copy_tree(copy)
    program = build(copy, folder, "--buildtype=debug", "-Doptimization=0")
    found = [line for line in seeds(program, BUG_SEEDS) if "FAILED" in line]
    yield "no bug, nothing found", not found, "; ".join(found)
    for patch in sorted(glob.glob(os.path.join(HERE, "bugs", "*.patch"))):
        run("patch", "-p1", "-s", "-i", patch, cwd=copy)
        build(copy, folder)
        found = [line for line in seeds(program, BUG_SEEDS) if "FAILED" in line]
        run("patch", "-p1", "-s", "-R", "-i", patch, cwd=copy)  # a new time: built again by the next one, or the next run
        yield os.path.basename(patch)[:-6], bool(found), found[0] if found else "not found"


def main():
    passed = failed = 0
    for name, ok, why in {"same": same, "bugs": bugs}[sys.argv[1]](os.path.abspath(sys.argv[2])):
        passed, failed = passed + ok, failed + (not ok)
        print(f"{'ok' if ok else 'FAIL'} {name}: {why}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
