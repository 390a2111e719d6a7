"""NetworkPolicies between real pods. What the kernel does with each kind of rule is tested in namespaces, in src/network/live_test.c."""
import pytest

from conftest import Space
from kube import path, until

WEB = "app=web"


@pytest.fixture
def two(space, any_kubectl):
    """A web pod behind a Service, and two boxes that ask it."""
    kubectl = any_kubectl.within(space.name)
    space.web(1)
    space.service(type="NodePort")
    space.box("box")
    space.box("other")
    space.wait_deployment()
    for name in ("box", "other"):
        space.wait_pod(name)

    def asks(name, url="http://web/"):
        return kubectl.run("exec", name, "--", "timeout", "2", "wget", "-qO-", url).stdout.startswith("v1 from")
    until(lambda: asks("box") and asks("other"), 10, "both boxes are answered")
    return space, asks


def policy(space, name, **spec):
    return space.create("networkpolicies", {"metadata": {"name": name}, "spec": {"podSelector": {}, **spec}})


def test_only_who_is_allowed_comes_in(two):
    space, asks = two
    pod = space.items("pods", WEB)[0]
    policy(space, "deny", policyTypes=["Ingress"])
    until(lambda: not asks("box") and not asks("other"), 10, "nobody is answered")
    policy(space, "allow", podSelector={"matchLabels": {"app": "web"}},
           ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "box"}}}], "ports": [{"port": 8080}]}])
    until(lambda: asks("box"), 10, "the box that a policy names is answered")
    until(lambda: asks("box", f"http://{pod['status']['podIP']}:8080/"), 10, "also at the pod's address")
    assert not asks("other")
    # Probes come from the node: the pod stays ready. So does a client on the node, through the Service.
    now = space.get("pods", pod["metadata"]["name"])
    assert all(c["ready"] and c["restartCount"] == 0 for c in now["status"]["containerStatuses"])
    space.kube.patch(path("pods", space.name, "other"), {"metadata": {"labels": {"app": "box"}}})
    until(lambda: asks("other"), 10, "a pod that gets the label is answered")


def test_rules_of_namespaces(two, any_kubectl):
    space, asks = two
    policy(space, "deny", policyTypes=["Ingress"], ingress=[
        {"from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "elsewhere"}}}]}])
    until(lambda: not asks("box"), 10, "the box is not answered")
    space.kube.patch(path("networkpolicies", space.name, "deny"), {"spec": {"ingress": [
        {"from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": space.name}},
                   "podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["box"]}]}}]}]}})
    until(lambda: asks("box"), 10, "the box is answered")
    assert not asks("other")


def test_what_pods_may_send(two):
    space, asks = two
    policy(space, "out", podSelector={"matchLabels": {"app": "box"}}, policyTypes=["Egress"])
    until(lambda: not asks("box"), 10, "the box does not get out")
    until(lambda: asks("other"), 10, "the other one does")
    space.kube.patch(path("networkpolicies", space.name, "out"), {"spec": {"egress": [
        {"to": [{"podSelector": {"matchLabels": {"app": "web"}}}], "ports": [{"port": "named", "protocol": "TCP"}]}]}})
    assert not asks("box")  # the pod's port has no such name
    address = space.items("pods", WEB)[0]["status"]["podIP"]
    space.kube.patch(path("networkpolicies", space.name, "out"), {"spec": {"egress": [
        {"to": [{"ipBlock": {"cidr": f"{address}/32"}}], "ports": [{"port": 8000, "endPort": 8080}]}]}})
    until(lambda: asks("box"), 10, "the box reaches the block of addresses")


def test_no_packet_slips_through_before(fresh):
    """Pods that ask as the first thing they do, under a policy that is older than they are, on a node that is slow to tell the kernel."""
    server = fresh()
    server.add_images("busybox", "web-v1")
    server.start(KOGGE_DEBUG_SLOW_NETWORK_MS="1500").wait_ready().wait_images("busybox:test", "web:v1")
    space = Space(server)
    space.web(1)
    space.wait_deployment()
    address = space.items("pods", WEB)[0]["status"]["podIP"] + ":8080"
    policy(space, "out", podSelector={"matchExpressions": [{"key": "app", "operator": "In", "values": [f"held-{i}" for i in range(4)]}]},
           policyTypes=["Egress"])
    script = f"timeout %d wget -qO- http://{address}/ && echo out || echo held; sleep 100000"
    names = [space.box(f"held-{i}", script % 2) for i in range(4)] + [space.box("free", script % 60)]

    def log(name):
        text = space.kube.text("GET", path("pods", space.name, name, "log"))[1].decode()
        return text if "held" in text.split() or "out" in text.split() else None
    for name in names:
        space.wait_pod(name)
    logs = {name: until(lambda name=name: log(name), 20, f"{name} has tried") for name in names}
    assert "out" in logs.pop("free").split()
    assert all("held" in text.split() and "out" not in text.split() for text in logs.values()), logs


def test_no_warning_and_wrong_ones_are_refused(space, any_kubectl):
    kubectl = any_kubectl.within(space.name)
    text = """{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "p"},
               "spec": {"podSelector": {}, "egress": [{"to": [{"ipBlock": {"cidr": "%s"}}]}]}}"""
    done = kubectl.run("apply", "-f", "-", stdin=text % "10.0.0.0/8")
    assert done.returncode == 0 and "Warning" not in done.stderr, done.stderr
    assert "must be a valid CIDR value" in kubectl.fails("apply", "-f", "-", stdin=text % "10.0.0.0/80")
    assert space.get("networkpolicies", "p")["spec"]["policyTypes"] == ["Ingress", "Egress"]
