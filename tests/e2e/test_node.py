"""The node agent beyond plain pods: debugging containers, what pods learn of changes, and what a node refuses."""
import base64
import json
import os
import signal
import urllib.parse

import websocket

from kube import condition, is_ready, path, until


def logs_of(space, pod, container):
    code, text = space.kube.text("GET", path("pods", space.name, pod, "log") + f"?container={container}")
    return text.decode() if code == 200 else ""


def test_ephemeral_container_sees_its_target(space):
    space.box(script="sleep 4711")
    space.wait_pod("box")
    debug = {"name": "debug", "image": "busybox:test", "command": ["sh", "-c", "ps; echo seen"], "targetContainerName": "box"}
    space.kube.patch(path("pods", space.name, "box", "ephemeralcontainers"), {"spec": {"ephemeralContainers": [debug]}},
                     "application/strategic-merge-patch+json")

    def ended(p):
        of = {s["name"]: s for s in p["status"].get("ephemeralContainerStatuses", [])}
        return of.get("debug", {}).get("state", {}).get("terminated")
    pod = space.wait("pods", "box", ended)
    assert ended(pod)["exitCode"] == 0
    assert "sleep 4711" in logs_of(space, "box", "debug")
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
    assert {c["type"]: c["status"] for c in pod["status"]["conditions"]}["Ready"] == "True"


def test_many_mounted_objects_reach_their_pods(space):
    """Every object is followed by itself: each change arrives, whichever of them changes."""
    names = [f"settings-{i}" for i in range(12)]
    for name in names:
        space.create("configmaps", {"metadata": {"name": name}, "data": {"value": "old"}})
    space.box(script="sleep 100000", volumes=[{"name": n, "configMap": {"name": n}} for n in names],
              container={"command": ["sh", "-c", "while :; do cat /v/*/value; echo; sleep 0.2; done"],
                         "volumeMounts": [{"name": n, "mountPath": f"/v/{n}"} for n in names]})
    space.wait_pod("box")
    for n, name in enumerate(names, 1):
        space.kube.patch(path("configmaps", space.name, name), {"data": {"value": "new"}})
        ordered = sorted(names)
        changed = set(names[:n])
        wanted = "".join("new" if o in changed else "old" for o in ordered)
        until(lambda w=wanted: w in logs_of(space, "box", "box").splitlines(), 10, f"{name} arrives")


def test_a_deleted_object_does_not_hold_up_the_others(space):
    for name in ("a", "b"):
        space.create("configmaps", {"metadata": {"name": name}, "data": {"value": "old"}})
    space.box(volumes=[{"name": n, "configMap": {"name": n}} for n in ("a", "b")],
              container={"command": ["sh", "-c", "while :; do cat /v/a/value /v/b/value; echo; sleep 0.2; done"],
                         "volumeMounts": [{"name": n, "mountPath": f"/v/{n}"} for n in ("a", "b")]})
    space.wait_pod("box")
    space.kube.delete(path("configmaps", space.name, "a"))
    space.kube.patch(path("configmaps", space.name, "b"), {"data": {"value": "new"}})
    until(lambda: "oldnew" in logs_of(space, "box", "box").splitlines(), 10, "the other object's change")


def test_an_optional_object_may_come_later(space):
    space.box(volumes=[{"name": "late", "configMap": {"name": "late", "optional": True}}],
              container={"command": ["sh", "-c", "while :; do cat /v/value 2>/dev/null; sleep 0.2; done"],
                         "volumeMounts": [{"name": "late", "mountPath": "/v"}]})
    space.wait_pod("box")
    space.create("configmaps", {"metadata": {"name": "late"}, "data": {"value": "here\n"}})
    until(lambda: "here" in logs_of(space, "box", "box"), 10, "the late object arrives")


# ---- WebSockets of older clients ---------------------------------------------------------------------------------------

