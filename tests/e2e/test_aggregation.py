"""APIServices: a group version that another server serves."""
import base64
import contextlib
import hashlib
import http.client
import http.server
import json
import re
import socket
import ssl
import subprocess
import threading

import pytest
import websocket
import yaml

from conftest import KUBECTLS, Kubectl
from custom import Hook, condition
from kube import ApiError, until

GROUP, VERSION = "wardle.example.com", "v1alpha1"
SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
NAME = f"{SERVICES}/{VERSION}.{GROUP}"
FLUNDER = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "Flunder", "metadata": {"name": "one", "namespace": "default"}}


VERBS = ["get", "list", "watch", "create", "delete"]


def wardle(path, body):
    where = path.split("?")[0]
    if where.startswith("/openapi/"):
        return OPENAPI[where]
    if where == f"/apis/{GROUP}/{VERSION}":
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{GROUP}/{VERSION}", "resources": [
            {"name": "flunders", "singularName": "flunder", "namespaced": True, "kind": "Flunder", "verbs": VERBS},
            {"name": "flunders/status", "singularName": "", "namespaced": True, "kind": "Flunder", "verbs": ["get"]}]}
    if body:
        return body
    if "watch=" in path:
        return {"type": "ADDED", "object": FLUNDER}
    if where.endswith("/one"):
        return FLUNDER
    return {"kind": "FlunderList", "apiVersion": f"{GROUP}/{VERSION}", "metadata": {"resourceVersion": "1"}, "items": [FLUNDER]}


META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
KIND = [{"group": GROUP, "version": VERSION, "kind": "Flunder"}]


