"""Admission webhooks: who is called, with what, and what the answer does."""
import socket
import threading

import pytest
from kube import ApiError, path, until
import custom
from webhook_server import Hook, configuration, patch

CONFIGS = {"MutatingWebhookConfiguration": "mutatingwebhookconfigurations", "ValidatingWebhookConfiguration": "validatingwebhookconfigurations"}
DENY = {"allowed": False, "status": {"message": "no", "code": 403, "reason": "Forbidden"}}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    from server import Server
    made = Server(node=False)

    def has_ca(namespace):
        return made.kube.get(path("configmaps", namespace, "kube-root-ca.crt"))
    try:
        made.start().wait_ready()
        for namespace in ("default", "kube-system", "kube-public", "kube-node-lease"):  # so that only the tests make ConfigMaps
            until(lambda ns=namespace: has_ca(ns), 20, f"the certificates in {namespace}")
        yield made
    finally:
        made.end()


@pytest.fixture
def hooks(server, tmp_path):
    made, names = [], []

    class Hooks:
        def serve(self, answer, **options):
            made.append(Hook(tmp_path, answer, **options))
            return made[-1]

        def register(self, kind, name, client, **options):
            names.append((kind, name))
            return server.kube.create("/apis/admissionregistration.k8s.io/v1/" + CONFIGS[kind], configuration(kind, name, client, **options))

        def mutating(self, name, client, **options):
            return self.register("MutatingWebhookConfiguration", name, client, **options)

        def validating(self, name, client, **options):
            return self.register("ValidatingWebhookConfiguration", name, client, **options)
    yield Hooks()
    for kind, name in names:
        server.kube.delete(f"/apis/admissionregistration.k8s.io/v1/{CONFIGS[kind]}/{name}")
    for hook in made:
        hook.end()


def refused(code, call, *args):
    with pytest.raises(ApiError) as e:
        call(*args)
    assert e.value.code == code, e.value
    return str(e.value)


def config_map(server, name, **more):
    return server.kube.create(path("configmaps", "default"), {"metadata": {"name": name, **more.pop("metadata", {})}, **more})


def test_a_refusal_is_the_answer(server, hooks):
    hook = hooks.serve(lambda r: {**DENY, "warnings": ["mind the gap"]} if r["name"] == "bad" else {"allowed": True})
    hooks.validating("refuses", hook.url("/check"))
    config_map(server, "good")
    assert 'admission webhook "refuses.example.com" denied the request: no' in refused(403, config_map, server, "bad")
    assert server.kube.get(path("configmaps", "default") + "/good")
    refused(404, server.kube.get, path("configmaps", "default", "bad"))
    asked = hook.seen[-1]
    assert asked["operation"] == "CREATE" and asked["namespace"] == "default" and asked["object"]["metadata"]["name"] == "bad"
    assert asked["resource"] == {"group": "", "version": "v1", "resource": "configmaps"} and asked["kind"]["kind"] == "ConfigMap"
    assert asked["userInfo"]["groups"] and asked["oldObject"] is None and asked["dryRun"] is False and asked["options"]["kind"] == "CreateOptions"


def test_a_refusal_tells_which_fields_are_wrong(server, hooks):
    causes = [{"reason": "FieldValueInvalid", "message": "Invalid value: 1: no", "field": "data.k"}]
    details = {"name": "n", "group": "g", "kind": "K", "causes": causes, "retryAfterSeconds": 3}
    hooks.validating("details", hooks.serve(lambda r: {"allowed": False, "status": {
        "code": 422, "reason": "Invalid", "message": "K n is invalid", "details": {**details, "odd": 1}}}).url())
    with pytest.raises(ApiError) as e:
        config_map(server, "wrong")
    assert e.value.code == 422 and e.value.status["reason"] == "Invalid" and e.value.status["details"] == details


