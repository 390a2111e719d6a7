"""ResourceQuota: what is made counts at once, what goes gives back."""
import pytest
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
    space.box("once", restartPolicy="Never", container={"command": ["sleep", "1"], "resources": {"requests": {"cpu": "700m"}}})
    assert (used(space, "pods"), used(space, "requests.cpu")) == ("1", "700m")
    until(lambda: used(space, "pods") == "0", 30, "a pod that has ended counts no more")