def messages(space, where, protocols):
    """Every message until the server closes, and the subprotocol that it chose."""
    address = space.kube.server
    ws = websocket.create_connection(f"wss://{address.hostname}:{address.port}{where}", timeout=120, subprotocols=protocols,
                                     sslopt={"context": space.kube.tls})
    got = []
    try:
        while True:
            kind, data = ws.recv_data()
            if kind == websocket.ABNF.OPCODE_CLOSE:
                return got, ws.subprotocol
            got.append(data)
    finally:
        ws.close()


def exec_path(space, *command):
    args = "".join("&command=" + urllib.parse.quote(c) for c in command)
    return path("pods", space.name, "box", "exec") + f"?stdout=1&stderr=1&container=box{args}"


def test_exec_in_every_version_of_the_protocol(space):
    space.box()
    space.wait_pod("box")
    success = exec_path(space, "echo", "hello")
    failure = exec_path(space, "sh", "-c", "exit 3")
    for protocols in (["channel.k8s.io"], []):
        got, chosen = messages(space, success, protocols)
        assert chosen == (protocols[0] if protocols else None)
        assert b"".join(m[1:] for m in got if m[0] == 1) == b"hello\n"
        assert not [m for m in got if m[0] == 3 and len(m) > 1], "the first version tells failures only"
        got, _ = messages(space, failure, protocols)
        assert [m for m in got if m[0] == 3 and b"exit code 3" in m and b"{" not in m], got
    got, chosen = messages(space, success, ["v4.base64.channel.k8s.io"])
    assert chosen == "v4.base64.channel.k8s.io"
    assert b"".join(base64.b64decode(m[1:]) for m in got if m[:1] == b"1") == b"hello\n"
    assert [m for m in got if m[:1] == b"3" and json.loads(base64.b64decode(m[1:]))["status"] == "Success"]


def test_logs_over_a_websocket(space):
    space.box(script="echo one; echo two", container={"command": ["sh", "-c", "echo one; echo two"]}, restartPolicy="Never")
    space.wait("pods", "box", lambda p: p["status"].get("phase") == "Succeeded")
    where = path("pods", space.name, "box", "log") + "?container=box"
    assert b"".join(messages(space, where, ["binary.k8s.io"])[0]) == b"one\ntwo\n"
    got, chosen = messages(space, where + "&follow=1", ["base64.binary.k8s.io"])
    assert chosen == "base64.binary.k8s.io"
    assert b"".join(base64.b64decode(m) for m in got) == b"one\ntwo\n"


def test_many_follow_one_container(space, any_kubectl):
    """All readers of a container get every line, and each ends with it."""
    space.box(container={"command": ["sh", "-c", "for i in 1 2 3 4 5 6 7 8; do echo line $i; sleep 0.25; done"]}, restartPolicy="Never")
    space.wait("pods", "box", lambda p: p["status"].get("phase") in ("Running", "Succeeded"))
    kubectl = any_kubectl.within(space.name)
    readers = [kubectl.start("logs", "-f", "box") for _ in range(6)]
    for reader in readers:
        assert reader.communicate(timeout=300)[0].splitlines() == [f"line {i}" for i in range(1, 9)]


# ---- figures -------------------------------------------------------------------------------------------------------------

