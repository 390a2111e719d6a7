"""kubectl and objects: create, apply, get, describe, explain, edit, patch, label, delete, diff and what asks the server about itself."""
import json
import os
import stat

import yaml

from kube import until


def deployment(name="web", replicas=2, env=None, **meta):
    container = {"name": "web", "image": "web:v1", "ports": [{"containerPort": 8080}]}
    if env:
        container["env"] = [{"name": k, "value": v} for k, v in env.items()]
    spec = {"selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}}
    if replicas is not None:
        spec["replicas"] = replicas
    return yaml.safe_dump({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, **meta}, "spec": spec})


def config_map(name="settings", **data):
    return yaml.safe_dump({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})


# ---- create and delete ---------------------------------------------------------------------------------------------

def test_create(kubectl, tmp_path):
    file = tmp_path / "greeting.txt"
    file.write_text("hello\n")
    assert "configmap/one created" in kubectl("create", "configmap", "one", "--from-literal=a=1", f"--from-file={file}")
    assert kubectl("get", "configmap", "one", "-o", "jsonpath={.data.a}{.data.greeting\\.txt}") == "1hello\n"
    kubectl("create", "secret", "generic", "two", "--from-literal=password=s3cret")
    assert kubectl("get", "secret", "two", "-o", "jsonpath={.data.password} {.type}") == "czNjcmV0 Opaque"
    kubectl("create", "serviceaccount", "three")
    kubectl("create", "role", "reader", "--verb=get,list", "--resource=pods")
    kubectl("create", "rolebinding", "three-reads", "--role=reader", f"--serviceaccount={kubectl.namespace}:three")
    kubectl("create", "deployment", "four", "--image=web:v1", "--replicas=0")
    kubectl("create", "service", "clusterip", "four", "--tcp=80:8080")
    kubectl("create", "job", "five", "--image=busybox:test", "--", "true")
    kubectl("create", "quota", "six", "--hard=pods=50")
    assert "seven created" in kubectl("create", "-f", "-", stdin=config_map("seven", a="1"))
    assert "AlreadyExists" in kubectl.fails("create", "-f", "-", stdin=config_map("seven", a="1"))
    names = kubectl("get", "configmap,secret,serviceaccount,role,deployment,service,job,quota", "-o", "name").split()
    for wanted in ("configmap/one", "secret/two", "serviceaccount/three", "deployment.apps/four", "service/four", "job.batch/five"):
        assert wanted in names


def test_create_dry_run(kubectl):
    text = kubectl("create", "deployment", "ghost", "--image=web:v1", "--dry-run=client", "-o", "yaml")
    assert yaml.safe_load(text)["spec"]["template"]["spec"]["containers"][0]["image"] == "web:v1"
    text = kubectl("create", "deployment", "ghost", "--image=web:v1", "--dry-run=server", "-o", "yaml")
    assert yaml.safe_load(text)["spec"]["progressDeadlineSeconds"] == 600
    assert "NotFound" in kubectl.fails("get", "deployment", "ghost")


def test_create_refuses(kubectl):
    bad = deployment().replace("replicas: 2", "replicas: -2")
    assert "must be greater than or equal to 0" in kubectl.fails("create", "-f", "-", stdin=bad)
    unknown = deployment().replace("replicas: 2", "replicaz: 2")
    assert "replicaz" in kubectl.fails("create", "-f", "-", stdin=unknown)
    assert "Invalid value" in kubectl.fails("create", "configmap", "Not_A_Name")


def test_generate_name(kubectl):
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "made-"}}
    assert kubectl("create", "-f", "-", "-o", "name", stdin=json.dumps(body)).startswith("configmap/made-")


def test_delete(kubectl):
    for name in "abc":
        kubectl("create", "configmap", name)
    kubectl("label", "configmap", "b", "c", "tier=x")
    assert '"a" deleted' in kubectl("delete", "configmap", "a")
    kubectl("delete", "configmap", "-l", "tier=x")
    assert "configmap/a" not in kubectl("get", "configmaps", "-o", "name")
    assert "NotFound" in kubectl.fails("delete", "configmap", "a")
    kubectl("delete", "configmap", "a", "--ignore-not-found")


def test_delete_takes_dependents(kubectl, space):
    space.web(1)
    space.wait_deployment()
    kubectl("delete", "deployment", "web", "--cascade=foreground")
    assert not space.items("replicasets") and not space.items("deployments")
    space.web(1)
    space.wait_deployment()
    kubectl("delete", "deployment", "web", "--cascade=orphan")
    assert space.items("replicasets") and space.items("pods")


