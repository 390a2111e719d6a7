"""What all parts share: verdicts that are printed as they come, figures, and the memory of a server's processes."""
import os
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.dirname(HERE), os.path.join(os.path.dirname(HERE), "e2e")]
from server import Server  # noqa: E402

FAILURES, BEGAN = [], time.monotonic()


def say(text):
    print(f"{time.monotonic() - BEGAN:7.1f}  {text}", flush=True)


def judge(fine, text):
    say(("ok      " if fine else "FAILED  ") + text)
    if not fine:
        FAILURES.append(text)
        Server.failures += 1
    return fine


def number(name, default):
    return int(os.environ.get(name, default))


# ---- memory ------------------------------------------------------------------------------------------------------------

def pss(pid):
    """KiB that this process costs: its share of what is resident and swapped."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as f:
            return sum(int(line.split()[1]) for line in f if line.startswith(("Pss:", "SwapPss:")))
    except (OSError, ValueError):
        return 0


def name_of(pid):
    with open(f"/proc/{pid}/comm", encoding="utf-8") as f:
        return f.read().strip()


class Memory(threading.Thread):
    """The largest Pss of each of the server's processes while it is open, beside what it was before."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.pids = {server.process.pid: "supervisor", **{pid: name_of(pid) for pid in server.children()}}
        self.before = {pid: pss(pid) for pid in self.pids}
        self.most, self.ending = dict(self.before), threading.Event()

    def run(self):
        while not self.ending.wait(0.2):
            for pid in self.pids:
                self.most[pid] = max(self.most[pid], pss(pid))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        self.join()

    def growth(self):
        return max(self.most[pid] - self.before[pid] for pid in self.pids)

    def told(self):
        return ", ".join(f"{name} {self.before[pid] / 1024:.1f} → {self.most[pid] / 1024:.1f}" for pid, name in self.pids.items()) + " MiB"