def described(prefix):
    """Its kind as schemas whose references begin with prefix; ObjectMeta is another than ours."""
    spec = {"type": "object", "description": "What it shall be.", "properties": {"wild": {"type": "boolean", "description": "How wild it is."}}}
    name = "com.example.wardle.v1alpha1.Flunder"
    return name, {name: {"type": "object", "description": "A thing of tests.", "x-kubernetes-group-version-kind": KIND, "properties": {
        "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"$ref": prefix + META}, "spec": spec}},
        META: {"type": "object", "properties": {"name": {"type": "string"}, "namespace": {"type": "string"}}}}


def openapi_v2(**more):
    name, definitions = described("#/definitions/")
    post = {"parameters": [{"name": "body", "in": "body", "required": True, "schema": {"$ref": "#/definitions/" + name}}],
            "responses": {"200": {"description": "OK", "schema": {"$ref": "#/definitions/" + name}}},
            "x-kubernetes-action": "post", "x-kubernetes-group-version-kind": KIND[0]}
    return {"swagger": "2.0", "info": {"title": "wardle", "version": "1"}, "definitions": definitions,
            "paths": {f"/apis/{GROUP}/{VERSION}/namespaces/{{namespace}}/flunders": {"post": post}}, **more}


def openapi_v3():
    name, schemas = described("#/components/schemas/")
    answer = {"200": {"description": "OK", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/" + name}}}}}
    get = {"responses": answer, "x-kubernetes-action": "list", "x-kubernetes-group-version-kind": KIND[0]}
    return {"openapi": "3.0.0", "info": {"title": "wardle", "version": "1"}, "components": {"schemas": schemas},
            "paths": {f"/apis/{GROUP}/{VERSION}/namespaces/{{namespace}}/flunders": {"get": get}}}


URL = f"/openapi/v3/apis/{GROUP}/{VERSION}"
OPENAPI = {"/openapi/v2": openapi_v2(), "/openapi/v3": {"paths": {f"apis/{GROUP}/{VERSION}": {"serverRelativeURL": URL + "?hash=1"}}}, URL: openapi_v3()}


def hook_of(server, folder):
    ca = server.kube.get("/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication")["data"]["requestheader-client-ca-file"]
    return Hook(str(folder), wardle, "0.0.0.0", ("DNS:sample-api.default.svc",), ca)


@pytest.fixture
def hook(server, tmp_path):
    one = hook_of(server, tmp_path)
    yield one
    one.end()


COLLECTOR = "system:serviceaccount:kube-system:generic-garbage-collector"


def asked(hook, method="GET"):
    """What was asked about flunders, but for the garbage collector, which follows them; the check of availability asks other things."""
    return [s for s in hook.seen if s[0] == method and "/flunders" in s[1] and s[2].get("x-remote-user") != COLLECTOR]


def own_address():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.connect(("192.0.2.1", 9))
        return s.getsockname()[0]


def wire(kube, hook):
    at = "/api/v1/namespaces/default"
    kube.create(f"{at}/services", {"metadata": {"name": "sample-api"}, "spec": {"ports": [{"port": 7443, "targetPort": hook.port}]}})
    kube.create(f"{at}/endpoints", {"metadata": {"name": "sample-api"}, "subsets": [{"addresses": [{"ip": own_address()}], "ports": [{"port": hook.port}]}]})


@pytest.fixture
def wired(server, hook):
    """The Service and its endpoint; the APIService is the test's."""
    kube, at = server.kube, "/api/v1/namespaces/default"
    wire(kube, hook)
    yield kube
    for path in (NAME, f"{at}/endpoints/sample-api", f"{at}/services/sample-api"):
        kube.text("DELETE", path)


def api_service(hook, **spec):
    service = {"namespace": "default", "name": "sample-api", "port": 7443}
    return {"metadata": {"name": f"{VERSION}.{GROUP}"}, "spec": {"group": GROUP, "version": VERSION, "groupPriorityMinimum": 2000, "versionPriority": 200,
                                                                "service": service, "caBundle": hook.bundle, **spec}}


def available(kube, value, reason=None):
    def look():
        c = condition(kube.get(NAME), "Available")
        return c.get("status") == value and reason in (None, c["reason"]) and c
    return until(look, 20, f"Available is {value}")


@pytest.mark.parametrize("program", [p for _, p in KUBECTLS], ids=[v for v, _ in KUBECTLS])
def test_requests_are_handed_over(server, hook, wired, tmp_path, program):
    wired.create(SERVICES, api_service(hook))
    available(wired, "True", "Passed")
    assert hook.peer == "front-proxy-client"
    kubectl = Kubectl(program, server, tmp_path, "default")
    assert "flunders" in kubectl("api-resources", "-o", "name")
    assert "flunder.wardle.example.com/one" in kubectl("get", "flunders", "-o", "name")
    assert "flunder.wardle.example.com/one" in kubectl("get", "flunder", "one", "-o", "name")
    shown = kubectl("get", "apiservice", f"{VERSION}.{GROUP}").splitlines()[1].split()
    assert shown[1:3] == ["default/sample-api", "True"]
    kubectl("create", "-f", "-", "--validate=false", stdin=json.dumps({**FLUNDER, "metadata": {"name": "two"}}))
    _, path, headers = asked(hook, "POST")[-1]
    assert path.startswith(f"/apis/{GROUP}/{VERSION}/namespaces/default/flunders")
    assert headers.get_all("x-remote-user") == ["kubernetes-admin"] and "system:masters" in headers.get_all("x-remote-group")
    event = next(iter(wired.clone(20).watch(f"/apis/{GROUP}/{VERSION}/flunders", seconds=5)))
    assert event[1] == "ADDED" and event[2]["metadata"]["name"] == "one"


def test_who_asks_cannot_be_invented(server, hook, wired):
    wired.create(SERVICES, api_service(hook))
    available(wired, "True")
    c = wired.clone()
    connection = http.client.HTTPSConnection(c.server.hostname, c.server.port, context=c.tls, timeout=60)
    connection.request("GET", f"/apis/{GROUP}/{VERSION}/flunders", headers={"X-Remote-User": "somebody", "X-Remote-Group": "else", "X-Remote-Extra-Scopes": "x",
                                                                            "Impersonate-User": "jane", "Impersonate-Group": "system:masters"})
    assert connection.getresponse().status == 200
    headers = asked(hook)[-1][2]
    assert headers.get_all("x-remote-user") == ["jane"] and "else" not in headers.get_all("x-remote-group")
    assert not headers.get("x-remote-extra-scopes") and not headers.get("impersonate-user") and not headers.get("authorization")
    before = len(asked(hook))
    connection = http.client.HTTPSConnection(c.server.hostname, c.server.port, context=c.tls, timeout=60)
    connection.request("GET", f"/apis/{GROUP}/{VERSION}/flunders", headers={"Impersonate-User": "jane"})
    assert connection.getresponse().status == 403 and len(asked(hook)) == before, "authorized here first"


def test_a_server_that_does_not_answer(hook, wired):
    wired.create(SERVICES, api_service(hook))
    available(wired, "True")
    hook.status = 500
    wired.patch(NAME, {"metadata": {"labels": {"look": "now"}}})
    assert "500" in available(wired, "False", "FailedDiscoveryCheck")["message"]
    with pytest.raises(ApiError) as e:
        wired.get(f"/apis/{GROUP}/{VERSION}/flunders")
    assert e.value.code == 503
    assert GROUP in [g["name"] for g in wired.get("/apis")["groups"]]
    hook.status = 200
    available(wired, "True")
    wired.delete(NAME)
    until(lambda: GROUP not in [g["name"] for g in wired.get("/apis")["groups"]], 10, "the group is gone")
    with pytest.raises(ApiError) as e:
        wired.get(f"/apis/{GROUP}/{VERSION}/flunders")
    assert e.value.code == 404


def test_conditions_say_what_is_missing(hook, wired):
    wired.create(SERVICES, api_service(hook, caBundle=None, insecureSkipTLSVerify=True))
    available(wired, "True")
    wired.delete(NAME)
    other = api_service(hook)
    other["spec"]["service"]["name"] = "nobody"
    wired.create(SERVICES, other)
    assert available(wired, "False", "ServiceNotFound")["message"] == 'service/nobody in "default" is not present'
    wired.delete(NAME)
    wrong = api_service(hook, insecureSkipTLSVerify=True)
    with pytest.raises(ApiError) as e:
        wired.create(SERVICES, wrong)
    assert e.value.code == 422 and "may not be true if caBundle is present" in e.value.status["message"]


def test_another_certificate_is_not_trusted(hook, wired):
    trust = wired.get("/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication")["data"]["client-ca-file"]
    wired.create(SERVICES, api_service(hook, caBundle=base64.b64encode(trust.encode()).decode()))
    available(wired, "False", "FailedDiscoveryCheck")


# ---- what it says of its kinds -----------------------------------------------------------------------------------------

def merged(kube):
    return until(lambda: any(f"/apis/{GROUP}/" in p for p in kube.get("/openapi/v2")["paths"]), 20, "its paths are in our document")


@pytest.mark.parametrize("program", [p for _, p in KUBECTLS], ids=[v for v, _ in KUBECTLS])
def test_kubectl_knows_its_kinds(server, hook, wired, tmp_path, program):
    wired.create(SERVICES, api_service(hook))
    merged(wired)
    kubectl = Kubectl(program, server, tmp_path, "default")
    assert "How wild it is." in kubectl("explain", "flunders.spec")
    assert "containers" in kubectl("explain", "pods.spec")
    odd = {**FLUNDER, "spec": {"wild": True, "nonsense": 1}}
    if kubectl.version < (1, 25):  # younger ones leave it to the server
        assert "unknown field \"nonsense\"" in kubectl.fails("create", "-f", "-", stdin=json.dumps(odd))
        assert not asked(hook, "POST")
    kubectl("create", "-f", "-", stdin=json.dumps({**FLUNDER, "spec": {"wild": True}}))
    wired.delete(NAME)
    until(lambda: f"apis/{GROUP}/{VERSION}" not in wired.get("/openapi/v3")["paths"], 20, "it is in the index no more")
    until(lambda: not any(f"/apis/{GROUP}/" in p for p in wired.get("/openapi/v2")["paths"]), 20, "its paths are gone")


def test_its_documents(hook, wired):
    wired.create(SERVICES, api_service(hook))
    merged(wired)
    d = wired.get("/openapi/v2")["definitions"]
    assert "uid" in d[META]["properties"] and "uid" not in d[META + "_v2"]["properties"]
    assert d["com.example.wardle.v1alpha1.Flunder"]["properties"]["metadata"] == {"$ref": f"#/definitions/{META}_v2"}
    paths = wired.get("/openapi/v3")["paths"]
    assert paths[f"apis/{GROUP}/{VERSION}"] == {"serverRelativeURL": URL + "?hash=1"} and "api/v1" in paths
    assert wired.get(URL + "?hash=1") == openapi_v3()
    _, path, headers = [s for s in hook.seen if s[1].startswith(URL)][-1]
    assert path == URL + "?hash=1" and headers.get("x-remote-user") == "kubernetes-admin"


@pytest.mark.parametrize("program", [p for _, p in KUBECTLS], ids=[v for v, _ in KUBECTLS])
def test_a_broken_document_breaks_nothing(server, hook, wired, tmp_path, program, monkeypatch):
    """Names that no client knows, references that lead nowhere, kinds that are ours."""
    broken = openapi_v2(nonsense=1)
    flunder = broken["definitions"]["com.example.wardle.v1alpha1.Flunder"]
    flunder.update({"nullable": True, "x-kubernetes-group-version-kind": KIND + [{"group": "", "version": "v1", "kind": "Pod"}]})
    flunder["properties"].update({"list": {"type": "array"}, "odd": {"type": "nonsense"}, "lost": {"$ref": "#/definitions/nobody"}})
    for path in broken["paths"].values():
        path.update({"get": {"responses": {"odd": 1, "200": {}}}, "nonsense": 1})
    monkeypatch.setitem(OPENAPI, "/openapi/v2", broken)
    wired.create(SERVICES, api_service(hook))
    merged(wired)
    kubectl = Kubectl(program, server, tmp_path, "default")
    assert "containers" in kubectl("explain", "pods.spec") and "How wild it is." in kubectl("explain", "flunders.spec")
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "whole"}, "spec": {"containers": [{"name": "a", "image": "busybox"}]}}
    kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))