def test_namespace(kubectl, space):
    name = space.name + "-more"
    kubectl("create", "namespace", name)
    kubectl.within(name)("create", "configmap", "inside")
    kubectl("delete", "namespace", name)
    assert "NotFound" in kubectl.fails("get", "namespace", name)


# ---- apply -----------------------------------------------------------------------------------------------------------

def test_apply_three_way(kubectl):
    assert "web created" in kubectl("apply", "-f", "-", stdin=deployment(replicas=None, env={"A": "1", "B": "2"}))
    kubectl("scale", "deployment", "web", "--replicas=3")  # of somebody else: apply must leave it
    kubectl("patch", "deployment", "web", "-p", '{"metadata":{"labels":{"theirs":"yes"}}}')
    assert "web unchanged" in kubectl("apply", "-f", "-", stdin=deployment(replicas=None, env={"A": "1", "B": "2"}))
    assert "web configured" in kubectl("apply", "-f", "-", stdin=deployment(replicas=None, env={"A": "one"}))
    d = json.loads(kubectl("get", "deployment", "web", "-o", "json"))
    assert d["spec"]["replicas"] == 3 and d["metadata"]["labels"] == {"theirs": "yes"}
    assert d["spec"]["template"]["spec"]["containers"][0]["env"] == [{"name": "A", "value": "one"}]
    assert "last-applied-configuration" in kubectl("get", "deployment", "web", "-o", "yaml")
    kubectl("apply", "view-last-applied", "deployment", "web")


def test_apply_server_side(kubectl):
    first = deployment(env={"A": "1"})
    assert "serverside-applied" in kubectl("apply", "--server-side", "-f", "-", stdin=first)
    assert "serverside-applied" in kubectl("apply", "--server-side", "-f", "-", stdin=first)
    taken = kubectl.fails("apply", "--server-side", "--field-manager=other", "-f", "-", stdin=deployment(replicas=5))
    assert "conflict" in taken and ".spec.replicas" in taken
    kubectl("apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", "-", stdin=deployment(replicas=5))
    kubectl("apply", "--server-side", "-f", "-", stdin=deployment(replicas=None))  # gives up env and replicas
    d = json.loads(kubectl("get", "deployment", "web", "-o", "json", *(["--show-managed-fields"] if kubectl.version > (1, 20) else [])))
    assert d["spec"]["replicas"] == 5 and "env" not in d["spec"]["template"]["spec"]["containers"][0]
    managers = {m["manager"]: m["operation"] for m in d["metadata"]["managedFields"]}
    assert managers["kubectl"] == "Apply" and managers["other"] == "Apply"


def test_diff(kubectl):
    kubectl("apply", "-f", "-", stdin=config_map(a="1"))
    assert kubectl("diff", "-f", "-", stdin=config_map(a="1")) == ""
    done = kubectl.run("diff", "-f", "-", stdin=config_map(a="2"))
    assert done.returncode == 1 and '-  a: "1"' in done.stdout and '+  a: "2"' in done.stdout
    assert kubectl("get", "configmap", "settings", "-o", "jsonpath={.data.a}") == "1"


def test_replace(kubectl):
    kubectl("create", "-f", "-", stdin=config_map(a="1"))
    kubectl("replace", "-f", "-", stdin=config_map(b="2"))
    assert kubectl("get", "configmap", "settings", "-o", "jsonpath={.data}") == '{"b":"2"}'
    stale = json.loads(kubectl("get", "configmap", "settings", "-o", "json"))
    kubectl("annotate", "configmap", "settings", "x=y")
    assert "Conflict" in kubectl.fails("replace", "-f", "-", stdin=json.dumps(stale))


# ---- get -------------------------------------------------------------------------------------------------------------

def test_get_tables(demo):
    wide = demo("get", "pods", "-o", "wide").splitlines()
    assert wide[0].split()[:6] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP"] and "NODE" in wide[0]
    assert any("1/1" in line and "Running" in line for line in wide[1:])
    assert demo("get", "deployments").splitlines()[0].split() == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert demo("get", "deploy", "-o", "wide").splitlines()[0].split()[5:] == ["CONTAINERS", "IMAGES", "SELECTOR"]
    assert demo("get", "services").splitlines()[0].split() == ["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE"]
    assert demo("get", "rs").splitlines()[0].split() == ["NAME", "DESIRED", "CURRENT", "READY", "AGE"]
    assert demo("get", "endpoints", "web").splitlines()[0].split() == ["NAME", "ENDPOINTS", "AGE"]
    assert "Ready" in demo("get", "nodes", "-o", "wide")
    assert "LABELS" in demo("get", "pods", "--show-labels") and "TIER" in demo("get", "pods", "-L", "tier")
    everything = demo("get", "all")
    assert "pod/box" in everything and "deployment.apps/web" in everything and "service/web" in everything