def test_updates_and_deletions_show_the_old_object(server, hooks):
    hook = hooks.serve(lambda r: {"allowed": r["operation"] != "DELETE"})
    config_map(server, "aging", data={"k": "1"})
    hooks.validating("watches", hook.url(), operations=("UPDATE", "DELETE"))
    server.kube.patch(path("configmaps", "default", "aging"), {"data": {"k": "2"}})
    assert hook.seen[-1]["oldObject"]["data"] == {"k": "1"} and hook.seen[-1]["object"]["data"] == {"k": "2"}
    assert hook.seen[-1]["options"]["kind"] == "UpdateOptions" and "fieldValidation" not in hook.seen[-1]["options"]  # of a patch, too
    server.kube.patch(path("configmaps", "default", "aging") + "?fieldValidation=Strict", {"data": {"k": "2"}})
    assert hook.seen[-1]["options"]["fieldValidation"] == "Strict"
    options = {"propagationPolicy": "Orphan", "preconditions": {"uid": hook.seen[-1]["oldObject"]["metadata"]["uid"]}}
    refused(400, server.kube.call, "DELETE", path("configmaps", "default", "aging"), options)
    told = hook.seen[-1]["options"]
    assert told == {**options, "kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"}
    refused(400, server.kube.delete, path("configmaps", "default", "aging") + "?gracePeriodSeconds=7")
    assert hook.seen[-1]["options"]["gracePeriodSeconds"] == 7
    assert "denied the request without explanation" in refused(400, server.kube.delete, path("configmaps", "default", "aging"))
    assert hook.seen[-1]["object"] is None and hook.seen[-1]["oldObject"]["data"] == {"k": "2"}
    assert server.kube.get(path("configmaps", "default", "aging"))


def test_an_eviction_is_asked_about_once(server, hooks):
    hook = hooks.serve(lambda r: {"allowed": True})
    until(lambda: server.kube.get(path("serviceaccounts", "default", "default")), 20, "who the pod is")
    server.kube.create(path("pods", "default"), {"metadata": {"name": "evicted"}, "spec": {"containers": [{"name": "c", "image": "x"}]}})
    hooks.validating("evictions", hook.url(), operations=("*",), resources=("pods", "pods/eviction"))
    server.kube.create(path("pods", "default", "evicted") + "/eviction", {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "evicted"}})
    assert [(r["operation"], r["kind"]["kind"]) for r in hook.seen if r["name"] == "evicted"] == [("CREATE", "Eviction")]


def test_of_a_connection_is_told_what_is_done(server, hooks):
    hook = hooks.serve(lambda r: DENY)
    hooks.validating("connects", hook.url(), operations=("CONNECT",), resources=("pods/exec",))
    refused(403, server.kube.call, "POST", path("pods", "default", "any") + "/exec?container=one&container=two&kind=Other&command=a&command=b")
    told = hook.seen[-1]["object"]
    assert (told["container"], told["command"], told["kind"]) == ("one", ["a", "b"], "PodExecOptions")


def test_patches_are_applied_and_validated(server, hooks):
    first = hooks.serve(lambda r: patch({"op": "add", "path": "/data", "value": {"first": "yes"}}))
    second = hooks.serve(lambda r: patch({"op": "add", "path": "/data/second", "value": "yes"}))
    hooks.mutating("a-first", first.url(), reinvocationPolicy="IfNeeded")
    hooks.mutating("b-second", second.url())
    made = config_map(server, "patched")
    assert made["data"]["first"] == "yes" and made["metadata"]["uid"]
    assert len(first.seen) == 2 and len(second.seen) == 1  # the second one's change is a reason to ask the first again
    owner = made["metadata"]["managedFields"][0]
    assert "f:data" in owner["fieldsV1"]  # what a webhook adds belongs to the writer of the request
    second.answer = lambda r: patch({"op": "replace", "path": "/metadata/name", "value": "Not A Name"})
    refused(422, config_map, server, "renamed")
    second.answer = lambda r: patch({"op": "remove", "path": "/nothing/here"})
    assert "Internal error occurred" in refused(500, config_map, server, "broken")


def test_selectors_choose(server, hooks):
    hook = hooks.serve(lambda r: DENY)
    hooks.validating("selects", hook.url(), objectSelector={"matchLabels": {"checked": "yes"}},
                     namespaceSelector={"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-public"]}]})
    config_map(server, "unlabelled")
    with pytest.raises(ApiError):
        server.kube.create(path("configmaps", "default"), {"metadata": {"name": "labelled", "labels": {"checked": "yes"}}})
    server.kube.create(path("configmaps", "kube-public"), {"metadata": {"name": "labelled", "labels": {"checked": "yes"}}})
    assert len(hook.seen) == 1


