"""StatefulSets, DaemonSets and ReplicationControllers, through kubectl."""
from kube import until


def stateful(space, replicas=3, **spec):
    body = {"metadata": {"name": "db"}, "spec": {
        "serviceName": "db", "replicas": replicas, "selector": {"matchLabels": {"app": "db"}},
        "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"terminationGracePeriodSeconds": 1, "containers": [
            {"name": "web", "image": "web:v1", "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1, "timeoutSeconds": 30}}]}}, **spec}}
    space.create("statefulsets", body)
    space.service("db", clusterIP="None")
    return "statefulset/db"


def pods(space, app):
    return {p["metadata"]["name"]: p for p in space.items("pods", f"app={app}")}


def images(space, app):
    return [p["spec"]["containers"][0]["image"] for _, p in sorted(pods(space, app).items())]


def test_statefulset_in_order_with_names_and_history(space, kubectl):
    name = stateful(space)
    kubectl("rollout", "status", name, "--timeout=180s")
    made = sorted((p["metadata"]["creationTimestamp"], n) for n, p in pods(space, "db").items())
    assert [n for _, n in made] == ["db-0", "db-1", "db-2"]
    ready = {n: next(c["lastTransitionTime"] for c in p["status"]["conditions"] if c["type"] == "Ready") for n, p in pods(space, "db").items()}
    assert ready["db-0"] <= made[1][0] and ready["db-1"] <= made[2][0], "each waits for the one before"
    assert pods(space, "db")["db-1"]["spec"]["hostname"] == "db-1"

    kubectl("set", "image", name, "web=web:v2")
    kubectl("rollout", "status", name, "--timeout=180s")
    assert images(space, "db") == ["web:v2"] * 3
    assert kubectl("rollout", "history", name).count("\n1 ") + kubectl("rollout", "history", name).count("\n2 ") == 2
    kubectl("rollout", "undo", name)
    kubectl("rollout", "status", name, "--timeout=180s")
    assert images(space, "db") == ["web:v1"] * 3

    kubectl("scale", name, "--replicas=1")
    until(lambda: sorted(pods(space, "db")) == ["db-0"], 30, "scaled down from the end")
    status = space.get("statefulsets", "db")["status"]
    assert status["currentRevision"] == status["updateRevision"]


def test_partition_holds_low_ordinals_back(space, kubectl):
    name = stateful(space, updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}, podManagementPolicy="Parallel")
    kubectl("rollout", "status", name, "--timeout=180s")
    kubectl("set", "image", name, "web=web:v2")
    until(lambda: images(space, "db") == ["web:v1", "web:v1", "web:v2"], 30, "only the last is new")
    first = pods(space, "db")["db-0"]["metadata"]["uid"]
    space.kube.delete(f"/api/v1/namespaces/{space.name}/pods/db-0")
    until(lambda: pods(space, "db").get("db-0", {"metadata": {"uid": first}})["metadata"]["uid"] != first, 30, "another db-0")
    assert images(space, "db") == ["web:v1", "web:v1", "web:v2"], "it came back as it was"


def test_daemonset_on_every_node_that_may(space, kubectl):
    node = space.server.nodes()[0]["metadata"]["name"]
    space.create("daemonsets", {"metadata": {"name": "agent"}, "spec": {
        "selector": {"matchLabels": {"app": "agent"}},
        "template": {"metadata": {"labels": {"app": "agent"}}, "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "web", "image": "web:v1"}]}}}})
    kubectl("rollout", "status", "daemonset/agent", "--timeout=180s")
    assert [p["spec"]["nodeName"] for p in pods(space, "agent").values()] == [node]
    kubectl("set", "image", "daemonset/agent", "web=web:v2")
    kubectl("rollout", "status", "daemonset/agent", "--timeout=180s")
    assert images(space, "agent") == ["web:v2"]
    kubectl("rollout", "undo", "daemonset/agent")
    until(lambda: images(space, "agent") == ["web:v1"], 30, "the old image again")
    kubectl("patch", "daemonset", "agent", "-p", '{"spec":{"template":{"spec":{"nodeSelector":{"no":"where"}}}}}')
    until(lambda: not pods(space, "agent"), 30, "no node may run it")
    until(lambda: space.get("daemonsets", "agent")["status"]["desiredNumberScheduled"] == 0, 10, "none is wanted")


def test_replicationcontroller(space, kubectl):
    space.kube.create(f"/api/v1/namespaces/{space.name}/replicationcontrollers", {"metadata": {"name": "old"}, "spec": {
        "replicas": 2, "selector": {"app": "old"}, "template": {"metadata": {"labels": {"app": "old"}}, "spec": {
            "terminationGracePeriodSeconds": 1, "containers": [{"name": "web", "image": "web:v1"}]}}}})
    until(lambda: len(pods(space, "old")) == 2, 30, "two pods")
    kubectl("scale", "rc/old", "--replicas=1")
    until(lambda: len(pods(space, "old")) == 1, 30, "one pod")
    kubectl("delete", "rc/old")
    until(lambda: not pods(space, "old"), 30, "they go with it")
