"""The audit log: levels and stages as the policy wants them, old files put aside."""
import json
import os

from kube import path, until

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


def test_levels_and_rotation(fresh, tmp_path):
    policy, folder = tmp_path / "policy.yaml", tmp_path / "logs"
    folder.mkdir()
    for p in (tmp_path, folder):
        os.chmod(p, 0o777)
    for p in tmp_path.parents:
        if p != p.parent and str(p).startswith("/tmp/"):
            os.chmod(p, 0o755)
    policy.write_text(POLICY % "kubernetes-admin", encoding="utf-8")
    os.chmod(policy, 0o644)
    server = fresh(node=False, flags=["--audit-policy-file", str(policy), "--audit-log-path", str(folder / "audit.log"), "--audit-log-maxsize", "1",
                                      "--audit-log-maxbackup", "2"]).start().wait_ready()
    me = server.kube.create("/apis/authentication.k8s.io/v1/selfsubjectreviews", {})["status"]["userInfo"]["username"]
    assert me == "kubernetes-admin"
    server.kube.create(path("configmaps", "default"), {"metadata": {"name": "seen"}, "data": {"k": "v"}})
    server.kube.create(path("secrets", "default"), {"metadata": {"name": "hidden"}, "stringData": {"k": "canary-of-the-audit-test"}})
    log = str(folder / "audit.log")
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
