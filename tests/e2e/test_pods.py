"""Pods in depth: volumes, environment, probes, init containers, limits, termination."""
import base64
import json
import os

from kube import path, until


def phase(pod):
    return pod["status"].get("phase")


def logs_of(space, pod):
    code, text = space.kube.text("GET", f"/api/v1/namespaces/{space.name}/pods/{pod}/log")
    assert code == 200, text
    return text.decode()


def run_to_end(space, name, script, **spec):
    container = {"name": "main", "image": "busybox:test", "command": ["sh", "-c", script], **spec.pop("container", {})}
    space.create("pods", {"metadata": {"name": name, "labels": {"app": name}, "annotations": {"note": "a b"}},
                          "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container], **spec}})
    pod = space.wait("pods", name, lambda p: phase(p) in ("Succeeded", "Failed"))
    assert phase(pod) == "Succeeded", json.dumps(pod["status"]) + logs_of(space, name)
    return logs_of(space, name)


def test_log_links(space):
    """A link a container, named as collectors of logs expect; gone with the pod."""
    folder = os.path.join(space.server.data, "container-logs")

    def links():
        return [f for f in os.listdir(folder) if f.startswith(f"box_{space.name}_box-")]
    space.box(script="echo hello; sleep 100000")
    space.wait_pod("box")
    found = until(links, 10, "the link")

    def text():
        with open(os.path.join(folder, found[0]), encoding="utf-8") as f:
            return f.read()
    until(lambda: text().endswith("stdout F hello\n"), 10, "the line")
    space.kube.call("DELETE", f"/api/v1/namespaces/{space.name}/pods/box")
    space.wait_gone("pods", "box", 15)
    until(lambda: not links(), 10, "no link")


def test_environment(space):
    space.create("configmaps", {"metadata": {"name": "settings"}, "data": {"COLOR": "blue", "size": "9"}})
    space.create("secrets", {"metadata": {"name": "keys"}, "stringData": {"PASSWORD": "s3cret"}})
    out = run_to_end(space, "env", "env", container={
        "envFrom": [{"configMapRef": {"name": "settings"}}, {"prefix": "S_", "secretRef": {"name": "keys"}}],
        "resources": {"limits": {"memory": "64Mi"}},
        "env": [{"name": "SIZE", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "size"}}},
                {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "MEM", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
                {"name": "BOTH", "value": "$(COLOR)-$(SIZE)-$$(SIZE)"}]}).splitlines()
    for line in ("COLOR=blue", "S_PASSWORD=s3cret", "SIZE=9", "POD=env", "MEM=64", "BOTH=blue-9-$(SIZE)"):
        assert line in out, line
    assert any(line.startswith("IP=10.") for line in out)


def test_volumes(space):
    space.create("configmaps", {"metadata": {"name": "settings"}, "data": {"color": "blue"}, "binaryData": {"raw": base64.b64encode(b"\0\1").decode()}})
    space.create("secrets", {"metadata": {"name": "keys"}, "stringData": {"password": "s3cret"}})
    volumes = [{"name": "config", "configMap": {"name": "settings", "items": [{"key": "color", "path": "deep/colour"}]}},
               {"name": "secret", "secret": {"secretName": "keys", "defaultMode": 0o400}},
               {"name": "scratch", "emptyDir": {}}, {"name": "memory", "emptyDir": {"medium": "Memory"}},
               {"name": "about", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                                                           {"path": "note", "fieldRef": {"fieldPath": "metadata.annotations['note']"}}]}},
               {"name": "all", "projected": {"sources": [{"configMap": {"name": "settings"}}, {"secret": {"name": "keys"}},
                                                         {"serviceAccountToken": {"path": "token", "audience": "other", "expirationSeconds": 3600}}]}}]
    script = """set -e
        cat /v/config/deep/colour; echo
        cat /v/secret/password; echo; stat -Lc %a /v/secret/password; grep -c ' /v/secret tmpfs' /proc/mounts
        echo kept > /v/scratch/file; cat /v/scratch/file; grep -c ' /v/memory tmpfs' /proc/mounts
        cat /v/about/labels; echo; cat /v/about/note; echo
        cat /v/all/color /v/all/password; echo; wc -c < /v/all/raw; cut -d. -f2 /v/all/token | tr -d '\\n' | wc -c | grep -vx 0 > /dev/null; echo token"""
    out = run_to_end(space, "volumes", script, volumes=volumes,
                     container={"volumeMounts": [{"name": v["name"], "mountPath": "/v/" + v["name"]} for v in volumes]})
    assert out.split("\n")[:11] == ["blue", "s3cret", "400", "1", "kept", "1", 'app="volumes"', "a b", "blues3cret", "2", "token"]


