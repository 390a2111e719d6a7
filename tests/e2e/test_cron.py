"""CronJobs through kubectl: by the clock, by hand, and what is no schedule."""
import pytest
from kube import until


def jobs(space):
    return {j["metadata"]["name"]: j for j in space.items("jobs")}


def is_complete(job):
    return any(c["type"] == "Complete" and c["status"] == "True" for c in job.get("status", {}).get("conditions", []))


def test_runs_by_the_clock_and_by_hand(space, kubectl):
    if kubectl.version < (1, 21):
        pytest.skip("this kubectl knows CronJobs of batch/v1beta1 only, which upstream serves no more")
    kubectl("create", "cronjob", "tick", "--image=busybox:test", "--schedule=* * * * *", "--", "echo", "tick")
    kubectl("create", "job", "by-hand", "--from=cronjob/tick")
    until(lambda: is_complete(jobs(space)["by-hand"]), 30, "the Job made by hand is done")

    def active():
        return [a["name"] for a in space.get("cronjobs", "tick").get("status", {}).get("active", [])]
    until(lambda: "by-hand" not in active(), 10, "it is not active")
    row = kubectl("get", "cronjob", "tick", "--no-headers").split()
    assert row[0] == "tick" and "False" in row

    until(lambda: [n for n in jobs(space) if n.startswith("tick-")], 90, "a Job of its own, in the next minute")
    kubectl("patch", "cronjob", "tick", "-p", '{"spec": {"suspend": true}}')  # before another minute begins, or after it
    until(lambda: all(is_complete(j) for j in jobs(space).values()) and not active(), 30, "its Jobs are done, and that is noted")
    newest = max((j for n, j in jobs(space).items() if n.startswith("tick-")), key=lambda j: j["metadata"]["name"])["metadata"]
    status = space.get("cronjobs", "tick")["status"]
    assert newest["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"] == status["lastScheduleTime"] <= status["lastSuccessfulTime"]
    assert kubectl("logs", f"job/{newest['name']}").strip() == "tick"

    kubectl("delete", "cronjob", "tick")
    until(lambda: not jobs(space), 30, "its Jobs went with it")


def test_suspended_in_another_time_zone(space, kubectl):
    space.create("cronjobs", {"metadata": {"name": "night"}, "spec": {
        "schedule": "0 3 * * mon-fri", "timeZone": "Europe/Berlin", "suspend": True, "jobTemplate": {"spec": {"template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox:test", "command": ["true"]}]}}}}}})
    assert "Europe/Berlin" in kubectl("get", "cronjob", "night")
    assert "end of range (24) above maximum (23): 24" in kubectl.fails("patch", "cronjob", "night", "-p", '{"spec":{"schedule":"0 24 * * *"}}')
    assert space.get("cronjobs", "night")["spec"]["schedule"] == "0 3 * * mon-fri"
