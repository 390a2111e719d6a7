"""Clients that people have, each through its whole round: the JavaScript client, every kubectl at hand, and what Helm and Terraform send."""
import base64
import gzip
import json
import os
import shutil
import subprocess

import pytest
from conftest import ALL_KUBECTLS, Kubectl
from kube import ApiError, path, top, until

JAVASCRIPT = ("@kubernetes/client-node", "1.4.0")


# ---- JavaScript ------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="session")
def javascript():
    """The client's folder, from npm."""
    if not shutil.which("npm") or not shutil.which("node"):
        pytest.skip("no node and npm on this machine")
    folder = os.path.join(top(), "build", "javascript-client-" + JAVASCRIPT[1])
    module = os.path.join(folder, "node_modules", JAVASCRIPT[0])
    if not os.path.isdir(module):
        os.makedirs(folder, exist_ok=True)
        try:
            subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--no-save", "--prefix", folder, "@".join(JAVASCRIPT)],
                           capture_output=True, text=True, check=True, timeout=300)
        except subprocess.SubprocessError as e:  # also: it is slow
            shutil.rmtree(folder)
            pytest.skip(f"npm does not give {JAVASCRIPT[0]}: {(e.stderr or str(e)).strip()[-200:]}")
    return module


def test_javascript(javascript, cluster, space):
    done = subprocess.run(["node", os.path.join(top(), "tests", "clients", "javascript.mjs"), cluster.kubeconfig, space.name],
                          env=dict(os.environ, KUBERNETES_CLIENT=javascript), capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("ok ") == 7, done.stdout


# ---- kubectl -----------------------------------------------------------------------------------------------------------

MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\ndata: {a: '%s'}\n"
DEPLOYMENT = """apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "web:v1"}]}
"""
KIND = """apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %(plural)s.kubectl.example.com}
spec:
  group: kubectl.example.com
  scope: Namespaced
  names: {plural: %(plural)s, singular: %(singular)s, kind: %(kind)s}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer, minimum: 1}}}}}}
    additionalPrinterColumns: [{name: Size, type: integer, jsonPath: .spec.size}]
"""


@pytest.mark.parametrize("version,program", ALL_KUBECTLS, ids=[v for v, _ in ALL_KUBECTLS])
def test_kubectl(cluster, space, tmp_path, version, program):
    kubectl = Kubectl(program, cluster, tmp_path, space.name)
    kubectl("create", "-f", "-", stdin=MAP % 1)
    watch = kubectl.start("get", "configmap", "one", "-w", "-o", "jsonpath={.data.a} ")
    try:
        kubectl("apply", "-f", "-", stdin=MAP % 2)
        kubectl("replace", "-f", "-", stdin=MAP % 3)
        seen = ""
        while "3" not in seen:
            more = watch.stdout.read(1)
            assert more, f"the watch ended after {seen!r}"
            seen += more
    finally:
        watch.kill()
        watch.wait()
    kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    kubectl("patch", "deployment", "web", "-p", '{"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "web:v1"}]}}}}')
    kubectl("patch", "deployment", "web", "--type", "merge", "-p", '{"metadata": {"labels": {"tier": "front"}}}')
    kubectl("patch", "deployment", "web", "--type", "json", "-p", '[{"op": "add", "path": "/spec/paused", "value": true}]')
    said = kubectl.fails("patch", "deployment", "web", "--type", "json", "-p", '[{"op": "remove", "path": "/spec/strange"}]')
    assert "remove operation does not apply: doc is missing path" in said and "/spec/strange" in said
    made = space.get("deployments", "web")
    assert {c["name"] for c in made["spec"]["template"]["spec"]["containers"]} == {"web", "side"}
    assert made["metadata"]["labels"] == {"tier": "front"} and made["spec"]["paused"]
    kubectl("apply", "--server-side", "--field-manager", "one", "-f", "-", stdin=(MAP % 4).replace("one}", "ssa}"))
    assert "conflict" in kubectl.fails("apply", "--server-side", "--field-manager", "two", "-f", "-", stdin=(MAP % 5).replace("one}", "ssa}"))
    kubectl("apply", "--server-side", "--force-conflicts", "--field-manager", "two", "-f", "-", stdin=(MAP % 5).replace("one}", "ssa}"))
    kubectl("apply", "-f", "-", stdin=(MAP % 6).replace("one}", "moved}"))
    assert "conflict" in kubectl.fails("apply", "--server-side", "--field-manager", "two", "-f", "-", stdin=(MAP % 7).replace("one}", "moved}"))
    kubectl("apply", "--server-side", "-f", "-", stdin=(MAP % 7).replace("one}", "moved}"))  # kubectl inherits from its client side
    assert '"a":"7"' in kubectl("get", "configmap", "moved", "-o", "jsonpath={.metadata.annotations}").replace("\\", "")
    kubectl("apply", "-f", "-", stdin=(MAP % 8).replace("one}", "moved}"))  # and back
    custom_round(kubectl, "v" + version.replace(".", "x"))
    kubectl("delete", "deployment/web", "configmap/one", "configmap/ssa")
    assert "NotFound" in kubectl.fails("get", "configmap", "one")


def custom_round(kubectl, singular):
    names = {"singular": singular, "plural": singular + "s", "kind": singular.upper()}
    kubectl("apply", "-f", "-", stdin=KIND % names)
    kubectl("wait", "--for", "condition=Established", "--timeout", "180s", f"crd/{names['plural']}.kubectl.example.com")
    thing = "apiVersion: kubectl.example.com/v1\nkind: %s\nmetadata: {name: main}\nspec: {size: %%d}\n" % names["kind"]
    kubectl("apply", "-f", "-", stdin=thing % 3)
    kubectl("patch", names["plural"], "main", "--type", "merge", "-p", '{"spec": {"size": 4}}')
    lines = kubectl("get", names["plural"]).splitlines()
    assert lines[0].split() == ["NAME", "SIZE"] and lines[1].split() == ["main", "4"]
    assert "should be greater than or equal to 1" in kubectl.fails("patch", names["plural"], "main", "--type", "merge", "-p", '{"spec": {"size": 0}}')
    assert "size" in kubectl("explain", names["singular"] + ".spec")
    kubectl("delete", "crd", f"{names['plural']}.kubectl.example.com")


# ---- Helm: the requests that it makes for a chart with a ServiceAccount, a Service and a Deployment ---------------------

def release(space, name, version, status):
    """A release's record: its manifest, packed, in a Secret of a type of Helm's own."""
    record = json.dumps({"name": name, "version": version, "info": {"status": status}, "manifest": "x" * 3000}).encode()
    return {"apiVersion": "v1", "kind": "Secret", "type": "helm.sh/release.v1",
            "metadata": {"name": f"sh.helm.release.v1.{name}.v{version}", "namespace": space.name,
                         "labels": {"name": name, "owner": "helm", "status": status, "version": str(version), "modifiedAt": "1760000000"}},
            "data": {"release": base64.b64encode(base64.b64encode(gzip.compress(record))).decode()}}


def chart(space, image="web:v1"):
    marks = {"labels": {"app.kubernetes.io/managed-by": "Helm", "app.kubernetes.io/name": "web"},
             "annotations": {"meta.helm.sh/release-name": "web", "meta.helm.sh/release-namespace": space.name}}
    labels = {"app.kubernetes.io/name": "web"}
    return {
        "serviceaccounts": {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "web", **marks}, "automountServiceAccountToken": True},
        "services": {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", **marks},
                     "spec": {"type": "ClusterIP", "ports": [{"port": 80, "targetPort": "http", "protocol": "TCP", "name": "http"}], "selector": labels}},
        "deployments": {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", **marks}, "spec": {
            "replicas": 1, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": {
                "serviceAccountName": "web", "securityContext": {}, "terminationGracePeriodSeconds": 0, "containers": [
                    {"name": "web", "image": image, "imagePullPolicy": "IfNotPresent", "securityContext": {}, "resources": {},
                     "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
                     "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1}}]}}}},
    }


def history(space, **labels):
    selector = ",".join(f"{k}={v}" for k, v in {"owner": "helm", **labels}.items())
    return [s["metadata"]["name"] for s in space.items("secrets", selector)]


def mark(space, name, version, status):
    """A record is read and written back whole, as the client does."""
    space.kube.call("PUT", path("secrets", space.name, f"sh.helm.release.v1.{name}.v{version}"), release(space, name, version, status))


def deployed(space, image):
    def all_new():
        d = space.get("deployments", "web")
        s = d.get("status", {})
        return (s.get("observedGeneration") == d["metadata"]["generation"] and s.get("updatedReplicas") == s.get("readyReplicas") == s.get("replicas") == 1 and
                d["spec"]["template"]["spec"]["containers"][0]["image"] == image)
    until(all_new, 60, f"the deployment of {image}")


def upgrade(space, version, image):
    space.create("secrets", release(space, "web", version, "pending-upgrade"))
    for resource, body in chart(space, image).items():
        space.get(resource, "web")
        patch = {"spec": {"template": {"spec": {"containers": [{"name": "web", "image": image}], "$setElementOrder/containers": [{"name": "web"}]}}}}
        if resource == "deployments":
            space.kube.patch(path(resource, space.name, "web") + "?fieldManager=helm", patch, "application/strategic-merge-patch+json")
        assert body["metadata"]["annotations"].items() <= space.get(resource, "web")["metadata"]["annotations"].items()
    deployed(space, image)
    mark(space, "web", version - 1, "superseded")
    mark(space, "web", version, "deployed")


def test_helm(space):
    kube = space.kube
    assert kube.get("/version")["major"] == "1"
    assert {"v1"} <= set(kube.get("/api")["versions"]) and kube.get("/apis")["groups"] and kube.get("/openapi/v2")["definitions"]
    assert history(space, name="web") == []
    space.create("secrets", release(space, "web", 1, "pending-install"))
    with pytest.raises(ApiError) as twice:
        space.create("secrets", release(space, "web", 1, "pending-install"))
    assert twice.value.code == 409
    for resource, body in chart(space).items():
        with pytest.raises(ApiError) as e:
            space.get(resource, "web")
        assert e.value.code == 404
        kube.create(path(resource, space.name) + "?fieldManager=helm", body)
    deployed(space, "web:v1")
    mark(space, "web", 1, "deployed")
    assert history(space, name="web", status="deployed") == ["sh.helm.release.v1.web.v1"]
    upgrade(space, 2, "web:v2")
    upgrade(space, 3, "web:v1")  # a rollback is an upgrade to what was
    assert history(space, status="superseded") == ["sh.helm.release.v1.web.v1", "sh.helm.release.v1.web.v2"]
    managers = [m["manager"] for m in space.get("deployments", "web")["metadata"]["managedFields"]]
    assert "helm" in managers
    for resource in chart(space):
        kube.delete(path(resource, space.name, "web"), apiVersion="v1", kind="DeleteOptions", propagationPolicy="Background")
        space.wait_gone(resource, "web")
    for name in history(space, name="web"):
        kube.delete(path("secrets", space.name, name))
    assert history(space) == []
    until(lambda: not space.items("pods"), 30, "its pods gone")


# ---- Terraform -----------------------------------------------------------------------------------------------------------

def test_terraform_manifest(space):
    """kubernetes_manifest: a plan is a dry run of server-side apply, which must answer as the apply itself."""
    def apply(body, query=""):
        return space.kube.call("PATCH", path("configmaps", space.name, "tf") + "?fieldManager=Terraform&force=false" + query, body, "application/apply-patch+yaml")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "tf", "namespace": space.name}, "data": {"a": "1"}}
    assert "io.k8s.api.core.v1.ConfigMap" in space.kube.get("/openapi/v2")["definitions"]
    planned = apply(body, "&dryRun=All")
    assert planned["metadata"]["uid"] and planned["data"] == {"a": "1"}
    with pytest.raises(ApiError) as e:
        space.get("configmaps", "tf")
    assert e.value.code == 404
    assert apply(body)["data"] == planned["data"]
    body["data"] = {"b": "2"}
    assert apply(body, "&dryRun=All")["data"] == {"b": "2"} and space.get("configmaps", "tf")["data"] == {"a": "1"}
    assert apply(body)["data"] == {"b": "2"}
    before = space.get("configmaps", "tf")["metadata"]["resourceVersion"]
    assert apply(body)["metadata"]["resourceVersion"] == before, "an apply of nothing new writes nothing"
    space.kube.patch(path("configmaps", space.name, "tf") + "?fieldManager=somebody", {"data": {"b": "3"}})
    with pytest.raises(ApiError) as e:
        apply(body)
    assert e.value.code == 409 and e.value.status["details"]["causes"][0]["field"] == ".data.b"
    space.kube.delete(path("configmaps", space.name, "tf"))


def test_terraform_resources(space):
    """Typed resources: created, read, changed by JSON patches of whole sections, waited for and deleted."""
    made = space.create("deployments", {"metadata": {"name": "tf", "annotations": {}, "labels": {"a": "1"}}, "spec": {
        "replicas": 1, "selector": {"matchLabels": {"app": "tf"}}, "template": {"metadata": {"labels": {"app": "tf"}}, "spec": {
            "automountServiceAccountToken": False, "shareProcessNamespace": False, "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "web", "image": "web:v1", "env": [{"name": "A", "value": "1"}]}]}}}})
    spec = made["spec"]
    spec["replicas"], spec["template"]["spec"]["containers"][0]["env"] = 2, [{"name": "A", "value": "2"}]
    patch = [{"op": "replace", "path": "/metadata/labels", "value": {"b": "2"}}, {"op": "add", "path": "/metadata/annotations", "value": {"note": "x"}},
             {"op": "replace", "path": "/spec", "value": spec}]
    space.kube.patch(path("deployments", space.name, "tf"), patch, "application/json-patch+json")
    done = space.wait("deployments", "tf", lambda d: {d.get("status", {}).get(k) for k in ("readyReplicas", "updatedReplicas", "replicas")} == {2})
    assert done["metadata"]["labels"] == {"b": "2"}
    space.kube.delete(path("deployments", space.name, "tf"), propagationPolicy="Foreground")
    space.wait_gone("deployments", "tf")
