"""CertificateSigningRequests: who may ask, who approves, what is signed, and that what is signed lets one in."""
import base64
import subprocess

import pytest
import yaml
from certificates import CLIENT, NODE, SERVING, Request, ask, certificate, config_of, decide, plain_tls
from conftest import KUBECTLS, Kubectl
from kube import ApiError, Kube, path, until


def get(server, name):
    return server.kube.get(path("certificatesigningrequests", None, name))


def condition(request, kind):
    return next((c for c in request["status"].get("conditions", []) if c["type"] == kind), None)


def config_with(server, folder, pem, key):
    """A kubeconfig of this server with that certificate."""
    config = config_of(server)
    config["users"][0]["user"] = {"client-certificate-data": pem, "client-key-data": base64.b64encode(key.read_bytes()).decode()}
    where = folder / "kubeconfig"
    where.write_text(yaml.safe_dump(config))
    return str(where)


def refused(code, call, *args):
    with pytest.raises(ApiError) as e:
        call(*args)
    assert e.value.code == code, e.value
    return e.value.status["message"]


@pytest.mark.parametrize("version,program", KUBECTLS)
def test_a_user_asks_an_administrator_approves_and_the_user_is_let_in(server, tmp_path, version, program):
    kubectl, name = Kubectl(program, server, tmp_path), f"anna-{version}"
    asked = Request(tmp_path, "/O=team/CN=anna")
    ask(server.kube, asked.body(name, expirationSeconds=3600))
    assert "Pending" in kubectl("get", "csr", name)
    kubectl("certificate", "approve", name)
    pem = certificate(server.kube, name)
    assert "Approved,Issued" in kubectl("get", "csr", name)
    anna = Kube(config_with(server, tmp_path, pem, asked.key))
    who = anna.create("/apis/authentication.k8s.io/v1/selfsubjectreviews", {})["status"]["userInfo"]
    assert who["username"] == "anna" and "team" in who["groups"]
    assert 'User "anna" cannot list resource "pods"' in refused(403, anna.get, path("pods", "default"))
    ends = subprocess.run(["openssl", "x509", "-noout", "-checkend", "3601"], input=base64.b64decode(pem), check=False, capture_output=True)
    assert ends.returncode == 1, "it lives longer than was asked for"


def test_what_is_denied_is_not_signed_and_a_verdict_stays(server, tmp_path):
    kubectl = Kubectl(KUBECTLS[-1][1], server, tmp_path)
    ask(server.kube, Request(tmp_path, "/CN=ben").body("ben"))
    kubectl("certificate", "deny", "ben")
    assert "mutually exclusive" in refused(422, decide, server.kube, "ben", "Approved")
    assert "certificate" not in get(server, "ben")["status"]
    ask(server.kube, Request(tmp_path, "/CN=cleo").body("cleo"))
    decide(server.kube, "cleo", "Approved")
    certificate(server.kube, "cleo")
    request = get(server, "cleo")
    request["status"]["conditions"] = []
    message = refused(422, server.kube.call, "PUT", path("certificatesigningrequests", None, "cleo", "approval"), request)
    assert 'updates may not remove a condition of type "Approved"' in message
    request = get(server, "cleo")
    request["status"]["certificate"] = base64.b64encode(b"other").decode()
    assert "may not modify existing certificate" in refused(422, server.kube.call, "PUT", path("certificatesigningrequests", None, "cleo", "status"), request)


def test_an_approver_changes_conditions_only(server, tmp_path):
    ask(server.kube, Request(tmp_path, "/CN=dora").body("dora"))
    request = get(server, "dora")
    request["spec"]["signerName"] = NODE
    request["status"] = {"certificate": base64.b64encode(b"mine").decode(), "conditions": [{"type": "Denied", "status": "True", "reason": "No"}]}
    answer = server.kube.call("PUT", path("certificatesigningrequests", None, "dora", "approval"), request)
    assert answer["spec"]["signerName"] == CLIENT and "certificate" not in answer["status"]
    assert condition(answer, "Denied")["lastUpdateTime"] and condition(answer, "Denied")["lastTransitionTime"]


@pytest.mark.parametrize("change,words", [
    ({"request": base64.b64encode(b"nonsense").decode()}, "PEM block type must be CERTIFICATE REQUEST"),
    ({"signerName": "short"}, "must be a fully qualified domain and path"),
    ({"signerName": "kubernetes.io/legacy-unknown"}, "the legacy signerName is not allowed via this API version"),
    ({"usages": []}, "spec.usages: Required value"),
    ({"usages": ["client auth", "client auth"]}, 'spec.usages[1]: Duplicate value: "client auth"'),
    ({"usages": ["world peace"]}, 'spec.usages[0]: Unsupported value: "world peace"'),
    ({"expirationSeconds": 599}, "may not specify a duration less than 600 seconds (10 minutes)"),
])
def test_malformed_requests(server, tmp_path, change, words):
    body = Request(tmp_path, "/CN=x").body("malformed")
    body["spec"].update(change)
    assert words in refused(422, ask, server.kube, body)


