"""Jobs are counted exactly: PODS_OF_JOBS (10,000) completions on nodes that pretend, every tenth pod fails or is deleted while it runs, and the control
process is killed again and again. Then each index was done once, each success and each failure is counted, and none twice."""
import os
import random
import signal
import threading
import time

from common import judge, name_of, number, say
from conftest import Space
from fakenode import FakeNodes, failed, succeeded
from kube import path, until
from server import Server

COUNT, KILLS_EVERY = number("PODS_OF_JOBS", 10000), (3, 8)
SEED = number("SEED", random.randrange(1 << 32))
JOBS = 10


class Killer(threading.Thread):
    """kill -9 of the control process at random moments."""

    def __init__(self, server, chance):
        super().__init__(daemon=True)
        self.server, self.chance, self.ending, self.kills = server, chance, threading.Event(), 0

    def run(self):
        while not self.ending.wait(self.chance.uniform(*KILLS_EVERY)):
            for pid in self.server.children():
                try:
                    if name_of(pid) == "kogge-control":
                        os.kill(pid, signal.SIGKILL)
                        self.kills += 1
                except OSError:
                    pass

    def end(self):
        self.ending.set()
        self.join()


def fates(chance, count):
    """Of the first pods, as many as there are completions, every tenth fails or goes; later ones succeed, so that back-offs do not pile up."""
    lock, given = threading.Lock(), iter(range(count))

    def fate(_):
        with lock:
            dice, seconds, early = chance.random(), chance.random(), next(given, None) is not None
        if early and dice < 0.03:
            return seconds, "delete"
        return seconds, failed() if early and dice < 0.1 else succeeded()
    return fate


def make_jobs(kube, namespace, completions):
    """Most are indexed, some of these with a limit for each index; the rest count successes only. Half of them start all pods at once."""
    for i in range(JOBS):
        spec = {"completions": completions, "parallelism": completions if i % 2 else max(completions // 4, 20), "backoffLimit": 1000000,
                "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}}}
        if i % 5 < 4:
            spec["completionMode"] = "Indexed"
        if i % 5 == 1:
            spec["backoffLimitPerIndex"] = 100000
        kube.create(path("jobs", namespace), {"metadata": {"name": f"job-{i}"}, "spec": spec})


def complete(job):
    return any(c["type"] in ("Complete", "Failed") and c["status"] == "True" for c in job.get("status", {}).get("conditions", []))


def wrong(job, told):
    """What of the job's count differs from what was told of its pods."""
    status, wanted, found = job["status"], job["spec"]["completions"], []
    own = [(meta, phase) for meta, phase in told.values() if meta["labels"].get("batch.kubernetes.io/job-name") == job["metadata"]["name"]]
    successes, failures = (sum(phase == p for _, phase in own) for p in ("Succeeded", "Failed"))
    if status.get("succeeded") != wanted or successes != wanted:
        found.append(f"succeeded {status.get('succeeded')}, pods that succeeded {successes}, completions {wanted}")
    if status.get("failed", 0) != failures:
        found.append(f"failed {status.get('failed', 0)}, pods that failed {failures}")
    if job["spec"].get("completionMode") == "Indexed":
        indexes = [int(meta["annotations"]["batch.kubernetes.io/job-completion-index"]) for meta, phase in own if phase == "Succeeded"]
        if sorted(indexes) != list(range(wanted)) or status.get("completedIndexes") != f"0-{wanted - 1}":
            found.append(f"completedIndexes {status.get('completedIndexes')}, {len(set(indexes))} different ones succeeded")
    left = status.get("uncountedTerminatedPods", {})
    if left.get("succeeded") or left.get("failed") or not any(c["type"] == "Complete" for c in status["conditions"]):
        found.append(f"conditions and what is not counted: {status['conditions']}, {left}")
    return found


def exact(server, space, count, chance, seconds):
    """Kills at the jobs until all are done; gives (wrong counts, kills, pods that were told of)."""
    nodes = FakeNodes(server.kube, [f"pretended-{i}" for i in range(10)], fates(chance, count))
    killer = Killer(server, chance)
    make_jobs(server.kube, space.name, count // JOBS)
    killer.start()
    kube = server.kube.clone(20)
    try:
        until(lambda: all(complete(j) for j in kube.get(path("jobs", space.name))["items"]), seconds, "all jobs done", every=0.5)
    finally:
        killer.end()
    until(lambda: kube.get(path("jobs", space.name)), 60, "the API")
    time.sleep(1)
    jobs = kube.get(path("jobs", space.name))["items"]
    nodes.end()
    return {j["metadata"]["name"]: w for j in jobs if (w := wrong(j, nodes.told))}, killer.kills, len(nodes.told)


def run():
    say(f"SEED={SEED}, {COUNT} completions")
    server = Server(node=False, ephemeral=False)
    try:
        server.start().wait_api()
        began = time.monotonic()
        off, kills, pods = exact(server, Space(server), COUNT, random.Random(SEED), 420)
        judge(not off, f"{JOBS} jobs of {COUNT // JOBS} completions, {pods} pods, {kills} kills of control, {time.monotonic() - began:.0f} s: counted exactly" +
              (f"; wrong: {off}" if off else ""))
    finally:
        server.end()
