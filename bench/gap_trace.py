#!/usr/bin/env python3
"""What took a long gap between two acknowledged writes: reads the files of `load … gap --trace FOLDER` (make bench-gap TRACE=FOLDER).

usage: gap_trace.py FILE…       some lines each: who had the processors, what the store waited for, which threads waited for a processor
       gap_trace.py -v FILE…    and every stretch of at least 0.1 ms, in order, with what the disk did
"""
import collections
import re
import signal
import sys

LINE = re.compile(r"^\s*(?P<task>.+)-(?P<pid>\d+)\s+\(\s*(?P<program>[\d-]+)\) \[(?P<cpu>\d+)\] \S+\s+(?P<at>[\d.]+): (?P<event>\w+)(?:: |\()(?P<rest>.*)$")
SWITCH = re.compile(r"prev_comm=(?P<prev>.*) prev_pid=(?P<prev_pid>\d+) prev_prio=-?\d+ prev_state=(?P<state>\S+) ==> "
                    r"next_comm=(?P<next>.*) next_pid=(?P<next_pid>\d+) ")
WAKING = re.compile(r"comm=(?P<comm>.*) pid=(?P<pid>\d+) prio=")
RUNTIME = re.compile(r"comm=.* pid=(?P<pid>\d+) runtime=(?P<ns>\d+)")
COUNTED = {  # by event; those of the server's threads by thread
    "page_fault_user": "page faults", "page_fault_kernel": "page faults", "sys_mmap": "mmap", "sys_munmap": "munmap", "sys_madvise": "madvise",
    "sys_mprotect": "mprotect", "sys_brk": "brk", "tlb_flush": "TLB flushes", "call_function_single_entry": "calls from the other processor",
    "call_function_entry": "calls from the other processor", "mm_vmscan_kswapd_wake": "kswapd woken", "mm_vmscan_direct_reclaim_begin": "pages reclaimed by who wants some"}
KERNEL = ("kworker", "ksoftirqd", "migration", "rcu_", "jbd2", "kswapd", "kcompactd", "kdamond", "khugepaged")
STRETCH = 0.0001  # s, shorter ones are not told one by one
BEFORE = 0.006    # s, what is told of the time before the gap


class Stretch:
    """A thread in one state: it "ran" on a processor, was "late" (it could have run), or "waits"."""
    def __init__(self, pid, state, began, cpu=None, why=""):
        self.pid, self.state, self.began, self.cpu, self.why, self.ended = pid, state, began, cpu, why, began
        self.worked = 0  # ms

    def taken(self):
        """By the machine below us: the clock went on and the thread's own did not."""
        return max(0, self.within(self.began, self.ended) - self.worked) if self.state == "ran" and self.worked else 0

    def within(self, began, ended):
        return 1000 * max(0, min(self.ended, ended) - max(self.began, began))


