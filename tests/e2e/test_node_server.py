"""The node's own port, for those who come without the API: by token or certificate, and by what roles give them."""
import base64
import http.client
import json
import os
import signal
import threading

from certificates import Request, ask, certificate, decide, node_certificate, plain_tls, show
from kube import path, until
from test_pressure import control_pid

RBAC = "/apis/rbac.authorization.k8s.io/v1"


def asked(server, where, token=None, tls=None, method="GET"):
    connection = http.client.HTTPSConnection(server.node_ip(), server.node_port, timeout=100, context=tls or plain_tls(server))
    connection.request(method, where, headers={"Authorization": f"Bearer {token}"} if token else {})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def may(space, kind, name, *resources, verbs=("get",)):
    """A ClusterRole for a subject, both named after the namespace: space.end() knows nothing of them, nobody else minds."""
    role = f"{space.name}-{name}"
    subject = {"kind": kind, "name": name, **({"namespace": space.name} if kind == "ServiceAccount" else {"apiGroup": "rbac.authorization.k8s.io"})}
    space.kube.create(f"{RBAC}/clusterroles", {"metadata": {"name": role}, "rules": [{"apiGroups": [""], "resources": list(resources), "verbs": list(verbs)}]})
    space.kube.create(f"{RBAC}/clusterrolebindings", {"metadata": {"name": role}, "subjects": [subject],
                                                      "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}})


def token_of(space, name):
    space.create("serviceaccounts", {"metadata": {"name": name}})
    return space.kube.create(path("serviceaccounts", space.name, name, "token"), {"spec": {}})["status"]["token"]


def test_a_token_opens_what_its_roles_name(space):
    """As Prometheus and metrics-server come."""
    server = space.server
    monitor, stranger = token_of(space, "monitor"), token_of(space, "stranger")
    user = f"user=system:serviceaccount:{space.name}"
    may(space, "ServiceAccount", "monitor", "nodes/metrics")
    until(lambda: space.kube.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", {"spec": {
        "user": f"system:serviceaccount:{space.name}:monitor", "resourceAttributes": {"verb": "get", "resource": "nodes", "subresource": "metrics"}}})["status"]["allowed"], 10, "the role")
    for where in ("/metrics", "/metrics/resource", "/metrics/cadvisor", "/metrics"):
        status, text = asked(server, where, monitor)
        assert status == 200 and "# TYPE" in text, (where, status, text[:200])
    assert asked(server, "/metrics", stranger) == (403, f"Forbidden ({user}:stranger, verb=get, resource=nodes, subresource=metrics)")
    assert asked(server, "/stats/summary", monitor) == (403, f"Forbidden ({user}:monitor, verb=get, resource=nodes, subresource=stats)")
    assert asked(server, "/pods", monitor)[0] == 403 and asked(server, "/nothing", monitor)[0] == 403
    assert asked(server, "/metrics", monitor, method="POST")[0] == 403
    with open(server.log, encoding="utf-8", errors="replace") as log:
        assert monitor.split(".")[2] not in log.read()


def test_nobody_knows_these_tokens(space):
    server = space.server
    good, revoked = token_of(space, "monitor"), token_of(space, "revoked")
    for name in ("monitor", "revoked"):
        may(space, "ServiceAccount", name, "nodes/proxy")
    head, body, signature = good.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    other = base64.urlsafe_b64encode(json.dumps({**claims, "sub": "system:serviceaccount:kube-system:x"}).encode()).decode().rstrip("=")
    space.kube.delete(path("serviceaccounts", space.name, "revoked"))
    for why, token in {"none": None, "forged": f"{head}.{other}.{signature}", "unsigned": f"{head}.{body}.", "rubbish": "rubbish", "revoked": revoked}.items():
        assert asked(server, "/metrics", token) == (401, "Unauthorized"), why
    assert asked(server, "/healthz") == (200, "ok")


def test_reading_is_not_running_commands(space):
    """Whoever may read nodes/proxy gets at pods and logs; a command needs create, whichever method its WebSocket comes with."""
    server, reader = space.server, token_of(space, "reader")
    may(space, "ServiceAccount", "reader", "nodes/proxy")
    space.box(script="echo said; sleep 100000")
    space.wait_pod("box")
    until(lambda: asked(server, f"/containerLogs/{space.name}/box/box", reader) == (200, "said\n"), 10, "the log")
    assert space.name in asked(server, "/pods", reader)[1]
    for method in ("GET", "POST"):
        for what in ("exec", "attach"):
            status, text = asked(server, f"/{what}/{space.name}/box/box?command=id&output=1", reader, method=method)
            assert status == 403 and "verb=create, resource=nodes, subresource=proxy" in text, (method, what, status, text)


def test_certificates_of_others(space, tmp_path):
    """The administrator's opens all; another user's what roles name; another node's nothing."""
    server, tls = space.server, plain_tls(space.server)
    request = Request(tmp_path, f"/O=staff/CN=bob-{space.name}")
    ask(space.kube, request.body(space.name))
    decide(space.kube, space.name)
    show(tls, request, base64.b64decode(certificate(space.kube, space.name)))
    may(space, "User", f"bob-{space.name}", "nodes/stats")
    until(lambda: asked(server, "/stats/summary", tls=tls)[0] == 200, 60, "bob sees figures")
    assert asked(server, "/metrics", tls=tls) == (403, f"Forbidden (user=bob-{space.name}, verb=get, resource=nodes, subresource=metrics)")
    assert asked(server, "/metrics", tls=space.kube.tls)[0] == 200
    node_certificate(space.kube, tmp_path, f"of-{space.name}", tls)
    for where in ("/metrics", "/pods"):
        status, text = asked(server, where, tls=tls)
        assert status == 403 and text.startswith(f"Forbidden (user=system:node:of-{space.name}, verb=get, resource=nodes, subresource="), (status, text)


def test_an_api_that_hangs_keeps_only_those_who_need_it(fresh):
    server = fresh().start().wait_ready()
    server.kube.get(path("nodes"))
    account = server.kube.create(path("serviceaccounts", "default", "default", "token"), {"spec": {}})["status"]["token"]
    ip, plain, got = server.node_ip(), plain_tls(server), []
    server.node_ip = lambda: ip
    assert asked(server, "/metrics", account, plain)[0] == 403
    os.kill(control_pid(server), signal.SIGSTOP)
    try:
        strangers = [threading.Thread(target=lambda n=n: got.append(asked(server, "/metrics", f"stranger-{n}", plain)[0])) for n in range(40)]
        for one in strangers:
            one.start()
        until(lambda: len(got) == 32, 20, "those beyond the eight of one address that may wait")
        assert set(got) == {429}
        assert asked(server, "/metrics", account, plain)[0] == 403  # remembered
        assert asked(server, "/healthz", tls=plain) == (200, "ok")
        assert asked(server, "/metrics", tls=server.kube.tls)[0] == 200
    finally:
        os.kill(control_pid(server), signal.SIGCONT)
    for one in strangers:
        one.join()
    assert got.count(401) == 8
