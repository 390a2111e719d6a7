"""Pods come and go for MINUTES (10), PODS (100) at a time: sleepers, web servers behind Services, some that crash, fail their probes, have images that
are nowhere; and node, control, containerd or all of them are killed meanwhile. SEED repeats a run's choices. In the end no pod is stuck and
everything that the instance held is as it was before."""
import http.client
import os
import random
import signal
import time

from common import Memory, judge, number, pss, name_of, say
from conftest import Space
from kube import ApiError, is_ready, path, until
from server import Server
from traces import left, snapshot

MINUTES, PODS = float(os.environ.get("MINUTES", 10)), number("PODS", 100)
SEED = number("SEED", random.randrange(1 << 32))
FAULTS = (OSError, http.client.HTTPException, ApiError, ValueError)
SLOW_S = 60  # a pod that is told to go and is not gone by then is stuck


# ---- what comes ----------------------------------------------------------------------------------------------------------

def shell(script, **more):
    return {"name": "c", "image": "busybox:test", "command": ["sh", "-c", script], **more}


SLEEP = "trap 'exit 0' TERM; sleep 100000 & wait"


def sleeper(_):
    return {"containers": [shell(SLEEP)]}, is_ready


def web(_):
    probe = {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1}
    return {"containers": [{"name": "c", "image": "web:v1", "ports": [{"containerPort": 8080}], "readinessProbe": probe, "livenessProbe": probe}]}, is_ready


def crasher(chance):
    return {"containers": [shell(f"sleep {chance.random() * 2:.2f}; exit 1")]}, restarted


def finisher(chance):
    return {"restartPolicy": "Never", "containers": [shell(f"sleep {chance.random() * 2:.2f}")]}, lambda p: p["status"].get("phase") == "Succeeded"


def unhealthy(_):
    probe = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}
    return {"containers": [shell(SLEEP, livenessProbe=probe)]}, restarted


def never_ready(_):
    return {"containers": [shell(SLEEP, readinessProbe={"tcpSocket": {"port": 1}, "periodSeconds": 1})]}, lambda p: p["status"].get("phase") == "Running"


def nowhere(_):
    return {"containers": [shell("true", image="nowhere.invalid/none:1")]}, lambda p: waits(p, "ErrImagePull", "ImagePullBackOff")


def full_of_volumes(_):
    at = ("keys", "settings", "memory", "room")
    volumes = [{"name": "keys", "secret": {"secretName": "keys"}}, {"name": "settings", "configMap": {"name": "settings"}},
               {"name": "memory", "emptyDir": {"medium": "Memory"}}, {"name": "room", "emptyDir": {}}]
    places = [{"name": n, "mountPath": "/" + n} for n in at] + [{"name": "settings", "mountPath": "/one", "subPath": "a"}]
    return {"volumes": volumes, "initContainers": [shell("echo x > /room/x", name="i", volumeMounts=places)],
            "containers": [shell("test -e /keys/a && test -e /one && " + SLEEP, volumeMounts=places)]}, is_ready


def stubborn(_):
    """Has to be killed."""
    return {"containers": [shell("trap '' TERM; while :; do sleep 1; done")]}, is_ready


def unsure_beginning(chance):
    return {"initContainers": [shell(f"exit {chance.randrange(2)}", name="i")], "containers": [shell(SLEEP)]}, lambda p: is_ready(p) or began_again(p)


def claimed(_):
    """Its claim is made for it and goes with it: a folder of the node."""
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    return {"volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": claim}}}],
            "containers": [shell("echo x > /v/x && " + SLEEP, volumeMounts=[{"name": "v", "mountPath": "/v"}])]}, is_ready


KINDS = (sleeper, sleeper, web, web, web, crasher, finisher, unhealthy, never_ready, nowhere, full_of_volumes, stubborn, unsure_beginning, claimed)


def container(p, kind="containerStatuses"):
    return (p["status"].get(kind) or [{}])[0]