def test_nobody_becomes_a_master(server, tmp_path):
    message = refused(403, ask, server.kube, Request(tmp_path, "/O=system:masters/CN=x").body("master"))
    assert message.endswith("use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed")


@pytest.mark.parametrize("name,signer,usages,subject,sans", [
    ("server-auth", CLIENT, ("server auth",), "/CN=x", None),
    ("code-signing", CLIENT, ("client auth", "code signing"), "/CN=x", None),
    ("no-node", NODE, ("digital signature", "client auth"), "/O=system:nodes/CN=x", None),
    ("two-groups", NODE, ("digital signature", "client auth"), "/O=system:nodes/O=more/CN=system:node:x", None),
    ("named", NODE, ("digital signature", "client auth"), "/O=system:nodes/CN=system:node:x", "DNS:x"),
    ("nameless", SERVING, ("digital signature", "server auth"), "/O=system:nodes/CN=system:node:x", None),
])
def test_what_a_signer_does_not_sign_fails(server, tmp_path, name, signer, usages, subject, sans):
    body = Request(tmp_path, subject, sans).body(name, signer, usages)
    ask(server.kube, body)
    decide(server.kube, name, "Approved")
    failed = until(lambda: condition(get(server, name), "Failed"), 10, f"{name} failed")
    assert failed["reason"] == "SignerValidationFailure" and "certificate" not in get(server, name)["status"]


def test_a_node_that_may_is_approved_by_itself(server, tmp_path):
    """As with bootstrap tokens: the right to ask, and the right to be approved, are two ClusterRoles."""
    node = Request(tmp_path, "/O=system:nodes/CN=system:node:new")
    usages = ("digital signature", "client auth")
    ask(server.kube, node.body("by-master", NODE, usages))  # the administrator may, as he may do everything
    certificate(server.kube, "by-master")
    token = {"metadata": {"name": "bootstrap-token-abcdef", "namespace": "kube-system"}, "type": "bootstrap.kubernetes.io/token",
             "stringData": {"token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true"}}
    server.kube.create(path("secrets", "kube-system"), token)
    joiner = server.kube.clone()
    joiner.tls = plain_tls(server)
    joiner.token = "abcdef.0123456789abcdef"
    until(lambda: ask(joiner, node.body("joins", NODE, usages)), 10, "the right to ask")
    assert get(server, "joins")["spec"]["username"] == "system:bootstrap:abcdef"
    pem = certificate(server.kube, "joins")
    assert condition(get(server, "joins"), "Approved")["reason"] == "AutoApproved"
    it = Kube(config_with(server, tmp_path, pem, node.key))
    assert it.create(path("nodes"), {"metadata": {"name": "new"}})["metadata"]["name"] == "new"
    assert refused(403, it.create, path("nodes"), {"metadata": {"name": "another"}})
    # its next certificate it asks for itself, and no other node's
    ask(it, node.body("again", NODE, usages))
    certificate(server.kube, "again")
    other = Request(tmp_path, "/O=system:nodes/CN=system:node:other")
    assert "can only create a node CSR with CN=system:node:new" in refused(403, ask, it, other.body("other", NODE, usages))


def test_who_may_ask_is_not_approved_without_the_right_to_be(server, tmp_path):
    server.kube.create(path("serviceaccounts", "default"), {"metadata": {"name": "asker"}})
    server.kube.create(path("clusterrolebindings"), {"metadata": {"name": "asker"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                       "name": "system:node-bootstrapper"}, "subjects": [{"kind": "ServiceAccount", "name": "asker", "namespace": "default"}]})
    asker = server.kube.clone()
    asker.tls = plain_tls(server)
    asker.token = server.kube.create(path("serviceaccounts", "default", "asker", "token"), {"spec": {}})["status"]["token"]
    usages = ("digital signature", "client auth")
    until(lambda: ask(asker, Request(tmp_path, "/O=system:nodes/CN=system:node:x").body("patient", NODE, usages)), 10, "the right to ask")
    ask(server.kube, Request(tmp_path, "/O=system:nodes/CN=system:node:y").body("later", NODE, usages))
    certificate(server.kube, "later")
    assert condition(get(server, "patient"), "Approved") is None
