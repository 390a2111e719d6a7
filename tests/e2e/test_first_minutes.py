"""What people do in their first ten minutes, each with the oldest and the newest kubectl. Elsewhere: an image without a registry
(test_images.py), LoadBalancer (test_load_balancer.py), port-forward svc/… (test_kubectl_streams.py), what a machine lacks (test_check.py)."""
import http.client
import json
import re
import subprocess
import urllib.request

from kube import path, until


def fetch(port, where="/", host="127.0.0.1"):
    connection = http.client.HTTPConnection(host, port, timeout=5)
    connection.request("GET", where)
    return connection.getresponse().read().decode()


def test_run_expose_and_curl_a_node_port(kubectl):
    kubectl("create", "deployment", "hello", "--image=web:v1")
    kubectl("expose", "deployment", "hello", "--port=80", "--target-port=8080", "--type=NodePort")
    kubectl("rollout", "status", "deployment/hello", "--timeout=180s")
    port = int(kubectl("get", "service", "hello", "-o", "jsonpath={.spec.ports[0].nodePort}"))
    until(lambda: fetch(port).startswith("v1 from hello-"), 10, f"an answer on localhost:{port}")
    assert subprocess.run(["curl", "-sf", f"localhost:{port}"], capture_output=True, text=True, check=True).stdout.startswith("v1 from hello-")


def test_a_pod_reaches_its_own_service(kubectl):
    kubectl("run", "self", "--image=web:v1", "--port=8080", "--expose")
    kubectl("wait", "pod/self", "--for=condition=Ready", "--timeout=180s")
    address = kubectl("get", "service", "self", "-o", "jsonpath={.spec.clusterIP}")
    kubectl("run", "box", "--image=busybox:test", "--labels=run=self", "--command", "--", "sh", "-c", "httpd -f -p 8080 -h /etc")
    kubectl("wait", "pod/box", "--for=condition=Ready", "--timeout=180s")
    kubectl("delete", "pod", "self", "--now")
    # the box is the only endpoint now, and calls itself
    until(lambda: "root" in kubectl.run("exec", "box", "--", "timeout", "5", "wget", "-qO-", f"http://{address}:8080/passwd").stdout, 20, "its own answer")


def test_a_claim_binds_and_keeps_what_is_written(kubectl):
    kubectl("apply", "-f", "-", stdin="""
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: writer}
spec:
  restartPolicy: Never
  containers: [{name: c, image: "busybox:test", command: [sh, -c, "echo kept > /data/file"], volumeMounts: [{name: v, mountPath: /data}]}]
  volumes: [{name: v, persistentVolumeClaim: {claimName: data}}]
""")
    until(lambda: kubectl("get", "pod", "writer", "-o", "jsonpath={.status.phase}") == "Succeeded", 60, "the writer is done")
    assert kubectl("get", "pvc", "data").splitlines()[1].split()[1] == "Bound"
    kubectl("delete", "pod", "writer")
    kubectl("run", "reader", "--image=busybox:test", "--restart=Never", "--overrides", json.dumps({"spec": {
        "containers": [{"name": "reader", "image": "busybox:test", "command": ["cat", "/data/file"], "volumeMounts": [{"name": "v", "mountPath": "/data"}]}],
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}}))
    until(lambda: kubectl("get", "pod", "reader", "-o", "jsonpath={.status.phase}") == "Succeeded", 60, "the reader is done")
    assert kubectl("logs", "reader") == "kept\n"


def test_a_job_and_its_output(kubectl):
    kubectl("create", "job", "once", "--image=busybox:test", "--", "echo", "done")
    kubectl("wait", "job/once", "--for=condition=Complete", "--timeout=180s")
    assert kubectl("logs", "job/once") == "done\n"


def test_proxy(kubectl, space):
    space.web(name="hello", replicas=1)
    space.service("hello")
    space.wait_deployment("hello")
    proxy = kubectl.start("proxy", "--port=0")
    try:
        port = int(re.search(r":(\d+)", proxy.stdout.readline()).group(1))
        base = f"http://127.0.0.1:{port}/api/v1/namespaces/{space.name}"

        def get(where):
            with urllib.request.urlopen(base + where, timeout=60) as answer:
                return answer.read().decode()
        assert json.loads(get("/pods"))["kind"] == "PodList"
        until(lambda: get("/services/hello:80/proxy/").startswith("v1 from hello-"), 10, "an answer through the Service")
    finally:
        proxy.terminate()
        proxy.wait(60)


def test_events_are_shown_as_they_come(kubectl):
    watch = kubectl.start("get", "events", "--watch")
    try:
        kubectl("run", "seen", "--image=busybox:test", "--command", "--", "sleep", "1000")
        lines = iter(watch.stdout.readline, "")
        assert any("pod/seen" in line and "Started" in line for line in lines)
    finally:
        watch.terminate()
        watch.wait(60)


def test_top(kubectl):
    kubectl("run", "busy", "--image=busybox:test", "--command", "--", "sh", "-c", "while :; do :; done")
    kubectl("wait", "pod/busy", "--for=condition=Ready", "--timeout=180s")
    until(lambda: re.search(r"busy +[1-9][0-9]*m", kubectl.run("top", "pod").stdout), 60, "CPU of the busy pod")
    until(lambda: re.search(r"[1-9][0-9]*%", kubectl.run("top", "node").stdout), 60, "what the node uses")
    kubectl("delete", "pod", "busy", "--now")


def test_what_goes_wrong_is_said(kubectl, space):
    """A slip in a manifest, an image that is not there, a port that nothing answers on."""
    said = kubectl.fails("apply", "-f", "-", stdin="apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec: {replica: 1}\n")
    assert "replica" in said and "unknown field" in said, said
    kubectl("run", "gone", "--image=registry.invalid/nginx")
    until(lambda: "kogge image import" in kubectl("describe", "pod", "gone"), 30, "what to do, in kubectl describe")
    until(lambda: "ImagePullBackOff" in kubectl("get", "pod", "gone"), 60, "ImagePullBackOff")
    assert "waiting to start: trying and failing to pull image" in kubectl.fails("logs", "gone")
    kubectl("run", "crash", "--image=busybox:test", "--command", "--", "sh", "-c", "echo why; exit 3")
    until(lambda: "CrashLoopBackOff" in kubectl("get", "pod", "crash"), 60, "CrashLoopBackOff")
    assert kubectl("logs", "crash", "--previous") == "why\n"
    assert re.search(r"Exit Code: +3", kubectl("describe", "pod", "crash"))
    assert space.kube.get(path("pods", space.name, "crash"))["status"]["containerStatuses"][0]["restartCount"] >= 1
