"""PersistentVolumes and their claims, through kubectl."""
import json

from kube import until

PVC = "/api/v1/namespaces/{}/persistentvolumeclaims"


def volume(name, size="1Gi", **spec):
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
            "spec": {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/nowhere"}, **spec}}


def claim(name, size="1Gi", **spec):
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec}}


def is_gone(kubectl, what):
    return kubectl.run("get", what).returncode != 0


def test_a_claim_gets_the_volume_that_fits_and_gives_it_back(space, kubectl):
    name = f"v-{space.name}"
    applied = kubectl.run("apply", "-f", "-", stdin=json.dumps(volume(name, storageClassName=space.name)))
    applied_claim = kubectl.run("apply", "-f", "-", stdin=json.dumps(claim("data", storageClassName=space.name)))
    assert applied.returncode == applied_claim.returncode == 0
    assert "Warning" not in applied.stderr + applied_claim.stderr
    until(lambda: kubectl("get", "pvc", "data", "-o", "jsonpath={.status.phase}") == "Bound", 20, "bound")
    row = kubectl("get", "pv", name, "--no-headers").split()
    assert row[:7] == [name, "1Gi", "RWO", "Retain", "Bound", f"{space.name}/data", space.name]
    assert kubectl("get", "pvc", "data", "--no-headers").split()[:6] == ["data", "Bound", name, "1Gi", "RWO", space.name]
    told = kubectl("describe", "pvc", "data")
    assert "Finalizers:    [kubernetes.io/pvc-protection]" in told and "pv.kubernetes.io/bind-completed: yes" in told and f"Volume:        {name}" in told
    kubectl("delete", "pvc", "data", "--timeout=20s")
    until(lambda: kubectl("get", "pv", name, "-o", "jsonpath={.status.phase}") == "Released", 20, "released")
    kubectl("delete", "pv", name, "--timeout=20s")


def test_a_claim_says_why_it_has_no_volume(space, kubectl):
    kubectl("apply", "-f", "-", stdin=json.dumps(claim("none", storageClassName="")))
    kubectl("apply", "-f", "-", stdin=json.dumps(claim("missing", storageClassName="no-such-class")))
    until(lambda: "no persistent volumes available for this claim and no storage class is set" in kubectl("describe", "pvc", "none"), 20, "FailedBinding")
    until(lambda: 'storageclass.storage.k8s.io "no-such-class" not found' in kubectl("describe", "pvc", "missing"), 20, "ProvisioningFailed")
    assert kubectl("get", "pvc", "none", "--no-headers").split()[1] == "Pending"