# ---- upgraded connections ------------------------------------------------------------------------------------------------

EXEC = f"/apis/{GROUP}/{VERSION}/namespaces/default/flunders/one/exec?command=x"


def switched(handler, *more):
    lines = ["HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Upgrade: " + handler.headers["Upgrade"], *more]
    handler.wfile.write("\r\n".join(lines + ["", ""]).encode())


def echo(handler):
    """Says what it hears, until that ends or is the word that shall end it."""
    more = []
    if key := handler.headers.get("Sec-WebSocket-Key"):
        accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
        more = [f"Sec-WebSocket-Accept: {accept}", "Sec-WebSocket-Protocol: v5.channel.k8s.io"]
    switched(handler, *more, "X-Stream-Protocol-Version: v4.channel.k8s.io")
    while (piece := handler.rfile.read1(65536)) not in (b"", b"end"):
        handler.wfile.write(piece)
    ENDED.append(piece)


ENDED = []  # what was heard last, of each upgrade


def raw(kube, lines):
    """A connection on which this was asked over HTTP/1.1, and the head of its answer."""
    kube.tls.set_alpn_protocols(["http/1.1"])
    sock = kube.tls.wrap_socket(socket.create_connection((kube.server.hostname, kube.server.port), timeout=60), server_hostname=kube.server.hostname)
    sock.sendall("\r\n".join([*lines, "Host: x", "", ""]).encode())
    head = b""
    while b"\r\n\r\n" not in head:
        piece = sock.recv(1)
        assert piece, head
        head += piece
    return sock, head.decode().lower()


