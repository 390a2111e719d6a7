"""exec under load: 1 GiB each way and both at once, resize, exit codes, 100 sessions at once, a thousand small ones in turn and a thousand large
outputs; with the oldest kubectl (SPDY) and the newest (WebSocket v5). Sizes: MIB, SESSIONS, EXECS; EXECS are shared by the two."""
import concurrent.futures
import fcntl
import hashlib
import os
import pty
import select
import struct
import subprocess
import tempfile
import termios
import time

from common import Memory, judge, name_of, number, say
from conftest import KUBECTLS, Kubectl, Space
from server import Server

MIB, SESSIONS, EXECS = number("MIB", 1024), number("SESSIONS", 100), number("EXECS", 1000)
FLAT_KIB = 8 << 10  # what a process may grow by while 1 GiB passes


def random_file(folder):
    """MIB of bytes that do not repeat, and their checksum."""
    name, sha = os.path.join(folder, "data"), hashlib.sha256()
    with open(name, "wb") as f:
        for _ in range(MIB):
            piece = os.urandom(1 << 20)
            sha.update(piece)
            f.write(piece)
    return name, sha.hexdigest()


def passed(kubectl, *command, stdin=None, seconds=400):
    """Checksum and length of what a command printed, its code and its errors. The output is hashed as it comes."""
    sha, length = hashlib.sha256(), 0
    with open(stdin or os.devnull, "rb") as given, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(kubectl.command("exec", *(["-i"] if stdin else []), "box", "--", *command), stdin=given, stdout=subprocess.PIPE,
                                   stderr=errors, env=kubectl.env)
        end = time.monotonic() + seconds
        while select.select([process.stdout], [], [], max(0, end - time.monotonic()))[0]:
            piece = os.read(process.stdout.fileno(), 1 << 20)
            if not piece:
                break
            sha.update(piece)
            length += len(piece)
        try:
            code = process.wait(max(1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        process.stdout.close()
        errors.seek(0)
        return sha.hexdigest(), length, code, errors.read().decode(errors="replace").strip()


def large(server, kubectl, version, data, wanted):
    """One GiB in, out, and both ways at once. The command in the container ends only when its standard input does."""
    for what, command, stdin in (
            ("in", ["sh", "-c", "cat > /data/copy; sha256sum < /data/copy | cut -d' ' -f1"], data),
            ("out", ["cat", "/data/copy"], None),
            ("both ways", ["cat"], data)):
        with Memory(server) as memory:
            began = time.monotonic()
            sha, length, code, errors = passed(kubectl, *command, stdin=stdin)
            took = time.monotonic() - began
        expect = hashlib.sha256((wanted + "\n").encode()).hexdigest() if what == "in" else wanted
        judge(sha == expect and code == 0, f"kubectl {version}: {MIB} MiB {what}: checksum, end of stdin, code 0; {took:.1f} s, {MIB / took:.0f} MiB/s"
              + ("" if code == 0 and sha == expect else f" – {length} bytes, code {code}, {errors[-300:]}"))
        judge(memory.growth() < FLAT_KIB, f"kubectl {version}: {MIB} MiB {what}: memory {memory.told()}")


def codes(kubectl, version):
    for code in (0, 1, 42, 255):
        done = kubectl.run("exec", "-i", "box", "--", "sh", "-c", f"cat > /dev/null; exit {code}", stdin="x\n" * 1000)
        judge(done.returncode == code, f"kubectl {version}: exit code {code}" + ("" if done.returncode == code else f": {done.returncode} {done.stderr}"))


def resize(kubectl, version):
    """A terminal that changes its size while the session is open."""
    main, side = pty.openpty()
    set_size(side, 24, 80)
    process = subprocess.Popen(kubectl.command("exec", "-it", "box", "--", "sh", "-c", "while read x; do stty size; done"), stdin=side, stdout=side,
                               stderr=side, env=kubectl.env, start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
    os.close(side)
    sizes = [(33, 101), (50, 200), (7, 21)]
    text = ask(main, "24 80")
    for rows, columns in sizes:
        set_size(main, rows, columns)
        text += ask(main, f"{rows} {columns}")
    os.write(main, b"\x04")
    try:
        code = process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        code = "none"
    os.close(main)
    seen = [s for s in ((24, 80), *sizes) if f"{s[0]} {s[1]}" in text]
    judge(len(seen) == 4 and code == 0, f"kubectl {version}: {len(seen)} of 4 sizes of the terminal arrived, code {code}" +
          ("" if len(seen) == 4 else f": {text[-300:]!r}"))


def set_size(fd, rows, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def ask(fd, wanted, seconds=20):
    """Asks for the size until the answer is the wanted one: a new size takes its time to get there."""
    text, end = "", time.monotonic() + seconds
    while wanted not in text and time.monotonic() < end:
        os.write(fd, b"\n")
        while select.select([fd], [], [], 0.5)[0]:
            try:
                text += os.read(fd, 4096).decode(errors="replace")
            except OSError:
                return text
    return text


def crowd(server, kubectl, version):
    """Many sessions open together: each answers what it was told, and ends with the code it was told."""
    with Memory(server) as memory:
        processes = [subprocess.Popen(kubectl.command("exec", "-i", "box", "--", "sh", "-c", f"read x; echo $x; cat > /dev/null; exit {i % 7}"),
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=kubectl.env) for i in range(SESSIONS)]
        for i, p in enumerate(processes):
            p.stdin.write(f"hello {i}\n".encode())
            p.stdin.flush()
        answers = [read_line(p.stdout.fileno(), 120) for p in processes]
        alive = sum(p.poll() is None for p in processes)
        for p in processes:
            p.stdin.close()
        ended = []
        for p in processes:
            try:
                ended.append(p.wait(60))
            except subprocess.TimeoutExpired:
                p.kill()
                ended.append("none")
    right = sum(a == f"hello {i}" and c == i % 7 for i, (a, c) in enumerate(zip(answers, ended)))
    wrong = [(i, a, c, p.stderr.read()[-200:]) for i, (a, c, p) in enumerate(zip(answers, ended, processes)) if a != f"hello {i}" or c != i % 7]
    judge(right == SESSIONS and alive == SESSIONS, f"kubectl {version}: {SESSIONS} sessions at once, {alive} open together, {right} right; memory {memory.told()}" +
          (f"; wrong: {wrong[:3]}" if wrong else ""))


def held(server):
    """Files and inotify watches that each process has open."""
    found = {}
    for pid in [server.process.pid, *server.children()]:
        watches = 0
        for fd in os.listdir(f"/proc/{pid}/fdinfo"):
            try:
                with open(f"/proc/{pid}/fdinfo/{fd}", encoding="utf-8") as f:
                    watches += sum(line.startswith("inotify ") for line in f)
            except OSError:
                pass  # closed meanwhile
        found[name_of(pid)] = (len(os.listdir(f"/proc/{pid}/fd")), watches)
    return found


def in_turn(server, kubectl, version, count):
    """Small commands, one after the other, every other one with input: what they say and how they end is theirs, and nothing of them is left."""
    def one(i):
        given = f"input {i}" if i % 2 else None
        script = f"{'cat' if given else f'echo input {i}'}; echo errors {i} >&2; exit {i % 7}"
        done = kubectl.run("exec", *(["-i"] if given else []), "box", "--", "sh", "-c", script, stdin=given)
        return done if done.returncode != i % 7 or done.stdout.strip() != f"input {i}" or f"errors {i}" not in done.stderr else None
    for i in range(20):
        one(i)
    time.sleep(2)
    before, wrong = held(server), []
    with Memory(server) as memory:
        for i in range(count):
            if bad := one(i):
                wrong.append((i, bad.returncode, bad.stdout[-100:], bad.stderr[-200:]))
    end = time.monotonic() + 120  # what rests is closed in time: connections, watches for commands that were too quick to be seen
    while (after := held(server)) != before and time.monotonic() < end:
        time.sleep(1)
    more = {name: (before.get(name), now) for name, now in after.items() if any(a > b for a, b in zip(now, before.get(name, (0, 0))))}
    judge(not wrong, f"kubectl {version}: {count - len(wrong)} of {count} commands in turn right; memory {memory.told()}" + (f"; wrong: {wrong[:3]}" if wrong else ""))
    judge(not more, f"kubectl {version}: no file and no inotify watch more than before" + (f": (files, watches) before and after {more}" if more else ""))
    judge(memory.growth() < FLAT_KIB, f"kubectl {version}: {count} commands in turn: memory flat")


def read_line(fd, seconds):
    text, end = b"", time.monotonic() + seconds
    while not text.endswith(b"\n") and select.select([fd], [], [], max(0, end - time.monotonic()))[0]:
        piece = os.read(fd, 4096)
        if not piece:
            break
        text += piece
    return text.decode(errors="replace").strip()


def never_cut(kubectl, version, count, folder):
    """Outputs of some MiB, four sessions at a time, half of them through cat: whole, every one."""
    size = 3 << 20
    data = os.path.join(folder, "part")
    piece = os.urandom(size)
    with open(data, "wb") as f:
        f.write(piece)
    wanted = hashlib.sha256(piece).hexdigest()
    assert passed(kubectl, "sh", "-c", "cat > /data/part; echo done", stdin=data)[2] == 0

    def one(i):
        if i % 2:
            return passed(kubectl, "cat", stdin=data, seconds=120)
        return passed(kubectl, "dd", "if=/data/part", "bs=64k", "status=none", seconds=120)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        results = list(pool.map(one, range(count)))
    bad = [(i, length, code, errors[-200:]) for i, (sha, length, code, errors) in enumerate(results) if sha != wanted or code]
    judge(not bad, f"kubectl {version}: {count - len(bad)} of {count} outputs of {size >> 20} MiB whole, with code 0" + (f": {bad[:5]}" if bad else ""))


def run():
    server = Server()
    server.add_images("busybox")
    try:
        server.start().wait_ready().wait_images("busybox:test")
        space = Space(server)
        space.box(container={"volumeMounts": [{"name": "data", "mountPath": "/data"}]}, volumes=[{"name": "data", "emptyDir": {}}])
        space.wait_pod("box")
        with tempfile.TemporaryDirectory() as folder:
            data, wanted = random_file(folder)
            for version, program in KUBECTLS:
                say(f"kubectl {version}")
                kubectl = Kubectl(program, server, folder, space.name)
                codes(kubectl, version)
                resize(kubectl, version)
                large(server, kubectl, version, data, wanted)
                crowd(server, kubectl, version)
                in_turn(server, kubectl, version, EXECS // len(KUBECTLS))
                never_cut(kubectl, version, EXECS // len(KUBECTLS), folder)
    finally:
        server.end()