def test_equivalent_versions_are_converted(server, hooks):
    hook = hooks.serve(lambda r: patch({"op": "add", "path": "/metadata/labels", "value": {"seen": r["kind"]["version"]}}))
    hooks.mutating("events", hook.url(), resources=("events",), groups=("events.k8s.io",))
    made = server.kube.create(path("events", "default"), {"metadata": {"name": "e1"}, "involvedObject": {"kind": "Pod", "namespace": "default", "name": "x"},
                                                          "message": "hello", "reason": "Test", "type": "Normal"})
    asked = next(r for r in hook.seen if r["name"] == "e1")
    assert asked["kind"]["group"] == "events.k8s.io" and asked["requestKind"]["group"] == "" and asked["object"]["note"] == "hello"
    assert made["message"] == "hello" and made["metadata"]["labels"] == {"seen": "v1"}


def convert_thing(_path, review):
    """Between spec.both and spec.one, spec.two; as a program in Go answers: with a creationTimestamp in any case."""
    want, out = review["request"]["desiredAPIVersion"], []
    for o in review["request"]["objects"]:
        spec = o["spec"]
        spec = dict(zip(("one", "two"), spec["both"].split("-"))) if want.endswith("v2") else {"both": spec["one"] + "-" + spec["two"]}
        out.append({**o, "apiVersion": want, "spec": spec, "metadata": {"creationTimestamp": None, **o["metadata"]}})
    return {"apiVersion": review["apiVersion"], "kind": "ConversionReview",
            "response": {"uid": review["request"]["uid"], "convertedObjects": out, "result": {"status": "Success"}}}


@pytest.fixture
def things(server, tmp_path):
    text, made = {"type": "string"}, []

    def define(*versions, **spec):
        server.kube.create(custom.CRDS, custom.definition("things", "Thing", *versions, **spec))
        name = f"{custom.CRDS}/things.{custom.GROUP}"
        until(lambda: custom.condition(server.kube.get(name), "Established").get("status") == "True", 10, "established")

    class Things:
        def unconverted(self):
            define(custom.version(properties={"both": text, "kept": text}), custom.version("v2", False, {"both": text, "seen": text}))

        def converted(self):
            made.append(custom.Hook(str(tmp_path), convert_thing))
            client = {"url": f"https://127.0.0.1:{made[0].port}/", "caBundle": made[0].bundle}
            define(custom.version(properties={"both": text}), custom.version("v2", False, {"one": text, "two": text}),
                   conversion={"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": client}})
            return made[0]

        def create(self, name, **spec):
            return server.kube.create(custom.where("things", "default"), {"kind": "Thing", "apiVersion": f"{custom.GROUP}/v1", "metadata": {"name": name}, "spec": spec})
    yield Things()
    if server.kube.get(custom.CRDS)["items"]:
        server.kube.delete(f"{custom.CRDS}/things.{custom.GROUP}")
    until(lambda: not server.kube.get(custom.CRDS)["items"], 20, "the definition is gone")
    for hook in made:
        hook.end()


V2_OF_THINGS = {"resources": ("things",), "groups": (custom.GROUP,), "versions": ("v2",), "operations": ("CREATE", "UPDATE", "DELETE")}


def test_a_custom_object_is_shown_in_the_version_of_the_rule(server, hooks, things):
    things.unconverted()
    hook = hooks.serve(lambda r: patch({"op": "add", "path": "/metadata/labels", "value": {"seen": r["object"]["apiVersion"].rpartition("/")[2]}}))
    hooks.mutating("v2-only", hook.url(), **V2_OF_THINGS)
    made = things.create("a", both="x", kept="y")
    asked = hook.seen[-1]
    assert asked["object"]["apiVersion"] == f"{custom.GROUP}/v2" and asked["kind"]["version"] == "v2" and asked["requestKind"]["version"] == "v1"
    assert made["apiVersion"] == f"{custom.GROUP}/v1" and made["metadata"]["labels"] == {"seen": "v2"}
    assert made["spec"] == {"both": "x", "kept": "y"}  # what v2 does not know is not lost