def test_get_subresource(demo):
    if demo.version >= (1, 27):
        head = demo("get", "deployment", "web", "--subresource=status").splitlines()[0]
        assert head.split() == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]


def test_get_formats(demo):
    assert yaml.safe_load(demo("get", "pod", "box", "-o", "yaml"))["kind"] == "Pod"
    assert json.loads(demo("get", "pods", "-o", "json"))["kind"] == "List"
    assert demo("get", "pod", "box", "-o", "name").strip() == "pod/box"
    assert demo("get", "pods", "-o", "jsonpath={.items[*].metadata.labels.app}").split().count("web") == 2
    assert demo("get", "pod", "box", "-o", "custom-columns=N:.metadata.name,P:.status.phase").split() == ["N", "P", "box", "Running"]
    assert demo("get", "pod", "box", "-o", "go-template={{.spec.restartPolicy}}") == "Always"


def test_get_selects(demo):
    assert len(demo("get", "pods", "-l", "app=web", "-o", "name").split()) == 2
    assert len(demo("get", "pods", "-l", "app in (web,box),app!=web", "-o", "name").split()) == 1
    assert demo("get", "pods", "--field-selector", "metadata.name=box", "-o", "name").split() == ["pod/box"]
    assert len(demo("get", "pods", "--field-selector=status.phase=Running", "-o", "name").split()) == 3
    ages = demo("get", "pods", "--sort-by=.metadata.creationTimestamp", "-o", "name").split()
    assert len(ages) == 3
    assert demo.namespace in demo("get", "pods", "-A")
    assert demo("get", "pods", "--chunk-size=1", "-o", "name").count("pod/") == 3
    assert "No resources found" in demo.run("get", "pods", "-l", "app=nobody").stderr


def read_until(process, wanted):
    """Its output until wanted(output)."""
    seen = ""
    while not wanted(seen):
        more = process.stdout.read(1)
        assert more, f"it ended after {seen!r}"
        seen += more
    return seen


def test_get_watch(kubectl):
    kubectl("create", "-f", "-", stdin=config_map("there", a="0"))
    watch = kubectl.start("get", "configmaps", "-w", "-o", "jsonpath={.metadata.name}={.data.a} ")
    try:
        read_until(watch, lambda seen: "there=0 " in seen)  # it watches from here on
        kubectl("create", "-f", "-", stdin=config_map("seen", a="1"))
        kubectl("patch", "configmap", "seen", "-p", '{"data":{"a":"2"}}')
        kubectl("delete", "configmap", "seen")
        words = read_until(watch, lambda seen: seen.count("seen=2 ") == 2).split()  # changed, then deleted
        assert [w for w in words if w.startswith("seen=")] == ["seen=1", "seen=2", "seen=2"]
    finally:
        watch.kill()
        watch.wait()


def test_get_watch_table(kubectl):
    kubectl("create", "deployment", "there", "--image=web:v1", "--replicas=0")
    watch = kubectl.start("get", "deployments", "--watch")
    try:
        assert "UP-TO-DATE" in read_until(watch, lambda seen: "there" in seen)
        kubectl("create", "deployment", "idle", "--image=web:v1", "--replicas=0")
        read_until(watch, lambda seen: "idle" in seen)
    finally:
        watch.kill()
        watch.wait()


# ---- describe, explain -----------------------------------------------------------------------------------------------

def test_describe(demo):
    pod = demo("describe", "pod", "box")
    for word in ("busybox:test", "Conditions:", "Volumes:", "kube-api-access"):
        assert word in pod, word
    assert "NewReplicaSet:" in demo("describe", "deployment", "web")
    until(lambda: "Started" in demo("describe", "pod", "box") and "ScalingReplicaSet" in demo("describe", "deployment", "web"), 10, "Events")
    assert "Endpoints:" in demo("describe", "service", "web")
    node = demo("describe", "nodes")
    for word in ("Allocatable:", "Container Runtime Version:", "Conditions:", "MemoryPressure"):
        assert word in node, word
    demo("describe", "rs,serviceaccount,namespace")


def events_in(described):
    """The reasons in its list of events, in their order."""
    lines = described[described.index("Events:"):].splitlines()[3:]
    return [line.split()[1] for line in lines if line.strip()]


