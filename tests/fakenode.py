"""Nodes that pretend: they are in the API, Ready, with leases that are renewed, and what a kubelet would tell of pods is told by fate(pod).
For tests that need thousands of pods and no containers. Survives a server that is killed and comes back."""
import concurrent.futures
import datetime
import heapq
import http.client
import itertools
import json
import threading
import time

from kube import ApiError, is_ready, path

FAULTS = (OSError, http.client.HTTPException, ApiError, ValueError)


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def register(kube, name, labels=None, **capacity):
    kube.create(path("nodes"), {"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}}})
    amounts = {"cpu": "1000", "memory": "1000Gi", "pods": "10000", **capacity}
    kube.patch(path("nodes", None, name, "status"), {"status": {
        "capacity": amounts, "allocatable": amounts,
        "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "pretended", "lastHeartbeatTime": now()[:19] + "Z",
                        "lastTransitionTime": now()[:19] + "Z"}]}})


class FakeNodes:
    """fate(pod) → (seconds, status or None to leave it as it is): what becomes of a pod that was bound. Called once for each uid."""

    def __init__(self, kube, names, fate, threads=4):
        self.kube, self.names, self.fate = kube, names, fate
        self.ending, self.seen, self.told = threading.Event(), {}, {}
        self.due, self.order, self.changed = [], itertools.count(), threading.Condition()
        self.pool = [threading.Thread(target=self._tell, daemon=True) for _ in range(threads)]
        self.others = [threading.Thread(target=run, daemon=True) for run in (self._watch, self._renew)]
        for name in names:
            self._always(lambda k, n=name: register(k, n))
        for t in self.pool + self.others:
            t.start()

    def end(self):
        self.ending.set()
        with self.changed:
            self.changed.notify_all()
        for t in self.pool + self.others[1:]:
            t.join(30)

    def _always(self, call, kube=None):
        """Until it is answered: 404, 409 and 422 are answers too."""
        kube = kube or self.kube.clone(5)
        while not self.ending.is_set():
            try:
                return call(kube)
            except ApiError as e:
                if e.code in (404, 409, 422):
                    return None
            except FAULTS:
                pass
            time.sleep(0.05)
        return None

    def _renew(self):
        kube, leases = self.kube.clone(5), "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        while not self.ending.is_set():
            for name in self.names:
                spec = {"spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": now()}}
                try:
                    kube.patch(f"{leases}/{name}", spec)
                except ApiError as e:
                    if e.code == 404:
                        self._always(lambda k, n=name, s=spec: k.create(leases, {"metadata": {"name": n}, **s}), kube)
                except FAULTS:
                    pass
            self.ending.wait(5)

    def _watch(self):
        kube, where = self.kube.clone(30), path("pods")
        while not self.ending.is_set():
            try:
                listed = kube.get(where)
                for pod in listed["items"]:
                    self._look(pod)
                for _, kind, pod in kube.watch(where, since=listed["metadata"]["resourceVersion"]):
                    if kind in ("ADDED", "MODIFIED"):
                        self._look(pod)
                    elif kind == "ERROR":
                        break
            except FAULTS:
                time.sleep(0.05)

    def _look(self, pod):
        meta = pod["metadata"]
        if pod["spec"].get("nodeName") not in self.names:
            return
        if "deletionTimestamp" in meta and self.seen.get(meta["uid"]) != "going":
            self.seen[meta["uid"]] = "going"
            self._at(0, pod, "gone")
        elif meta["uid"] not in self.seen:
            self.seen[meta["uid"]] = "here"
            if ended(pod):
                return
            seconds, status = self.fate(pod)
            if status is not None:
                self._at(seconds, pod, status)

    def _at(self, seconds, pod, what):
        with self.changed:
            heapq.heappush(self.due, (time.monotonic() + seconds, next(self.order), pod, what))
            self.changed.notify()

    def _next(self):
        with self.changed:
            while not self.ending.is_set():
                wait = self.due[0][0] - time.monotonic() if self.due else 1
                if self.due and wait <= 0:
                    return heapq.heappop(self.due)[2:]
                self.changed.wait(max(wait, 0.001))
        return None, None

    def _tell(self):
        kube = self.kube.clone(5)
        while True:
            pod, what = self._next()
            if not pod:
                return
            meta = pod["metadata"]
            at = path("pods", meta["namespace"], meta["name"])
            if what == "delete":
                self._always(lambda k: k.delete(at, preconditions={"uid": meta["uid"]}), kube)
            elif what == "gone":
                self._leave(kube, pod, at)
            elif self._always(lambda k: k.patch(at + "/status", {"metadata": {"uid": meta["uid"]}, "status": what}), kube):
                self.told[meta["uid"]] = (meta, what["phase"])

    def _leave(self, kube, pod, at):
        """As a kubelet does: a pod that had not ended fails, then the object goes."""
        meta = pod["metadata"]
        if not ended(pod) and meta["uid"] not in self.told:
            if self._always(lambda k: k.patch(at + "/status", {"metadata": {"uid": meta["uid"]}, "status": failed(137)}), kube):
                self.told[meta["uid"]] = (meta, "Failed")
        self._always(lambda k: k.delete(at, gracePeriodSeconds=0, preconditions={"uid": meta["uid"]}), kube)


def ended(pod):
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def terminated(phase, code, name="c"):
    end = {"exitCode": code, "reason": "Completed" if code == 0 else "Error", "startedAt": now()[:19] + "Z", "finishedAt": now()[:19] + "Z"}
    return {"phase": phase, "containerStatuses": [{"name": name, "image": "x", "imageID": "", "ready": False, "restartCount": 0, "state": {"terminated": end}}]}


def succeeded():
    return terminated("Succeeded", 0)


def failed(code=1):
    return terminated("Failed", code)