SPDY = ["Connection: Upgrade", "Upgrade: SPDY/3.1", "X-Stream-Protocol-Version: v4.channel.k8s.io"]


def test_upgrades_pass(hook, wired):
    wired.create(SERVICES, api_service(hook))
    available(wired, "True")
    hook.upgrade = echo
    sock, head = raw(wired.clone(), [f"POST {EXEC} HTTP/1.1", *SPDY, "X-Remote-User: somebody", "Impersonate-User: jane", "Impersonate-Group: system:masters"])
    ENDED.clear()
    assert " 101 " in head and "upgrade: spdy/3.1" in head and "x-stream-protocol-version: v4.channel.k8s.io" in head
    sent = bytes(range(256)) * 4096
    sock.settimeout(60)
    got = bytearray()
    for at in range(0, len(sent), 65536):  # no more at a time than the ways there and back hold
        sock.sendall(sent[at:at + 65536])
        while len(got) < at + 65536:
            got += sock.recv(65536)
    assert bytes(got) == sent
    method, path, headers = [s for s in hook.seen if s[1].endswith("exec?command=x")][-1]
    assert (method, path) == ("POST", EXEC) and headers.get_all("x-remote-user") == ["jane"]
    assert not headers.get("impersonate-user") and hook.peer == "front-proxy-client"
    sock.sendall(b"end")
    assert sock.recv(65536) == b"" and ENDED == [b"end"], "the server's end is the client's"
    sock, head = raw(wired.clone(), [f"POST {EXEC} HTTP/1.1", *SPDY])
    sock.close()
    until(lambda: ENDED == [b"end", b""], 60, "the client's end is the server's")


