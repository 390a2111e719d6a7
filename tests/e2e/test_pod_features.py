"""What a pod may ask for beyond running: identity and confinement, namespaces, mounts, names, lifecycle, and kubectl's ways into it."""
import json
import os

import pytest

from kube import path, until


def logs_of(space, pod, container="box"):
    code, text = space.kube.text("GET", path("pods", space.name, pod, "log") + f"?container={container}")
    return text.decode() if code == 200 else ""


def run(space, name, script, seconds=60, **spec):
    """The output of a pod that runs to its end."""
    container = {"command": ["sh", "-c", script], **spec.pop("container", {})}
    space.box(name, restartPolicy="Never", container=container, **spec)
    pod = space.wait("pods", name, lambda p: p["status"].get("phase") in ("Succeeded", "Failed"), seconds)
    assert pod["status"]["phase"] == "Succeeded", json.dumps(pod["status"]) + logs_of(space, name)
    return logs_of(space, name)


def state(pod, container="box"):
    every = pod["status"].get("containerStatuses", []) + pod["status"].get("initContainerStatuses", [])
    return next((s for s in every if s["name"] == container), {})


def waits(space, name, reason):
    pod = space.wait("pods", name, lambda p: state(p).get("state", {}).get("waiting", {}).get("reason") == reason)
    return state(pod)["state"]["waiting"].get("message", "")


def field(text, name):
    return next(line.split()[1] for line in text.splitlines() if line.startswith(name + ":"))


# ---- identity and confinement -----------------------------------------------------------------------------------------------

def test_users_and_groups(space):
    out = run(space, "ids", "id; touch /v/file; stat -c '%u %g' /v/file; stat -c %A /v", volumes=[{"name": "v", "emptyDir": {}}],
              securityContext={"runAsUser": 1234, "runAsGroup": 2345, "fsGroup": 3456, "supplementalGroups": [4567]},
              container={"volumeMounts": [{"name": "v", "mountPath": "/v"}]}).splitlines()
    assert out[0].startswith("uid=1234 gid=2345") and "3456" in out[0] and "4567" in out[0]
    assert out[1] == "1234 3456" and out[2][6] in "sS"
    out = run(space, "own", "id", securityContext={"runAsUser": 1234}, container={"securityContext": {"runAsUser": 99, "runAsGroup": 98}})
    assert out.startswith("uid=99 gid=98")


TOKEN_OWNERS = [({"runAsUser": 1234}, "600 1234 0"), ({"runAsUser": 1234, "fsGroup": 3456}, "640 1234 3456"), ({"fsGroup": 3456}, "640 0 3456"), ({}, "644 0 0")]


@pytest.mark.parametrize("security,wanted", TOKEN_OWNERS)
def test_a_token_is_for_those_who_run_the_pod(space, security, wanted):
    token = "/var/run/secrets/kubernetes.io/serviceaccount/token"
    out = run(space, "token", f"stat -L -c '%a %u %g' {token}; head -c 2 {token}", securityContext=security)
    assert out.splitlines() == [wanted, "ey"]


SHOW = "cat /proc/self/status"
CONFINED = [
    ("drop", {"capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]}}, {"CapEff": "0000000000001000", "CapBnd": "0000000000001000"}),
    ("plain", {}, {"CapEff": "00000000a80425fb", "NoNewPrivs": "0", "Seccomp": "0"}),
    ("escalation", {"allowPrivilegeEscalation": False}, {"NoNewPrivs": "1"}),
    ("seccomp", {"seccompProfile": {"type": "RuntimeDefault"}}, {"Seccomp": "2"}),
    ("unconfined", {"seccompProfile": {"type": "Unconfined"}}, {"Seccomp": "0"}),
]


@pytest.mark.parametrize("name,security,wanted", CONFINED, ids=[c[0] for c in CONFINED])
def test_confinement(space, name, security, wanted):
    out = run(space, name, SHOW, container={"securityContext": security})
    assert {k: field(out, k) for k in wanted} == wanted


def test_a_seccomp_profile_of_the_node(space, cluster):
    folder = os.path.join(cluster.data, "node", "seccomp")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "no-chmod.json"), "w", encoding="utf-8") as f:
        json.dump({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["chmod", "fchmodat"], "action": "SCMP_ACT_ERRNO"}]}, f)
    profile = {"seccompProfile": {"type": "Localhost", "localhostProfile": "no-chmod.json"}}
    assert run(space, "denied", "touch /x; chmod 700 /x 2>/dev/null && echo changed || echo denied", container={"securityContext": profile}) == "denied\n"
    missing = {"seccompProfile": {"type": "Localhost", "localhostProfile": "missing.json"}}
    space.box("missing", container={"securityContext": missing})
    assert "missing.json" in waits(space, "missing", "CreateContainerError")