def test_a_custom_object_is_converted_for_a_rule(server, hooks, things):
    converts = things.converted()
    hook = hooks.serve(lambda r: patch({"op": "replace", "path": "/spec/two", "value": "changed"}) if r["operation"] != "DELETE" else {"allowed": True})
    checks = hooks.serve(lambda r: {"allowed": True})
    hooks.mutating("changes", hook.url(), **V2_OF_THINGS)
    hooks.validating("checks", checks.url(), **V2_OF_THINGS)
    assert things.create("a", both="x-y")["spec"] == {"both": "x-changed"}
    assert hook.seen[-1]["object"]["spec"] == {"one": "x", "two": "y"} and checks.seen[-1]["object"]["spec"] == {"one": "x", "two": "changed"}
    at = custom.where("things", "default", "a")
    assert server.kube.patch(at, {"spec": {"both": "z-y"}})["spec"] == {"both": "z-changed"}
    assert hook.seen[-1]["oldObject"]["spec"] == {"one": "x", "two": "changed"} and hook.seen[-1]["oldObject"]["apiVersion"].endswith("/v2")
    converts.status = 500
    assert "Internal error occurred: conversion webhook for stable.example.com/v1, Kind=Thing failed" in refused(500, things.create, "b")
    converts.status = 200
    server.kube.delete(at)
    assert checks.seen[-1]["operation"] == "DELETE" and checks.seen[-1]["oldObject"]["spec"] == {"one": "z", "two": "changed"}


def test_a_definition_goes_without_its_webhook(server, hooks, things):
    things.unconverted()
    things.create("a")
    hooks.validating("gone-before", {"url": "https://127.0.0.1:9/"}, **V2_OF_THINGS)
    assert "failed calling webhook" in refused(500, server.kube.delete, custom.where("things", "default", "a"))
    server.kube.delete(f"{custom.CRDS}/things.{custom.GROUP}")
    until(lambda: not server.kube.get(custom.CRDS)["items"], 20, "the definition is gone")


def test_failure_policy_and_timeouts(server, hooks):
    hook = hooks.serve(lambda r: 500)
    hooks.validating("fails", hook.url(), objectSelector={"matchLabels": {"policy": "fail"}})
    hooks.validating("ignores", hook.url(), objectSelector={"matchLabels": {"policy": "ignore"}}, failurePolicy="Ignore")
    with pytest.raises(ApiError) as e:
        server.kube.create(path("configmaps", "default"), {"metadata": {"name": "f", "labels": {"policy": "fail"}}})
    assert e.value.code == 500 and 'failed calling webhook "fails.example.com"' in str(e.value)
    server.kube.create(path("configmaps", "default"), {"metadata": {"name": "i", "labels": {"policy": "ignore"}}})
    slow = hooks.serve(None)
    slow.answer = slow.hold
    hooks.validating("hangs", slow.url(), objectSelector={"matchLabels": {"policy": "slow"}}, timeoutSeconds=1)
    with pytest.raises(ApiError) as e:
        server.kube.create(path("configmaps", "default"), {"metadata": {"name": "s", "labels": {"policy": "slow"}}})
    assert e.value.code == 500 and "context deadline exceeded" in str(e.value) and "timeout=1s" in str(e.value)


