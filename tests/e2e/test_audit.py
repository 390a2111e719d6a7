"""The audit log: levels and stages as the policy wants them, old files put aside."""
import json
import os

from kube import path, until
from test_security import Caller

POLICY = """
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: RequestResponse
  resources: [{group: "", resources: [configmaps]}]
  users: [%s]
- level: Metadata
  resources: [{group: "", resources: [secrets]}]
- level: None
"""


def events(log):
    folder = os.path.dirname(log)
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), encoding="utf-8") as f:
            yield from (json.loads(line) for line in f if line.endswith("\n"))


def audited(fresh, tmp_path, text, *flags):
    """A server with this policy, and where its log is."""
    policy, folder = tmp_path / "policy.yaml", tmp_path / "logs"
    folder.mkdir()
    for p in (tmp_path, folder):
        os.chmod(p, 0o777)
    for p in tmp_path.parents:
        if p != p.parent and str(p).startswith("/tmp/"):
            os.chmod(p, 0o755)
    policy.write_text(text, encoding="utf-8")
    os.chmod(policy, 0o644)
    log = folder / "audit.log"
    return fresh(node=False, flags=["--audit-policy-file", str(policy), "--audit-log-path", str(log), *flags]).start().wait_ready(), log


def test_levels_and_rotation(fresh, tmp_path):
    server, log = audited(fresh, tmp_path, POLICY % "kubernetes-admin", "--audit-log-maxsize", "1", "--audit-log-maxbackup", "2")
    folder = log.parent
    me = server.kube.create("/apis/authentication.k8s.io/v1/selfsubjectreviews", {})["status"]["userInfo"]["username"]
    assert me == "kubernetes-admin"
    server.kube.create(path("configmaps", "default"), {"metadata": {"name": "seen"}, "data": {"k": "v"}})
    server.kube.create(path("secrets", "default"), {"metadata": {"name": "hidden"}, "stringData": {"k": "canary-of-the-audit-test"}})
    found = until(lambda: [e for e in events(log) if e.get("objectRef", {}).get("name") == "seen" and e["verb"] == "create"], 10, "the ConfigMap")
    assert len(found) == 1 and found[0]["level"] == "RequestResponse" and found[0]["stage"] == "ResponseComplete"
    assert found[0]["requestObject"]["data"] == {"k": "v"} and found[0]["responseObject"]["metadata"]["uid"] and found[0]["user"]["username"] == me
    assert found[0]["responseStatus"]["code"] == 201 and found[0]["annotations"]["authorization.k8s.io/decision"] == "allow"
    hidden = until(lambda: [e for e in events(log) if e.get("objectRef", {}).get("resource") == "secrets" and e["verb"] == "create"], 10, "the Secret")
    assert all(e["level"] == "Metadata" and "requestObject" not in e for e in hidden)
    assert "canary-of-the-audit-test" not in "".join(map(json.dumps, events(log)))
    for i in range(30):
        server.kube.create(path("configmaps", "default"), {"metadata": {"name": f"large-{i}"}, "data": {"k": "x" * 100000}})
    until(lambda: len(os.listdir(folder)) == 3, 10, "two old files beside the log")


def test_nobody_hides_behind_whom_they_impersonate(fresh, tmp_path):
    server, log = audited(fresh, tmp_path, "{apiVersion: audit.k8s.io/v1, kind: Policy, omitStages: [RequestReceived], rules: [{level: None, users: [quiet]}, {level: Metadata}]}")
    until(lambda: server.kube.get(path("serviceaccounts", "default", "default")), 10, "the account")
    token = server.kube.create(path("serviceaccounts", "default", "default", "token"), {"spec": {}})["status"]["token"]
    account = "system:serviceaccount:default:default"

    def asked(name, code, **who):
        call = Caller(server, **who)
        assert call("GET", path("configmaps", "default", name))[0] == code
        found = until(lambda: [e for e in events(log) if e.get("objectRef", {}).get("name") == name], 10, f"what was asked of {name}")
        assert found[0]["verb"] == "get" and found[0]["objectRef"]["resource"] == "configmaps" and found[0]["responseStatus"]["code"] == code
        return found[0]
    masked = asked("masked", 403, impersonate={"User": "quiet", "Group": "team"})
    assert masked["user"]["username"] == "kubernetes-admin" and "system:masters" in masked["user"]["groups"]
    assert masked["impersonatedUser"] == {"username": "quiet", "groups": ["team", "system:authenticated"]}
    refused = Caller(server, token=token)
    refused.headers["Impersonate-User"] = "kubernetes-admin"
    status, text = refused("GET", path("configmaps", "default", "tried"))
    assert status == 403 and json.loads(text)["details"] == {"name": "kubernetes-admin", "kind": "users"}
    tried = until(lambda: [e for e in events(log) if e.get("objectRef", {}).get("name") == "tried"], 10, "the attempt")[0]
    assert tried["user"]["username"] == account and "system:serviceaccounts" in tried["user"]["groups"] and "impersonatedUser" not in tried
    assert tried["responseStatus"]["reason"] == "Forbidden" and "cannot impersonate" in tried["responseStatus"]["message"] and "kind" not in tried["responseStatus"]
    nobody = asked("nobody", 401, token="rubbish")
    assert "username" not in nobody["user"] and "annotations" not in nobody
    Caller(server, token=token)("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"})
    why = until(lambda: [e for e in events(log) if e["user"].get("username") == account and e["verb"] == "create"], 10, "the review")[0]["annotations"]
    assert why["authorization.k8s.io/decision"] == "allow" and why["authorization.k8s.io/reason"].startswith("RBAC: allowed by ClusterRoleBinding")


def test_where_a_request_comes_from(fresh, tmp_path):
    """What others say of that, and last who really is at the other end."""
    server, log = audited(fresh, tmp_path, "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: Metadata}]}")
    call = Caller(server, certificate=True)
    call.headers.update({"X-Forwarded-For": "10.1.1.1, nowhere, fd00::1", "X-Real-Ip": "10.1.1.2"})
    assert call("GET", path("configmaps", "default", "far"))[0] == 404
    far = until(lambda: [e for e in events(log) if e.get("objectRef", {}).get("name") == "far" and e["stage"] == "ResponseComplete"], 10, "the record")[0]
    assert far["sourceIPs"][:3] == ["10.1.1.1", "fd00::1", "10.1.1.2"] and len(far["sourceIPs"]) == 4
    assert far["responseStatus"]["details"] == {"name": "far", "kind": "configmaps"} and far["responseStatus"]["code"] == 404