def test_top(space, any_kubectl):
    """What a busy and an idle pod use, by container, and what the node uses."""
    kubectl = any_kubectl.within(space.name)
    space.box("busy", script="true", container={"command": ["sh", "-c", "head -c 30000000 /dev/zero > /dev/shm/x; while :; do :; done"],
                                                "resources": {"requests": {"cpu": "500m"}}})  # so that a busy machine leaves it some
    space.box("idle")
    space.wait_pod("busy")
    space.wait_pod("idle")

    def figures():
        lines = [line.split() for line in kubectl.run("top", "pod", "--containers").stdout.splitlines()[1:]]  # it fails before there are any
        return {pod: (int(cpu.rstrip("m")), int(memory.removesuffix("Mi"))) for pod, _, cpu, memory in lines}
    shown = until(lambda: len(f := figures()) == 2 and f["busy"][0] > 100 and f["busy"][1] >= 28 and f, 30, "the busy pod shows")
    assert shown["idle"][0] < 50

    def node():
        _, cpu, share, *_ = kubectl("top", "node").splitlines()[1].split()
        return int(cpu.rstrip("m")) > 100 and share.endswith("%")
    until(node, 30, "and what the node uses")
    one = space.kube.get(f"/apis/metrics.k8s.io/v1beta1/namespaces/{space.name}/pods/busy")
    assert one["kind"] == "PodMetrics" and [c["name"] for c in one["containers"]] == ["box"]
    named = space.kube.get(f"/apis/metrics.k8s.io/v1beta1/namespaces/{space.name}/pods?labelSelector=app%3Didle")
    assert [p["metadata"]["name"] for p in named["items"]] == ["idle"]
    assert any_kubectl.run("get", "--raw", "/apis/metrics.k8s.io/v1beta1/nodes/nobody").returncode != 0


def test_prometheus_reads_the_node(space, cluster):
    space.box()
    space.wait_pod("box")
    node = space.get("pods", "box")["spec"]["nodeName"]

    def page(which):
        code, text = space.kube.text("GET", f"/api/v1/nodes/{node}/proxy/{which}")
        assert code == 200, text
        return text.decode()
    label = f'namespace="{space.name}",pod="box"'
    until(lambda: f'container_memory_working_set_bytes{{container="box",{label}}}' in page("metrics/resource"), 10, "the container's memory")
    until(lambda: f'pod_cpu_usage_seconds_total{{{label}}}' in page("metrics/resource"), 10, "the pod's time")
    until(lambda: [line for line in page("metrics/cadvisor").splitlines()
                   if line.startswith("container_cpu_usage_seconds_total{container=\"box\"") and label in line], 10, "the container's time")
    assert f'kubelet_node_name{{node="{node}"}} 1' in page("metrics")
    until(lambda: [p for p in json.loads(page("stats/summary"))["pods"]
                   if p["podRef"]["namespace"] == space.name and p["memory"]["usageBytes"] > 0], 10, "the pod's memory")


# ---- what a node does not take, and whom it sends away ----------------------------------------------------------------------

