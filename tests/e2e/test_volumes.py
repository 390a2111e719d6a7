"""PersistentVolumes and their claims, through kubectl."""
import json
from pathlib import Path

from kube import until

PVC = "/api/v1/namespaces/{}/persistentvolumeclaims"


def volume(name, size="1Gi", **spec):
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
            "spec": {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/nowhere"}, **spec}}


def claim(name, size="1Gi", **spec):
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec}}


def is_gone(kubectl, what):
    return "NotFound" in kubectl.run("get", what).stderr


def test_a_claim_gets_the_volume_that_fits_and_gives_it_back(space, kubectl):
    name = f"v-{space.name}"
    applied = kubectl.run("apply", "-f", "-", stdin=json.dumps(volume(name, storageClassName=space.name)))
    applied_claim = kubectl.run("apply", "-f", "-", stdin=json.dumps(claim("data", storageClassName=space.name)))
    assert applied.returncode == applied_claim.returncode == 0
    assert "Warning" not in applied.stderr + applied_claim.stderr
    until(lambda: kubectl("get", "pvc", "data", "-o", "jsonpath={.status.phase}") == "Bound", 20, "bound")
    row = [name, "1Gi", "RWO", "Retain", "Bound", f"{space.name}/data", space.name]
    until(lambda: kubectl("get", "pv", name, "--no-headers").split()[:7] == row, 10, "the volume is bound, too")
    assert kubectl("get", "pvc", "data", "--no-headers").split()[:6] == ["data", "Bound", name, "1Gi", "RWO", space.name]
    told = kubectl("describe", "pvc", "data")
    assert "Finalizers:    [kubernetes.io/pvc-protection]" in told and "pv.kubernetes.io/bind-completed: yes" in told and f"Volume:        {name}" in told
    kubectl("delete", "pvc", "data", "--timeout=180s")
    until(lambda: kubectl("get", "pv", name, "-o", "jsonpath={.status.phase}") == "Released", 20, "released")
    kubectl("delete", "pv", name, "--timeout=180s")


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
        kubectl("delete", thing, "--ignore-not-found", "--timeout=180s")


