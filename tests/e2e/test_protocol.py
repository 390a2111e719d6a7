"""What clients see of HTTP itself: watches over WebSockets, as browsers keep them; the order of kinds in discovery."""
import base64
import json

import websocket
import yaml
from kube import condition, path, until


def watch(server, where, *protocols, headers=()):
    address = server.kube.server
    return websocket.create_connection(f"wss://{address.hostname}:{address.port}{where}", timeout=60, subprotocols=list(protocols),
                                       sslopt={"context": server.kube.tls}, header=list(headers))


def next_event(ws):
    """One message is one event."""
    kind, data = ws.recv_data()
    assert kind == websocket.ABNF.OPCODE_TEXT, (kind, data)
    return json.loads(data)


def test_a_watch_over_a_websocket(server):
    maps = path("configmaps", "default")
    for n in range(3):
        server.kube.create(maps, {"metadata": {"name": f"socket-{n}", "labels": {"socket": "yes"}}, "data": {"text": "line\n" * 3000 * n}})
    # the token of a browser is the administrator's certificate here: the sub-protocol with it is not echoed
    token = "base64url.bearer.authorization.k8s.io." + base64.urlsafe_b64encode(b"token").decode().rstrip("=")
    ws = watch(server, maps + "?watch=1&labelSelector=socket%3Dyes", token, "base64.binary.k8s.io")
    assert ws.subprotocol == "base64.binary.k8s.io"
    initial = [next_event(ws) for _ in range(3)]
    assert {(e["type"], e["object"]["metadata"]["name"]) for e in initial} == {("ADDED", f"socket-{n}") for n in range(3)}
    ws.ping("there?")
    ws.send("nobody listens")
    server.kube.patch(maps + "/socket-1", {"data": {"text": "new"}})
    event = next_event(ws)
    assert (event["type"], event["object"]["data"]) == ("MODIFIED", {"text": "new"})
    server.kube.delete(maps + "/socket-1")
    assert next_event(ws)["type"] == "DELETED"
    ws.close()


def test_such_a_watch_ends_in_time_and_says_what_is_wrong(server):
    maps = path("configmaps", "default")
    ws = watch(server, maps + "?watch=1&timeoutSeconds=1&fieldSelector=metadata.name%3Dnone")
    kind, data = ws.recv_data()
    assert kind == websocket.ABNF.OPCODE_CLOSE and data[:2] == b"\x03\xe8", (kind, data)
    try:
        watch(server, maps + "?watch=1&resourceVersion=x")
        raise AssertionError("a bad watch began")
    except websocket.WebSocketBadStatusException as e:
        assert e.status_code == 400


def test_such_a_watch_of_protobuf_is_binary(server):
    maps = path("configmaps", "default")
    server.kube.create(maps, {"metadata": {"name": "binary"}})
    ws = watch(server, maps + "?watch=1&fieldSelector=metadata.name%3Dbinary", headers=["Accept: application/vnd.kubernetes.protobuf;stream=watch"])
    kind, data = ws.recv_data()
    assert kind == websocket.ABNF.OPCODE_BINARY and data.startswith(b"\n\x05ADDED"), (kind, data[:20])
    ws.close()


# ---- discovery: of two kinds with one name, clients take the first ---------------------------------------------------------

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
KIND = """metadata: {name: %(plural)s.%(group)s}
spec:
  group: %(group)s
  scope: Namespaced
  names: {plural: %(plural)s, singular: x%(plural)s, kind: X%(plural)s}
  versions:
  - {name: v1beta1, served: true, storage: false, schema: {openAPIV3Schema: {type: object}}}
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}
"""


def order(server):
    """Groups, versions and resources of these tests, in both kinds of discovery."""
    groups = [g for g in server.kube.get("/apis")["groups"] if g["name"].endswith("order.example.com")]
    old = [(v["groupVersion"], [r["name"] for r in server.kube.get("/apis/" + v["groupVersion"])["resources"]]) for g in groups for v in g["versions"]]
    connection = server.kube.clone()._connect(30)
    connection.request("GET", "/apis", headers={"Accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"})
    answer = connection.getresponse()
    groups = [g for g in json.load(answer)["items"] if g["metadata"]["name"].endswith("order.example.com")]
    new = [(g["metadata"]["name"] + "/" + v["version"], [r["resource"] for r in v["resources"]]) for g in groups for v in g["versions"]]
    connection.close()
    assert old == new
    return old, answer.getheader("ETag")


def test_kinds_have_one_order(server):
    for group, plural in (("b.order.example.com", "mules"), ("b.order.example.com", "apes"), ("a.order.example.com", "mules")):
        made = server.kube.create(CRDS, yaml.safe_load(KIND % {"group": group, "plural": plural}))
        until(lambda n=made["metadata"]["name"]: condition(server.kube.get(f"{CRDS}/{n}"), "Established") == "True", 30, "the kind")
    wanted = [("a.order.example.com/v1", ["mules"]), ("a.order.example.com/v1beta1", ["mules"]),
              ("b.order.example.com/v1", ["apes", "mules"]), ("b.order.example.com/v1beta1", ["apes", "mules"])]
    first = until(lambda: len(order(server)[0]) == 4 and order(server), 30, "both groups")
    assert first[0] == wanted
    server.kube.patch(f"{CRDS}/apes.b.order.example.com", {"spec": {"names": {"shortNames": ["ap"]}}})
    second = until(lambda: order(server)[1] != first[1] and order(server), 30, "the change")
    assert second[0] == wanted
