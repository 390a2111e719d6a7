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
    hpa = space.kube.get(where)
    assert conditions(hpa)["ScalingActive"] == ("True", "ValidMetricFound")
    assert hpa["status"]["currentMetrics"][0]["resource"]["current"]["averageUtilization"] > 30
    space.wait_deployment("busy")
    assert "cpu: " in kubectl("get", "hpa", "busy")
    assert "SuccessfulRescale" in kubectl("describe", "hpa", "busy")

    for pod in space.items("pods", "app=busy"):
        kubectl("exec", pod["metadata"]["name"], "--", "touch", "/tmp/idle")
    until(lambda: space.get("deployments", "busy")["spec"]["replicas"] == 1, 120, "the fewest")
    assert json.loads(kubectl("get", "hpa", "busy", "-o", "json"))["status"]["desiredReplicas"] == 1
