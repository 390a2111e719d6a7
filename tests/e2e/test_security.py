"""Every endpoint × every identity: exactly what RBAC says, and no token that should not count counts."""
import base64
import http.client
import json
import os
import subprocess
import time

import pytest
from certificates import Request, node_certificate, plain_tls, show
from kube import path, until
from rbac import Rbac

RBAC = "/apis/rbac.authorization.k8s.io/v1"
METHODS = {"get": "GET", "list": "GET", "watch": "GET", "create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE", "deletecollection": "DELETE"}
PATHS = ["/", "/api", "/apis", "/apis/apps", "/apis/apps/v1", "/api/v1", "/version", "/healthz", "/livez", "/readyz", "/readyz/ping", "/metrics", "/openapi/v2",
         "/openapi/v3", "/.well-known/openid-configuration", "/openid/v1/jwks", "/logs", "/debug/pprof", "/nothing"]


class Caller:
    """One identity: a token, headers of impersonation over the administrator's certificate, or nothing at all."""

    def __init__(self, server, token=None, impersonate=None, certificate=False):
        self.server, self.headers, self.connection = server, {}, None
        if token:
            self.headers["Authorization"] = "Bearer " + token
        for key, value in (impersonate or {}).items():
            self.headers["Impersonate-" + key] = value
        self.tls = server.kube.tls if certificate or impersonate else plain_tls(server)

    def __call__(self, method, where, body=None, kind="application/json", stream=False):
        if not self.connection:
            self.connection = http.client.HTTPSConnection(self.server.kube.server.hostname, self.server.port, timeout=120, context=self.tls)
        headers = dict(self.headers, **({"Content-Type": kind} if body is not None else {}))
        self.connection.request(method, where, json.dumps(body) if body is not None else None, headers)
        answer = self.connection.getresponse()
        text = b"" if stream and answer.status == 200 else answer.read()
        if not text or answer.will_close:
            self.connection.close()
            self.connection = None
        return answer.status, text.decode(errors="replace")


@pytest.fixture(scope="module")
def spaces(server):
    kube = server.kube
    for ns in ("here", "there"):
        kube.create(path("namespaces"), {"metadata": {"name": ns}})
    for name in ("editor", "reader", "escalator", "leaver", "nobody"):
        kube.create(path("serviceaccounts", "here"), {"metadata": {"name": name}})
    bind(kube, "editor", "edit")
    bind(kube, "reader", "view")
    kube.create(f"{RBAC}/namespaces/here/roles", {"metadata": {"name": "roles"}, "rules": [
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"], "verbs": ["get", "list", "watch", "create", "update", "patch", "delete"]},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"], "resourceNames": ["one"]}]})
    bind(kube, "escalator", "roles", kind="Role")
    for role in ("admin", "edit", "view"):  # a controller puts them together
        until(lambda r=role: kube.get(f"{RBAC}/clusterroles/{r}").get("rules"), 10, f"the rules of {role}")
    return server


