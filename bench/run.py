#!/usr/bin/env python3
"""make bench: measures Kogge on this machine and writes build/bench/results.md; about ten minutes, as root.

PEER_KUBECONFIG and PEER_PIDS (comma-separated) name another API server that runs meanwhile: the API figures are then taken of both, in
alternating rounds, and told as ratios. BEFORE=PROGRAM: the same with another `kogge`, an older one, which is started too; of large definitions as well.
QUICK=1: short spans, to see that all of it works. ONLY=pods or ONLY=api: one half.
ONLY=node: what pods wait for on a node: starts, ends, crashes, changed objects, and the node process's memory with 100 of them.
ONLY=gap (make bench-gap): the longest times without an acknowledged write in MINUTES (10), beside the disk's own; nothing else. FILL=0: free
memory stays free. TRACE=FOLDER:
what the kernel did in those that the disk does not explain, for bench/gap_trace.py.
ONLY=api MODE=watch: of the API figures only those of one mode of bench/load; ROUNDS: how many rounds.
ONLY=crds: custom kinds alone, on a server with its controllers; of large definitions one a round.
ONLY=scheduler: bindings a second through the API; KINDS="plain near": these pods only (bench/pods.h tells of them).
"""
import ipaddress
import json
import os
import re
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(TOP, "tests"), os.path.join(TOP, "tests", "e2e")]
sys.dont_write_bytecode = True
from logind import Logind  # noqa: E402
from kube import ApiError, Watcher, is_ready, path, until  # noqa: E402
from server import KOGGE, Server  # noqa: E402

BUILD = os.path.join(TOP, "build", "release", "bench")
QUICK = bool(os.environ.get("QUICK"))
ROUNDS = int(os.environ.get("ROUNDS", 2 if QUICK else 5))
MODE = os.environ.get("MODE")
BEFORE = os.environ.get("BEFORE")
TICK = os.sysconf("SC_CLK_TCK")
ROWS = []
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def row(what, figure, aim=""):
    ROWS.append(f"| {what} | {figure} | {aim} |")
    print(f"{what}: {figure}  {'(aim ' + aim + ')' if aim else ''}", flush=True)


