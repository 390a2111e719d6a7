"""ResourceQuota: what is made counts at once, what goes gives back."""
import pytest
import custom
from kube import ApiError, path, until


def used(space, name):
    return space.get("resourcequotas", "q").get("status", {}).get("used", {}).get(name)


def test_counts_and_gives_back(space):
    where = f"/api/v1/namespaces/{space.name}/resourcequotas"
    space.kube.create(where, {"metadata": {"name": "q"}, "spec": {"hard": {"count/configmaps": "3", "pods": "2", "requests.cpu": "1"}}})
    until(lambda: used(space, "count/configmaps") == "1", 10, "the root CA's")
    for name in ("a", "b"):
        space.kube.create(path("configmaps", space.name), {"metadata": {"name": name}})
    assert used(space, "count/configmaps") == "3", "admission counts before it answers"
    with pytest.raises(ApiError) as e:
        space.kube.create(path("configmaps", space.name), {"metadata": {"name": "c"}})
    assert e.value.code == 403 and "exceeded quota: q, requested: count/configmaps=1, used: count/configmaps=3, limited: count/configmaps=3" in str(e.value)
    space.kube.delete(path("configmaps", space.name, "a"))
    until(lambda: used(space, "count/configmaps") == "2", 10, "given back")
    space.box("once", restartPolicy="Never", schedulingGates=[{"name": "example.com/looked"}],
              container={"command": ["true"], "resources": {"requests": {"cpu": "700m"}}})
    assert (used(space, "pods"), used(space, "requests.cpu")) == ("1", "700m")
    space.kube.patch(path("pods", space.name, "once"), {"spec": {"schedulingGates": None}})
    until(lambda: used(space, "pods") == "0", 30, "a pod that has ended counts no more")


def test_kinds_that_only_a_quota_names_are_given_back(space):
    """Custom kinds, and builtin ones that the quota controller does not watch of itself."""
    gadgets, ingresses = custom.where("gadgets", space.name), f"/apis/networking.k8s.io/v1/namespaces/{space.name}/ingresses"
    counted = {f"count/gadgets.{custom.GROUP}": "2", "count/ingresses.networking.k8s.io": "1"}
    ingress = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "a"}, "spec": {"defaultBackend": {
        "service": {"name": "web", "port": {"number": 80}}}}}
    crd = space.kube.create(custom.CRDS, custom.definition("gadgets", "Gadget", custom.version()))
    try:
        space.kube.create(f"/api/v1/namespaces/{space.name}/resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": counted}})
        until(lambda: all(used(space, name) == "0" for name in counted), 20, "counted")
        for _ in range(2):
            space.kube.create(gadgets, {"apiVersion": f"{custom.GROUP}/v1", "kind": "Gadget", "metadata": {"name": "a"}})
            space.kube.create(ingresses, ingress)
            assert [used(space, name) for name in counted] == ["1", "1"]
            with pytest.raises(ApiError, match="exceeded quota"):
                space.kube.create(ingresses, dict(ingress, metadata={"name": "b"}))
            space.kube.delete(f"{gadgets}/a")
            space.kube.delete(f"{ingresses}/a")
            until(lambda: all(used(space, name) == "0" for name in counted), 20, "given back")
    finally:
        space.kube.delete(f"{custom.CRDS}/{crd['metadata']['name']}")
