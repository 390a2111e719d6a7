"""Jobs run to their end, counted exactly; also while everything is killed around them."""
import os
import random
import sys
import time

from conftest import Space, figures
from kube import path, top, until

sys.path.append(os.path.join(top(), "tests", "stress"))
import jobs as stress  # noqa: E402


def job(space, name, script="true", restart="Never", pod=None, **spec):
    body = {"metadata": {"name": name}, "spec": {**spec, "template": {"spec": {
        "restartPolicy": restart, "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "c", "image": "busybox:test", "command": ["sh", "-c", script]}], **(pod or {})}}}}
    return space.create("jobs", body)


def ended(space, name, how, seconds=30):
    def look():
        status = space.get("jobs", name).get("status", {})
        types = {c["type"] for c in status.get("conditions", []) if c["status"] == "True"}
        assert not types & ({"Complete", "Failed"} - {how}), status
        return status if how in types else None
    return until(look, seconds, f"job {name} {how}")


def test_completes_with_so_many_successes(space):
    job(space, "five", completions=5, parallelism=2)
    status = ended(space, "five", "Complete")
    assert status["succeeded"] == 5 and "failed" not in status and status["uncountedTerminatedPods"] == {}
    assert {c["type"] for c in status["conditions"]} == {"SuccessCriteriaMet", "Complete"}
    pods = space.items("pods", "batch.kubernetes.io/job-name=five")
    assert len(pods) == 5 and all("finalizers" not in p["metadata"] for p in pods)


def test_indexed(space):
    job(space, "rows", 'test "$JOB_COMPLETION_INDEX" = "$(hostname | sed s/rows-//)"', completions=4, parallelism=4, completionMode="Indexed")
    assert ended(space, "rows", "Complete")["completedIndexes"] == "0-3"


def test_gives_up_at_its_limit(space):
    job(space, "bad", "exit 3", backoffLimit=0)
    status = ended(space, "bad", "Failed")
    assert status["failed"] == 1 and any(c["reason"] == "BackoffLimitExceeded" for c in status["conditions"])


def test_restarts_in_place_do_not_count_as_failures(space):
    job(space, "again", 'test -e /d/x || { touch /d/x; exit 1; }', restart="OnFailure",
        pod={"volumes": [{"name": "d", "emptyDir": {}}], "containers": [{
            "name": "c", "image": "busybox:test", "command": ["sh", "-c", "test -e /d/x || { touch /d/x; exit 1; }"],
            "volumeMounts": [{"name": "d", "mountPath": "/d"}]}]})
    assert ended(space, "again", "Complete")["succeeded"] == 1


def test_deadline_suspend_and_ttl(space):
    job(space, "slow", "sleep 1000", activeDeadlineSeconds=1)
    assert any(c["reason"] == "DeadlineExceeded" for c in ended(space, "slow", "Failed")["conditions"])
    job(space, "held", "sleep 1000", suspend=True)
    until(lambda: any(c["type"] == "Suspended" for c in space.get("jobs", "held").get("status", {}).get("conditions", [])), 10, "suspended")
    assert not space.items("pods", "batch.kubernetes.io/job-name=held")
    space.kube.patch(path("jobs", space.name, "held"), {"spec": {"suspend": False}})
    until(lambda: space.items("pods", "batch.kubernetes.io/job-name=held"), 10, "resumed")
    job(space, "short", ttlSecondsAfterFinished=0)
    space.wait_gone("jobs", "short", 30)


def test_failure_policy(space):
    job(space, "policy", "exit 42", backoffLimit=6, podFailurePolicy={"rules": [
        {"action": "FailJob", "onExitCodes": {"containerName": "c", "operator": "In", "values": [42]}}]})
    status = ended(space, "policy", "Failed")
    assert any(c["reason"] == "PodFailurePolicy" and "exit code 42" in c["message"] for c in status["conditions"])


def test_exact_while_everything_is_killed(fresh):
    """Indexes whose pods sometimes fail, and kill -9 of all but containerd: each index is done once, none is counted twice."""
    server = fresh(ephemeral=False)
    server.add_images("busybox")
    server.start().wait_ready().wait_images("busybox:test")
    space = Space(server)
    count, chance = 40, random.Random(7)
    job(space, "many", 'test $((RANDOM % 8)) -gt 0', restart="OnFailure", completions=count, parallelism=8, completionMode="Indexed", backoffLimit=1000)
    job(space, "plain", "sleep 0.2", completions=count, parallelism=8, backoffLimit=1000)
    for _ in range(4):
        time.sleep(chance.uniform(0.5, 2))
        server.kill_all()
        server.start().wait_api()
    many, plain = ended(space, "many", "Complete", 180), ended(space, "plain", "Complete", 180)
    assert many["succeeded"] == count and many["completedIndexes"] == f"0-{count - 1}"
    assert plain["succeeded"] == count
    phases = [p["status"]["phase"] for p in space.items("pods", "batch.kubernetes.io/job-name=plain")]
    assert phases.count("Succeeded") == count, "each pod is counted once"
    assert phases.count("Failed") == plain.get("failed", 0) == 0, "a node process that ends makes no pod fail"


def test_hundreds_are_counted_exactly(fresh):
    """Pods on nodes that pretend, some of which fail or are deleted, while the control process is killed: `make stress PARTS=jobs` with thousands."""
    server = fresh(node=False, ephemeral=False)
    server.start().wait_api()
    seed = random.randrange(1 << 32)
    wrong, kills, pods = stress.exact(server, Space(server), 300, random.Random(seed), 180)
    figures("jobs on nodes that pretend", seed=seed, completions=300, pods=pods, kills=kills)
    assert not wrong, f"seed {seed}: {wrong}"
