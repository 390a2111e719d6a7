"""What the API adds to objects and refuses by a namespace's rules: LimitRange, ResourceQuota, PodSecurity and the small plugins."""
import itertools
import threading

import pytest
from kube import ApiError, path, until

COUNT = itertools.count(1)


@pytest.fixture
def ns(server):
    name = f"admit-{next(COUNT)}"
    server.kube.create(path("namespaces"), {"metadata": {"name": name}})
    try:
        server.kube.create(path("serviceaccounts", name), {"metadata": {"name": "default"}})
    except ApiError as e:
        assert e.code == 409
    return name


def core(resource, ns, name=None, sub=None):
    return "/".join(["/api/v1/namespaces", ns, resource] + [p for p in (name, sub) if p])


def pod(name="p", resources=None, **spec):
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "x", **({"resources": resources} if resources else {})}], **spec}}


def refused(code, call, *args):
    with pytest.raises(ApiError) as e:
        call(*args)
    assert e.value.code == code, e.value
    return str(e.value)


# ---- LimitRange ---------------------------------------------------------------------------------------------------

def test_limit_range_fills_in_and_refuses(server, ns):
    server.kube.create(core("limitranges", ns), {"metadata": {"name": "l"}, "spec": {"limits": [
        {"type": "Container", "default": {"cpu": "500m"}, "defaultRequest": {"cpu": "100m", "memory": "1Mi"}, "min": {"cpu": "50m"}, "max": {"cpu": "1"},
         "maxLimitRequestRatio": {"cpu": "10"}},
        {"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}}]}})
    made = server.kube.create(path("pods", ns), pod())
    assert made["spec"]["containers"][0]["resources"] == {"limits": {"cpu": "500m"}, "requests": {"cpu": "100m", "memory": "1Mi"}}
    assert made["metadata"]["annotations"]["kubernetes.io/limit-ranger"] == \
        "LimitRanger plugin set: cpu, memory request for container c; cpu limit for container c"
    assert 'pods "small" is forbidden: minimum cpu usage per Container is 50m, but request is 10m' in \
        refused(403, server.kube.create, path("pods", ns), pod("small", {"requests": {"cpu": "10m"}, "limits": {"cpu": "60m"}}))
    assert "maximum cpu usage per Container is 1, but limit is 2" in \
        refused(403, server.kube.create, path("pods", ns), pod("big", {"requests": {"cpu": "500m"}, "limits": {"cpu": "2"}}))
    assert "cpu max limit to request ratio per Container is 10, but provided ratio is 20.000000" in \
        refused(403, server.kube.create, path("pods", ns), pod("wide", {"requests": {"cpu": "50m"}, "limits": {"cpu": "1"}}))
    claim = {"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "3Gi"}}}}
    assert "maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi" in refused(403, server.kube.create, core("persistentvolumeclaims", ns), claim)


# ---- ResourceQuota ------------------------------------------------------------------------------------------------

def quota(server, ns, hard, **spec):
    made = server.kube.create(core("resourcequotas", ns), {"metadata": {"name": "q"}, "spec": {"hard": hard, **spec}})
    for _ in range(50):  # the recount may write it at the same time
        made["status"] = {"hard": hard, "used": {k: "0" for k in hard}}
        try:
            return server.kube.call("PUT", core("resourcequotas", ns, "q", "status"), made)
        except ApiError as e:
            assert e.code == 409
            made = server.kube.get(core("resourcequotas", ns, "q"))
    raise AssertionError("the quota's status cannot be written")


def test_quota_takes_exactly_what_fits(server, ns):
    quota(server, ns, {"pods": "5", "requests.cpu": "1"})
    made, refusals = [], []

    def create(i):
        try:
            made.append(server.kube.clone(120).create(path("pods", ns), pod(f"p{i}", {"requests": {"cpu": "100m"}})))
        except ApiError as e:
            refusals.append(str(e))
    threads = [threading.Thread(target=create, args=(i,)) for i in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(150)
    assert len(made) == 5 and len(refusals) == 7, refusals
    assert all("is forbidden: exceeded quota: q, requested: pods=1, used: pods=5, limited: pods=5" in r for r in refusals), refusals
    used = server.kube.get(core("resourcequotas", ns, "q"))["status"]["used"]
    assert used == {"pods": "5", "requests.cpu": "500m"}


def test_quota_wants_to_know_and_gives_back(server, ns):
    quota(server, ns, {"limits.memory": "1Gi", "configmaps": "3"})
    assert "failed quota: q: must specify limits.memory for: c" in refused(403, server.kube.create, path("pods", ns), pod())
    server.kube.create(path("configmaps", ns) + "?dryRun=All", {"metadata": {"name": "dry"}})
    server.kube.create(path("configmaps", ns), {"metadata": {"name": "one"}})
    refused(409, server.kube.create, path("configmaps", ns), {"metadata": {"name": "one"}})
    refused(422, server.kube.create, path("configmaps", ns), {"metadata": {"name": "Not A Name"}})
    assert int(server.kube.get(core("resourcequotas", ns, "q"))["status"]["used"]["configmaps"]) in (1, 2)  # kube-root-ca.crt may be counted


def test_quota_scopes(server, ns):
    quota(server, ns, {"pods": "0"}, scopes=["BestEffort"])
    refused(403, server.kube.create, path("pods", ns), pod())
    server.kube.create(path("pods", ns), pod("stated", {"requests": {"cpu": "100m"}}))


# ---- PodSecurity --------------------------------------------------------------------------------------------------

def labelled(server, ns, **modes):
    return server.kube.patch(path("namespaces", None, ns), {"metadata": {"labels": {f"pod-security.kubernetes.io/{k.replace('_', '-')}": v for k, v in modes.items()}}})


SAFE = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


def with_context(name, context, **spec):
    made = pod(name, **spec)
    made["spec"]["containers"][0]["securityContext"] = context
    return made


def test_pod_security_restricted_in_upstreams_words(server, ns):
    labelled(server, ns, enforce="restricted")
    said = refused(403, server.kube.create, path("pods", ns), pod())
    assert said == ('403: pods "p" is forbidden: violates PodSecurity "restricted:latest": '
                    'allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), '
                    'unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]), '
                    'runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), '
                    'seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")')
    server.kube.create(path("pods", ns), with_context("safe", SAFE))
    said = refused(403, server.kube.create, path("pods", ns), with_context("v", SAFE, volumes=[{"name": "h", "hostPath": {"path": "/"}}]))
    assert said.endswith('"restricted:latest": restricted volume types (volume "h" uses restricted volume type "hostPath")')
    said = refused(403, server.kube.create, path("pods", ns), with_context("root", SAFE, securityContext={"runAsNonRoot": False}))
    assert said.endswith('"restricted:latest": runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false)')  # whatever its containers say


@pytest.mark.parametrize("spec,context,words", [
    ({"hostNetwork": True, "hostPID": True}, {}, "host namespaces (hostNetwork=true, hostPID=true)"),
    ({}, {"privileged": True}, 'privileged (container "c" must not set securityContext.privileged=true)'),
    ({}, {"capabilities": {"add": ["NET_ADMIN"]}}, 'non-default capabilities (container "c" must not include "NET_ADMIN" in securityContext.capabilities.add)'),
    ({}, {"capabilities": {"add": ["SYS_TIME", "NET_ADMIN"]}},
     'non-default capabilities (container "c" must not include "NET_ADMIN", "SYS_TIME" in securityContext.capabilities.add)'),
    ({"volumes": [{"name": "h", "hostPath": {"path": "/"}}]}, {}, 'hostPath volumes (volume "h")'),
    ({"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}}, {}, "forbidden sysctls (kernel.msgmax)"),
    ({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}, {}, 'seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined")'),
])
def test_pod_security_baseline(server, ns, spec, context, words):
    labelled(server, ns, enforce="baseline", enforce_version="v1.30")
    said = refused(403, server.kube.create, path("pods", ns), with_context("p", context, **spec))
    assert said.endswith('violates PodSecurity "baseline:v1.30": ' + words)
    server.kube.create(path("pods", ns), pod("plain"))


def test_a_probe_goes_to_its_own_pod(server, ns):
    labelled(server, ns, enforce="baseline")
    probed = pod()
    probed["spec"]["containers"][0].update(livenessProbe={"httpGet": {"host": "localhost", "port": 1}}, readinessProbe={"tcpSocket": {"host": "127.0.0.1", "port": 1}})
    said = refused(403, server.kube.create, path("pods", ns), probed)
    assert said.endswith('probe or lifecycle host (container "c" uses probe or lifecycle hosts "127.0.0.1", "localhost")')


def test_pod_security_labels_are_checked(server, ns):
    assert "must be one of privileged, baseline, restricted" in refused(422, lambda: labelled(server, ns, warn="strict"))


# ---- small plugins ------------------------------------------------------------------------------------------------

def test_default_classes_and_runtime_classes(server, ns):
    until(lambda: server.kube.get("/apis/storage.k8s.io/v1/storageclasses/local-path"), 30, "the class every cluster has")
    # Of several default classes the newest counts; of one second's, the first name: so this one's name comes before local-path.
    server.kube.create("/apis/storage.k8s.io/v1/storageclasses", {"metadata": {"name": f"a-{ns}", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
                                                                  "provisioner": "example.com/none"})
    claim = {"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "3Gi"}}}}
    assert server.kube.create(core("persistentvolumeclaims", ns), claim)["spec"]["storageClassName"] == f"a-{ns}"
    claim = {"metadata": {"name": "none"}, "spec": {**claim["spec"], "storageClassName": ""}}
    assert server.kube.create(core("persistentvolumeclaims", ns), claim)["spec"]["storageClassName"] == ""
    assert 'pod rejected: RuntimeClass "absent" not found' in refused(403, server.kube.create, path("pods", ns), pod(runtimeClassName="absent"))
    server.kube.create("/apis/node.k8s.io/v1/runtimeclasses", {"metadata": {"name": f"vm-{ns}"}, "handler": "vm", "overhead": {"podFixed": {"memory": "64Mi"}},
                                                               "scheduling": {"nodeSelector": {"vm": "yes"}, "tolerations": [{"key": "vm", "operator": "Exists"}]}})
    made = server.kube.create(path("pods", ns), pod(runtimeClassName=f"vm-{ns}"))["spec"]
    assert made["overhead"] == {"memory": "64Mi"} and made["nodeSelector"] == {"vm": "yes"} and {"key": "vm", "operator": "Exists"} in made["tolerations"]
