"""Secrets that hold a ServiceAccount's token."""
import base64
import json

from kube import ApiError, path, until

def gone(server, name):
    try:
        server.kube.get(path("secrets", "default", name))
    except ApiError as e:
        return e.code == 404
    return False


def test_a_review_names_the_audiences_that_the_token_has(server):
    account = path("serviceaccounts", "default", "default")
    until(lambda: server.kube.get(account), 30, "the account")
    made = server.kube.create(account + "/token", {"spec": {"audiences": ["vault", "other"]}})["status"]["token"]
    review = lambda token, **spec: server.kube.create("/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": token, **spec}})["status"]
    assert review(made, audiences=["x", "vault"])["audiences"] == ["vault"]
    assert not review(made, audiences=["x"])["authenticated"] and "audiences" not in review(made, audiences=["x"])
    own = review(server.kube.create(account + "/token", {"spec": {}})["status"]["token"])
    assert own["authenticated"] and len(own["audiences"]) == 1


def test_a_secret_gets_a_token_and_goes_with_its_account(fresh):
    server = fresh(node=False).start().wait_ready()
    server.kube.create(path("serviceaccounts", "default"), {"metadata": {"name": "robot"}})
    server.kube.create(path("secrets", "default"), {"metadata": {"name": "robot", "annotations": {"kubernetes.io/service-account.name": "robot"}},
                                                    "type": "kubernetes.io/service-account-token"})
    data = until(lambda: server.kube.get(path("secrets", "default", "robot")).get("data"), 10, "a token")
    assert base64.b64decode(data["namespace"]) == b"default" and b"BEGIN CERTIFICATE" in base64.b64decode(data["ca.crt"])
    token = base64.b64decode(data["token"]).decode()
    reviewed = server.kube.create("/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": token}})["status"]
    assert reviewed["authenticated"] and reviewed["user"]["username"] == "system:serviceaccount:default:robot"
    assert json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))["sub"] == "system:serviceaccount:default:robot"
    assert "secrets" not in server.kube.get(path("serviceaccounts", "default", "robot"))
    server.kube.patch(path("secrets", "default", "robot"), {"data": {"token": None}})  # as whoever fears that it leaked does
    again = until(lambda: server.kube.get(path("secrets", "default", "robot"))["data"].get("token"), 10, "another token")
    review = lambda t: server.kube.create("/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": t}})["status"].get("authenticated")
    assert not review(token), "the one that was taken out counts no more"
    token = base64.b64decode(again).decode()
    assert review(token)
    server.kube.delete(path("serviceaccounts", "default", "robot"))
    until(lambda: gone(server, "robot"), 10, "the Secret gone")
    assert not server.kube.create("/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": token}})["status"].get("authenticated")


def test_every_account_gets_one_when_asked_for(fresh):
    server = fresh(node=False, flags=["--legacy-token-secrets"]).start().wait_ready()
    account = path("serviceaccounts", "default", "default")
    name = until(lambda: server.kube.get(account).get("secrets"), 10, "a Secret in the account")[0]["name"]
    until(lambda: server.kube.get(path("secrets", "default", name)).get("data", {}).get("token"), 10, "its token")
    server.kube.delete(path("secrets", "default", name))
    until(lambda: [s for s in server.kube.get(account).get("secrets", []) if s["name"] != name], 10, "another one in its place")