def bind(kube, account, role, kind="ClusterRole", ns="here"):
    kube.create(f"{RBAC}/namespaces/{ns}/rolebindings", {"metadata": {"name": f"{account}-{role}"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
                                                        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": "here"}]})


def token(server, account, **spec):
    return server.kube.create(f"/api/v1/namespaces/here/serviceaccounts/{account}/token", {"spec": spec})["status"]["token"]


def account(name):
    return f"system:serviceaccount:here:{name}", ["system:serviceaccounts", "system:serviceaccounts:here", "system:authenticated"]


def may_see_shops(server, account):
    review = {"spec": {"user": f"system:serviceaccount:here:{account}", "resourceAttributes": {"namespace": "here", "verb": "get", "group": "shops.example.com", "resource": "shops"}}}
    return server.kube.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", review)["status"]["allowed"]


def test_what_is_labelled_for_view_comes_to_edit_and_admin(spaces):
    """As the charts of operators do it."""
    kube = spaces.kube
    kube.create(path("serviceaccounts", "here"), {"metadata": {"name": "owner"}})
    bind(kube, "owner", "admin")
    kube.create(f"{RBAC}/clusterroles", {"metadata": {"name": "see-shops", "labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}},
                                         "rules": [{"apiGroups": ["shops.example.com"], "resources": ["shops"], "verbs": ["get"]}]})
    for who in ("reader", "editor", "owner"):
        until(lambda: may_see_shops(spaces, who), 10, f"{who} sees shops")
    assert not may_see_shops(spaces, "nobody")
    kube.delete(f"{RBAC}/clusterroles/see-shops")
    for who in ("reader", "editor", "owner"):
        until(lambda: not may_see_shops(spaces, who), 10, f"{who} sees none any more")


# ---- the matrix ---------------------------------------------------------------------------------------------------

def endpoints(kube):
    """(group, resource, subresource, namespaced, verb, url) of everything that discovery tells."""
    versions = [("", "v1")] + [(g["name"], v["version"]) for g in kube.get("/apis")["groups"] for v in g["versions"]]
    for group, version in versions:
        prefix = f"/apis/{group}/{version}" if group else f"/api/{version}"
        for r in kube.get(prefix)["resources"]:
            resource, _, sub = r["name"].partition("/")
            for ns in ("here", "there") if r["namespaced"] else ("",):
                base = prefix + (f"/namespaces/{ns}" if ns else "") + "/" + resource
                for verb in r["verbs"]:
                    named = bool(sub) or verb in ("get", "update", "patch", "delete")
                    yield group, resource, sub, ns, verb, base + ("/absent" if named else "") + (f"/{sub}" if sub else "")


def request(verb, url):
    query = {"watch": "?watch=1&timeoutSeconds=1", "list": "?limit=1", "get": ""}.get(verb, "?dryRun=All")
    body = {} if verb in ("create", "update", "patch") else None
    kind = "application/merge-patch+json" if verb == "patch" else "application/json"
    return METHODS[verb], url + query, body, kind


@pytest.mark.parametrize("who", ["anonymous", "editor", "reader", "escalator", "nobody"])
def test_every_endpoint(spaces, who):
    rbac = Rbac(spaces.kube)
    if who == "anonymous":
        call, user, groups = Caller(spaces), "system:anonymous", ["system:unauthenticated"]
    else:
        call, (user, groups) = Caller(spaces, token=token(spaces, who)), account(who)
    wrong, n, allowed_n = [], 0, 0
    for group, resource, sub, ns, verb, url in endpoints(spaces.kube):
        name = "absent" if "/absent" in url else ""
        where = name if (group, resource) == ("", "namespaces") else ns
        allowed = rbac.allows(user, groups, verb, group, resource, sub, where, name)
        status, text = call(*request(verb, url), stream=verb == "watch")
        refused = status == 403 and f'is forbidden: User "{user}" cannot {verb} resource' in text.replace('\\"', '"')
        n += 1
        allowed_n += allowed
        if refused == allowed or status == 401:
            wrong.append((verb, url, "allowed" if allowed else "forbidden", status, text[60:260]))
    for where in PATHS:
        allowed = rbac.allows(user, groups, "get", path=where)
        status, text = call("GET", where)
        if (status == 403) == allowed:
            wrong.append(("get", where, "allowed" if allowed else "forbidden", status, text[:200]))
    assert n > 500 and (allowed_n > 2 or who == "anonymous"), (n, allowed_n)
    assert "started again" not in spaces.last_log(2000) and "it starts again" not in spaces.last_log(2000), "a request ended the control process"
    assert not wrong, "\n".join(map(str, wrong[:40])) + f"\n{len(wrong)} of {n}"


# ---- who wants more than he has -------------------------------------------------------------------------------------

def test_nobody_gives_what_he_lacks(spaces):
    call = Caller(spaces, token=token(spaces, "escalator"))
    roles, bindings = f"{RBAC}/namespaces/here/roles", f"{RBAC}/namespaces/here/rolebindings"

    def role(name, **rule):
        return {"metadata": {"name": name}, "rules": [rule]}
    fine = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"], "resourceNames": ["one"]}
    assert call("POST", roles, role("fine", **fine))[0] == 201
    for name, rule in {"name": {**fine, "resourceNames": ["two"]}, "all-names": {k: v for k, v in fine.items() if k != "resourceNames"},
                       "verb": {**fine, "verbs": ["get", "list"]}, "star": {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
                       "group": {**fine, "apiGroups": ["", "apps"]}, "escalate": {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "verbs": ["escalate"]}}.items():
        status, text = call("POST", roles, role(name, **rule))
        assert status == 403 and "attempting to grant RBAC permissions not currently held" in text, (name, status, text)
        status, text = call("PUT", f"{roles}/fine", role("fine", **rule))
        assert status == 403, (name, status, text)
        status, text = call("PATCH", f"{roles}/fine", {"rules": [rule]}, "application/merge-patch+json")
        assert status == 403, (name, status, text)
    me = {"kind": "ServiceAccount", "name": "escalator", "namespace": "here"}
    for kind, name in (("ClusterRole", "cluster-admin"), ("ClusterRole", "edit"), ("ClusterRole", "view")):
        status, text = call("POST", bindings, {"metadata": {"name": "up"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}, "subjects": [me]})
        assert status == 403, (name, status, text)
    assert call("POST", bindings, {"metadata": {"name": "own"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "fine"}, "subjects": [me]})[0] == 201
    assert call("GET", "/api/v1/namespaces/here/configmaps/two")[0] == 403


@pytest.mark.parametrize("headers", [{"User": "kubernetes-admin"}, {"User": "x", "Group": "system:masters"}, {"User": "system:serviceaccount:kube-system:default"},
                                     {"User": "x", "Extra-scopes": "all"}, {"User": "x", "Uid": "1"}])
def test_impersonation_is_a_right(spaces, headers):
    call = Caller(spaces, token=token(spaces, "editor"))
    call.headers.update({"Impersonate-" + k: v for k, v in headers.items()})
    # "edit" lets impersonate the ServiceAccounts of its namespace, nobody else
    status, text = call("GET", "/api/v1/namespaces/here/configmaps")
    assert status == 403 and "cannot impersonate resource" in text, (status, text)


# ---- tokens ---------------------------------------------------------------------------------------------------------

def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def compact(thing):
    return json.dumps(thing, separators=(",", ":")).encode()


def signed(server, claims, header):
    """A JWT by the cluster's own key: what is right about it is only the signature."""
    text = encode(compact(header)) + "." + encode(compact(claims))
    der = subprocess.run(["openssl", "dgst", "-sha256", "-sign", find(server.data, "sa.key")], input=text.encode(), capture_output=True, check=True).stdout
    numbers, at = [], 2
    for _ in range(2):
        n = der[at + 1]
        numbers.append(int.from_bytes(der[at + 2:at + 2 + n], "big").to_bytes(32, "big"))
        at += 2 + n
    return text + "." + encode(b"".join(numbers))


def find(folder, name):
    return next(os.path.join(where, name) for where, _, files in os.walk(folder) if name in files)


def parts(jwt):
    return [json.loads(base64.urlsafe_b64decode(p + "==")) for p in jwt.split(".")[:2]]


def test_tokens_that_do_not_count(spaces):
    kube, url = spaces.kube, "/api/v1/namespaces/here/configmaps"
    good = token(spaces, "reader")
    assert Caller(spaces, token=good)("GET", url)[0] == 200
    header, claims = parts(good)
    assert Caller(spaces, token=signed(spaces, claims, header))("GET", url)[0] == 200  # so that the refusals below mean something
    now = int(time.time())
    head, body, signature = good.split(".")
    flipped = ("A" if signature[10] != "A" else "B").join((signature[:10], signature[11:]))
    admin = encode(compact({**claims, "sub": "system:serviceaccount:kube-system:default"}))
    bad = {"expired": signed(spaces, {**claims, "exp": now - 60}, header), "not yet": signed(spaces, {**claims, "nbf": now + 3600}, header),
           "other issuer": signed(spaces, {**claims, "iss": "https://example.com"}, header), "other subject": signed(spaces, {**claims, "sub": "system:serviceaccount:kube-system:default"}, header), "other audience": token(spaces, "reader", audiences=["vault"]),
           "flipped signature": f"{head}.{body}.{flipped}", "other body": f"{head}.{admin}.{signature}", "no signature": f"{head}.{body}.",
           "alg none": encode(compact({**header, "alg": "none"})) + f".{body}.", "rubbish": "rubbish", "empty parts": "..",
           "other account's uid": signed(spaces, {**claims, "kubernetes.io": {**claims["kubernetes.io"], "serviceaccount": {"name": "reader", "uid": "x"}}}, header)}
    for why, jwt in bad.items():
        status, text = Caller(spaces, token=jwt)("GET", url)
        assert status == 401, (why, status, text)
        review = kube.create("/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": jwt}})["status"]
        assert not review.get("authenticated"), (why, review)
    review = kube.create("/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": bad["other audience"], "audiences": ["vault"]}})["status"]
    assert review["authenticated"] and review["audiences"] == ["vault"]


def test_tokens_go_with_what_they_are_bound_to(spaces):
    kube, url = spaces.kube, "/api/v1/namespaces/here/serviceaccounts/leaver"
    bind(kube, "leaver", "view")
    kube.create(path("secrets", "here"), {"metadata": {"name": "bound"}})
    kube.create(path("pods", "here"), {"metadata": {"name": "bound"}, "spec": {"serviceAccountName": "leaver", "containers": [{"name": "c", "image": "x"}]}})
    bound = {kind: token(spaces, "leaver", boundObjectRef={"kind": kind, "apiVersion": "v1", "name": "bound"}) for kind in ("Secret", "Pod")}
    free = token(spaces, "leaver")
    status, text = Caller(spaces, certificate=True)("POST", "/api/v1/namespaces/here/serviceaccounts/reader/token",
                                                    {"spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "bound"}}})
    assert status == 400 and "to pod running with different serviceaccount name." in text, (status, text)
    for jwt in (*bound.values(), free):
        assert Caller(spaces, token=jwt)("GET", url)[0] == 200
    for kind, resource in (("Secret", "secrets"), ("Pod", "pods")):
        kube.delete(path(resource, "here", "bound"))
        assert Caller(spaces, token=bound[kind])("GET", url)[0] == 401, kind
        assert Caller(spaces, token=free)("GET", url)[0] == 200
    kube.delete(path("serviceaccounts", "here", "leaver"))
    kube.create(path("serviceaccounts", "here"), {"metadata": {"name": "leaver"}})  # the same name is not the same account
    assert Caller(spaces, token=free)("GET", url)[0] == 401


# ---- nodes ------------------------------------------------------------------------------------------------------------

def test_a_node_sees_only_what_its_pods_need(spaces, tmp_path):
    kube = spaces.kube
    for n in ("mine", "theirs"):
        kube.create(path("nodes"), {"metadata": {"name": f"node-{n}"}})
        for resource in ("secrets", "configmaps"):
            kube.create(path(resource, "here"), {"metadata": {"name": n}})
        kube.create(path("serviceaccounts", "here"), {"metadata": {"name": f"sa-{n}"}})
        kube.create(path("pods", "here"), {"metadata": {"name": f"pod-{n}"}, "spec": {
            "nodeName": f"node-{n}", "serviceAccountName": f"sa-{n}", "containers": [{"name": "c", "image": "x", "envFrom": [{"configMapRef": {"name": n}}]}],
            "volumes": [{"name": "s", "secret": {"secretName": n}}, {"name": "d", "persistentVolumeClaim": {"claimName": n}}]}})
        kube.create("/api/v1/namespaces/here/persistentvolumeclaims", {"metadata": {"name": n}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "volumeName": f"pv-{n}"}})
        kube.create("/api/v1/persistentvolumes", {"metadata": {"name": f"pv-{n}"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/tmp"}, "claimRef": {"namespace": "here", "name": n}}})
    check_node(kube, Caller(spaces, impersonate={"User": "system:node:node-mine", "Group": "system:nodes"}))
    real = Caller(spaces)
    node_certificate(kube, tmp_path, "node-mine", real.tls)
    check_node(kube, real)


def check_node(kube, call):
    """What the identity of node-mine, however it came to it, may and may not do."""
    for resource in ("secrets", "configmaps"):
        assert call("GET", path(resource, "here", "mine"))[0] == 200
        assert call("GET", path(resource, "here", "theirs"))[0] == 403
        assert call("GET", path(resource, "here"))[0] == 403
        assert call("PUT", path(resource, "here", "mine"), {"metadata": {"name": "mine"}})[0] == 403
    ready = {"status": {"conditions": []}}
    merge = "application/merge-patch+json"
    for n, code in (("mine", 200), ("theirs", 403)):
        assert call("GET", f"/api/v1/namespaces/here/persistentvolumeclaims/{n}")[0] == code
        assert call("GET", f"/api/v1/persistentvolumes/pv-{n}")[0] == code
        assert call("PATCH", f"/api/v1/nodes/node-{n}/status", ready, merge)[0] == code
        assert call("PATCH", f"/api/v1/namespaces/here/pods/pod-{n}/status", {"status": {"message": "x"}}, merge)[0] == code
        ref = {"kind": "Pod", "apiVersion": "v1", "name": f"pod-{n}", "uid": kube.get(path("pods", "here", f"pod-{n}"))["metadata"]["uid"]}
        assert call("POST", f"/api/v1/namespaces/here/serviceaccounts/sa-{n}/token", {"spec": {"boundObjectRef": ref}})[0] == (201 if n == "mine" else 403)
        assert call("DELETE", f"/api/v1/namespaces/here/pods/pod-{n}", {"gracePeriodSeconds": 0, "dryRun": ["All"]})[0] == code
    assert call("POST", "/api/v1/namespaces/here/serviceaccounts/sa-mine/token", {"spec": {}})[0] == 403  # not bound to a pod
    assert call("PATCH", "/api/v1/nodes/node-mine", {"metadata": {"labels": {"node-restriction.kubernetes.io/x": "y"}}}, merge)[0] == 403
    assert call("PATCH", "/api/v1/nodes/node-mine", {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}, merge)[0] == 403
    assert call("POST", path("pods", "here"), {"metadata": {"name": "p"}, "spec": {"nodeName": "node-mine", "containers": [{"name": "c", "image": "x"}]}})[0] == 403
    assert call("POST", f"{RBAC}/clusterrolebindings", {"metadata": {"name": "up"}})[0] == 403


def test_a_node_that_names_this_server_as_itself_leads_to_nothing(spaces):
    """Where a node is, it says itself. What we show there must be worth nothing anywhere else: not to ourselves, either."""
    kube = spaces.kube
    kube.create(path("nodes"), {"metadata": {"name": "liar"}})
    kube.call("PATCH", path("nodes", None, "liar", "status"), {"status": {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}], "daemonEndpoints": {
        "kubeletEndpoint": {"Port": spaces.port}}}}, kind="application/merge-patch+json")
    kube.create(path("serviceaccounts", "here"), {"metadata": {"name": "monitor"}})
    kube.create(f"{RBAC}/clusterroles", {"metadata": {"name": "monitor"}, "rules": [{"apiGroups": [""], "resources": ["nodes/proxy"], "verbs": ["get"]}]})
    kube.create(f"{RBAC}/clusterrolebindings", {"metadata": {"name": "monitor"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "monitor"},
                                                "subjects": [{"kind": "ServiceAccount", "name": "monitor", "namespace": "here"}]})
    status, text = Caller(spaces, token=token(spaces, "monitor"))("GET", "/api/v1/nodes/liar/proxy/api/v1/namespaces/kube-system/secrets")
    assert status == 403 and 'User \\"kube-apiserver-kubelet-client\\" cannot list' in text, (status, text[:300])
    kube.delete(path("nodes", None, "liar"))


# ---- certificates -----------------------------------------------------------------------------------------------------

def test_certificates_that_do_not_count(spaces, tmp_path):
    """One that nobody vouches for, and one of the cluster's own authority that has ended."""
    request, ca = Request(tmp_path, "/O=system:masters/CN=kubernetes-admin"), find(spaces.data, "ca.key")
    asked = tmp_path / "asked.pem"
    asked.write_bytes(request.pem)
    signed = ["x509", "-req", "-in", asked, "-CA", ca[:-3] + "crt", "-CAkey", ca, "-days"]
    commands = {"its own": ["req", "-x509", "-key", request.key, "-subj", request.subject], "ended": [*signed, "-1"], "good": [*signed, "1"]}
    answers = {}
    for why, command in commands.items():
        call = Caller(spaces)
        show(call.tls, request, subprocess.run(["openssl", *command], capture_output=True, check=True).stdout)
        try:
            answers[why] = call("GET", "/api/v1/namespaces/here/configmaps")[0]
        except OSError:
            answers[why] = "refused"
    assert answers.pop("good") == 200  # so that the refusals mean something
    assert set(answers.values()) <= {401, "refused"}, answers


def test_a_refusal_names_what_it_refuses(spaces):
    bob = Caller(spaces, impersonate={"User": "bob"})
    details = lambda where: json.loads(bob("GET", where)[1])["details"]
    assert details(path("configmaps", "here", "x")) == {"name": "x", "kind": "configmaps"}
    assert details(path("deployments", "here", "x", "status")) == {"name": "x", "group": "apps", "kind": "deployments"}
    assert details(path("nodes")) == {"kind": "nodes"} and details("/metrics") == {}


def test_the_keys_of_impersonated_extras_are_unescaped(spaces):
    bob = Caller(spaces, impersonate={"User": "bob", "Extra-Acme.com%2fProject": "p"})
    code, text = bob("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"})
    assert code == 201 and json.loads(text)["status"]["userInfo"]["extra"] == {"acme.com/project": ["p"]}