def test_describe_tells_events_in_their_order(kubectl, space):
    for name in ("a", "b", "c"):
        space.box(name)
        space.wait_pod(name)
        until(lambda: len(events_in(kubectl("describe", "pod", name))) == 4, 10, "four events")
        assert events_in(kubectl("describe", "pod", name)) == ["Scheduled", "Pulled", "Created", "Started"]


def test_describe_tells_events_of_the_node(kubectl, space):
    node = space.server.nodes()[0]["metadata"]["name"]
    told = events_in(kubectl("describe", "node", node))
    assert {"Starting", "NodeHasSufficientMemory", "NodeReady"} <= set(told), told
    if kubectl.version > (1, 20):  # that one shows only events whose uid is the node's name
        assert "RegisteredNode" in told, told
    try:
        kubectl("cordon", node)
        until(lambda: "NodeNotSchedulable" in events_in(kubectl("describe", "node", node)), 60, "NodeNotSchedulable")
    finally:
        kubectl("uncordon", node)


def test_explain(demo):
    top = demo("explain", "deployment")
    assert "Deployment" in top and "apps/v1" in top and "spec" in top
    strategy = demo("explain", "deployment.spec.strategy.rollingUpdate")
    assert "maxSurge" in strategy and "maxUnavailable" in strategy
    assert "containerPort" in demo("explain", "pods.spec.containers", "--recursive")
    assert "does not exist" in demo.fails("explain", "pods.spec.nonsense")


# ---- change ----------------------------------------------------------------------------------------------------------

def test_edit(kubectl, tmp_path):
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nsed -i 's/a: \"1\"/a: \"edited\"/' \"$1\"\n")
    editor.chmod(editor.stat().st_mode | stat.S_IXUSR)
    kubectl("create", "-f", "-", stdin=config_map(a="1"))
    assert "edited" in kubectl("edit", "configmap", "settings", env={"EDITOR": str(editor), "KUBE_EDITOR": str(editor)})
    assert kubectl("get", "configmap", "settings", "-o", "jsonpath={.data.a}") == "edited"


def test_patch(kubectl):
    kubectl("create", "-f", "-", stdin=deployment(replicas=0, env={"A": "1"}))

    def env():
        containers = json.loads(kubectl("get", "deployment", "web", "-o", "json"))["spec"]["template"]["spec"]["containers"]
        return {e["name"]: e["value"] for e in containers[0].get("env", [])}

    merge_by_name = {"spec": {"template": {"spec": {"containers": [{"name": "web", "env": [{"name": "B", "value": "2"}]}]}}}}
    kubectl("patch", "deployment", "web", "-p", json.dumps(merge_by_name))
    assert env() == {"A": "1", "B": "2"}
    kubectl("patch", "deployment", "web", "--type=merge", "-p", '{"metadata":{"labels":{"x":"1"}},"spec":{"paused":true}}')
    kubectl("patch", "deployment", "web", "--type=merge", "-p", '{"metadata":{"labels":{"x":null}},"spec":{"paused":false}}')
    assert kubectl("get", "deployment", "web", "-o", "jsonpath={.metadata.labels}{.spec.paused}") in ("", "{}", "false")
    kubectl("patch", "deployment", "web", "--type=json", "-p",
            '[{"op":"test","path":"/spec/replicas","value":0},{"op":"remove","path":"/spec/template/spec/containers/0/env/0"}]')
    assert len(env()) == 1
    assert kubectl.fails("patch", "deployment", "web", "--type=json", "-p", '[{"op":"test","path":"/spec/replicas","value":7}]')
    assert "no change" in kubectl("patch", "deployment", "web", "--type=merge", "-p", "{}")


def test_label_and_annotate(kubectl):
    kubectl("create", "configmap", "one")
    kubectl("label", "configmap", "one", "tier=front", "team=a")
    assert "--overwrite" in kubectl.fails("label", "configmap", "one", "tier=back")
    kubectl("label", "configmap", "one", "tier=back", "team-", "--overwrite")
    kubectl("annotate", "configmap", "one", "note=some text")
    one = json.loads(kubectl("get", "configmap", "one", "-o", "json"))["metadata"]
    assert one["labels"] == {"tier": "back"} and one["annotations"] == {"note": "some text"}
    assert "invalid label value" in kubectl.fails("label", "configmap", "one", "bad=not valid!")
    kubectl("annotate", "configmap", "one", "note-")
    assert "annotations" not in json.loads(kubectl("get", "configmap", "one", "-o", "json"))["metadata"]