def test_websockets_pass(server, hook, wired):
    wired.create(SERVICES, api_service(hook))
    available(wired, "True")
    hook.upgrade = echo
    wired.create("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "exec"}})
    token = wired.create("/api/v1/namespaces/default/serviceaccounts/exec/token", {"spec": {}})["status"]["token"]
    wired.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", {
        "metadata": {"name": "exec-flunders"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "namespace": "default", "name": "exec"}]})
    hidden = "base64url.bearer.authorization.k8s.io." + base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")
    ws = websocket.create_connection(f"wss://{wired.server.hostname}:{wired.server.port}{EXEC}", timeout=60, subprotocols=["v5.channel.k8s.io", hidden],
                                     sslopt={"cert_reqs": ssl.CERT_NONE})
    for size in (1, 1000, 60000):
        ws.send_binary(b"x" * size)
        assert ws.recv() == b"x" * size
    _, _, headers = [s for s in hook.seen if s[1].endswith("exec?command=x")][-1]
    assert headers["sec-websocket-protocol"] == "v5.channel.k8s.io", "the token is ours alone"
    assert headers["x-remote-user"] == "system:serviceaccount:default:exec" and not headers.get("authorization")
    ws.shutdown()
    wired.delete("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/exec-flunders")


def test_upgrades_that_are_refused(hook, wired):
    wired.create(SERVICES, api_service(hook))
    available(wired, "True")
    said = json.dumps({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "flunders say no", "reason": "Conflict", "code": 409}).encode()

    def refuse(handler):
        handler.wfile.write(b"HTTP/1.1 409 Conflict\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(said) + said)
    hook.upgrade = refuse
    sock, head = raw(wired.clone(), [f"POST {EXEC} HTTP/1.1", *SPDY])
    assert " 409 " in head and b"flunders say no" in sock.recv(65536)
    hook.upgrade = lambda handler: None
    sock, head = raw(wired.clone(), [f"POST {EXEC} HTTP/1.1", *SPDY])
    assert " 503 " in head and b"error dialing backend" in sock.recv(65536)
    before = len(hook.seen)
    sock, head = raw(wired.clone(), [f"POST {EXEC} HTTP/1.1", *SPDY, "Impersonate-User: jane"])
    assert " 403 " in head and not [s for s in hook.seen[before:] if "exec" in s[1]], "authorized here first"


# ---- what ends with a namespace ------------------------------------------------------------------------------------------

class Flunders:
    """Flunders that are kept: serve() of a hook. Watches are answered with one event, at once when it is there."""

    def __init__(self, *where):
        self.all, self.deleted, self.events, self.changed = {}, [], [], threading.Condition()
        for namespace, name in where:
            self.all[namespace, name] = {**FLUNDER, "metadata": {"name": name, "namespace": namespace, "uid": f"{namespace}-{name}", "resourceVersion": "1"}}

    def __call__(self, method, path, body):
        where = path.split("?")[0].split("/")
        if "flunders" not in where:
            return None
        if "watch=" in path:
            return 200, self.event(int(re.search(r"resourceVersion=(\d+)", path)[1]))
        namespace = where[where.index("namespaces") + 1] if "namespaces" in where else None
        found = [k for k in self.all if namespace in (None, k[0]) and (where[-1] == "flunders" or where[-1] == k[1])]
        if method == "DELETE":
            self.deleted.append(path.split("?")[0])
            for k in found:
                self.remove(k)
            return 200, {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        if where[-1] == "flunders":
            return 200, {"kind": "FlunderList", "apiVersion": f"{GROUP}/{VERSION}", "metadata": {"resourceVersion": str(100 + len(self.events))}, "items": [self.all[k] for k in found]}
        return (200, self.all[found[0]]) if found else (404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404,
                                                                 "message": f'flunders.{GROUP} "{where[-1]}" not found'})


    def remove(self, key):
        with self.changed:
            self.events.append({"type": "DELETED", "object": self.all.pop(key)})
            self.events[-1]["object"]["metadata"]["resourceVersion"] = str(100 + len(self.events))
            self.changed.notify_all()

    def event(self, after):
        with self.changed:
            if self.changed.wait_for(lambda: len(self.events) > after - 100, 1):
                return self.events[after - 100]
        return {"type": "BOOKMARK", "object": {**FLUNDER, "metadata": {"resourceVersion": str(after)}}}


def namespace(kube, name):
    kube.create("/api/v1/namespaces", {"metadata": {"name": name}})
    return f"/api/v1/namespaces/{name}"


def gone(kube, where):
    return kube.text("GET", where)[0] == 404


@pytest.mark.parametrize("together", [False, True], ids=["one by one", "together"])
def test_a_namespace_ends_with_its_objects(hook, wired, monkeypatch, together):
    monkeypatch.setattr("test_aggregation.VERBS", VERBS + ["deletecollection"] * together)
    hook.serve = Flunders(("ending", "a"), ("ending", "b"), ("default", "c"))
    wired.create(SERVICES, api_service(hook))
    available(wired, "True")
    where = namespace(wired, "ending")
    wired.delete(where)
    until(lambda: gone(wired, where), 60, "the namespace is gone")
    at = f"/apis/{GROUP}/{VERSION}/namespaces/ending/flunders"
    assert list(hook.serve.all) == [("default", "c")]
    assert sorted(hook.serve.deleted) == ([at] if together else [f"{at}/a", f"{at}/b"])
    assert {s[2]["x-remote-user"] for s in asked(hook, "DELETE")} == {"system:serviceaccount:kube-system:namespace-controller"}


def test_a_server_that_does_not_answer_holds_a_namespace(hook, wired):
    hook.serve = Flunders(("held", "a"))
    wired.create(SERVICES, api_service(hook))
    available(wired, "True")
    where = namespace(wired, "held")
    wired.create(f"{where}/configmaps", {"metadata": {"name": "ours"}})
    hook.status = 500
    wired.patch(NAME, {"metadata": {"labels": {"look": "now"}}})
    available(wired, "False")
    wired.delete(where)
    failed = until(lambda: (c := condition(wired.get(where), "NamespaceDeletionDiscoveryFailure")).get("status") == "True" and c, 60, "the condition says so")
    gv = f"{GROUP}/{VERSION}"
    assert failed["reason"] == "DiscoveryFailed" and failed["message"] == (
        "Discovery failed for some groups, 1 failing: unable to retrieve the complete list of server APIs: "
        f"{gv}: stale GroupVersion discovery: {gv}")
    until(lambda: gone(wired, f"{where}/configmaps/ours"), 60, "what is ours is emptied all the same")
    assert hook.serve.all
    hook.status = 200
    until(lambda: gone(wired, where), 60, "the namespace is gone")
    assert not hook.serve.all


def test_an_object_that_cannot_be_deleted_holds_a_namespace(hook, wired):
    flunders = Flunders(("stuck", "a"))
    refused = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": 403, "message": "flunders stay"}
    hook.serve = lambda method, path, body: (403, refused) if method == "DELETE" else flunders(method, path, body)
    wired.create(SERVICES, api_service(hook))
    available(wired, "True")
    where = namespace(wired, "stuck")
    wired.delete(where)
    failed = until(lambda: (c := condition(wired.get(where), "NamespaceDeletionContentFailure")).get("status") == "True" and c, 60, "the condition says so")
    assert failed["reason"] == "ContentDeletionFailed" and "flunders stay" in failed["message"]
    hook.serve = flunders
    until(lambda: gone(wired, where), 60, "the namespace is gone")


# ---- owners and what they own ------------------------------------------------------------------------------------------

MAPS = "/api/v1/namespaces/default/configmaps"


def owned_by(kind, version, name, uid):
    return [{"apiVersion": version, "kind": kind, "name": name, "uid": uid}]


def collected(hook):
    until(lambda: any(s[0] == "GET" and "watch=" in s[1] and s[2].get("x-remote-user") == COLLECTOR for s in hook.seen), 60, "flunders are followed")


def test_what_a_flunder_owns_goes_with_it(hook, wired):
    hook.serve = Flunders(("default", "owner"))
    wired.create(SERVICES, api_service(hook))
    collected(hook)
    gv = f"{GROUP}/{VERSION}"
    wired.create(MAPS, {"metadata": {"name": "owned", "ownerReferences": owned_by("Flunder", gv, "owner", "default-owner")}})
    wired.create(MAPS, {"metadata": {"name": "orphan", "ownerReferences": owned_by("Flunder", gv, "nobody", "was-never")}})
    until(lambda: gone(wired, MAPS + "/orphan"), 60, "nobody owns it")
    assert not gone(wired, MAPS + "/owned")
    hook.serve.remove(("default", "owner"))
    until(lambda: gone(wired, MAPS + "/owned"), 60, "it went with its owner")


def test_a_flunder_goes_with_its_owner(hook, wired):
    owner = wired.create(MAPS, {"metadata": {"name": "owner"}})
    hook.serve = Flunders(("default", "owned"), ("default", "free"))
    hook.serve.all["default", "owned"]["metadata"]["ownerReferences"] = owned_by("ConfigMap", "v1", "owner", owner["metadata"]["uid"])
    wired.create(SERVICES, api_service(hook))
    collected(hook)
    assert not hook.serve.deleted
    wired.delete(MAPS + "/owner")
    until(lambda: list(hook.serve.all) == [("default", "free")], 60, "it went with its owner")


def test_nobody_knows_of_owners_whose_server_is_gone(hook, wired):
    hook.serve = Flunders(("default", "owner"))
    wired.create(SERVICES, api_service(hook))
    collected(hook)
    gv = f"{GROUP}/{VERSION}"
    hook.status = 500
    wired.patch(NAME, {"metadata": {"labels": {"look": "now"}}})
    available(wired, "False")
    wired.create(MAPS, {"metadata": {"name": "kept", "ownerReferences": owned_by("Flunder", gv, "owner", "default-owner")}})
    wired.create(MAPS, {"metadata": {"name": "late", "ownerReferences": owned_by("Flunder", gv, "nobody", "was-never")}})
    hook.status = 200
    until(lambda: gone(wired, MAPS + "/late"), 60, "once the server answers")
    wired.delete(NAME)
    wired.create(MAPS, {"metadata": {"name": "unknown", "ownerReferences": owned_by("Flunder", gv, "nobody", "was-never")}})
    last = wired.create(MAPS, {"metadata": {"name": "last", "ownerReferences": owned_by("Secret", "v1", "nobody", "was-never")}})
    until(lambda: gone(wired, MAPS + "/last"), 60, "the collector has looked at what came later")
    assert last
    for name in ("kept", "unknown"):
        assert not gone(wired, f"{MAPS}/{name}")
        wired.delete(f"{MAPS}/{name}")


def test_owners_are_followed_after_a_restart(fresh, tmp_path):
    one = fresh(node=False, ephemeral=False).start().wait_api()
    hook = hook_of(one, tmp_path)
    hook.serve = Flunders(("default", "owner"))
    wire(one.kube, hook)
    one.kube.create(SERVICES, api_service(hook))
    collected(hook)
    one.stop()
    hook.seen.clear()
    one.start().wait_api()
    collected(hook)
    one.kube.create(MAPS, {"metadata": {"name": "owned", "ownerReferences": owned_by("Flunder", f"{GROUP}/{VERSION}", "owner", "default-owner")}})
    hook.serve.remove(("default", "owner"))
    until(lambda: gone(one.kube, MAPS + "/owned"), 60, "it went with its owner")
    hook.end()


# ---- HEAD --------------------------------------------------------------------------------------------------------------

@pytest.fixture
def head(server, tmp_path):
    """What curl shows of a path's headers over a version of HTTP."""
    with open(server.kubeconfig, encoding="utf-8") as f:
        user = yaml.safe_load(f)["users"][0]["user"]
    pem = tmp_path / "admin.pem"
    pem.write_bytes(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))

    def ask(path, version):
        url = f"https://{server.kube.server.hostname}:{server.kube.server.port}{path}"
        done = subprocess.run(["curl", "-sSkI", "--noproxy", "*", f"--http{version}", "--cert", str(pem), url], capture_output=True, text=True, timeout=120,
                              check=True)
        lines = done.stdout.lower().splitlines()
        assert lines[0].startswith(f"http/{version} 200"), done.stdout
        return dict(line.split(": ", 1) for line in lines[1:] if line)
    return ask