def test_a_pod_binds_its_claim_to_a_local_volume(space, kubectl, tmp_path):
    """WaitForFirstConsumer: the pod chooses; data stays on the node, subPath and readOnly hold, fsGroup owns it."""
    name = f"l-{space.name}"
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "there").write_text("before\n")
    apply(kubectl, late_class(space), local_volume(space, name, tmp_path), claim("data", storageClassName=space.name))
    until(lambda: "WaitForFirstConsumer" in kubectl("describe", "pvc", "data"), 20, "it waits")
    apply(kubectl, pod("writer", ["data"], "echo hello > /data/file; ls -ln /data/file > /data/list; sleep 100000",
                       securityContext={"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 4321}))
    kubectl("wait", "pod/writer", "--for=condition=Ready", "--timeout=180s")
    assert kubectl("get", "pvc", "data", "-o", "jsonpath={.status.phase} {.spec.volumeName}") == f"Bound {name}"
    until(lambda: (tmp_path / "list").exists() and (tmp_path / "list").read_text(), 20, "written through the claim")
    assert (tmp_path / "file").read_text() == "hello\n"
    assert (tmp_path / "file").stat().st_gid == 4321 and (tmp_path / "sub" / "there").stat().st_gid == 4321
    apply(kubectl, pod("reader", ["data"], "exec 2>&1; cat /data/there; touch /data/no; sleep 100000", mounts={"data": {"subPath": "sub", "readOnly": True}}))
    kubectl("wait", "pod/reader", "--for=condition=Ready", "--timeout=180s")
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
    kubectl("wait", "pod/first", "--for=condition=Ready", "--timeout=180s")
    apply(kubectl, pod("second", ["alone"]))
    until(lambda: "ReadWriteOncePod access mode" in kubectl("describe", "pod", "second"), 20, "it has to wait")
    drop(kubectl, "pod/first")
    kubectl("wait", "pod/second", "--for=condition=Ready", "--timeout=180s")
    drop(kubectl, "pod/second", "pvc/alone", f"pv/{name}")


# ---- local-path: the default class --------------------------------------------------------------------------------------

def folder_of(kubectl, name):
    """Where the data of a bound claim is on this machine, and the name of its volume."""
    pv = kubectl("get", "pvc", name, "-o", "jsonpath={.spec.volumeName}")
    return Path(kubectl("get", "pv", pv, "-o", "jsonpath={.spec.local.path}")), pv


def test_a_claim_without_class_gets_a_folder_and_the_data_stays(space, kubectl, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine\n")
    assert "local-path (default)" in kubectl("get", "sc")
    row = next(line for line in kubectl("get", "sc", "--no-headers").splitlines() if line.startswith("local-path")).split()
    assert row[:6] == ["local-path", "(default)", "kogge.io/local-path", "Delete", "WaitForFirstConsumer", "false"]
    apply(kubectl, claim("data"))
    until(lambda: "waiting for first consumer to be created before binding" in kubectl("describe", "pvc", "data"), 20, "it waits")
    assert kubectl("get", "pvc", "data", "-o", "jsonpath={.spec.storageClassName}") == "local-path"
    apply(kubectl, pod("first", ["data"], f"echo kept > /data/file; ln -s {tmp_path} /data/link; mkdir -p /data/a/b/c; sleep 100000", securityContext={"runAsUser": 1234}))
    kubectl("wait", "pod/first", "--for=condition=Ready", "--timeout=180s")
    until(lambda: all(t in kubectl("describe", "pvc", "data") for t in ("ProvisioningSucceeded", "Status:        Bound", "Used By:       first")), 10, "told")
    folder, pv = folder_of(kubectl, "data")
    assert folder.parent == Path(space.server.data) / "volumes" and folder.name == pv and folder.stat().st_mode & 0o7777 == 0o777
    assert folder.parent.stat().st_mode & 0o7777 == 0o700, "no other user of the machine looks into it"
    until(lambda: (folder / "a" / "b" / "c").exists(), 20, "written")
    drop(kubectl, "pod/first")
    apply(kubectl, pod("second", ["data"], "cat /data/file; sleep 100000", securityContext={"runAsUser": 99, "fsGroup": 5678}))
    kubectl("wait", "pod/second", "--for=condition=Ready", "--timeout=180s")
    until(lambda: kubectl("logs", "second") == "kept\n", 20, "the data stays")
    assert folder.stat().st_gid == 5678 and folder.stat().st_mode & 0o7777 == 0o2777
    kubectl("delete", "pvc", "data", "--wait=false")
    assert folder.exists()
    drop(kubectl, "pod/second")
    until(lambda: is_gone(kubectl, f"pv/{pv}"), 30, "its volume goes with it")
    assert not folder.exists() and precious.read_text() == "mine\n"


def test_what_a_pod_leaves_in_its_volume_is_removed_whatever_it_is(space, kubectl):
    apply(kubectl, claim("deep"), pod("deep", ["deep"], "cd /deep; i=0; while [ $i -lt 1500 ]; do mkdir d; cd d; i=$((i+1)); done; "
                                      "ln -s /etc ../../link; touch /deep/done; sleep 100000"))
    kubectl("wait", "pod/deep", "--for=condition=Ready", "--timeout=180s")
    folder, pv = folder_of(kubectl, "deep")
    until(lambda: (folder / "done").exists(), 60, "made")
    drop(kubectl, "pod/deep", "pvc/deep")
    until(lambda: is_gone(kubectl, f"pv/{pv}"), 60, "gone")
    assert not folder.exists() and Path("/etc/passwd").exists()


def test_a_statefulset_has_its_data_again(space, kubectl):
    script = "cat /data/name 2>/dev/null || hostname > /data/name; trap 'exit 0' TERM; sleep 100000 & wait"
    apply(kubectl, {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": {
        "serviceName": "db", "replicas": 2, "selector": {"matchLabels": {"app": "db"}}, "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Mi"}}}}],
        "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"terminationGracePeriodSeconds": 1, "containers": [
            {"name": "box", "image": "busybox:test", "command": ["sh", "-c", script], "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]}}}})
    kubectl("rollout", "status", "statefulset/db", "--timeout=180s")
    assert sorted(line.split()[0] + " " + line.split()[1] for line in kubectl("get", "pvc", "--no-headers").splitlines()) == ["data-db-0 Bound", "data-db-1 Bound"]
    kubectl("delete", "pod", "db-1", "--timeout=180s")
    kubectl("rollout", "status", "statefulset/db", "--timeout=180s")
    until(lambda: kubectl("logs", "db-1") == "db-1\n", 20, "its own data, of the pod before")
    kubectl("delete", "statefulset", "db", "--timeout=180s")
    until(lambda: not kubectl("get", "pods", "-o", "name").strip(), 30, "no pods")
    assert "data-db-0" in kubectl("get", "pvc"), "claims outlive their set"
    kubectl("delete", "pvc", "--all", "--timeout=180s")


def test_data_survives_a_restart_and_a_deleted_class_stays_deleted(fresh):
    server = fresh(ephemeral=False)
    server.add_images("busybox")
    server.start().wait_ready().wait_images("busybox:test")
    pods, claims = "/api/v1/namespaces/default/pods", PVC.format("default")
    server.kube.create(claims, claim("data"))
    server.kube.create(pods, pod("one", ["data"], "echo $(date +%s%N) >> /data/starts; sleep 100000"))
    until(lambda: server.kube.get(pods + "/one")["status"].get("phase") == "Running", 60, "runs")
    volume_name = server.kube.get(claims + "/data")["spec"]["volumeName"]
    starts = Path(server.data) / "volumes" / volume_name / "starts"
    until(lambda: starts.exists() and starts.read_text(), 20, "written")
    server.kube.delete("/apis/storage.k8s.io/v1/storageclasses/local-path")
    before = starts.read_text()
    assert server.stop() == 0
    server.start().wait_ready()
    assert server.kube.get("/apis/storage.k8s.io/v1/storageclasses")["items"] == []
    assert starts.read_text() == before, "the pod went on"
    server.kube.delete(pods + "/one")
    server.kube.delete(claims + "/data")
    until(lambda: server.kube.get("/api/v1/persistentvolumes")["items"] == [], 60, "removed after the restart, too")
    assert not starts.parent.exists()


def test_an_ephemeral_volume_goes_with_its_pod(space, kubectl):
    body = pod("scratch", [])
    body["spec"]["volumes"] = [{"name": "space", "ephemeral": {"volumeClaimTemplate": {"spec": claim("x")["spec"]}}}]
    body["spec"]["containers"][0]["volumeMounts"] = [{"name": "space", "mountPath": "/space"}]
    apply(kubectl, body)
    kubectl("wait", "pod/scratch", "--for=condition=Ready", "--timeout=180s")
    folder, pv = folder_of(kubectl, "scratch-space")
    assert folder.is_dir()
    kubectl("exec", "scratch", "--", "touch", "/space/file")
    assert (folder / "file").exists()
    drop(kubectl, "pod/scratch")
    until(lambda: is_gone(kubectl, "pvc/scratch-space") and is_gone(kubectl, f"pv/{pv}"), 30, "both go")
    assert not folder.exists()