def test_metrics_tell_of_hooks(server, hooks):
    hooks.validating("metered", hooks.serve(lambda r: DENY if r["name"] == "unfit" else {"allowed": True}).url())
    hooks.mutating("absent", {"url": "https://127.0.0.1:9/"}, failurePolicy="Ignore")
    hooks.validating("strict", {"url": "https://127.0.0.1:9/"}, failurePolicy="Fail", operations=("DELETE",))
    config_map(server, "fit")
    refused(403, config_map, server, "unfit")
    refused(500, server.kube.delete, path("configmaps", "default", "fit"))
    prefix, told = "apiserver_admission_webhook_", server.kube.get("/metrics").splitlines()
    for name, operation, rejected, kind in [("metered", "CREATE", "false", "validating"), ("metered", "CREATE", "true", "validating"),
                                            ("absent", "CREATE", "false", "admit"), ("strict", "DELETE", "true", "validating")]:
        labels = f'name="{name}.example.com",operation="{operation}",rejected="{rejected}",type="{kind}"'
        counted = f"{prefix}admission_duration_seconds_count{{{labels}}} "
        assert [line for line in told if line.startswith(counted)], (counted, [line for line in told if "webhook" in line])
    why = 'error_type="{}",name="{}.example.com",operation="{}",rejection_code="{}",type="validating"'
    assert f'{prefix}rejection_count{{{why.format("no_error", "metered", "CREATE", 403)}}} 1' in told
    assert f'{prefix}rejection_count{{{why.format("calling_webhook_error", "strict", "DELETE", 0)}}} 1' in told
    assert f'{prefix}fail_open_count{{name="absent.example.com",type="admit"}} 2' in told
    until(lambda: 'apiserver_current_inflight_requests{request_kind="mutating"} 0' in server.kube.get("/metrics").splitlines(), 10, "nothing in flight")


def test_an_untrusted_certificate_is_no_answer(server, hooks):
    hook = hooks.serve(lambda r: {"allowed": True})
    hooks.validating("strangers", {"url": hook.url()["url"]})
    assert "certificate" in refused(500, config_map, server, "untrusted")
    assert not hook.seen


def test_dry_run_and_side_effects(server, hooks):
    hook = hooks.serve(lambda r: {"allowed": True})
    hooks.validating("effects", hook.url())
    server.kube.create(path("configmaps", "default") + "?dryRun=All", {"metadata": {"name": "dry"}})
    assert hook.seen[-1]["dryRun"] is True
    bad = configuration("ValidatingWebhookConfiguration", "bad", hook.url(), sideEffects="Some")
    assert "webhooks[0].sideEffects: Unsupported value" in refused(422, server.kube.create, "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations", bad)


def test_a_service_is_reached_by_its_endpoints(server, hooks):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.connect(("192.0.2.1", 9))
        own = s.getsockname()[0]
    hook = hooks.serve(lambda r: DENY, names="DNS:hook.default.svc", address=own)
    server.kube.create(path("services", "default"), {"metadata": {"name": "hook"}, "spec": {"ports": [{"port": 443}]}})
    server.kube.create(path("endpoints", "default"), {"metadata": {"name": "hook"}, "subsets": [{"addresses": [{"ip": own}], "ports": [{"port": hook.port}]}]})
    service = {"service": {"namespace": "default", "name": "hook", "path": "/deep"}, "caBundle": hook.ca}
    hooks.validating("by-service", service, objectSelector={"matchLabels": {"by": "service"}})
    with pytest.raises(ApiError) as e:
        server.kube.create(path("configmaps", "default"), {"metadata": {"name": "via", "labels": {"by": "service"}}})
    assert e.value.code == 403 and len(hook.seen) == 1


def test_many_wait_for_a_hook_and_the_rest_goes_on(server, hooks):
    slow = hooks.serve(None)
    slow.answer = slow.hold
    hooks.validating("stalls", slow.url(), objectSelector={"matchLabels": {"slow": "yes"}}, timeoutSeconds=30)

    def make(i):
        server.kube.clone(120).create(path("configmaps", "default"), {"metadata": {"name": f"slow-{i}", "labels": {"slow": "yes"}}})
    threads = [threading.Thread(target=make, args=(i,)) for i in range(12)]  # more than a lane has threads
    for t in threads:
        t.start()
    try:
        until(lambda: len(slow.seen) == 12, 15, "all of them at the hook")
        config_map(server, "quick")  # would wait for 30 s if the others held the lane
        assert not slow.release.is_set() and all(t.is_alive() for t in threads)
    finally:
        slow.release.set()
        for t in threads:
            t.join(150)
    assert len([c for c in server.kube.get(path("configmaps", "default"))["items"] if c["metadata"]["name"].startswith("slow-")]) == 12