def test_sysctls(space):
    safe = {"sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "79"}]}
    space.box("safe", restartPolicy="Never", securityContext=safe, container={
        "command": ["sh", "-c", "cat /proc/sys/net/ipv4/ip_unprivileged_port_start"]})
    space.wait("pods", "safe", lambda p: p["status"].get("phase") == "Succeeded")
    assert logs_of(space, "safe", "box") == "79\n"
    space.box("unsafe", securityContext={"sysctls": [{"name": "kernel.msgmax", "value": "1000"}]})
    pod = space.wait("pods", "unsafe", lambda p: p["status"].get("phase") == "Failed")
    assert pod["status"]["reason"] == "SysctlForbidden" and "kernel.msgmax" in pod["status"]["message"]
    assert not pod["status"]["containerStatuses"][0].get("containerID")


def test_a_pod_that_would_be_less_isolated_does_not_start(space):
    space.box("shared", hostUsers=False)
    pod = space.wait("pods", "shared", lambda p: p["status"].get("containerStatuses", [{}])[0].get("state", {}).get("waiting", {}).get("reason")
                     == "CreateContainerConfigError")
    assert "hostUsers" in pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"]
    until(lambda: any(e["reason"] == "FailedValidation" and "hostUsers" in e["message"] for e in space.items("events")), 10, "an Event about it")


def test_a_node_without_memory_evicts(fresh):
    """Everything is a shortage to this node: what asks for little and uses much goes, critical pods stay."""
    server = fresh(flags=["--eviction-hard", "memory.available<100%"])
    server.add_images("busybox")
    server.start().wait_ready()
    until(lambda: server.kube.get(path("serviceaccounts", "default", "default")), 20, "the default service account")
    for name, spec in (("greedy", {}), ("critical", {"priorityClassName": "system-node-critical"})):
        server.kube.create(path("pods", "default"), {"metadata": {"name": name}, "spec": {**spec, "nodeName": server.kube.get(path("nodes"))["items"][0]["metadata"]["name"],
            "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "box", "image": "busybox:test", "command": ["sleep", "1000"], "resources": {"requests": {"memory": "1Ki"}}}]}})

    def pod(name):
        return server.kube.get(path("pods", "default", name))
    until(lambda: pod("greedy")["status"].get("phase") == "Failed", 60, "greedy is evicted")
    status = pod("greedy")["status"]
    assert status["reason"] == "Evicted" and "low on resource: memory" in status["message"]
    assert {c["type"]: c.get("reason") for c in status["conditions"]}["DisruptionTarget"] == "TerminationByKubelet"
    until(lambda: condition(server.nodes()[0], "MemoryPressure") == "True", 20, "the node tells of it")
    until(lambda: is_ready(pod("critical")), 60, "critical runs")


def test_what_is_reserved_is_not_the_pods(fresh):
    """Allocatable is less, a limit that follows it too, and the control group of all pods ends there."""
    server = fresh(flags=["--system-reserved", "cpu=500m,memory=1Gi", "--eviction-hard", "memory.available<100Mi"])
    server.add_images("busybox")
    server.start().wait_ready()
    until(lambda: server.kube.get(path("serviceaccounts", "default", "default")), 20, "the default service account")
    status = server.kube.get(path("nodes"))["items"][0]["status"]
    assert status["allocatable"]["cpu"] == f"{os.cpu_count() * 1000 - 500}m"
    kib = {what: int(status[what]["memory"].removesuffix("Ki")) for what in ("capacity", "allocatable")}
    assert kib["capacity"] - kib["allocatable"] == (1024 + 100) * 1024
    server.kube.create(path("pods", "default"), {"metadata": {"name": "box"}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [
        {"name": "box", "image": "busybox:test", "command": ["sh", "-c", "echo $MEMORY; sleep 1000"],
         "env": [{"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}}]}]}})
    until(lambda: is_ready(server.kube.get(path("pods", "default", "box"))), 60, "the pod runs")
    until(lambda: server.kube.text("GET", path("pods", "default", "box") + "/log")[1].strip() == str(kib["allocatable"] * 1024).encode(), 10, "the limit it reads")
    group = f"kogge-{server.slot.instance}/kubepods"
    limits = [f for f in (f"/sys/fs/cgroup/memory/{group}/memory.limit_in_bytes", f"/sys/fs/cgroup/{group}/memory.max") if os.path.exists(f)]
    with open(limits[0], encoding="ascii") as file:
        assert int(file.read()) == (kib["capacity"] - 1024 * 1024) * 1024


def test_too_much_local_storage(space):
    limited = {"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}
    fill = {"command": ["sh", "-c", "head -c 5000000 /dev/zero > /v/file; trap 'exit 0' TERM; while :; do sleep 0.1; done"],
            "volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    space.box("large", container=fill, volumes=[limited])
    space.box("small", container={**fill, "command": ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"]}, volumes=[limited])
    pod = space.wait("pods", "large", lambda p: p["status"].get("phase") == "Failed")
    assert pod["status"]["reason"] == "Evicted" and 'EmptyDir volume "v" exceeds the limit "1Mi"' in pod["status"]["message"]
    space.wait_pod("small")


# ---- pods from files ---------------------------------------------------------------------------------------------------------

MANIFEST = """
apiVersion: v1
kind: Pod
metadata: {{name: web, annotations: {{colour: {colour}}}}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{{name: box, image: "busybox:test", command: [sleep, "100000"]}}]
"""


def test_pods_from_files(fresh):
    server = fresh()
    server.add_images("busybox")
    server.start().wait_ready()
    node = server.kube.get(path("nodes"))["items"][0]["metadata"]["name"]
    file = os.path.join(server.data, "manifests", "web.yaml")

    def look():
        found = [p for p in server.kube.get(path("pods", "default"))["items"] if p["metadata"]["name"] == f"web-{node}"]
        return found[0] if found and is_ready(found[0]) else None

    def write(colour):
        with open(file + ".new", "w", encoding="utf-8") as f:
            f.write(MANIFEST.format(colour=colour))
        os.rename(file + ".new", file)
    until(lambda: os.path.isdir(os.path.dirname(file)), 10, "the folder of manifests")
    write("red")
    first = until(look, 30, "the pod runs")
    assert first["metadata"]["annotations"]["kubernetes.io/config.source"] == "file"
    write("blue")
    second = until(lambda: (p := look()) and p["metadata"]["annotations"]["colour"] == "blue" and p, 30, "the file's new pod runs")
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    server.kube.call("DELETE", path("pods", "default", f"web-{node}"))
    third = until(lambda: (p := look()) and p["metadata"]["uid"] != second["metadata"]["uid"] and p, 30, "it comes back")
    os.unlink(file)
    until(lambda: not server.kube.get(path("pods", "default"))["items"], 30, "and goes with its file")
    assert third


def test_what_unknown_pods_left_is_removed(cluster):
    """Folders, logs and control groups of pods that went while no node process was there to see it."""
    uid = "00000000-dead-4000-8000-000000000000"
    folders = [os.path.join(cluster.data, "node", "pods", uid, "volumes"), os.path.join(cluster.data, "logs", f"default_ghost_{uid}", "c")]
    folders += [f"{root}/kogge-{cluster.slot.instance}/kubepods/besteffort/pod{uid}/inner" for root in ("/sys/fs/cgroup/cpu", "/sys/fs/cgroup/memory", "/sys/fs/cgroup")
                if os.path.isdir(f"{root}/kogge-{cluster.slot.instance}/kubepods/besteffort")]
    for folder in folders:
        os.makedirs(folder)
    link = os.path.join(cluster.data, "container-logs", "ghost_default_c-0.log")
    os.symlink(os.path.join(folders[1], "0.log"), link)
    os.kill(cluster.pid_of("kogge-node"), signal.SIGKILL)
    until(lambda: not [f for f in folders if os.path.exists(os.path.dirname(f))] and not os.path.lexists(link), 60, f"{folders} and {link} are gone")


def test_extended_resources_become_allocatable(cluster, space):
    """As Kubernetes' documentation tells to advertise them: a patch of the Node's capacity."""
    node = cluster.nodes()[0]["metadata"]["name"]
    where, kind = path("nodes", None, node, "status"), "application/json-patch+json"
    cluster.kube.patch(where, [{"op": "add", "path": "/status/capacity/example.com~1dongle", "value": "2"}], kind)
    try:
        until(lambda: cluster.nodes()[0]["status"]["allocatable"].get("example.com/dongle") == "2", 30, "dongles to give")
        limits = {"container": {"resources": {"limits": {"example.com/dongle": "2"}}}}
        space.box("first", **limits)
        space.wait("pods", "first", is_ready)
        space.box("second", **limits)
        space.wait("pods", "second", lambda p: "Insufficient example.com/dongle" in str(p["status"].get("conditions")))
        cluster.kube.delete(path("pods", space.name, "second"))
    finally:
        cluster.kube.patch(where, [{"op": "remove", "path": "/status/capacity/example.com~1dongle"}], kind)
    until(lambda: "example.com/dongle" not in cluster.nodes()[0]["status"]["allocatable"], 30, "no dongles")