def test_a_port_of_a_node_is_that_port(server):
    kube, nodes = server.kube, "/api/v1/nodes"
    plain = http.server.ThreadingHTTPServer(("0.0.0.0", 0), Plain)
    threading.Thread(target=plain.serve_forever, daemon=True).start()
    port = plain.server_address[1]
    kube.create(nodes, {"metadata": {"name": "metrics"}})
    for address, code in ((own_address(), 200), ("127.0.0.1", 400)):
        kube.patch(f"{nodes}/metrics/status", {"status": {"addresses": [{"type": "InternalIP", "address": address}]}})
        assert kube.text("GET", f"{nodes}/metrics:{port}/proxy/said")[0] == code
    kube.delete(f"{nodes}/metrics")
    plain.shutdown()
    plain.server_close()


class Plain(http.server.BaseHTTPRequestHandler):
    """Says its length at /said, and none elsewhere."""
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_HEAD(self):
        self.send_response(200)
        if self.path == "/said":
            self.send_header("Content-Length", "777")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_head_says_what_get_would(hook, wired, head, version):
    wired.create(SERVICES, api_service(hook))
    available(wired, "True")
    path = f"/apis/{GROUP}/{VERSION}/namespaces/default/flunders"
    assert head(path, version)["content-length"] == str(len(wired.text("GET", path)[1]))
    assert asked(hook, "HEAD")