def test_read_only_root_and_privilege(space):
    assert run(space, "fixed", "touch /x 2>/dev/null && echo written || echo refused", container={"securityContext": {"readOnlyRootFilesystem": True}}) == "refused\n"
    out = run(space, "mighty", SHOW, container={"securityContext": {"privileged": True}})
    assert int(field(out, "CapEff"), 16) & 1 << 21, "CAP_SYS_ADMIN"
    space.box("root", securityContext={"runAsNonRoot": True})
    assert "run as root" in waits(space, "root", "CreateContainerConfigError")


# ---- namespaces ----------------------------------------------------------------------------------------------------------------

def test_namespaces_of_the_host(space):
    ours = {n: os.readlink(f"/proc/self/ns/{n}") for n in ("pid", "ipc", "net")}
    script = "for n in pid ipc net; do readlink /proc/self/ns/$n; done"
    assert run(space, "host", script, hostPID=True, hostIPC=True, hostNetwork=True).split() == [ours[n] for n in ("pid", "ipc", "net")]
    assert not set(run(space, "own", script).split()) & set(ours.values())


def test_processes_are_shared_within_a_pod(space):
    mount = [{"name": "v", "mountPath": "/v"}]
    other = {"name": "other", "image": "busybox:test", "command": ["sh", "-c", "sleep 4711 & touch /v/up; wait"], "volumeMounts": mount}
    main = {"name": "box", "image": "busybox:test", "command": ["sh", "-c", "while [ ! -e /v/up ]; do sleep 0.1; done; ps"], "volumeMounts": mount}
    for name, shared in (("shared", True), ("apart", False)):
        space.create("pods", {"metadata": {"name": name}, "spec": {"shareProcessNamespace": shared, "terminationGracePeriodSeconds": 0, "restartPolicy": "Never",
                                                                    "volumes": [{"name": "v", "emptyDir": {}}], "containers": [other, main]}})
        until(lambda n=name: "ps" in logs_of(space, n), 30, "the list of processes")
        assert ("sleep 4711" in logs_of(space, name)) == shared


