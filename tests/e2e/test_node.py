"""The node agent beyond plain pods: debugging containers, what pods learn of changes, and what a node refuses."""
from kube import path, until


def logs_of(space, pod, container):
    code, text = space.kube.text("GET", path("pods", space.name, pod, "log") + f"?container={container}")
    return text.decode() if code == 200 else ""


def test_ephemeral_container_sees_its_target(space):
    space.box(script="sleep 4711")
    space.wait_pod("box")
    debug = {"name": "debug", "image": "busybox:test", "command": ["sh", "-c", "ps; echo seen"], "targetContainerName": "box"}
    space.kube.patch(path("pods", space.name, "box", "ephemeralcontainers"), {"spec": {"ephemeralContainers": [debug]}},
                     "application/strategic-merge-patch+json")

    def ended(p):
        of = {s["name"]: s for s in p["status"].get("ephemeralContainerStatuses", [])}
        return of.get("debug", {}).get("state", {}).get("terminated")
    pod = space.wait("pods", "box", ended)
    assert ended(pod)["exitCode"] == 0
    assert "sleep 4711" in logs_of(space, "box", "debug")
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
    assert {c["type"]: c["status"] for c in pod["status"]["conditions"]}["Ready"] == "True"


def test_many_mounted_objects_reach_their_pods(space):
    """Every object is followed by itself: each change arrives, whichever of them changes."""
    names = [f"settings-{i}" for i in range(12)]
    for name in names:
        space.create("configmaps", {"metadata": {"name": name}, "data": {"value": "old"}})
    space.box(script="sleep 100000", volumes=[{"name": n, "configMap": {"name": n}} for n in names],
              container={"command": ["sh", "-c", "while :; do cat /v/*/value; echo; sleep 0.2; done"],
                         "volumeMounts": [{"name": n, "mountPath": f"/v/{n}"} for n in names]})
    space.wait_pod("box")
    for n, name in enumerate(names, 1):
        space.kube.patch(path("configmaps", space.name, name), {"data": {"value": "new"}})
        ordered = sorted(names)
        changed = set(names[:n])
        wanted = "".join("new" if o in changed else "old" for o in ordered)
        until(lambda w=wanted: w in logs_of(space, "box", "box").splitlines(), 10, f"{name} arrives")


def test_an_optional_object_may_come_later(space):
    space.box(volumes=[{"name": "late", "configMap": {"name": "late", "optional": True}}],
              container={"command": ["sh", "-c", "while :; do cat /v/value 2>/dev/null; sleep 0.2; done"],
                         "volumeMounts": [{"name": "late", "mountPath": "/v"}]})
    space.wait_pod("box")
    space.create("configmaps", {"metadata": {"name": "late"}, "data": {"value": "here\n"}})
    until(lambda: "here" in logs_of(space, "box", "box"), 10, "the late object arrives")
