"""kubectl drain: evictions that a PodDisruptionBudget allows, one after the other."""
from kube import is_ready, until


def running(space):
    return {p["metadata"]["name"] for p in space.items("pods", "app=web") if is_ready(p) and "deletionTimestamp" not in p["metadata"]}


def test_drain_waits_for_the_budget(space, kubectl):
    node = space.server.nodes()[0]["metadata"]["name"]
    space.web(2)
    space.wait_deployment()
    first = running(space)
    space.kube.create(f"/apis/policy/v1/namespaces/{space.name}/poddisruptionbudgets", {
        "metadata": {"name": "web"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}})
    until(lambda: kubectl("get", "pdb", "web", "--no-headers").split()[1:4] == ["1", "N/A", "1"], 10, "one may go")
    drain = ["drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--pod-selector=app=web"]
    try:
        said = kubectl.fails(*drain, "--timeout=8s")
        assert "Cannot evict pod as it would violate the pod's disruption budget" in said
        assert len(running(space) & first) == 1, "one of the two went, and no node may take the new one"

        def budget():
            status = space.kube.get(f"/apis/policy/v1/namespaces/{space.name}/poddisruptionbudgets/web")["status"]
            return status["disruptionsAllowed"], status["currentHealthy"], status["expectedPods"]
        until(lambda: budget() == (0, 1, 2), 10, "the budget is spent")
        kubectl("uncordon", node)
        until(lambda: len(running(space)) == 2, 30, "both run again")
        kubectl("delete", "pdb", "web")
        assert f"node/{node} " in kubectl(*drain, "--timeout=180s").splitlines()[-1]
        assert not running(space) & first
    finally:
        kubectl("uncordon", node)
    space.wait_deployment()