def restarted(p):
    return container(p).get("restartCount", 0) > 0


def began_again(p):
    return container(p, "initContainerStatuses").get("restartCount", 0) > 0


def waits(p, *reasons):
    return container(p).get("state", {}).get("waiting", {}).get("reason") in reasons


# ---- the run ---------------------------------------------------------------------------------------------------------------

class Slot:
    """One of the PODS that are there at a time."""

    def __init__(self):
        self.name, self.wanted, self.goes_at, self.told_at, self.seen = None, None, 0, 0, False


class Churn:
    def __init__(self, server, space, chance):
        self.server, self.space, self.chance = server, space, chance
        self.kube = server.kube.clone(5)
        self.slots = [Slot() for _ in range(PODS)]
        self.made, self.gone, self.slowest, self.kills, self.stuck, self.kinds = 0, 0, 0, {}, [], {}
        self.next_kill = time.monotonic() + 5

    def pods(self):
        return {p["metadata"]["name"]: p for p in self.kube.get(path("pods", self.space.name))["items"]}

    def step(self, creating=True):
        pods, now = self.pods(), time.monotonic()
        for slot in self.slots:
            if not slot.name:
                if creating:
                    self.create(slot, now)
            elif slot.name not in pods:
                self.absent(slot, now)
            else:
                slot.seen = True
                if slot.told_at and now - slot.told_at > SLOW_S and slot.name not in self.stuck:
                    self.stuck.append(slot.name)
                    say(f"        {slot.name} is stuck: {pods[slot.name]['status']}")
                if not slot.told_at and now > slot.goes_at and creating:
                    self.delete(slot, now)

    def create(self, slot, now):
        kind = self.chance.choice(KINDS)
        spec, wanted = kind(self.chance)
        name = f"{kind.__name__.replace('_', '-')}-{self.made}"
        spec["terminationGracePeriodSeconds"] = self.chance.choice((0, 1, 2))
        slot.name, slot.wanted, slot.seen, slot.told_at, slot.goes_at = name, wanted, False, 0, now + self.chance.expovariate(1 / 20)
        self.made += 1
        try:
            self.kube.create(path("pods", self.space.name), {"metadata": {"name": name, "labels": {"kind": kind.__name__}}, "spec": spec})
            slot.seen = True
        except FAULTS:
            pass  # the next list tells whether it was made

    def absent(self, slot, now):
        if slot.told_at:
            self.slowest = max(self.slowest, now - slot.told_at)
            self.gone += 1
        elif slot.seen:
            judge(False, f"{slot.name} is gone and nobody told it to go")
        slot.name = None

    def delete(self, slot, now):
        grace = self.chance.choice((None, None, 0, 1))
        try:
            self.kube.delete(path("pods", self.space.name, slot.name), **({} if grace is None else {"gracePeriodSeconds": grace}))
            slot.told_at = now
        except FAULTS:
            pass

    def kill(self):
        """One of them, or all; the supervisor starts again what it guards, we start the supervisor."""
        victim = self.chance.choice(("node", "node", "control", "control", "containerd", "all"))
        self.kills[victim] = self.kills.get(victim, 0) + 1
        try:
            if victim == "all":
                self.server.kill_all(containerd=True)
                self.server.start()
            elif victim == "containerd":
                os.kill(self.server.containerd_pid(), signal.SIGKILL)
            else:
                for pid in self.server.children():
                    if name_of(pid) == "kogge-" + victim:
                        os.kill(pid, signal.SIGKILL)
        except (OSError, ValueError):
            pass  # it has just been killed
        self.next_kill = time.monotonic() + self.chance.uniform(2, 25)

    def go(self, seconds):
        end = time.monotonic() + seconds
        told = time.monotonic()
        while time.monotonic() < end:
            if time.monotonic() > self.next_kill:
                self.kill()
            try:
                self.step()
            except FAULTS:
                pass
            if time.monotonic() - told > 60:
                told = time.monotonic()
                say(f"        {self.made} made, {self.gone} gone, slowest {self.slowest:.1f} s, kills {self.kills}")
            time.sleep(0.3)

    def settled(self):
        """Names of pods that are not yet what their kind comes to."""
        pods = self.pods()
        self.step(creating=False)
        return [s.name for s in self.slots if s.name and not s.told_at and not (s.name in pods and s.wanted(pods[s.name]))]

    def no_one_is_stuck(self):
        self.kube = self.server.kube.clone(20)
        until(lambda: self.kube.ready(), 60, "/readyz after the last kill")
        try:
            until(lambda: not self.settled(), 150, "what each pod comes to", every=1)
        except TimeoutError:
            pass
        rest, pods = self.settled(), self.pods()
        judge(not rest, f"every pod came to what it should: {len(pods)} pods" + (f"; not {rest}" if rest else ""))
        for name in rest[:4]:
            say(f"        {name}: {pods.get(name, {}).get('status')}")