class Trace:
    def __init__(self, path):
        with open(path, encoding="utf-8", errors="replace") as f:
            head, *lines = f
        words = head.split()
        said = {words[i]: words[i + 1] for i in range(1, len(words) - 1, 2)}
        self.began, self.ended = float(said["began"]), float(said["ended"])
        self.about = f"the client worked for {said['client_ms']} ms, the disk's probe waited for {said['disk_ms']}"
        self.programs = {"server": said["server"].split(","), "client": [said["client"]]}
        self.names, self.program = {}, {}  # by thread
        self.counts = collections.defaultdict(collections.Counter)  # what happened, by thread
        self.stretches, self.marks, self.stacks = [], [], collections.defaultdict(list)
        self.at_it, self.first, self.last_switch, self.processors = {}, None, None, set()
        for line in lines:
            self.take(line)
        for s in list(self.at_it.values()):
            self.end(s, self.ended)

    def take(self, line):
        if found := LINE.match(line):
            at, pid = float(found["at"]), int(found["pid"])
            self.first = self.first or at
            self.program[pid] = found["program"]
            self.processors.add(found["cpu"])
            if found["event"] == "sched_switch":
                self.switch(at, int(found["cpu"]), SWITCH.match(found["rest"]))
            elif found["event"] == "sched_stat_runtime":
                self.runtime(RUNTIME.match(found["rest"]))
            elif found["event"] == "sched_waking":
                self.waking(at, WAKING.match(found["rest"]), found["task"].strip())
            elif found["event"] in COUNTED:
                if self.began <= at <= self.ended:
                    self.counts[COUNTED[found["event"]]][(pid, found["task"].strip())] += 1
            else:
                self.marks.append((at, found["task"].strip(), found["event"], found["rest"]))
        elif "=>" in line and self.last_switch:
            self.stacks[self.last_switch].append(line.replace("=>", "").strip().split("+")[0])

    def switch(self, at, cpu, s):
        if not s:
            return
        before, after = int(s["prev_pid"]), int(s["next_pid"])
        self.last_switch = None
        if before:
            if before not in self.at_it:  # since before the trace
                self.at_it[before] = Stretch(before, "ran", self.first, cpu)
            self.change(before, s["prev"], Stretch(before, "late" if s["state"].startswith("R") else "waits", at, why=s["state"]))
            self.last_switch = (before, at)
        if after:
            self.change(after, s["next"], Stretch(after, "ran", at, cpu))

    def waking(self, at, w, by):
        pid = int(w["pid"]) if w else 0
        if pid and (pid not in self.at_it or self.at_it[pid].state == "waits"):
            self.change(pid, w["comm"], Stretch(pid, "late", at, why=f"woken by {by}"))

    def runtime(self, r):
        s = self.at_it.get(int(r["pid"])) if r else None
        if s and s.state == "ran":
            s.worked += int(r["ns"]) / 1e6

    def change(self, pid, name, stretch):
        self.names[pid] = name
        if pid in self.at_it:
            self.end(self.at_it[pid], stretch.began)
        self.at_it[pid] = stretch

    def end(self, stretch, at):
        stretch.ended = at
        self.stretches.append(stretch)

    def whose(self, pid):
        for who, pids in self.programs.items():
            if self.program.get(pid) in pids:
                return who
        return "kernel" if self.names[pid].startswith(KERNEL) else "others"

    def name(self, pid):
        return self.names[pid] + ("" if self.whose(pid) in ("server", "client") else "*")

    def sums(self, state, by, began=None, ended=None):
        total = collections.Counter()
        for s in self.stretches:
            if s.state == state and (t := s.within(began or self.began, ended or self.ended)):
                total[by(s.pid)] += t
        return total

    def taken(self):
        """By thread; of stretches that are in the gap."""
        total = collections.Counter()
        for s in self.stretches:
            if s.began >= self.began:
                total[self.name(s.pid)] += s.taken()
        return total

    def store(self, state, why=""):
        return sum(s.within(self.began, self.ended) for s in self.stretches
                   if s.state == state and s.why.startswith(why) and self.names[s.pid] == "store" and self.whose(s.pid) == "server")


def most(total, n, least=0.1):
    return ", ".join(f"{name} {t:.1f}" for name, t in total.most_common(n) if t >= least) or "none"


def summary(t):
    room = 1000 * (t.ended - t.began)
    whose = t.sums("ran", t.whose)
    print(f"  {room:.1f} ms; {t.about}")
    print(f"  processors (ms; of {len(t.processors) * room:.1f}): {most(whose, 4)}; threads (*: of other programs): {most(t.sums('ran', t.name), 12)}")
    print(f"  of that the machine below took (ms): {sum(t.taken().values()):.1f}; {most(t.taken(), 5)}")
    print(f"  the store's thread ran for {t.store('ran'):.1f} ms, waited for the disk {t.store('waits', 'D'):.1f}, for a processor {t.store('late'):.1f}, "
          f"for work {t.store('waits', 'S'):.1f}")
    for what, by in sorted(t.counts.items()):
        names = collections.Counter()
        for (pid, name), n in by.items():
            names[name + ("" if t.program.get(pid) in t.programs["server"] + t.programs["client"] else "*")] += n
        print(f"  {what}: {sum(by.values())}; " + ", ".join(f"{name} {n}" for name, n in names.most_common(6)))
    late = [s for s in t.stretches if s.state == "late" and s.within(t.began, t.ended) >= 1 and t.whose(s.pid) == "server"]
    for s in sorted(late, key=lambda s: -s.within(t.began, t.ended))[:5]:
        print(f"  {t.names[s.pid]}-{s.pid} waited {1000 * (s.ended - s.began):.1f} ms for a processor from {1000 * (s.began - t.began):+.1f} on ({s.why}); "
              f"meanwhile ran: {most(t.sums('ran', t.name, s.began, s.ended), 5)}")


def timeline(t):
    rows = []
    for s in t.stretches:
        if s.ended - s.began >= STRETCH and s.ended > t.began - BEFORE:
            stack = " < ".join(t.stacks.get((s.pid, s.began), [])[3:14]) if s.state == "waits" else ""
            place = f" on {s.cpu}" if s.cpu is not None else ""
            rows.append((s.began, f"{1000 * (s.ended - s.began):7.2f} ms  {s.state:5} {t.name(s.pid)}-{s.pid}{place} {s.why} {stack}"))
    rows += [(at, f"            {what} by {who}: {rest[:100]}") for at, who, what, rest in t.marks]
    for at, text in sorted(rows):
        print(f"  {1000 * (at - t.began):+8.2f} {text}")


def main():
    verbose = sys.argv[1:2] == ["-v"]
    for path in sys.argv[1 + verbose:]:
        t = Trace(path)
        print(path)
        summary(t)
        if verbose:
            timeline(t)


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # "| head" has enough: end, as other programs do
    main()
