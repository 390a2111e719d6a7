"""What one Kogge instance holds on this machine: processes, mounts, links, namespaces, routes, cgroups, nft elements, connection tracking, files,
and what its containerd knows. Two of these, before and after, are equal when nothing leaked. Other instances may come and go meanwhile."""
import ipaddress
import json
import os
import re
import subprocess

BRIEF_S = 120  # connections in a state that ends by itself within this time are no leak: TIME_WAIT, CLOSE


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def walk(*roots, skip=()):
    """Every path below the roots."""
    for root in roots:
        for folder, folders, names in os.walk(root):
            folders[:] = [d for d in folders if os.path.join(folder, d) not in skip]
            yield from (os.path.join(folder, n) for n in folders + names)


def processes(server):
    mark, found = f"/run/kogge-{server.slot.instance}/", []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                line = f.read().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "containerd-shim" in line and mark in line:
            found.append("shim " + line.split(" -id ")[-1].split()[0])
    return found + [f"{len(server.containers())} processes of containers"]


def mounts(server):
    with open("/proc/self/mounts", encoding="utf-8") as f:
        return [" ".join(line.split()[1:3]) for line in f if server.data + "/" in line or f"/run/kogge-{server.slot.instance}/" in line]


def table(server):
    found = re.findall(rf"table inet (kogge-{server.slot.instance}-\w+(?:\.2)?)", output("nft", "list", "tables"))
    return found[0] if found else ""


def links(server):
    mark = table(server).removesuffix(".2").rsplit("-", 1)[-1]
    return [link["ifname"] for link in json.loads(output("ip", "-j", "link") or "[]") if link and mark and re.search(rf"^\w+-?\w*{mark}", link["ifname"])]


def empty_namespaces(server):
    """Named network namespaces that no process lives in."""
    lived_in = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            lived_in.add(os.stat(f"/proc/{pid}/ns/net").st_ino)
        except OSError:
            continue
    found = []
    folder = f"/run/kogge-{server.slot.instance}/containerd/io.containerd.grpc.v1.cri/netns"
    for name in os.listdir(folder) if os.path.isdir(folder) else []:
        try:
            if os.stat(f"{folder}/{name}").st_ino not in lived_in:
                found.append(name)
        except OSError:
            continue
    return found


def routes(server):
    net = ipaddress.ip_network(server.slot.pods)
    found = []
    for line in output("ip", "-4", "route", "show", "table", "all").splitlines():
        try:
            if any(ipaddress.ip_network(w, strict=False).subnet_of(net) for w in line.split()[:1]):
                found.append(line.strip())
        except ValueError:
            continue
    return found


def cgroups(server):
    return [d for d in walk("/sys/fs/cgroup") if f"/kogge-{server.slot.instance}/" in d and os.path.isdir(d)]


def elements(server):
    """Elements of named sets and maps. Chains are left out: one for each number of endpoints stays, whatever the number of Services."""
    things = json.loads(output("nft", "-j", "list", "table", "inet", table(server)) or "{}").get("nftables", [])
    sets = [t.get("set") or t.get("map") for t in things if "set" in t or "map" in t]
    return [f"{s['name']} {json.dumps(e)}" for s in sets for e in s.get("elem", []) if "timeout" not in json.dumps(e)]


def connections(server):
    """Tracked connections of pods that would stay: those that are closing are gone soon."""
    net, found = ipaddress.ip_network(server.slot.pods), []
    try:
        with open("/proc/net/nf_conntrack", encoding="utf-8") as f:
            lines = f.readlines()
    except OSError:
        return []
    for line in lines:
        left = int(line.split()[4])
        if left > BRIEF_S and any(ipaddress.ip_address(a) in net for a in re.findall(r"(?:src|dst)=(\d+\.\d+\.\d+\.\d+)", line)):
            found.append(" ".join(w for w in line.split()[2:3] + line.split()[5:10]))
    return found


def files(server):
    data = server.data
    below = walk(f"{data}/node", f"{data}/logs", f"{data}/container-logs", f"{data}/cni", f"{data}/volumes", f"{data}/manifests", f"{data}/containerd",
                 f"/run/kogge-{server.slot.instance}",
                 skip=[f"{data}/containerd/root/{d}" for d in ("io.containerd.content.v1.content", "io.containerd.snapshotter.v1.overlayfs", "tmpmounts")])
    return [f for f in below if not re.search(r"/node/network/(last|lock)", f)]


def runtime(server):
    ctr = ("ctr", "-a", f"/run/kogge-{server.slot.instance}/containerd.sock", "-n", "k8s.io")
    found = ["container " + line for line in output(*ctr, "containers", "ls", "-q").split()]
    found += ["task " + line for line in output(*ctr, "tasks", "ls", "-q").split()]
    found += ["lease " + line for line in output(*ctr, "leases", "ls", "-q").split()]
    return found + ["snapshot " + line.split()[0] for line in output(*ctr, "snapshots", "ls").splitlines()[1:] if "sha256:" not in line.split()[0]]


PARTS = {f.__name__: f for f in (processes, mounts, links, empty_namespaces, routes, cgroups, elements, connections, files, runtime)}


def snapshot(server):
    return {name: sorted(read(server)) for name, read in PARTS.items()}


def left(before, after):
    """What is there now and was not, by part."""
    found = {}
    for name in PARTS:
        more = list(after[name])
        for line in before[name]:
            if line in more:
                more.remove(line)
        if more:
            found[name] = more
    return found