def test_cordon_and_taint(demo):
    node = demo("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
    demo("cordon", node)
    try:
        assert "SchedulingDisabled" in demo("get", "nodes")
    finally:
        demo("uncordon", node)
    demo("taint", "nodes", node, "trial=1:PreferNoSchedule")
    demo("taint", "nodes", node, "trial-")


# ---- about the server ------------------------------------------------------------------------------------------------

def test_wait(kubectl, space):
    space.box()
    kubectl("wait", "--for=condition=Ready", "pod/box", "--timeout=180s")
    gone = kubectl.start("wait", "--for=delete", "pod/box", "--timeout=180s", "-v=6")
    read_until(gone, lambda seen: "fieldSelector=" in seen)  # it has looked: what happens from here on it hears
    kubectl("delete", "pod", "box", "--wait=false")
    said, _ = gone.communicate(timeout=300)
    assert gone.returncode == 0, said
    space.web(1)
    kubectl("wait", "--for=condition=available", "deployment/web", "--timeout=180s")
    if kubectl.version >= (1, 23):
        kubectl("wait", "--for=jsonpath={.status.readyReplicas}=1", "deployment/web", "--timeout=180s")


def test_auth_can_i(kubectl):
    assert kubectl("auth", "can-i", "create", "deployments").strip() == "yes"
    who = f"--as=system:serviceaccount:{kubectl.namespace}:default"
    assert kubectl.run("auth", "can-i", "list", "secrets", who).stdout.strip() == "no"
    kubectl("create", "rolebinding", "viewer", "--clusterrole=view", f"--serviceaccount={kubectl.namespace}:default")
    assert kubectl("auth", "can-i", "list", "pods", who).strip() == "yes"
    assert "no" == kubectl.run("auth", "can-i", "list", "pods", who, "-A").stdout.strip()
    assert "selfsubjectaccessreviews" in kubectl("auth", "can-i", "--list")
    assert 'cannot list resource "secrets"' in kubectl.fails("get", "secrets", who)
    if kubectl.version >= (1, 28):
        assert "system:masters" in kubectl("auth", "whoami")


def test_discovery(demo):
    resources = demo("api-resources")
    for line in ("deploy", "configmaps", "networkpolicies", "customresourcedefinitions", "leases"):
        assert line in resources, line
    assert "deployments.apps" in demo("api-resources", "--api-group=apps", "-o", "name")
    assert "apps/v1" in demo("api-versions").split()
    assert "v1.34" in demo("version", "-o", "json")
    assert '"storageVersionHash":"8aSe+NMegvE="' in demo("get", "--raw", "/apis/apps/v1").replace(" ", "")  # upstream's for apps/v1/Deployment
    demo("cluster-info")
    assert {line.split()[0]: line.split()[1] for line in demo("get", "cs", "--no-headers").splitlines() if "deprecated" not in line} == \
        {"etcd-0": "Healthy", "controller-manager": "Healthy", "scheduler": "Healthy"}


def test_get_raw(demo):
    assert demo("get", "--raw", "/readyz") == "ok"
    assert "ok" in demo("get", "--raw", "/readyz?verbose")
    assert json.loads(demo("get", "--raw", f"/api/v1/namespaces/{demo.namespace}/pods/box"))["metadata"]["name"] == "box"
    assert "apiserver_request" in demo("get", "--raw", "/metrics")
    assert json.loads(demo("get", "--raw", "/openapi/v3"))["paths"]


def test_events(demo):
    def listed():
        return demo("get", "events", "--field-selector=involvedObject.name=box")
    assert listed().splitlines()[0].split() == ["LAST", "SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    for reason in ("Scheduled", "Pulled", "Created", "Started"):
        until(lambda r=reason: r in listed(), 10, reason)
    if demo.version >= (1, 26):
        assert "Started" in demo("events", "--for", "pod/box")


def test_certificate_of_another_cluster_is_refused(demo, tmp_path):
    with open(demo.server.kubeconfig, encoding="utf-8") as f:
        config = yaml.safe_load(f)
    config["users"][0]["user"] = {}
    file = tmp_path / "anonymous.kubeconfig"
    file.write_text(yaml.safe_dump(config))
    done = demo.run("get", "pods", "--username=nobody", "--password=none", env={"KUBECONFIG": str(file)})
    assert done.returncode != 0 and ("Unauthorized" in done.stderr or "logged in" in done.stderr or "Forbidden" in done.stderr)
    assert os.stat(demo.server.kubeconfig).st_mode & 0o077 == 0