def test_config_map_volume_is_updated(space, any_kubectl):
    space.create("configmaps", {"metadata": {"name": "settings"}, "data": {"color": "blue"}})
    space.box(container={"volumeMounts": [{"name": "config", "mountPath": "/config"}]}, volumes=[{"name": "config", "configMap": {"name": "settings"}}])
    space.wait_pod("box")
    space.kube.patch(f"/api/v1/namespaces/{space.name}/configmaps/settings", {"data": {"color": "red"}})
    kubectl = any_kubectl.within(space.name)
    until(lambda: kubectl("exec", "box", "--", "cat", "/config/color") == "red", 90, "the new value in the volume", every=1)


def test_init_containers(space):
    out = run_to_end(space, "init", "cat /shared/*", volumes=[{"name": "shared", "emptyDir": {}}],
                     container={"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]},
                     initContainers=[{"name": n, "image": "busybox:test", "command": ["sh", "-c", f"n=$(ls /shared | wc -l); echo $n > /shared/{n}"],
                                      "volumeMounts": [{"name": "shared", "mountPath": "/shared"}]} for n in ("one", "two")])
    assert out.split() == ["0", "1"]


def test_limits_reach_the_cgroup(space):
    read = "cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes"
    out = run_to_end(space, "limits", read, container={"resources": {"limits": {"memory": "64Mi", "cpu": "500m"}}})
    assert int(out) == 64 << 20
    pod = space.get("pods", "limits")
    assert pod["status"]["qosClass"] == "Guaranteed"


def test_classes_share_the_cpu(space):
    """By what burstable pods ask for together; best-effort ones get what nobody wants."""
    root = f"kogge-{space.server.slot.instance}/kubepods"
    first, file, least, shares = ("/sys/fs/cgroup", "cpu.weight", 1, lambda milli: 1 + (milli * 1024 // 1000 - 2) * 9999 // 262142)
    if not os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        first, file, least, shares = "/sys/fs/cgroup/cpu", "cpu.shares", 2, lambda milli: milli * 1024 // 1000

    def of(kind):
        with open(os.path.join(first, root, kind, file), encoding="utf-8") as f:
            return int(f.read())

    def busy(n):
        space.box(f"busy-{n}", container={"resources": {"requests": {"cpu": "300m"}}})
        space.wait_pod(f"busy-{n}")
    space.box("idle")
    space.wait_pod("idle")
    assert of("besteffort") == least
    for n in range(3):
        busy(n)
    most = of("burstable")
    assert most >= shares(900)
    for n in (1, 2):
        space.kube.delete(path("pods", space.name, f"busy-{n}"))
        space.wait_gone("pods", f"busy-{n}")
    until(lambda: of("burstable") <= most - shares(900) + shares(300) + 1, 10, "the share of pods that are gone")  # other tests' pods may go, too


def test_security_context(space):
    out = run_to_end(space, "user", "id -u; id -g; touch /x 2>/dev/null || echo read-only", securityContext={"runAsUser": 1234, "runAsGroup": 5678},
                     container={"securityContext": {"readOnlyRootFilesystem": True}})
    assert out.split() == ["1234", "5678", "read-only"]


def test_liveness_restarts(space):
    space.create("pods", {"metadata": {"name": "dying"}, "spec": {"terminationGracePeriodSeconds": 1, "containers": [{
        "name": "main", "image": "busybox:test", "command": ["sh", "-c", "touch /alive; sleep 2; rm /alive; sleep 1000"],
        "livenessProbe": {"exec": {"command": ["cat", "/alive"]}, "periodSeconds": 1, "failureThreshold": 1}}]}})
    space.wait("pods", "dying", lambda p: any(c["restartCount"] >= 1 for c in p["status"].get("containerStatuses", [])))


def test_readiness_withdraws(space, any_kubectl):
    space.box(container={"readinessProbe": {"exec": {"command": ["test", "!", "-e", "/tmp/unready"]}, "periodSeconds": 1, "failureThreshold": 1}})
    space.service("box")
    space.wait_pod("box")

    def ready_addresses():
        return len((space.get("endpoints", "box").get("subsets") or [{}])[0].get("addresses", []))
    until(lambda: ready_addresses() == 1, 10, "the endpoint")
    any_kubectl.within(space.name)("exec", "box", "--", "touch", "/tmp/unready")
    until(lambda: ready_addresses() == 0, 10, "the endpoint withdrawn")


def test_termination_runs_the_hook_and_waits(space):
    space.create("configmaps", {"metadata": {"name": "unused"}})
    space.box(container={"lifecycle": {"preStop": {"exec": {"command": ["sh", "-c", "sleep 1"]}}}}, terminationGracePeriodSeconds=10)
    space.wait_pod("box")
    deleted = space.kube.call("DELETE", f"/api/v1/namespaces/{space.name}/pods/box")
    assert deleted["metadata"]["deletionGracePeriodSeconds"] == 10
    space.wait_gone("pods", "box", 15)


def test_a_pod_that_fits_nowhere_says_why(space):
    space.box("huge", container={"resources": {"requests": {"memory": "900Ti"}}})
    def scheduled(pod):
        return next((c for c in pod["status"].get("conditions", []) if c["type"] == "PodScheduled"), None)
    told = scheduled(space.wait("pods", "huge", scheduled))
    assert told["reason"] == "Unschedulable" and "Insufficient memory" in told["message"]


def test_host_network(space):
    out = run_to_end(space, "host", "hostname; ls /sys/class/net | wc -l", hostNetwork=True)
    assert out.split()[0] == space.server.nodes()[0]["metadata"]["name"]


def test_a_command_that_is_not_there(space):
    """It is tried again only if the pod's policy says so."""
    for name, policy in (("never", "Never"), ("always", "Always")):
        space.create("pods", {"metadata": {"name": name}, "spec": {"restartPolicy": policy, "terminationGracePeriodSeconds": 0, "containers": [
            {"name": "c", "image": "busybox:test", "command": ["/not/there"]}]}})
    ended = space.wait("pods", "never", lambda p: phase(p) == "Failed", 30)["status"]["containerStatuses"][0]
    assert (ended["state"]["terminated"]["exitCode"], ended["state"]["terminated"]["reason"], ended["restartCount"]) == (128, "StartError", 0)
    assert "/not/there" in ended["state"]["terminated"]["message"]

    def waits(pod):
        status = (pod["status"].get("containerStatuses") or [{}])[0]
        return status.get("restartCount", 0) >= 1 and status["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff" and status
    again = space.wait("pods", "always", lambda p: waits(p), 60)
    assert waits(again)["lastState"]["terminated"]["reason"] == "StartError"


def test_a_deleted_pod_ends_in_a_final_phase(space):
    """Whatever its restart policy; a finalizer keeps it where one can see that."""
    for name, code, wanted in (("well", 0, "Succeeded"), ("ill", 3, "Failed")):
        script = f"trap 'exit {code}' TERM; sleep 100000 & wait"
        space.create("pods", {"metadata": {"name": name, "finalizers": ["test/keep"]}, "spec": {
            "containers": [{"name": "c", "image": "busybox:test", "command": ["sh", "-c", script]}]}})
        space.wait_pod(name)
        space.kube.delete(path("pods", space.name, name))
        pod = space.wait("pods", name, lambda p: phase(p) in ("Succeeded", "Failed"))
        assert phase(pod) == wanted
        assert "terminated" in pod["status"]["containerStatuses"][0]["state"]
        space.kube.patch(path("pods", space.name, name), {"metadata": {"finalizers": None}})
        space.wait_gone("pods", name)