def section(title, *columns):
    ROWS.extend(["", f"## {title}", "", "| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)])
    print(f"\n== {title}", flush=True)


def run(program, *args, seconds=300, nice=0):
    command = ["nice", "-n", str(nice), os.path.join(BUILD, program), *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    if done.returncode:
        raise RuntimeError(f"{program} {args}: code {done.returncode}: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


# ---- processes -----------------------------------------------------------------------------------------------------

def pss_kib(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as f:
        return sum(int(line.split()[1]) for line in f if line.startswith(("Pss:", "SwapPss:")))


def cpu_s(pids):
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
            total += sum(map(int, f.read().rsplit(")", 1)[1].split()[11:13]))
    return total / TICK


def processes(server):
    """Name and pid of each process that Kogge starts, but containerd and shims."""
    found = {"supervisor": server.process.pid}
    for pid in server.children():
        with open(f"/proc/{pid}/comm", encoding="utf-8") as f:
            found[f.read().strip()] = pid
    return found


def at_rest(server, when):
    found, samples, seconds = processes(server), [], 10 if QUICK else 60
    before, began = cpu_s(found.values()), time.monotonic()
    while time.monotonic() - began < seconds:
        samples.append({name: pss_kib(pid) for name, pid in found.items()})
        time.sleep(1)
    server.kube = server.kube.clone()  # the server closes connections that rest this long
    busy = (cpu_s(found.values()) - before) / (time.monotonic() - began)
    each = {name: statistics.median(s[name] for s in samples) / 1024 for name in found}
    total = statistics.median(sum(s.values()) for s in samples) / 1024
    row(f"Pss + SwapPss {when}", f"{total:.1f} MiB ({', '.join(f'{n} {v:.1f}' for n, v in each.items())})", "≤ 32 MiB")
    row(f"idle CPU {when}", f"{100 * busy:.2f} % of a core", "≤ 0.4 %")


# ---- pods ------------------------------------------------------------------------------------------------------------

def pod(name):
    command = ["sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait"]
    return {"metadata": {"name": name}, "spec": {"terminationGracePeriodSeconds": 1,
            "containers": [{"name": "box", "image": "busybox:test", "imagePullPolicy": "Never", "command": command}]}}


def seen(watcher, name, wanted, since, seconds=60):
    """When the first event after `since` came that says what is wanted."""
    def find():
        with watcher.changed:
            return next((at for at, kind, o in watcher.events if at >= since and o["metadata"]["name"] == name and wanted(kind, o)), None)
    return until(find, seconds, f"pod {name}", every=0.005)


def one_after_another(server, n):
    pods, watcher = path("pods", "default"), Watcher(server.kube, path("pods", "default"))
    ready, gone = [], []
    for i in range(n):
        name, began = f"one-{i}", time.monotonic()
        server.kube.create(pods, pod(name))
        ready.append(seen(watcher, name, lambda kind, o: kind != "DELETED" and is_ready(o), began) - began)
        began = time.monotonic()
        server.kube.delete(f"{pods}/{name}")
        gone.append(seen(watcher, name, lambda kind, o: kind == "DELETED", began) - began)
    return ready, gone


def at_once(server, n):
    pods, watcher, began = path("pods", "default"), Watcher(server.kube, path("pods", "default")), time.monotonic()
    for i in range(n):
        server.kube.create(pods, pod(f"burst-{i}"))
    last = max(seen(watcher, f"burst-{i}", lambda kind, o: kind != "DELETED" and is_ready(o), began, 120) for i in range(n)) - began
    ended = time.monotonic()
    for i in range(n):
        server.kube.delete(f"{pods}/burst-{i}")
    until(lambda: not server.kube.get(pods)["items"], 120, "all pods gone", every=0.05)
    return last, time.monotonic() - ended


def percentiles(values, unit=1000, what="ms"):
    values = sorted(values)
    return f"median {unit * statistics.median(values):.0f} {what} (least {unit * values[0]:.0f}, most {unit * values[-1]:.0f})"


def first_pod(server):
    """Created as soon as the API takes it, as kubectl would that is tried again and again."""
    def create():
        try:
            return server.kube.create(path("pods", "default"), pod("first"))
        except ApiError:
            return None  # no service account yet
    until(create, 30, "the first pod", every=0.005)
    until(lambda: is_ready(server.kube.get(path("pods", "default", "first"))), 60, "the first pod Ready", every=0.005)


def starts(times):
    figures = {"API answers": [], "node Ready": [], "first pod Ready": []}
    for _ in range(times):
        server = Server()
        server.flags[server.flags.index("debug")] = "info"
        server.add_images("busybox")
        try:
            server.start().wait_api()
            figures["API answers"].append(time.monotonic() - server.started)
            clone, done = server.kube.clone(), {}

            def wait_node():
                until(lambda: any(is_ready(n) for n in clone.get(path("nodes"))["items"]), 60, "a Ready node", every=0.005)
                done["node"] = time.monotonic() - server.started
            other = threading.Thread(target=wait_node)
            other.start()
            first_pod(server)
            figures["first pod Ready"].append(time.monotonic() - server.started)
            other.join()
            figures["node Ready"].append(done["node"])
        finally:
            server.end()
    for (what, values), aim in zip(figures.items(), ("150 ms", "1000 ms", "2000 ms")):
        row(f"start → {what}", percentiles(values), aim)


def quiet_server(**env):
    """A ready one with its image that logs as an installed one does."""
    server = Server()
    server.flags[server.flags.index("debug")] = "info"
    server.add_images("busybox")
    return server.start(**env).wait_ready().wait_images("busybox:test")


def cluster_half():
    section("A cluster of one node", "what", "figure", "aim")
    row("program", f"{os.path.getsize(KOGGE) / 1e6:.2f} MB")
    starts(2 if QUICK else 5)
    server = quiet_server()
    try:
        time.sleep(5 if QUICK else 60)
        at_rest(server, f"{5 if QUICK else 60} s after Ready")
        pod_times(server)
        time.sleep(5)
        at_rest(server, "after the pods")
        time.sleep(0 if QUICK else 45)
        at_rest(server, "from 110 s after the pods on")
    finally:
        server.end()


def as_made(server):
    """The pod as the API has it and the agent runs it; volumes that come from the API are folders, as they are for the runtime."""
    server.kube.create(path("pods", "default"), pod("model"))
    found = until(lambda: (p := server.kube.get(path("pods", "default", "model"))) and is_ready(p) and p, 60, "the model")
    server.kube.delete(path("pods", "default", "model"))
    for volume in found["spec"]["volumes"]:
        volume["emptyDir"] = {"medium": "Memory"} if volume.pop("projected", None) else {}
    return found


class Floor:
    """The runtime's own time for what the agent has it do."""

    def __init__(self, server):
        self.socket, self.folder = f"/run/kogge-{server.slot.instance}/containerd.sock", os.path.join(server.data, "floor")
        os.makedirs(self.folder)
        self.pod = os.path.join(self.folder, "pod.json")
        self.dns = str(ipaddress.ip_network(server.slot.services)[10])
        with open(self.pod, "w", encoding="utf-8") as f:
            json.dump(as_made(server), f)

    def time(self, n, at_once=1):
        return run("cri", self.socket, self.folder, self.pod, n, at_once, self.dns)


def pod_times(server):
    floor = Floor(server)
    n, rounds = (3, 1) if QUICK else (5, 4)
    ready, gone, bare = [], [], []
    for _ in range(rounds):  # alternating, so that both see the same machine
        bare.append(floor.time(n)["median_ms"])
        r, g = one_after_another(server, n)
        ready, gone = ready + r, gone + g
    bare = statistics.median(bare)
    row("bare runtime calls of one pod", f"median {bare:.0f} ms")
    row("one pod create → Ready", percentiles(ready) + f", {1000 * statistics.median(ready) / bare:.2f} × the bare calls", "≤ 1.5 ×")
    row("delete → gone, grace 1 s, ends at once when asked", percentiles(gone), "≤ 1300 ms")
    bursts, bares = [], {4: [], 30: []}
    for _ in range(1 if QUICK else 3):
        for at_once_, times in bares.items():
            times.append(floor.time(30, at_once_)["total_s"])
            bursts.append(at_once(server, 30))
    burst, told = statistics.median(b[0] for b in bursts), {k: statistics.median(v) for k, v in bares.items()}
    row("30 pods at once, all Ready", f"{burst:.2f} s ({min(bursts)[0]:.2f} to {max(bursts)[0]:.2f}); bare calls, 30 at a time {told[30]:.2f} s: "
        f"{burst / told[30]:.2f} ×; 4 at a time {told[4]:.2f} s: {burst / told[4]:.2f} ×", "≤ 1.2 ×")
    row("30 pods deleted at once, all gone", f"{statistics.median(b[1] for b in bursts):.2f} s")


# ---- what pods wait for on a node ------------------------------------------------------------------------------------

def main_process(server, name):
    """Pid of the container's first process: the one that has this word in its command."""
    for pid in server.containers():
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            if name.encode() in f.read():
                return pid
    return None


def crashes(server, n):
    """From kill -9 of a container's process to the event that a watch has of it."""
    pods, watcher, took = path("pods", "default"), Watcher(server.kube, path("pods", "default")), []
    for i in range(n):
        name = f"crash-{i}"
        body = pod(name)
        body["spec"].update(restartPolicy="Never")
        body["spec"]["containers"][0]["command"] = ["sh", "-c", f": {name}; sleep 1000 & wait"]
        began = time.monotonic()
        server.kube.create(pods, body)
        seen(watcher, name, lambda kind, o: kind != "DELETED" and is_ready(o), began)
        time.sleep(0.2)
        pid, began = until(lambda n=name: main_process(server, n), 5, "its process"), time.monotonic()
        os.kill(pid, signal.SIGKILL)
        took.append(seen(watcher, name, lambda kind, o: o["status"].get("phase") == "Failed", began) - began)
        server.kube.delete(f"{pods}/{name}")
    return took


def edits(server, n):
    """From the API's answer to a changed ConfigMap to the file as the container's process has it."""
    maps, pods, took = path("configmaps", "default"), path("pods", "default"), []
    server.kube.create(maps, {"metadata": {"name": "edited"}, "data": {"key": "start"}})
    body = pod("reader")
    body["spec"]["volumes"] = [{"name": "v", "configMap": {"name": "edited"}}]
    body["spec"]["containers"][0].update(volumeMounts=[{"name": "v", "mountPath": "/v"}], command=["sh", "-c", ": reader; sleep 1000 & wait"])
    server.kube.create(pods, body)
    until(lambda: is_ready(server.kube.get(f"{pods}/reader")), 60, "the reader")
    file = f"/proc/{until(lambda: main_process(server, 'reader'), 5, 'its process')}/root/v/key"

    def has(text):
        with open(file, encoding="utf-8") as f:
            return f.read() == text
    for i in range(n):
        time.sleep(0.3)
        server.kube.patch(f"{maps}/edited", {"data": {"key": f"edit {i}"}})
        began = time.monotonic()
        until(lambda text=f"edit {i}": has(text), 30, "the file", every=0.001)
        took.append(time.monotonic() - began)
    server.kube.delete(f"{pods}/reader")
    return took


def many(server, n):
    """n pods that mount an object each beside their token; MiB of the node process with them."""
    pods = path("pods", "default")
    server.kube.create(path("configmaps", "default"), {"metadata": {"name": "common"}, "data": {"key": "value"}})
    for i in range(n):
        body = pod(f"many-{i}")
        body["spec"]["volumes"] = [{"name": "v", "configMap": {"name": "common"}}]
        body["spec"]["containers"][0]["volumeMounts"] = [{"name": "v", "mountPath": "/v"}]
        server.kube.create(pods, body)
    until(lambda: sum(is_ready(p) for p in server.kube.get(pods)["items"] if p["metadata"]["name"].startswith("many-")) == n, 180, "many pods", every=1)
    time.sleep(5 if QUICK else 20)
    node = processes(server)["kogge-node"]
    return statistics.median(pss_kib(node) for _ in range(5)) / 1024


def many_alone(n, **env):
    server = quiet_server(**env)
    try:
        return many(server, n)
    finally:
        server.end()


def many_with_logind(n):
    """The same where systemd-logind is there, whose library the node process then loads."""
    with tempfile.TemporaryDirectory() as folder:
        logind = Logind(folder, delay_s=60)
        try:
            return many_alone(n, DBUS_SYSTEM_BUS_ADDRESS=logind.address)
        finally:
            logind.end()


def node_part():
    """What it takes with many pods is measured before and after everything else."""
    count = 20 if QUICK else 100
    section("Pods on a node", "what", "figure", "aim")
    server = quiet_server()
    try:
        pod_times(server)
        row("kill -9 of a container's process → its pod's status at a watch", percentiles(crashes(server, 3 if QUICK else 20)), "≤ 100 ms")
        row("ConfigMap edit answered → in the volume", percentiles(edits(server, 3 if QUICK else 20)), "≤ 200 ms")
        after = many(server, count)
    finally:
        server.end()
    row(f"node process with {count} pods, Pss + SwapPss", f"{many_alone(count):.1f} MiB; {after:.1f} MiB after all of the above", "≤ 12 MiB")
    if shutil.which("dbus-daemon"):
        row("the same beside a logind", f"{many_with_logind(count):.1f} MiB", "≤ 12 MiB")


# ---- the API -----------------------------------------------------------------------------------------------------------

SPAN = 1 if QUICK else 2
LOADS = [  # what, mode, options, figure, unit, by how much less than the peer
    ("durable create, 1 client", "create", {"clients": 1, "seconds": SPAN}, "cpu_us_each", "µs CPU", ""),
    ("durable create, 16 clients", "create", {"clients": 16, "seconds": SPAN}, "cpu_us_each", "µs CPU", ""),
    ("durable create, 64 clients", "create", {"clients": 64, "seconds": SPAN}, "cpu_us_each", "µs CPU", "≥ 10 ×"),
    ("GET, 1 client", "get", {"clients": 1, "seconds": SPAN}, "cpu_us_each", "µs CPU", ""),
    ("GET, 16 clients", "get", {"clients": 16, "seconds": SPAN}, "cpu_us_each", "µs CPU", ""),
    ("GET, 64 clients", "get", {"clients": 64, "seconds": SPAN}, "cpu_us_each", "µs CPU", "≥ 20 ×"),
    ("LIST of 5,000 × 1 KB", "list", {"seconds": SPAN, "size": 1024, "count": 5000, "clients": 16}, "p50_ms", "ms", "≥ 10 ×"),
    ("LIST of 5,000 × 1 KB, resourceVersion=0", "list", {"seconds": SPAN, "size": 1024, "count": 5000, "clients": 16, "cached": 1}, "p50_ms", "ms", ""),
    ("watch event, 500 watchers, 200 writes/s", "watch", {"count": 500, "rate": 200, "seconds": SPAN}, "cpu_us_each", "µs CPU", "≥ 10 ×"),
]
LOADS = [x for x in LOADS if MODE in (None, x[1])]


def load(kubeconfig, pids, namespace, mode, options, **how):
    flags = [x for k, v in options.items() for x in (f"--{k}", v)]
    return run("load", "--kubeconfig", kubeconfig, "--pids", ",".join(map(str, pids)), "--namespace", namespace, mode, *flags, **how)


def told(results, figure, unit):
    text = f"{statistics.median(r[figure] for r in results):.4g} {unit}"
    if "per_s" in results[0]:
        text += f", {statistics.median(r['per_s'] for r in results):.0f}/s"
    return text


def agreed(kubeconfig):
    """TLS version, cipher and HTTP that the server chooses for who offers what bench/load does: OpenSSL's own list, HTTP/2 first."""
    with open(kubeconfig, encoding="utf-8") as f:
        host, port = re.search(r"server: *\"?https://\[?([^\]/\s\"]+)\]?:(\d+)", f.read()).groups()
    offer = ssl.create_default_context()
    offer.check_hostname, offer.verify_mode = False, ssl.CERT_NONE
    offer.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_connection((host, int(port))) as plain, offer.wrap_socket(plain) as s:
        return f"{s.version()} {s.cipher()[0]} {s.selected_alpn_protocol()}"


def compare(targets):
    columns = ["what", *targets, "ratio", "aim"] if len(targets) > 1 else ["what", *targets, "aim"]
    section(f"The API, medians of {ROUNDS} alternating rounds", *columns)
    connections = [agreed(kubeconfig) for kubeconfig, _ in targets.values()]
    ROWS.append("| " + " | ".join(["connection", *connections, *[""] * (len(columns) - 1 - len(targets))]) + " |")
    print(ROWS[-1], flush=True)
    results = {(name, i): [] for name in targets for i in range(len(LOADS))}
    for r in range(ROUNDS):
        for i, (_, mode, options, *_) in enumerate(LOADS):
            for name, (kubeconfig, pids) in targets.items():
                results[name, i].append(load(kubeconfig, pids, f"bench-{os.getpid()}-{i}-{r}", mode, options))
    for i, (what, _, _, figure, unit, aim) in enumerate(LOADS):
        cells = [told(results[name, i], figure, unit) for name in targets]
        if len(targets) > 1:
            mine, *others = (statistics.median(r[figure] for r in results[name, i]) for name in targets)
            cells.append(", ".join(f"{theirs / mine:.3g} ×" for theirs in others))
        ROWS.append("| " + " | ".join([what, *cells, aim]) + " |")
        print(ROWS[-1], flush=True)


def syncs_of(pids, work):
    """How often these processes synced a file while work() ran, and what it returned; perf counts, at almost no cost."""
    events = [x for name in ("fdatasync", "fsync") for x in ("-e", f"syscalls:sys_enter_{name}")]
    perf = subprocess.Popen(["perf", "stat", "-x", ",", *events, "-p", ",".join(map(str, pids))], stderr=subprocess.PIPE, text=True)
    time.sleep(0.5)
    try:
        result = work()
    finally:
        perf.send_signal(signal.SIGINT)
        counted = perf.communicate()[1]
    return sum(int(line.split(",")[0]) for line in counted.splitlines() if "sys_enter" in line), result


def count_syncs(targets):
    if not shutil.which("perf"):
        return
    section("fdatasync and fsync calls for each acknowledged create, checkpoints included", "clients", *targets)
    for clients in (1, 16, 64):
        cells = []
        for name, (kubeconfig, pids) in targets.items():
            n, r = syncs_of(pids, lambda k=kubeconfig, p=pids: load(k, p, "syncs", "create", {"clients": clients, "seconds": SPAN}))
            cells.append(f"{n / r['n']:.3f} ({n} for {r['n']})")
        ROWS.append("| " + " | ".join([str(clients), *cells]) + " |")
        print(ROWS[-1], flush=True)


def start(server, program=KOGGE):
    server.program = program
    server.flags[server.flags.index("debug")] = "info"
    return server.start().wait_api()


def without_node(without, program=KOGGE, **how):
    return start(Server(node=False, flags=["--without", without], **how), program)


def api_server(program=KOGGE):
    """As the peer runs: without what acts on objects."""
    return without_node("scheduler,controllers", program)


def programs():
    return {"Kogge": KOGGE, "before": BEFORE} if BEFORE else {"Kogge": KOGGE}


def api_half():
    servers = {name: api_server(program) for name, program in programs().items()}
    targets = {name: (server.kubeconfig, processes(server).values()) for name, server in servers.items()}
    if peer := os.environ.get("PEER_KUBECONFIG"):
        targets["peer"] = (peer, os.environ["PEER_PIDS"].split(","))
    try:
        compare(targets)
        if not MODE:
            count_syncs(targets)
    finally:
        for server in servers.values():
            server.end()
    if not MODE:
        for name, program in programs().items():
            api_memory(name, program)


def api_memory(name, program):
    section(f"Memory of the API's processes, {name}", "what", "figure", "aim")
    server = api_server(program)
    pids = list(processes(server).values())
    try:
        watches = load(server.kubeconfig, pids, "idle", "watches", {"count": 1000 if QUICK else 10000})
        row(f"{watches['watches']} idle watches, {watches['told']} told of a change", f"{watches['bytes_each']} bytes each", "≤ 4096")
        objects = load(server.kubeconfig, pids, "many", "objects", {"count": 5000 if QUICK else 50000})
        row(f"{objects['pods']} pods of {objects['json_bytes_each']} bytes of JSON", f"{objects['bytes_each']} bytes each, {objects['ratio']} × the JSON", "≤ 1.7 ×")
    finally:
        server.end()


def prefer(server):
    """Gives the server's processes precedence over other programs of the machine, which are not what is measured."""
    for pid in processes(server).values():
        for thread in os.listdir(f"/proc/{pid}/task"):
            os.setpriority(os.PRIO_PROCESS, int(thread), max(-20, os.getpriority(os.PRIO_PROCESS, int(thread)) - 20))
        if os.path.exists(f"/proc/{pid}/autogroup"):  # a session's processes share a weight
            with open(f"/proc/{pid}/autogroup", "w", encoding="utf-8") as f:
                f.write("-20")


def memory_in_use(path):
    """Some machines below ours take free memory back, and each page's next use costs ten times as much. So a file takes what is free, of the pages of
    which the kernel makes others. Gives its size in MiB."""
    with open("/proc/meminfo", encoding="utf-8") as f:
        free = next(int(line.split()[1]) for line in f if line.startswith("MemFree:")) >> 10
    size = min(free - 1024, (shutil.disk_usage(os.path.dirname(path)).free >> 20) - 40000)
    with open(path, "wb") as f:
        for _ in range(size):
            f.write(bytes(1 << 20))
        os.fsync(f.fileno())
    return max(0, size)


def gap_part():
    """The client has a processor whenever it wants one, so that a gap is the server's."""
    minutes = float(os.environ.get("MINUTES", 10))
    server = api_server()
    section(f"64 clients replace objects for {minutes:g} minutes", "what", "figure", "aim")
    options = {"clients": 64, "seconds": int(60 * minutes), "size": 1000, "probe": os.path.join(server.data, "probe")}
    if trace := os.environ.get("TRACE"):
        options |= {"trace": trace, "trace_ms": int(os.environ.get("TRACE_MS", 8))}
    try:
        filled = 0 if os.environ.get("FILL") == "0" else memory_in_use(os.path.join(server.data, "filler"))
        prefer(server)
        r = load(server.kubeconfig, processes(server).values(), "gap", "gap", options, seconds=60 * minutes + 300)
        row("longest time without an acknowledged write", f"{r['gap_ms']} ms; the disk's longest fdatasync beside it {r['disk_ms']} ms; a processor's longest pause {r['pause_ms']} ms")
        row("from the first request to the first acknowledged write: the server is cold", f"{r['first_ms']} ms")
        row("most of a gap in which the disk's probe did not wait", f"{r['beyond_disk_ms']} ms")
        row("most of a gap's own: without the pauses of the processors", f"{r['most_own'][0]['own_ms']} ms", "≤ 10 ms")
        row("gaps with more than 5, 6, 7, 8, 9, 10 ms of their own", ", ".join(str(n) for n in r["own_more"].values()))
        row("of others: slowed, arithmetic or near memory took 10 × the usual time, or far memory 4 ×", ", ".join(str(n) for n in r["slowed_more"].values()) + f"; the most {r['most_slowed_ms']} ms")
        for g in {g["at_s"]: g for g in r["longest"] + r["most_own"]}.values():
            row(f"a gap of {g['ms']} ms after {g['at_s']:.0f} s", f"disk {g['disk_ms']} ms, own {g['own_ms']} ms; the client worked for {g['client_ms']} ms; "
                f"{'slowed: ' if g['slowed'] else ''}the processors took {g['arithmetic']} × their usual time for arithmetic, {g['near']} × for near memory, {g['far']} × for far; "
                f"long stages of the store in that second: {g['stages'] or 'none'}")
        for what in ("arithmetic", "near", "far"):
            row(f"the same piece of {what if what == 'arithmetic' else what + ' memory'}, each ms on each processor: median, 99 %, 99.99 %, longest", ", ".join(f"{us:g}" for us in r[f"{what}_us"]) + " µs")
        row("fdatasync with nothing else at work, longest of 5 s", f"{r['disk_alone_ms']} ms")
        row("memory that a file kept in use", f"{filled} MiB")
        row("writes", f"{r['writes']}; the file has {os.path.getsize(os.path.join(server.data, 'control', 'store.db')) >> 20} MiB afterwards")
    finally:
        server.end()


def definition(plural, kind, properties):
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": f"{plural}.bench.example.com"},
            "spec": {"group": "bench.example.com", "scope": "Namespaced", "names": {"plural": plural, "kind": kind},
                     "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}]}}


def control_now(server):
    pid = processes(server)["kogge-control"]
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        threads = next(int(line.split()[1]) for line in f if line.startswith("Threads:"))
    return pss_kib(pid), threads


def ready_ms(kube, crd):
    """From the request's first byte until objects of the kind are served; what the client does to its JSON is not counted."""
    where, body = f"/apis/bench.example.com/v1/{crd['spec']['names']['plural']}", json.dumps(crd)
    began = time.monotonic()
    code, answer = kube.text("POST", CRDS, body)
    assert code == 201, answer
    created = time.monotonic()
    until(lambda: kube.get(where), 30, where, every=0.001)
    return (created - began) * 1000, (time.monotonic() - began) * 1000, len(body)


def large_definitions():
    """One a round, of each program in turn."""
    servers = {name: start(Server(node=False), program) for name, program in programs().items()}
    big = {f"field{i:05}": {"type": "string", "description": "x" * 60, "maxLength": 100} for i in range(8000)}
    times = {name: [] for name in servers}
    try:
        for i in range(ROUNDS):
            for name, server in servers.items():
                times[name].append(ready_ms(server.kube, definition(f"bigs{i}", f"Big{i}", big)))
    finally:
        for server in servers.values():
            server.end()
    for name, all_of_it in times.items():
        created, served, size = zip(*all_of_it)
        row(f"{name}: {ROUNDS} schemas of {size[0]} bytes: created / served", f"{statistics.median(created):.0f} / {statistics.median(served):.0f} ms, "
            f"the slowest {max(created):.0f} / {max(served):.0f}", "50 ms")


def crds_part():
    count = 50 if QUICK else 500
    section("Custom kinds", "what", "figure", "aim")
    large_definitions()
    server = Server(node=False).start().wait_api()
    try:
        time.sleep(3)
        before, threads = control_now(server)
        some = {f"field{i}": {"type": "string", "description": "x" * 60, "maxLength": 100} for i in range(60)}
        for i in range(count):
            ready_ms(server.kube, definition(f"things{i}", f"Thing{i}", some))
        time.sleep(5)
        after, more = control_now(server)
        row(f"{count} definitions", f"{(after - before) / 1024:.0f} MiB, {(after - before) / count:.0f} KiB and {(more - threads) / count:.2f} threads each", "≤ 100 MiB")
        control = [processes(server)["kogge-control"]]
        busy, began = cpu_s(control), time.monotonic()
        time.sleep(10)
        row("busy at rest with them", f"{100 * (cpu_s(control) - busy) / (time.monotonic() - began):.2f} % of a core")
    finally:
        server.end()


def bench_load(server, mode, **options):
    return load(server.kubeconfig, processes(server).values(), "bench", mode, {"clients": 50, **options}, seconds=600)


def bind_pending(kind, nodes, pods):
    """The pods are there before the scheduler starts: what it binds when it has nothing to wait for."""
    server = without_node("scheduler,controllers", ephemeral=False)
    try:
        bench_load(server, "nodes", nodes=nodes)
        bench_load(server, "pods", kind=kind, count=pods)
        server.stop()
        server.flags[server.flags.index("scheduler,controllers")] = "controllers"
        server.start().wait_api()
        result = bench_load(server, "bindings", count=pods)
        began = time.monotonic()
        until(lambda: events_of(server) >= pods, 60, "an Event of each binding")
        return {**result, "events_s": time.monotonic() - began}
    finally:
        server.end()


def events_of(server):
    page = server.kube.get("/api/v1/namespaces/bench/events?limit=1")
    return len(page["items"]) + page["metadata"].get("remainingItemCount", 0)


def bind_live(kind, nodes, pods):
    """As the peer was measured: from the first create to the last binding."""
    server = without_node("controllers")
    try:
        bench_load(server, "nodes", nodes=nodes)
        return bench_load(server, "bindings", kind=kind, count=pods)
    finally:
        server.end()


def scheduler_part():
    nodes, pods = (500, 5000) if QUICK else (5000, 50000)
    kinds = os.environ.get("KINDS", "plain near" if QUICK else "plain spread near far both own").split()
    section(f"Bindings, {nodes} nodes nobody runs, {pods} pods of 100 ReplicaSets", "pods", "figure", "aim")
    for kind in kinds:
        aim = "≥ 10,000/s" if kind == "plain" else "≥ 2,000/s"
        r = bind_pending(kind, nodes, pods)
        row(f"{kind}, pending when the scheduler starts", f"{r['per_s']}/s ({r['n']} seen), {r['cpu_us_each']:.0f} µs CPU of the server each, "
            f"longest gap {r['gap_ms']:.0f} ms, the last Event {r['events_s']:.2f} s later, {r['pss_mib']:.0f} MiB afterwards", aim)
        r = bind_live(kind, nodes, pods)
        row(f"{kind}, created by 50 clients meanwhile", f"{pods / r['since_begin_s']:.0f}/s from the first create to the last binding, "
            f"{r['cpu_us_each']:.0f} µs CPU each with the create, longest gap {r['gap_ms']:.0f} ms")
    r = bind_live("plain", 100, 2000)
    row("the peer's case: 2,000 plain pods onto 100 nodes", f"{2000 / r['since_begin_s']:.0f}/s, all bound {r['since_begin_s']:.2f} s after the first create", "peer 53/s, tuned 254/s")


def main():
    os.makedirs(os.path.join(TOP, "build", "bench"), exist_ok=True)
    with open("/proc/loadavg", encoding="utf-8") as f:
        load_before = f.read().split()[0]
    commit = subprocess.run(["git", "-C", TOP, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    ROWS.extend(["# make bench", "", f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, commit {commit}, {os.cpu_count()} cores, "
                 f"kernel {os.uname().release}, load average before {load_before}."])
    only = os.environ.get("ONLY", "")
    try:
        if only == "gap":
            gap_part()
        if only in ("", "pods"):
            cluster_half()
        if only in ("", "node"):
            node_part()
        if only in ("", "api"):
            api_half()
        if only in ("", "crds"):
            crds_part()
        if only in ("", "scheduler"):
            scheduler_part()
    finally:
        with open(os.path.join(TOP, "build", "bench", "results.md"), "w", encoding="utf-8") as f:
            f.write("\n".join(ROWS) + "\n")
    print("\nbuild/bench/results.md")


main()
