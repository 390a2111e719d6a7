"""kubectl and workloads: run, expose, scale, rollouts."""
import json

import pytest
from kube import until


def revision(kubectl):
    return kubectl("get", "deployment", "web", "-o", "jsonpath={.metadata.annotations.deployment\\.kubernetes\\.io/revision}")


def image(kubectl):
    return kubectl("get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[0].image}")


def test_scale(kubectl, space):
    space.web(1)
    space.wait_deployment()
    assert "scaled" in kubectl("scale", "deployment", "web", "--replicas=4")
    space.wait_deployment()
    assert len(space.items("pods", "app=web")) == 4
    assert "expected replicas to be" in kubectl.fails("scale", "deployment/web", "--current-replicas=1", "--replicas=2", "--timeout=1s").lower()
    kubectl("scale", "deployment", "web", "--replicas=0")
    until(lambda: not space.items("pods", "app=web"), 30, "no pods")


def test_rollout(kubectl, space):
    space.web(2)
    assert "successfully rolled out" in kubectl("rollout", "status", "deployment/web", "--timeout=180s")
    kubectl("set", "image", "deployment/web", "web=web:v2")
    kubectl("annotate", "deployment/web", "kubernetes.io/change-cause=second", "--overwrite")
    assert "successfully rolled out" in kubectl("rollout", "status", "deployment/web", "--timeout=180s")
    assert revision(kubectl) == "2"
    history = kubectl("rollout", "history", "deployment/web")
    assert "REVISION" in history and "second" in history
    assert "web:v1" in kubectl("rollout", "history", "deployment/web", "--revision=1")
    assert "rolled back" in kubectl("rollout", "undo", "deployment/web")
    kubectl("rollout", "status", "deployment/web", "--timeout=180s")
    assert image(kubectl) == "web:v1" and revision(kubectl) == "3"
    kubectl("rollout", "undo", "deployment/web", "--to-revision=2")
    kubectl("rollout", "status", "deployment/web", "--timeout=180s")
    assert image(kubectl) == "web:v2"
    assert len(space.items("replicasets")) == 2  # an old template comes back in its old ReplicaSet


SET = """
apiVersion: apps/v1
kind: KIND
metadata: {name: set, annotations: {kubernetes.io/change-cause: first}}
spec:
  selector: {matchLabels: {app: set}}
  template:
    metadata: {labels: {app: set}}
    spec: {terminationGracePeriodSeconds: 0, containers: [{name: web, image: "web:v1", imagePullPolicy: Never}]}
"""


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
def test_rollout_of_sets(kubectl, space, kind):
    """Their history is made of ControllerRevisions: kubectl compares and applies them itself."""
    name = f"{kind.lower()}/set"

    def rolled_out(image):
        kubectl("rollout", "status", name, "--timeout=180s")
        assert kubectl("get", "pods", "-l", "app=set", "-o", "jsonpath={.items[*].spec.containers[0].image}") == image

    kubectl("apply", "-f", "-", stdin=SET.replace("KIND", kind))
    rolled_out("web:v1")
    kubectl("set", "image", name, "web=web:v2")
    rolled_out("web:v2")
    assert "first" in kubectl("rollout", "history", name)
    assert "web:v1" in kubectl("rollout", "history", name, "--revision=1")
    assert "rolled back" in kubectl("rollout", "undo", name)
    rolled_out("web:v1")
    assert "skipped" in kubectl("rollout", "undo", name, "--to-revision=3")
    kubectl("rollout", "undo", name, "--to-revision=2")
    rolled_out("web:v2")
    assert len(kubectl("get", "controllerrevisions", "-l", "app=set", "-o", "name").split()) == 2
    assert "restarted" in kubectl("rollout", "restart", name)
    rolled_out("web:v2")


def test_rollout_restart(kubectl, space):
    space.web(2)
    space.wait_deployment()
    before = {p["metadata"]["name"] for p in space.items("pods", "app=web")}
    assert "restarted" in kubectl("rollout", "restart", "deployment/web")
    kubectl("rollout", "status", "deployment/web", "--timeout=180s")
    until(lambda: not before & {p["metadata"]["name"] for p in space.items("pods", "app=web")}, 30, "the old pods gone")