def furnish(space):
    space.create("secrets", {"metadata": {"name": "keys"}, "stringData": {"a": "b"}})
    space.create("configmaps", {"metadata": {"name": "settings"}, "data": {"a": "b"}})
    space.create("services", {"metadata": {"name": "web"}, "spec": {"selector": {"kind": "web"}, "sessionAffinity": "ClientIP",
                                                                   "ports": [{"port": 80, "targetPort": 8080}]}})
    space.create("services", {"metadata": {"name": "udp"}, "spec": {"selector": {"kind": "web"}, "type": "NodePort",
                                                                   "ports": [{"port": 53, "protocol": "UDP", "targetPort": 8080}]}})


def everything_goes(server, space, before):
    kube = server.kube.clone(20)
    kube.delete(path("namespaces", None, space.name))
    try:
        until(lambda: space.name not in [n["metadata"]["name"] for n in kube.get(path("namespaces"))["items"]], 120, "the namespace gone", every=0.5)
    except TimeoutError:
        pods = kube.get(path("pods", space.name))["items"]
        judge(False, f"the namespace is still there with {len(pods)} pods: {[(p['metadata']['name'], p['status'].get('phase')) for p in pods[:5]]}")
    rest, end = {}, time.monotonic() + 150
    while time.monotonic() < end:
        rest = left(before, snapshot(server))
        if not rest:
            break
        time.sleep(2)
    judge(not rest, "nothing leaked: processes, mounts, links, namespaces, routes, cgroups, nft elements, connections, files, containers, snapshots"
          + "".join(f"\n            {part}: {len(lines)} more: {lines[:6]}" for part, lines in rest.items()))


def run():
    say(f"SEED={SEED}, {PODS} pods, {MINUTES:g} minutes")
    server = Server(ephemeral=False)
    server.add_images("busybox", "web-v1")
    try:
        server.start().wait_ready().wait_images("busybox:test", "web:v1")
        warm = Space(server)
        warm.box()
        warm.wait_pod("box")
        warm.kube.delete(path("namespaces", None, warm.name))
        until(lambda: warm.name not in [n["metadata"]["name"] for n in server.kube.get(path("namespaces"))["items"]], 60, "the first namespace gone")
        time.sleep(3)
        before = snapshot(server)
        space = Space(server)
        furnish(space)
        churn = Churn(server, space, random.Random(SEED))
        churn.go(MINUTES * 60)
        churn.no_one_is_stuck()
        judge(not churn.stuck, f"{churn.made} pods made, {churn.gone} gone, slowest {churn.slowest:.1f} s, kills {churn.kills}; longer than {SLOW_S} s: {churn.stuck or 'none'}")
        with Memory(server) as memory:
            pass
        say(f"        memory {memory.told()}, containerd {pss(server.containerd_pid()) / 1024:.1f} MiB")
        everything_goes(server, space, before)
    finally:
        if not os.environ.get("KEEP"):
            server.end()