def test_a_path_goes_where_it_was_authorized_to(hook, wired):
    wired.create(SERVICES, api_service(hook))
    available(wired, "True")
    before = len(asked(hook, "GET"))
    assert wired.text("GET", f"/apis//{GROUP}/{VERSION}/namespaces/default/flunders")[0] == 404  # kind VERSION of group "", in version GROUP
    assert len(asked(hook, "GET")) == before
    assert wired.text("GET", f"/%61pis/{GROUP}/{VERSION}/namespaces/default/flunders")[0] == 200
    assert len(asked(hook, "GET")) == before + 1


@contextlib.contextmanager
def behind_a_service(kube, handler):
    """The path of a proxy that leads to this handler, as if it were a pod's."""
    at = "/api/v1/namespaces/default"
    plain = http.server.ThreadingHTTPServer(("0.0.0.0", 0), handler)
    threading.Thread(target=plain.serve_forever, daemon=True).start()
    port = plain.server_address[1]
    until(lambda: kube.get(f"{at}/serviceaccounts/default"), 30, "the account")
    kube.create(f"{at}/services", {"metadata": {"name": "plain"}, "spec": {"ports": [{"port": 80, "targetPort": port}]}})
    kube.create(f"{at}/pods", {"metadata": {"name": "plain"}, "spec": {"schedulerName": "nobody", "containers": [{"name": "c", "image": "x"}]}})
    kube.patch(f"{at}/pods/plain/status", {"status": {"podIP": own_address(), "podIPs": [{"ip": own_address()}]}})
    address = {"ip": own_address(), "targetRef": {"kind": "Pod", "namespace": "default", "name": "plain"}}
    kube.create(f"{at}/endpoints", {"metadata": {"name": "plain"}, "subsets": [{"addresses": [address], "ports": [{"port": port}]}]})
    yield f"{at}/services/plain:80/proxy"
    for path in (f"{at}/endpoints/plain", f"{at}/services/plain", f"{at}/pods/plain"):
        kube.delete(path)
    plain.shutdown()
    plain.server_close()


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_head_through_a_proxy(server, head, version):
    with behind_a_service(server.kube, Plain) as proxy:
        assert head(f"{proxy}/said", version)["content-length"] == "777"
        assert "content-length" not in head(f"{proxy}/other", version)


