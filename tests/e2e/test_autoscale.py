"""kubectl autoscale: pods come when they are busy, and go when they are idle."""
import json

from kube import until

BUSY = "while :; do test -e /tmp/idle && sleep 1; done"


def busy_deployment(space):
    space.create("deployments", {"metadata": {"name": "busy"}, "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "busy"}}, "template": {
        "metadata": {"labels": {"app": "busy"}}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [{
            "name": "c", "image": "busybox:test", "command": ["sh", "-c", BUSY],
            "resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "100m"}}}]}}}})


def conditions(hpa):
    return {c["type"]: (c["status"], c["reason"]) for c in hpa.get("status", {}).get("conditions", [])}


def test_busy_pods_become_more_and_idle_ones_fewer(space, kubectl):
    busy_deployment(space)
    space.wait_deployment("busy")
    kubectl("autoscale", "deployment", "busy", "--cpu-percent=30", "--min=1", "--max=3")
    where = f"/apis/autoscaling/v2/namespaces/{space.name}/horizontalpodautoscalers/busy"
    space.kube.patch(where, {"spec": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}}})
    until(lambda: space.get("deployments", "busy")["spec"]["replicas"] == 3, 90, "as many as there may be")

    def told():  # the status is written after the scale
        hpa = space.kube.get(where)
        metrics = hpa.get("status", {}).get("currentMetrics") or [{}]
        return (conditions(hpa).get("ScalingActive") == ("True", "ValidMetricFound")
                and metrics[0].get("resource", {}).get("current", {}).get("averageUtilization", 0) > 30)
    until(told, 30, "why, in the status")
    space.wait_deployment("busy")
    assert "cpu: " in kubectl("get", "hpa", "busy")
    until(lambda: "SuccessfulRescale" in kubectl("describe", "hpa", "busy"), 10, "the Event")

    for pod in space.items("pods", "app=busy"):
        kubectl("exec", pod["metadata"]["name"], "--", "touch", "/tmp/idle")
    until(lambda: space.get("deployments", "busy")["spec"]["replicas"] == 1, 120, "the fewest")
    until(lambda: json.loads(kubectl("get", "hpa", "busy", "-o", "json"))["status"]["desiredReplicas"] == 1, 30, "told, too")
