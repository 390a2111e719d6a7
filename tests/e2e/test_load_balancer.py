"""Services of type LoadBalancer on machines without a balancer: the node's own address, unless the port is taken."""
import contextlib
import http.client

from kube import path, until
from server import free_port


def balanced(space, name, port, **more):
    space.create("services", {"metadata": {"name": name}, "spec": {"type": "LoadBalancer", "selector": {"app": name},
                              "ports": [{"port": port, "targetPort": 8080}], **more}})


def addresses(service):
    return [i["ip"] for i in service["status"].get("loadBalancer", {}).get("ingress", [])]


def answer(ip, port):
    with contextlib.closing(http.client.HTTPConnection(ip, port, timeout=5)) as connection:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()


def test_a_balancer_has_the_nodes_address_and_answers_there(space, kubectl):
    space.web(name="front")
    port = free_port()
    balanced(space, "front", port)
    ip = addresses(space.wait("services", "front", addresses))[0]
    space.wait_deployment("front")
    until(lambda: answer(ip, port).startswith("v1 from front-"), 10, "an answer at the balancer's address")
    row = kubectl("get", "service", "front").splitlines()[1].split()
    assert row[3] == ip, row
    space.kube.patch(path("services", space.name, "front"), {"spec": {"type": "ClusterIP"}})
    space.wait("services", "front", lambda s: not addresses(s))
    space.kube.patch(path("services", space.name, "front"), {"spec": {"type": "LoadBalancer"}})
    space.wait("services", "front", addresses)


def test_ports_that_are_taken_stay_where_they_are(space):
    """A program of the machine keeps its port (the API's own is one), and so does the Service that came first."""
    api = space.kube.server.port
    balanced(space, "api", api)
    port = free_port()
    balanced(space, "first", port)
    space.wait("services", "first", addresses)
    balanced(space, "second", port)

    def told(name):
        return [e["message"] for e in space.items("events") if e["involvedObject"]["name"] == name and e["reason"] == "SyncLoadBalancerFailed"]
    until(lambda: any(f"listens on port {api}/TCP" in m for m in told("api")), 20, "an Event about the API's port")
    until(lambda: any(f"is the address of Service {space.name}/first" in m for m in told("second")), 20, "an Event about the first Service")
    assert not addresses(space.get("services", "api")) and not addresses(space.get("services", "second"))
    space.kube.delete(path("services", space.name, "first"))
    space.wait("services", "second", addresses)