class Application(http.server.BaseHTTPRequestHandler):
    """Wants a login, and keeps who is logged in in a cookie."""
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = json.dumps({name.lower(): value for name, value in self.headers.items()}).encode()
        self.send_response(302 if self.path == "/login" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Set-Cookie", "user=ann")
        if self.path == "/login":
            self.send_header("Location", "/home")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_an_application_works_through_a_proxy(server):
    """Redirects lead back through it, cookies pass, and what is for us alone does not."""
    with behind_a_service(server.kube, Application) as proxy:
        def ask(path, **headers):
            connection = http.client.HTTPSConnection(server.kube.server.hostname, server.port, timeout=60, context=server.kube.tls)
            connection.request("GET", proxy + path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()
        status, headers, _ = ask("?a=b")
        assert (status, headers["Location"]) == (301, proxy + "/?a=b")
        status, headers, _ = ask("/login")
        assert (status, headers["Location"], headers["Set-Cookie"]) == (302, proxy + "/home", "user=ann")
        status, headers, seen = ask("/home", Cookie="user=ann", Authorization="Bearer x", **{"Sec-WebSocket-Protocol": "base64url.bearer.authorization.k8s.io.eA, v1"})
        assert status == 200 and "access-control-allow-origin" not in headers
        seen = json.loads(seen)
        assert seen["cookie"] == "user=ann" and "authorization" not in seen and seen["sec-websocket-protocol"] == "v1"
