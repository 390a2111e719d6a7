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


def apply(kubectl, *objects):
    kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))


def pod(name, claims, script="sleep 100000", mounts=None, **spec):
    """A busybox pod with each of claims mounted at /NAME; mounts: more of the mount, by claim."""
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
        "terminationGracePeriodSeconds": 1, "volumes": [{"name": c, "persistentVolumeClaim": {"claimName": c}} for c in claims],
        "containers": [{"name": "box", "image": "busybox:test", "command": ["sh", "-c", f"trap 'exit 0' TERM; {script} & wait"],
                        "volumeMounts": [{"name": c, "mountPath": f"/{c}", **(mounts or {}).get(c, {})} for c in claims]}], **spec}}


def local_volume(space, name, path, **spec):
    node = space.server.nodes()[0]["metadata"]["name"]
    there = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}
    body = volume(name, storageClassName=space.name, local={"path": str(path)}, nodeAffinity={"required": {"nodeSelectorTerms": [there]}}, **spec)
    del body["spec"]["hostPath"]
    return body


def late_class(space):
    return {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": space.name},
            "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"}


def drop(kubectl, *things):
    for thing in things:
        kubectl("delete", thing, "--ignore-not-found", "--timeout=30s")


def test_a_pod_binds_its_claim_to_a_local_volume(space, kubectl, tmp_path):
    """WaitForFirstConsumer: the pod chooses; data stays on the node, subPath and readOnly hold, fsGroup owns it."""
    name = f"l-{space.name}"
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "there").write_text("before\n")
    apply(kubectl, late_class(space), local_volume(space, name, tmp_path), claim("data", storageClassName=space.name))
    until(lambda: "WaitForFirstConsumer" in kubectl("describe", "pvc", "data"), 20, "it waits")
    apply(kubectl, pod("writer", ["data"], "echo hello > /data/file; ls -ln /data/file > /data/list; sleep 100000",
                       securityContext={"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 4321}))
    kubectl("wait", "pod/writer", "--for=condition=Ready", "--timeout=60s")
    assert kubectl("get", "pvc", "data", "-o", "jsonpath={.status.phase} {.spec.volumeName}") == f"Bound {name}"
    until(lambda: (tmp_path / "list").exists() and (tmp_path / "list").read_text(), 20, "written through the claim")
    assert (tmp_path / "file").read_text() == "hello\n"
    assert (tmp_path / "file").stat().st_gid == 4321 and (tmp_path / "sub" / "there").stat().st_gid == 4321
    apply(kubectl, pod("reader", ["data"], "cat /data/there; touch /data/no; sleep 100000", mounts={"data": {"subPath": "sub", "readOnly": True}}))
    kubectl("wait", "pod/reader", "--for=condition=Ready", "--timeout=60s")
    until(lambda: "Read-only file system" in kubectl("logs", "reader"), 20, "it may not write")
    assert kubectl("logs", "reader").startswith("before\n")
    kubectl("delete", "pvc", "data", "--wait=false")
    assert "Terminating" in kubectl("get", "pvc", "data"), "in use: it stays"
    drop(kubectl, "pod/writer", "pod/reader")
    until(lambda: is_gone(kubectl, "pvc/data"), 30, "not used any more")
    assert (tmp_path / "file").read_text() == "hello\n", "Retain"
    drop(kubectl, f"pv/{name}", f"sc/{space.name}")


def test_what_cannot_be_mounted_is_said(space, kubectl, tmp_path):
    nfs, gone = f"nfs-{space.name}", f"gone-{space.name}"
    shared = volume(nfs, storageClassName=space.name, nfs={"server": "nfs.example.org", "path": "/x"})
    del shared["spec"]["hostPath"]
    apply(kubectl, late_class(space), shared, local_volume(space, gone, tmp_path / "nothing"))
    apply(kubectl, claim("shared", storageClassName=space.name, volumeName=nfs), claim("lost", storageClassName=space.name, volumeName=gone))
    apply(kubectl, pod("a", ["shared"]), pod("b", ["lost"]), pod("c", ["never-made"]))
    until(lambda: f'PersistentVolume "{nfs}" is of type nfs, which is not supported: hostPath and local are' in kubectl("describe", "pod", "a"), 30, "nfs")
    until(lambda: "FailedMount" in kubectl("describe", "pod", "b") and "No such file or directory" in kubectl("describe", "pod", "b"), 30, "no folder")
    until(lambda: 'persistentvolumeclaim "never-made" not found' in kubectl("describe", "pod", "c"), 30, "no claim")
    drop(kubectl, "pod/a", "pod/b", "pod/c", "pvc/shared", "pvc/lost", f"pv/{nfs}", f"pv/{gone}", f"sc/{space.name}")


def test_read_write_once_pod(space, kubectl, tmp_path):
    name = f"o-{space.name}"
    apply(kubectl, volume(name, storageClassName=space.name, accessModes=["ReadWriteOncePod"], hostPath={"path": str(tmp_path / "made"), "type": "DirectoryOrCreate"}))
    apply(kubectl, claim("alone", storageClassName=space.name, accessModes=["ReadWriteOncePod"]), pod("first", ["alone"]))
    kubectl("wait", "pod/first", "--for=condition=Ready", "--timeout=60s")
    apply(kubectl, pod("second", ["alone"]))
    until(lambda: "ReadWriteOncePod access mode" in kubectl("describe", "pod", "second"), 20, "it has to wait")
    drop(kubectl, "pod/first")
    kubectl("wait", "pod/second", "--for=condition=Ready", "--timeout=60s")
    drop(kubectl, "pod/second", "pvc/alone", f"pv/{name}")
