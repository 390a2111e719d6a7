"""What clients see of HTTP itself: watches over WebSockets, as browsers keep them."""
import base64
import json

import websocket
from kube import path


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