def test_names(space):
    out = run(space, "names", "cat /etc/hosts; echo ==; cat /etc/resolv.conf; echo ==; hostname", hostname="web", subdomain="shop",
              hostAliases=[{"ip": "192.0.2.7", "hostnames": ["a.example", "b.example"]}], dnsPolicy="None",
              dnsConfig={"nameservers": ["192.0.2.53"], "searches": ["x.example"], "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]})
    hosts, resolver, hostname = out.split("==\n")
    assert "192.0.2.7\ta.example\tb.example" in hosts
    assert f"\tweb.shop.{space.name}.svc.cluster.local\tweb" in hosts
    assert resolver.splitlines() == ["search x.example", "nameserver 192.0.2.53", "options ndots:2 edns0"] and hostname == "web\n"


# ---- mounts ----------------------------------------------------------------------------------------------------------------------

def test_sub_paths(space):
    mounts = [{"name": "v", "mountPath": "/all"}, {"name": "v", "mountPath": "/part", "subPathExpr": "logs/$(POD)"}]
    out = run(space, "part", "echo hello > /part/file; cat /all/logs/part/file", volumes=[{"name": "v", "emptyDir": {}}],
              container={"volumeMounts": mounts, "env": [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]})
    assert out == "hello\n"


def test_a_link_does_not_lead_a_sub_path_out_of_its_volume(space):
    trap = {"name": "trap", "image": "busybox:test", "command": ["ln", "-s", "/etc", "/v/way"], "volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    space.box("trapped", volumes=[{"name": "v", "emptyDir": {}}], initContainers=[trap],
              container={"volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "way"}]})
    assert "leads out of its volume" in waits(space, "trapped", "CreateContainerConfigError")


def test_mounts_propagate_when_asked(space):
    def box(name, script, mode, privileged):
        return {"name": name, "image": "busybox:test", "command": ["sh", "-c", script], "securityContext": {"privileged": privileged},
                "volumeMounts": [{"name": "v", "mountPath": "/v", "mountPropagation": mode}]}
    # giver mounts when the others run, and they look when it has: nobody waits for a time
    def until_there(*files):
        return "".join(f"while [ ! -e /v/{f} ]; do sleep 0.1; done; " for f in files)

    def look(name):
        return f"touch /v/{name}-up; " + until_there("mounted") + f"[ -e /v/in/mark ] && echo seen || echo nothing; touch /v/{name}-done"
    space.create("pods", {"metadata": {"name": "spread"}, "spec": {
        "terminationGracePeriodSeconds": 0, "restartPolicy": "Never", "volumes": [{"name": "v", "emptyDir": {}}],
        "containers": [box("giver", until_there("taker-up", "private-up") + "mkdir /v/in; mount -t tmpfs none /v/in && touch /v/in/mark; touch /v/mounted; "
                           + until_there("taker-done", "private-done") + "umount /v/in", "Bidirectional", True),
                       box("taker", look("taker"), "HostToContainer", False), box("private", look("private"), "None", False)]}})
    until(lambda: logs_of(space, "spread", "taker") == "seen\n", 30, "the mount arrives")
    until(lambda: logs_of(space, "spread", "private") == "nothing\n", 30, "and only where it was asked for")


# ---- lifecycle -------------------------------------------------------------------------------------------------------------------

def test_last_words(space):
    for name, policy, script, wanted in (("file", "File", "echo from the file > /dev/termination-log; echo logged; exit 3", "from the file\n"),
                                         ("logs", "FallbackToLogsOnError", "echo from the log; exit 3", "from the log\n"),
                                         ("none", "File", "echo from the log; exit 3", None)):
        space.box(name, restartPolicy="Never", container={"command": ["sh", "-c", script], "terminationMessagePolicy": policy})
        pod = space.wait("pods", name, lambda p: p["status"].get("phase") == "Failed")
        end = state(pod)["state"]["terminated"]
        assert (end["exitCode"], end["reason"], end.get("message")) == (3, "Error", wanted)


def test_a_deadline(space):
    space.box("late", activeDeadlineSeconds=2)
    pod = space.wait("pods", "late", lambda p: p["status"].get("phase") == "Failed", 30)
    assert pod["status"]["reason"] == "DeadlineExceeded"
    space.wait("pods", "late", lambda p: "terminated" in state(p)["state"], 30)


def test_readiness_gates(space):
    space.box("gated", readinessGates=[{"conditionType": "example.com/open"}])
    conditions = lambda p: {c["type"]: c["status"] for c in p["status"].get("conditions", [])}  # noqa: E731
    pod = space.wait("pods", "gated", lambda p: conditions(p).get("ContainersReady") == "True")
    assert conditions(pod)["Ready"] == "False" and conditions(pod)["PodReadyToStartContainers"] == "True"
    space.kube.patch(path("pods", space.name, "gated", "status"), {"status": {"conditions": [{"type": "example.com/open", "status": "True"}]}},
                     "application/strategic-merge-patch+json")
    space.wait("pods", "gated", lambda p: conditions(p).get("Ready") == "True")


def test_a_sidecar_runs_as_long_as_its_pod(space):
    side = {"name": "side", "image": "busybox:test", "restartPolicy": "Always", "volumeMounts": [{"name": "v", "mountPath": "/v"}],
            "command": ["sh", "-c", "trap 'echo side ends >> /v/log; exit 0' TERM; echo side begins >> /v/log; touch /v/up; while :; do sleep 0.1; done"],
            "startupProbe": {"exec": {"command": ["test", "-e", "/v/up"]}, "periodSeconds": 1, "timeoutSeconds": 30}}
    space.box("main", restartPolicy="Never", terminationGracePeriodSeconds=10, volumes=[{"name": "v", "emptyDir": {}}], initContainers=[side],
              container={"volumeMounts": [{"name": "v", "mountPath": "/v"}], "command": ["sh", "-c", "cat /v/log; sleep 1; echo main ends"]})
    pod = space.wait("pods", "main", lambda p: p["status"].get("phase") == "Succeeded" and "terminated" in state(p, "side")["state"])
    assert logs_of(space, "main") == "side begins\nmain ends\n"
    assert state(pod, "side")["state"]["terminated"]["exitCode"] == 0 and state(pod, "side")["restartCount"] == 0


def test_hooks(space):
    hooks = {"postStart": {"exec": {"command": ["sh", "-c", "echo started > /v/start"]}}, "preStop": {"exec": {"command": ["sh", "-c", "echo stopping > /proc/1/fd/1"]}}}
    space.box("hooked", terminationGracePeriodSeconds=20, volumes=[{"name": "v", "emptyDir": {}}],
              container={"command": ["sh", "-c", "trap 'echo asked; exit 0' TERM; while [ ! -e /v/start ]; do sleep 0.1; done; cat /v/start; while :; do sleep 0.1; done"],
                         "lifecycle": hooks, "volumeMounts": [{"name": "v", "mountPath": "/v"}]})
    space.wait_pod("hooked")
    until(lambda: "started" in logs_of(space, "hooked"), 10, "postStart ran")
    follow = space.kube.clone(300)
    follow.connection = follow._connect(300)
    follow.connection.request("GET", path("pods", space.name, "hooked", "log") + "?follow=true")
    answer = follow.connection.getresponse()  # it follows from here on, to the end of the container
    space.kube.call("DELETE", path("pods", space.name, "hooked"))
    assert answer.read().decode().split() == ["started", "stopping", "asked"]
    space.wait_gone("pods", "hooked")


def test_a_failing_hook_restarts_the_container(space):
    space.box("bad", terminationGracePeriodSeconds=0, container={"lifecycle": {"postStart": {"exec": {"command": ["false"]}}}})
    space.wait("pods", "bad", lambda p: state(p).get("restartCount", 0) > 0 or "waiting" in state(p).get("state", {}) and
               state(p)["state"]["waiting"]["reason"] == "CrashLoopBackOff", 40)
    until(lambda: any(e["reason"] == "FailedPostStartHook" for e in space.items("events")), 10, "the Event")


def test_a_startup_probe_gives_time(space):
    space.box("slow", container={"command": ["sh", "-c", "sleep 3; touch /up; trap 'exit 0' TERM; while :; do sleep 0.1; done"],
                                 "startupProbe": {"exec": {"command": ["test", "-e", "/up"]}, "periodSeconds": 1, "timeoutSeconds": 30, "failureThreshold": 200},
                                 "livenessProbe": {"exec": {"command": ["test", "-e", "/up"]}, "periodSeconds": 1, "timeoutSeconds": 30, "failureThreshold": 1}})
    pod = space.wait_pod("slow")
    assert state(pod)["restartCount"] == 0 and state(pod)["started"]


# ---- kubectl -----------------------------------------------------------------------------------------------------------------------

def test_run_attached_and_removed(kubectl, space):
    out = kubectl("run", "echo", "--image=busybox:test", "-i", "--rm", "--restart=Never", "--quiet", "--", "cat", stdin="one\ntwo\n")
    assert out.splitlines()[:2] == ["one", "two"]
    space.wait_gone("pods", "echo")


def test_attach_reads_on(kubectl, space):
    space.box("talk", container={"command": ["sh", "-c", "trap 'exit 0' TERM; while :; do echo tick; sleep 0.2; done"]})
    space.wait_pod("talk")
    process = kubectl.start("attach", "talk")
    assert any("tick" in process.stdout.readline() for _ in range(5))
    process.kill()


def test_debug(kubectl, space):
    if kubectl.version < (1, 23):
        pytest.skip("this kubectl speaks an alpha form of the subresource")
    space.box("box", script="sleep 4711")
    space.wait_pod("box")
    kubectl("debug", "box", "--image=busybox:test", "--target=box", "-c", "look", "--", "ps")
    until(lambda: "sleep 4711" in logs_of(space, "box", "look"), 30, "the target's processes")


# ---- resources that change ---------------------------------------------------------------------------------------------------------

LIMIT = "for f in /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max; do [ -e $f ] && cat $f && break; done"


def resize(space, name, memory):
    of = {"name": "box", "resources": {"requests": {"memory": memory}, "limits": {"memory": memory}}}
    space.kube.patch(path("pods", space.name, name, "resize"), {"spec": {"containers": [of]}}, "application/strategic-merge-patch+json")


def test_resources_change_in_place(space):
    some = {"requests": {"memory": "32Mi"}, "limits": {"memory": "32Mi"}}
    space.box("grow", container={"resources": some, "command": ["sh", "-c", f"trap 'exit 0' TERM; while :; do {LIMIT}; sleep 0.2; done"]})
    pod = space.wait_pod("grow")
    first = state(pod)["containerID"]
    resize(space, "grow", "64Mi")
    until(lambda: str(64 << 20) in logs_of(space, "grow").split(), 20, "the container feels its new limit")
    pod = space.wait("pods", "grow", lambda p: state(p).get("resources", {}).get("limits", {}).get("memory") == "64Mi")
    assert state(pod)["containerID"] == first and state(pod)["restartCount"] == 0
    resize(space, "grow", "900Ti")
    pending = lambda p: next((c for c in p["status"]["conditions"] if c["type"] == "PodResizePending"), {})  # noqa: E731
    assert pending(space.wait("pods", "grow", pending))["reason"] == "Infeasible"
    resize(space, "grow", "48Mi")
    space.wait("pods", "grow", lambda p: state(p).get("resources", {}).get("limits", {}).get("memory") == "48Mi" and not pending(p))


def test_a_resize_may_ask_for_a_restart(space):
    some = {"requests": {"memory": "32Mi"}, "limits": {"memory": "32Mi"}}
    space.box("anew", container={"resources": some, "resizePolicy": [{"resourceName": "memory", "restartPolicy": "RestartContainer"}],
                                 "command": ["sh", "-c", f"{LIMIT}; trap 'exit 0' TERM; while :; do sleep 0.1; done"]})
    first = state(space.wait_pod("anew"))["containerID"]
    resize(space, "anew", "64Mi")
    pod = space.wait("pods", "anew", lambda p: state(p).get("restartCount") == 1 and state(p)["ready"])
    assert state(pod)["containerID"] != first and state(pod)["resources"]["limits"]["memory"] == "64Mi"
    until(lambda: logs_of(space, "anew").split() == [str(64 << 20)], 10, "the new limit")