def test_rollout_pause(kubectl, space):
    space.web(1)
    space.wait_deployment()
    kubectl("rollout", "pause", "deployment/web")
    kubectl("set", "image", "deployment/web", "web=web:v2")
    kubectl("set", "env", "deployment/web", "MORE=1")
    assert len(space.items("replicasets")) == 1
    assert "no rollout history" in kubectl.fails("rollout", "undo", "deployment/web")
    kubectl("rollout", "resume", "deployment/web")
    kubectl("rollout", "status", "deployment/web", "--timeout=180s")
    assert len(space.items("replicasets")) == 2 and revision(kubectl) == "2"


def test_rollout_that_cannot_succeed(kubectl, space):
    space.web(2, progressDeadlineSeconds=3)
    space.wait_deployment()
    kubectl("set", "image", "deployment/web", "web=web:missing")
    assert "exceeded its progress deadline" in kubectl.fails("rollout", "status", "deployment/web", "--timeout=180s")
    kept = [p for p in space.items("pods", "app=web") if p["spec"]["containers"][0]["image"] == "web:v1"]
    assert len(kept) == 2  # 25 % of two, rounded down, may be unavailable: none
    until(lambda: any("ImagePull" in json.dumps(p["status"]) for p in space.items("pods", "app=web")), 20, "ErrImagePull told")
    kubectl("patch", "deployment", "web", "-p", '{"spec": {"progressDeadlineSeconds": 600}}')
    kubectl("rollout", "undo", "deployment/web")
    kubectl("rollout", "status", "deployment/web", "--timeout=180s")


def test_recreate(kubectl, space):
    space.web(2, strategy={"type": "Recreate"})
    space.wait_deployment()
    kubectl("set", "image", "deployment/web", "web=web:v2")
    kubectl("rollout", "status", "deployment/web", "--timeout=180s")


def test_run(kubectl, space):
    kubectl("run", "once", "--image=busybox:test", "--restart=Never", "--labels=a=b", "--env=WHO=you", "--", "sh", "-c", "echo hello $WHO")
    space.wait("pods", "once", lambda p: p["status"].get("phase") == "Succeeded")
    assert kubectl("logs", "once") == "hello you\n"
    assert "Completed" in kubectl("get", "pod", "once")
    kubectl("run", "bad", "--image=busybox:test", "--restart=Never", "--", "sh", "-c", "exit 3")
    pod = space.wait("pods", "bad", lambda p: p["status"].get("phase") == "Failed")
    assert pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 3


def test_run_and_remove(kubectl, space):
    out = kubectl("run", "brief", "--image=busybox:test", "--restart=Never", "--rm", "-i", "--quiet", "--", "sh", "-c", "cat; echo end", stdin="given\n")
    assert "given" in out and "end" in out
    space.wait_gone("pods", "brief")  # kubectl asks for it and does not wait


def test_restart_back_off(kubectl, space):
    kubectl("run", "crash", "--image=busybox:test", "--", "sh", "-c", "echo once; exit 1")
    pod = space.wait("pods", "crash", lambda p: any(c.get("restartCount", 0) >= 1 and c["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff"
                                                     for c in p["status"].get("containerStatuses", [])))
    assert pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 1
    assert kubectl("logs", "crash", "--previous") == "once\n"


def test_expose(kubectl, space):
    space.web(2)
    space.wait_deployment()
    kubectl("expose", "deployment", "web", "--port=80", "--target-port=8080")
    kubectl("expose", "deployment", "web", "--name=outside", "--type=NodePort", "--port=80", "--target-port=8080")
    until(lambda: len((space.get("endpoints", "web").get("subsets") or [{}])[0].get("addresses", [])) == 2, 20, "two endpoints")
    until(lambda: sum(len(s["endpoints"]) for s in space.items("endpointslices", "kubernetes.io/service-name=web")) == 2, 20, "two in slices, too")
    port = space.get("services", "outside")["spec"]["ports"][0]["nodePort"]
    first, last = map(int, space.server.slot.node_ports.split("-"))
    assert first <= port <= last
    kubectl("delete", "service", "web", "outside")
