"""What goes with its owner, what stays, and what a namespace says of what holds it."""
import itertools
import time

import pytest
from kube import ApiError, until

COUNT = itertools.count(1)
RBAC, NET = "/apis/rbac.authorization.k8s.io/v1", "/apis/networking.k8s.io/v1"


@pytest.fixture
def ns(server):
    name = f"garbage-{next(COUNT)}"
    server.kube.create("/api/v1/namespaces", {"metadata": {"name": name}})
    return name


def owned_by(owner, kind, api="v1"):
    return {"name": "owned", "ownerReferences": [{"apiVersion": api, "kind": kind, "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}]}


def is_gone(kube, at):
    try:
        kube.get(at)
    except ApiError as e:
        assert e.code == 404
        return True
    return False


def test_every_builtin_kind_goes_with_its_owner(server, ns):
    kube = server.kube
    core = f"/api/v1/namespaces/{ns}"
    owner = kube.create(f"{core}/configmaps", {"metadata": {"name": "owner"}})
    meta = owned_by(owner, "ConfigMap")
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
    made = {
        f"{RBAC}/namespaces/{ns}/roles": {"rules": rules},
        f"{RBAC}/namespaces/{ns}/rolebindings": {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "owned"}},
        f"{NET}/namespaces/{ns}/ingresses": {"spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}},
        f"{NET}/namespaces/{ns}/networkpolicies": {"spec": {"podSelector": {}}},
        f"/apis/autoscaling/v2/namespaces/{ns}/horizontalpodautoscalers":
            {"spec": {"maxReplicas": 2, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}},
        f"{core}/limitranges": {"spec": {"limits": [{"type": "Pod", "max": {"cpu": "100"}}]}},
        f"{core}/podtemplates": {"template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}},
    }
    for at, body in made.items():
        kube.create(at, {"metadata": meta, **body})
    kube.delete(f"{core}/configmaps/owner")
    for at in made:
        until(lambda at=at: is_gone(kube, at + "/owned"), 20, f"{at}/owned is gone")


def test_an_owned_cluster_role_goes_and_foreground_waits_for_it(server, ns):
    kube = server.kube
    owner = kube.create(f"{RBAC}/clusterroles", {"metadata": {"name": f"owner-{ns}"}, "rules": []})
    meta = {**owned_by(owner, "ClusterRole", "rbac.authorization.k8s.io/v1"), "name": f"owned-{ns}", "finalizers": ["kogge.test/hold"]}
    meta["ownerReferences"][0]["blockOwnerDeletion"] = True
    kube.create(f"{RBAC}/clusterroles", {"metadata": meta, "rules": []})
    kube.delete(f"{RBAC}/clusterroles/owner-{ns}?propagationPolicy=Foreground")
    until(lambda: "deletionTimestamp" in kube.get(f"{RBAC}/clusterroles/owned-{ns}")["metadata"], 20, "the owned one is going")
    assert kube.get(f"{RBAC}/clusterroles/owner-{ns}"), "its owner waits for it"
    kube.patch(f"{RBAC}/clusterroles/owned-{ns}", {"metadata": {"finalizers": None}})
    until(lambda: is_gone(kube, f"{RBAC}/clusterroles/owner-{ns}"), 20, "then the owner goes")


def test_a_namespaced_owner_of_something_without_a_namespace_is_a_mistake(server, ns):
    """Its owner cannot be found: nothing is deleted for that, least of all a namespace, and an Event says so."""
    kube = server.kube
    owner = kube.create(f"/api/v1/namespaces/{ns}/configmaps", {"metadata": {"name": "owner"}})
    meta = {**owned_by(owner, "ConfigMap"), "name": f"kept-{ns}"}
    kube.create("/api/v1/namespaces", {"metadata": meta})
    kube.create(f"{RBAC}/clusterroles", {"metadata": meta, "rules": []})

    def told(kind):
        events = kube.get("/api/v1/namespaces/default/events")["items"]
        return [e for e in events if e["reason"] == "OwnerRefInvalidNamespace" and (e["involvedObject"]["kind"], e["involvedObject"]["name"]) == (kind, meta["name"])]
    until(lambda: told("Namespace") and told("ClusterRole"), 20, "there are Events")
    uid = owner["metadata"]["uid"]
    assert told("ClusterRole")[0]["message"] == f'ownerRef [v1/ConfigMap, namespace: , name: owner, uid: {uid}] does not exist in namespace ""'
    time.sleep(1)
    assert "deletionTimestamp" not in kube.get(f"/api/v1/namespaces/kept-{ns}")["metadata"]
    assert kube.get(f"{RBAC}/clusterroles/kept-{ns}")


def test_a_namespace_says_what_holds_it(server, ns):
    kube = server.kube
    at = f"/api/v1/namespaces/{ns}"
    for name in ("a", "b"):
        kube.create(f"{at}/configmaps", {"metadata": {"name": name, "finalizers": ["kogge.test/hold"]}})
    kube.create(f"{RBAC}/namespaces/{ns}/roles", {"metadata": {"name": "r", "finalizers": ["kogge.test/hold", "kogge.test/more"]}, "rules": []})
    kube.delete(at)

    def message(kind):
        return next((c["message"] for c in kube.get(at)["status"].get("conditions", []) if c["type"] == kind and c["status"] == "True"), "")
    until(lambda: "roles" in message("NamespaceContentRemaining"), 20, "the condition is there")
    assert message("NamespaceContentRemaining") == \
        "Some resources are remaining: configmaps. has 2 resource instances, roles.rbac.authorization.k8s.io has 1 resource instances"
    assert message("NamespaceFinalizersRemaining") == \
        "Some content in the namespace has finalizers remaining: kogge.test/hold in 3 resource instances, kogge.test/more in 1 resource instances"
    for what in (f"{at}/configmaps/a", f"{at}/configmaps/b", f"{RBAC}/namespaces/{ns}/roles/r"):
        kube.patch(what, {"metadata": {"finalizers": None}})
    until(lambda: is_gone(kube, at), 30, "then it goes")
