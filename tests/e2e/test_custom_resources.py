"""CustomResourceDefinitions: served at once, validated, pruned, defaulted, shown, converted, taken away."""
import json
import threading
import time

import pytest
import yaml
from kubernetes import client, config

from conftest import KUBECTLS, Kubectl, figures
from custom import CRDS, GROUP, Hook, condition, definition, version, where
from kube import ApiError, until

CRON = {"cron": {"type": "string", "pattern": r"^(\d+|\*)(\s+(\d+|\*)){4}$"}, "replicas": {"type": "integer", "minimum": 1, "maximum": 10, "default": 1},
        "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": {
            "type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "v": {"type": "integer"}}}}}


@pytest.fixture
def kube(server):
    yield server.kube
    for crd in server.kube.get(CRDS)["items"]:
        server.kube.delete(f"{CRDS}/{crd['metadata']['name']}")
    until(lambda: not server.kube.get(CRDS)["items"], 20, "all definitions are gone")


@pytest.fixture(params=[p for _, p in KUBECTLS], ids=[v for v, _ in KUBECTLS])
def kubectl(request, server, tmp_path, kube):
    return Kubectl(request.param, server, tmp_path, "default")


def define(kube, crd):
    kube.create(CRDS, crd)
    name = f"{CRDS}/{crd['metadata']['name']}"
    return until(lambda: (c := kube.get(name)) and condition(c, "Established").get("status") == "True" and c, 10, "established")


def refused(kube, body, at):
    with pytest.raises(ApiError) as e:
        kube.create(at, body)
    return e.value


def cron(name, **spec):
    return {"apiVersion": f"{GROUP}/v1", "kind": "CronTab", "metadata": {"name": name}, "spec": spec}


def test_kubectl_lives_with_it(kubectl, tmp_path):
    columns = [{"name": "Cron", "type": "string", "jsonPath": ".spec.cron"}, {"name": "Count", "type": "integer", "jsonPath": ".spec.replicas"},
               {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'}]
    sub = {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}}
    crd = definition("crontabs", "CronTab", version(properties=CRON, additionalPrinterColumns=columns, subresources=sub), names={"shortNames": ["ct"], "categories": ["all"]})
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump(crd))
    kubectl("wait", "--for=condition=Established", f"crd/crontabs.{GROUP}", "--timeout=180s")
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump(cron("a", cron="* * * * *")))
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump(cron("a", cron="1 * * * *")))
    lines = kubectl("get", "ct").splitlines()
    assert lines[0].split() == ["NAME", "CRON", "COUNT", "READY"] and lines[1].split() == ["a", "1", "*", "*", "*", "*", "1"]
    assert f"crontab.{GROUP}/a" in kubectl("get", "all", "-o", "name")
    kubectl("scale", "ct", "a", "--replicas=3")
    assert json.loads(kubectl("get", "ct", "a", "-o", "json"))["spec"]["replicas"] == 3
    assert "spec.replicas in body should be less than or equal to 10" in kubectl.fails("scale", "ct", "a", "--replicas=30")
    assert "unknown field" in kubectl.fails("apply", "-f", "-", stdin=yaml.safe_dump(cron("b", cron="* * * * *", what=1)))
    assert "replicas" in kubectl("explain", "crontabs.spec")
    assert "unknown format" in kubectl.fails("patch", "ct", "a", "--type=strategic", "-p", "{}") or kubectl.version < (1, 22)
    kubectl("apply", "--server-side", "--field-manager=x", "-f", "-", stdin=yaml.safe_dump(cron("ssa", list=[{"name": "one", "v": 1}])))
    kubectl("apply", "--server-side", "--field-manager=y", "-f", "-", stdin=yaml.safe_dump(cron("ssa", list=[{"name": "two", "v": 2}])))
    odd = yaml.safe_dump(cron("ssa", odd=1))
    assert ".spec.odd: field not declared in schema" in kubectl.fails("apply", "--server-side", "--validate=false", "-f", "-", stdin=odd)
    assert {e["name"] for e in json.loads(kubectl("get", "ct", "ssa", "-o", "json"))["spec"]["list"]} == {"one", "two"}
    kubectl("delete", "crd", f"crontabs.{GROUP}", "--timeout=180s")
    kubectl.fails("get", "ct")


def test_values_are_checked_pruned_and_defaulted(kube):
    define(kube, definition("crontabs", "CronTab", version(properties=CRON)))
    at = where("crontabs", "default")
    made = kube.create(at, cron("a", cron="* * * * *", what={"x": 1}))
    assert made["spec"] == {"cron": "* * * * *", "replicas": 1} and made["metadata"]["generation"] == 1
    e = refused(kube, cron("b", cron="x", replicas="many"), at)
    assert e.code == 422 and e.status["reason"] == "Invalid"
    assert {(c["field"], c["reason"]) for c in e.status["details"]["causes"]} == {("spec.cron", "FieldValueInvalid"), ("spec.replicas", "FieldValueTypeInvalid")}
    assert 'spec.replicas: Invalid value: "string": spec.replicas in body must be of type integer: "string"' in e.status["message"]
    e = refused(kube, cron("b", list=[{"name": "x"}, {"name": "x"}]), at)
    assert 'spec.list[1]: Duplicate value: {"name":"x"}' in e.status["message"]
    e = refused(kube, cron("c", odd=1), at + "?fieldValidation=Strict")
    assert e.code == 400 and 'strict decoding error: unknown field "spec.odd"' in e.status["message"]
    assert [i["metadata"]["name"] for i in kube.get(at)["items"]] == ["a"]


def test_status_is_written_apart(kube):
    define(kube, definition("crontabs", "CronTab", version(properties=CRON, subresources={"status": {}})))
    at = where("crontabs", "default")
    made = kube.create(at, {**cron("a"), "status": {"x": 1}})
    assert "status" not in made
    done = kube.patch(at + "/a/status", {"status": {"x": 1}, "spec": {"replicas": 5}})
    assert done["status"] == {"x": 1} and done["spec"]["replicas"] == 1 and done["metadata"]["generation"] == 1
    done = kube.patch(at + "/a", {"status": {"x": 2}, "spec": {"replicas": 5}})
    assert done["status"] == {"x": 1} and done["metadata"]["generation"] == 2
    done["metadata"].update(labels={"x": "y"}, annotations={"x": "y"}, finalizers=["example.com/f"])
    done["status"] = {"x": 3}
    wrote = kube.call("PUT", at + "/a/status", done)
    assert wrote["status"] == {"x": 3} and not {"labels", "annotations", "finalizers"} & set(wrote["metadata"])


def test_a_scale_without_replicas_is_not_zero(kube):
    sub = {"scale": {"specReplicasPath": ".spec.count", "statusReplicasPath": ".status.count"}}
    define(kube, definition("crontabs", "CronTab", version(properties={"count": {"type": "integer"}}, subresources=sub)))
    kube.create(where("crontabs", "default"), cron("a"))
    scale = where("crontabs", "default", "a") + "/scale"
    with pytest.raises(ApiError) as e:
        kube.call("GET", scale)
    assert e.value.code == 500 and e.value.status["reason"] == "InternalError"
    assert 'the spec replicas field ".spec.count" does not exist' in e.value.status["message"]
    with pytest.raises(ApiError) as e:
        kube.patch(scale, {"metadata": {}})
    assert e.value.code == 400 and 'the spec replicas field ".spec.count" cannot be empty' in e.value.status["message"]
    assert kube.patch(scale, {"spec": {"replicas": 3}})["spec"]["replicas"] == 3
    assert kube.call("GET", scale)["spec"]["replicas"] == 3


def test_nothing_is_served_as_protobuf(kube):
    define(kube, definition("crontabs", "CronTab", version(properties=CRON)))
    at, pb = where("crontabs", "default"), "application/vnd.kubernetes.protobuf"
    kube.create(at, cron("a", cron="1 1 1 1 1"))

    def ask(what, accept):
        kube.connection.request("GET", at + what, headers={"Accept": accept})
        answer = kube.connection.getresponse()
        return answer.status, answer.getheader("Content-Type"), answer.read()

    for what in ("", "/a", "?watch=1&timeoutSeconds=1"):
        code, kind, text = ask(what, pb + ",application/json")
        assert code == 200 and kind.startswith("application/json") and b"1 1 1 1 1" in text
        assert ask(what, pb)[0] == 406
    assert ask("", pb + ";as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")[1] == pb  # that has numbers


def test_a_stricter_schema_lets_old_objects_go(kube):
    define(kube, definition("crontabs", "CronTab", version(properties=CRON, subresources={"status": {}})))
    at = where("crontabs", "default")
    kube.create(at, {**cron("a", cron="1 1 1 1 1", replicas=9), "metadata": {"name": "a", "finalizers": ["example.com/f"]}})
    crd = kube.get(f"{CRDS}/crontabs.{GROUP}")
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["replicas"]["maximum"] = 5
    kube.call("PUT", f"{CRDS}/crontabs.{GROUP}", crd)
    until(lambda: refused(kube, cron("b", replicas=9), at + "?dryRun=All").code == 422, 10, "the new schema")
    assert kube.patch(at + "/a/status", {"status": {"x": 1}})["status"] == {"x": 1}
    assert kube.patch(at + "/a", {"spec": {"cron": "2 1 1 1 1"}})["spec"]["replicas"] == 9
    with pytest.raises(ApiError):
        kube.patch(at + "/a", {"spec": {"replicas": 8}})
    kube.delete(at + "/a")
    kube.patch(at + "/a", {"metadata": {"finalizers": None}})
    assert not kube.get(at)["items"]


def test_a_definition_that_is_wrong_is_refused(kube):
    crd = definition("crontabs", "CronTab", version(properties={"a": {"type": "array"}, "b": {"type": "string", "pattern": "(?=x)"}, "c": {}}))
    crd["spec"]["versions"].append({**version("v2"), "storage": True})
    e = refused(kube, crd, CRDS)
    fields = {c["field"] for c in e.status["details"]["causes"]}
    path = "spec.versions[0].schema.openAPIV3Schema.properties[spec].properties"
    assert fields == {f"{path}[a].items", f"{path}[b].pattern", f"{path}[c].type", "spec.versions", "status.storedVersions"}
    assert kube.get(CRDS)["items"] == []
    bad = definition("crontabs", "CronTab", version())
    bad["metadata"]["name"] = "other.example.com"
    assert "must be spec.names.plural" in refused(kube, bad, CRDS).status["message"]
    own = definition("things", "Thing", version())
    own["spec"]["group"], own["metadata"]["name"] = "x.k8s.io", "things.x.k8s.io"
    assert "protected groups must have approval annotation" in refused(kube, own, CRDS).status["message"]
    own["metadata"]["annotations"] = {"api-approved.kubernetes.io": "yes"}
    assert 'Invalid value: "yes": protected groups must have approval annotation' in refused(kube, own, CRDS).status["message"]


def test_paths_and_conversions_of_a_definition_are_checked(kube):
    def told(conversion=None, **more):
        crd = definition("crontabs", "CronTab", version(**more), **({"conversion": conversion} if conversion else {}))
        return {(c["field"], c["message"]) for c in refused(kube, crd, CRDS).status["details"]["causes"]}
    column = "spec.additionalPrinterColumns[0].JSONPath"
    assert told(additionalPrinterColumns=[{"name": "A", "type": "string", "jsonPath": "spec.a"}]) == {
        (column, 'Invalid value: "spec.a": must be a simple json path starting with .')}
    scale = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".metadata.labels"}
    assert told(subresources={"scale": scale}) == {
        ("spec.subresources.scale.labelSelectorPath", 'Invalid value: ".metadata.labels": should be a json path under either .spec or .status')}
    client, versions, none = "spec.conversion.webhookClientConfig", "spec.conversion.conversionReviewVersions", "Forbidden: should not be set when strategy is not set to Webhook"
    hook = {"clientConfig": {"url": "https://127.0.0.1:9/"}, "conversionReviewVersions": ["v1beta1", "v2", "v2"]}
    assert told({"strategy": "None", "webhook": hook}) == {(client, none), (versions, none)}
    assert told({"strategy": "Webhook", "webhook": hook}) == {(versions + "[2]", 'Invalid value: "v2": duplicate version')}
    assert told({"strategy": "Webhook", "webhook": {**hook, "conversionReviewVersions": ["v2"]}}) == {(versions, 'Invalid value: ["v2"]: must include at least one of v1, v1beta1')}
    assert told({"strategy": "Webhook"}) == {(client, "Required value: required when strategy is set to Webhook"), (versions, "Required value")}


def kubectl_table(kube, at):
    reader = kube.clone()
    reader._headers = lambda body, kind: {**kube._headers(body, kind), "Accept": "application/json;as=Table;g=meta.k8s.io;v=v1"}
    return reader.get(at)


def test_columns_reach_into_lists(kube):
    paths = [".spec.list[-1:]", ".spec.list[1:].name", '.spec.list[?(@.size>2)].name', ".spec.none", ".spec.list[7].name", ".spec.a"]
    columns = [{"name": f"C{i}", "type": "string", "jsonPath": p} for i, p in enumerate(paths)]
    items = {"type": "object", "properties": {"name": {"type": "string"}, "size": {"type": "integer"}}}
    define(kube, definition("crontabs", "CronTab", version(additionalPrinterColumns=columns, properties={
        "a": {"type": "string"}, "none": {"type": "string", "nullable": True}, "list": {"type": "array", "items": items}})))
    kube.create(where("crontabs", "default"), cron("c", a="x", none=None, list=[{"name": "one", "size": 1}, {"name": "two", "size": 3}]))
    cells = kubectl_table(kube, where("crontabs", "default"))["rows"][0]["cells"]
    assert cells[1:] == ['{"name":"two","size":3}', "two", "two", "<no value>", None, "x"]


def test_a_column_that_says_nothing_ends_the_table(kube):
    columns = [{"name": "When", "type": "date", "jsonPath": ".spec.a"}]
    columns += [{"name": n, "type": "string", "jsonPath": p} for n, p in [("One", ".spec.a"), ("Bad", ".spec.list[?(@.x=="), ("Two", ".spec.a")]]
    define(kube, definition("crontabs", "CronTab", version(properties={"a": {"type": "string"}}, additionalPrinterColumns=columns)))
    kube.create(where("crontabs", "default"), cron("c", a="x"))
    table = kubectl_table(kube, where("crontabs", "default"))
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "When", "One"] and table["rows"][0]["cells"] == ["c", "<invalid>", "x"]


def test_names_conflict_until_they_are_free(kube):
    define(kube, definition("crontabs", "CronTab", version(), names={"shortNames": ["ct"]}))
    kube.create(CRDS, definition("others", "CronTab", version(), names={"listKind": "OtherList"}))
    name = f"{CRDS}/others.{GROUP}"
    until(lambda: condition(kube.get(name), "NamesAccepted").get("reason") == "KindConflict", 10, "KindConflict")
    assert condition(kube.get(name), "Established")["status"] == "False"
    assert '"CronTab" is already in use' in condition(kube.get(name), "NamesAccepted")["message"]
    kube.delete(f"{CRDS}/crontabs.{GROUP}")
    until(lambda: condition(kube.get(name), "Established").get("status") == "True", 10, "the name is free")


def test_deleting_takes_the_objects_along_and_waits_for_finalizers(kube):
    define(kube, definition("crontabs", "CronTab", version()))
    at, name = where("crontabs", "default"), f"{CRDS}/crontabs.{GROUP}"
    kube.create(at, {**cron("held"), "metadata": {"name": "held", "finalizers": ["example.com/wait"]}})
    kube.create(at, cron("free"))
    kube.delete(name)
    until(lambda: [i["metadata"]["name"] for i in kube.get(at)["items"]] == ["held"], 10, "the free one is gone")
    crd = kube.get(name)
    assert condition(crd, "Terminating")["status"] == "True" and crd["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
    assert refused(kube, cron("late"), at).code == 405
    until(lambda: condition(kube.get(name), "Terminating")["reason"] == "InstanceDeletionInProgress", 10, "it says what it waits for")
    kube.patch(at + "/held", {"metadata": {"finalizers": None}})
    until(lambda: not kube.get(CRDS)["items"], 10, "the definition is gone")
    until(lambda: kube.text("GET", at)[0] == 404, 10, "what it defined is not served any more")
    define(kube, definition("crontabs", "CronTab", version()))
    assert kube.get(at)["items"] == []


def test_only_the_stored_version_fills_in_what_is_read(kube):
    one = version(properties={"a": {"type": "string"}, "d": {"type": "string", "default": "stored"}, "n": {"type": "integer"}})
    two = version("v2", False, properties={"a": {"type": "string"}, "e": {"type": "string", "default": "served"}, "d": {"type": "string"},
                                           "n": {"type": "object", "properties": {"x": {"type": "integer", "default": 7}}}})
    define(kube, definition("crontabs", "CronTab", one, two))
    at, other = where("crontabs", "default"), where("crontabs", "default", version="v2")
    kube.create(at, cron("a", a="1"))
    assert kube.get(other + "/a")["spec"] == {"a": "1", "d": "stored"}
    made = kube.create(other, {**cron("b", a="1", n={}), "apiVersion": f"{GROUP}/v2"})
    assert made["spec"] == kube.get(other + "/b")["spec"] == {"a": "1", "d": "stored", "n": {}}
    assert [i["spec"] for i in kube.get(other)["items"]] == [{"a": "1", "d": "stored"}, {"a": "1", "d": "stored", "n": {}}]


def test_a_definition_stays_of_its_plural(kube):
    crd = define(kube, definition("crontabs", "CronTab", version()))
    crd["spec"]["names"]["plural"] = "others"
    status, told = kube.text("PUT", f"{CRDS}/crontabs.{GROUP}", crd)[:2]
    assert status == 422 and 'is invalid: spec.names.plural: Invalid value: "others": field is immutable' in json.loads(told)["message"]


def test_a_new_schema_counts_at_once_and_defaults_what_is_stored(kube):
    define(kube, definition("crontabs", "CronTab", version(properties={"cron": {"type": "string"}})))
    at = where("crontabs", "default")
    kube.create(at, cron("a", cron="x"))
    events = []
    watcher = threading.Thread(target=lambda: events.extend(kube.clone().watch(at, seconds=600)), daemon=True)
    watcher.start()
    until(lambda: events, 10, "the watch has begun")
    new = {"cron": {"type": "string"}, "color": {"type": "string", "default": "red"}}
    kube.patch(f"{CRDS}/crontabs.{GROUP}", {"spec": {"versions": [version(properties=new)]}})
    until(lambda: kube.get(at + "/a")["spec"] == {"cron": "x", "color": "red"}, 10, "the default is shown")
    watcher.join(120)
    assert not watcher.is_alive(), "a watch of the old schema goes on"
    assert kube.create(at, cron("b"))["spec"] == {"color": "red"}
    assert [i["spec"]["color"] for i in kube.get(at)["items"]] == ["red", "red"]


def test_several_versions_without_a_webhook(kube):
    v2 = version("v2", False, {"cron": {"type": "string"}, "extra": {"type": "integer", "default": 7}}, deprecated=True)
    define(kube, definition("crontabs", "CronTab", version(properties={"cron": {"type": "string"}}), v2))
    kube.create(where("crontabs", "default", version="v2"), {**cron("a", cron="x", extra=3), "apiVersion": f"{GROUP}/v2"})
    assert kube.get(where("crontabs", "default", "a"))["spec"] == {"cron": "x"}
    two = kube.get(where("crontabs", "default", "a", "v2"))
    assert two["apiVersion"] == f"{GROUP}/v2" and two["spec"] == {"cron": "x"}
    kube.patch(f"{CRDS}/crontabs.{GROUP}", {"spec": {"versions": [version(properties={"cron": {"type": "string"}}, storage=False), {**v2, "storage": True}]}})
    assert kube.get(f"{CRDS}/crontabs.{GROUP}")["status"]["storedVersions"] == ["v1", "v2"]
    until(lambda: kube.get(where("crontabs", "default", "a", "v2"))["spec"] == {"cron": "x"}, 10, "still there")
    with pytest.raises(ApiError) as e:
        kube.patch(f"{CRDS}/crontabs.{GROUP}", {"spec": {"versions": [{**v2, "storage": True}]}})
    assert "status.storedVersions[0]" in e.value.status["message"]


def convert(_path, review):
    want, out = review["request"]["desiredAPIVersion"], []
    for o in review["request"]["objects"]:
        o["apiVersion"] = want
        if want.endswith("v2"):
            host, _, port = o["spec"].pop("hostPort").partition(":")
            o["spec"].update(host=host, port=port)
        else:
            o["spec"] = {"hostPort": f"{o['spec']['host']}:{o['spec']['port']}"}
        out.append(o)
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
            "response": {"uid": review["request"]["uid"], "convertedObjects": out, "result": {"status": "Success"}}}


def test_a_webhook_converts(kube, tmp_path):
    hook = Hook(str(tmp_path), convert)
    conversion = {"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": {
        "url": f"https://127.0.0.1:{hook.port}/convert", "caBundle": hook.bundle}}}
    text = {"type": "string"}
    define(kube, definition("crontabs", "CronTab", version(properties={"hostPort": text}), version("v2", False, {"host": text, "port": text}), conversion=conversion))
    at, at2 = where("crontabs", "default"), where("crontabs", "default", version="v2")
    kube.create(at, cron("a", hostPort="h:1"))
    assert kube.get(at2 + "/a")["spec"] == {"host": "h", "port": "1"}
    kube.create(at2, {**cron("b", host="i", port="2"), "apiVersion": f"{GROUP}/v2"})
    assert kube.get(at + "/b")["spec"] == {"hostPort": "i:2"}
    before = len(hook.seen)
    assert [i["spec"] for i in kube.get(at2)["items"]] == [{"host": "h", "port": "1"}, {"host": "i", "port": "2"}]
    assert len(hook.seen) == before + 1, "a list is one question"
    assert kube.patch(at2 + "/a", {"spec": {"port": "9"}})["spec"] == {"host": "h", "port": "9"}
    assert kube.get(at + "/a")["spec"] == {"hostPort": "h:9"}
    first = next(iter(kube.clone(30).watch(at2, seconds=5)))
    assert first[2]["spec"] == {"host": "h", "port": "9"}
    hook.status = 500
    with pytest.raises(ApiError) as e:
        kube.get(at2 + "/a")
    assert e.value.code == 500 and "conversion webhook for" in e.value.status["message"]
    assert kube.get(at + "/a")["spec"] == {"hostPort": "h:9"}
    hook.end()


def answer_of(review, **response):
    return {"apiVersion": review["apiVersion"], "kind": "ConversionReview", "response": {"uid": review["request"]["uid"], **response}}


def converted(review, **metadata):
    objects = [{**o, "apiVersion": review["request"]["desiredAPIVersion"], "metadata": {**o["metadata"], **metadata}} for o in review["request"]["objects"]]
    return answer_of(review, convertedObjects=objects, result={"status": "Success"})


def test_a_bad_conversion_is_told(kube, tmp_path):
    answers = []
    hook = Hook(str(tmp_path), lambda path, review: answers[-1](review))
    conversion = {"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1beta1", "v1"], "clientConfig": {
        "url": f"https://127.0.0.1:{hook.port}/convert", "caBundle": hook.bundle}}}
    define(kube, definition("crontabs", "CronTab", version(properties=CRON), version("v2", False, CRON), conversion=conversion))
    kube.create(where("crontabs", "default"), {**cron("a"), "metadata": {"name": "a", "labels": {"old": "1"}}})
    at2 = where("crontabs", "default", "a", "v2")

    def told(answer, review_version="v1"):
        kube.patch(f"{CRDS}/crontabs.{GROUP}", {"spec": {"conversion": {"webhook": {"conversionReviewVersions": [review_version]}}}})
        answers.append(answer)
        with pytest.raises(ApiError) as e:
            kube.get(at2)
        assert e.value.code == 500
        head, _, said = e.value.status["message"].partition(f"conversion webhook for {GROUP}/v1, Kind=CronTab ")
        assert not head
        return said
    answers.append(lambda review: converted(review, labels={"new": "2"}, annotations=None, creationTimestamp="2001-01-01T00:00:00Z", finalizers=["no"]))
    made = kube.get(at2)["metadata"]
    assert made["labels"] == {"new": "2"} and not made["creationTimestamp"].startswith("2001") and "finalizers" not in made
    assert told(lambda r: answer_of(r, result={"status": "Failure", "message": "no way"})) == "failed: no way"
    assert told(lambda r: answer_of(r, result={"status": "Failed"})) == "failed: response.result.status was 'Failed', not 'Success'"
    assert told(lambda r: {**converted(r), "response": None}) == "failed: no response provided"
    assert told(lambda r: {**converted(r), "kind": "Review"}).startswith(
        "failed: expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got apiextensions.k8s.io/v1, Kind=Review")
    assert told(lambda r: {**converted(r), "response": {**converted(r)["response"], "uid": "other"}}).endswith(', got "other"')
    assert told(lambda r: answer_of(r, convertedObjects=[], result={"status": "Success"})) == "returned 0 objects, expected 1"
    assert told(lambda r: converted(r, name="b")) == "returned invalid object: must have the same name: a != b"
    assert told(lambda r: converted(r, uid="u")).startswith("returned invalid object: must have the same UID: ")
    same = {"status": "Success"}
    assert told(lambda r: answer_of(r, convertedObjects=r["request"]["objects"], result=same)) == \
        f"returned invalid object at index 0: invalid groupVersion (expected {GROUP}/v2, received {GROUP}/v1)"
    hook.end()


def test_a_failed_conversion_ends_the_watch(kube, tmp_path):
    good = [True]
    hook = Hook(str(tmp_path), lambda path, review: converted(review) if good[0] else answer_of(review, result={"status": "Failure", "message": "no way"}))
    conversion = {"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": {"url": f"https://127.0.0.1:{hook.port}/", "caBundle": hook.bundle}}}
    define(kube, definition("crontabs", "CronTab", version(properties=CRON), version("v2", False, CRON), conversion=conversion))
    at, at2 = where("crontabs", "default"), where("crontabs", "default", version="v2")
    kube.create(at, cron("a"))

    def events(query=""):
        return kube.clone(60).watch(at2 + query, seconds=50)
    watch = events()
    assert next(watch)[1] == "ADDED"
    good[0] = False
    kube.create(at, cron("b"))
    for found in (list(watch), list(events())):  # one that stands, and one that begins
        assert [e[1] for e in found] == ["ERROR"] and found[0][2]["code"] == 500
        assert found[0][2]["message"] == f"conversion webhook for {GROUP}/v1, Kind=CronTab failed: no way"
    good[0] = True
    watch = events()
    assert [next(watch)[2]["metadata"]["name"] for _ in "ab"] == ["a", "b"]
    hook.end()


def test_a_conversion_that_does_not_come_keeps_nobody_else_waiting(kube, tmp_path):
    asked, release = threading.Event(), threading.Event()

    def hold(_path, review):
        asked.set()
        release.wait(300)
        return converted(review)
    seen, made = [], []
    for plural, kind, answer in [("crontabs", "CronTab", hold), ("others", "Other", lambda path, review: converted(review))]:
        folder = tmp_path / plural
        folder.mkdir()
        made.append(Hook(str(folder), answer))
        client = {"url": f"https://127.0.0.1:{made[-1].port}/", "caBundle": made[-1].bundle}
        define(kube, definition(plural, kind, version(), version("v2", False),
                                conversion={"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": client}}))
        watch = kube.clone(300).watch(where(plural, "default", version="v2"), seconds=290)
        threading.Thread(target=lambda w=watch: seen.extend(next(w)[2]["kind"] for _ in "1"), daemon=True).start()
        kube.create(where(plural, "default"), {**cron("a"), "kind": kind})
        if kind == "CronTab":
            assert asked.wait(60)
    until(lambda: seen == ["Other"], 20, "the other kind's event, past the one that is waited for")
    release.set()
    for hook in made:
        hook.end()


def test_a_null_stands_for_nothing(kube):
    define(kube, definition("crontabs", "CronTab", version(properties={**CRON, "size": {"type": "integer", "nullable": True}})))
    at = where("crontabs", "default")
    made = kube.create(at, {**cron("a", cron=None, list=None, replicas=None, size=None), "status": None})  # as programs in Go write what they leave out
    assert made["spec"] == {"replicas": 1, "size": None} and "status" not in made
    assert kube.call("PUT", at + "/a", {**made, "spec": {"list": [{"name": "x", "v": None}]}})["spec"] == {"replicas": 1, "list": [{"name": "x"}]}


def test_namespace_and_owner_take_them_along(kube):
    define(kube, definition("crontabs", "CronTab", version()))
    kube.create("/api/v1/namespaces", {"metadata": {"name": "for-custom"}})
    kube.create(where("crontabs", "for-custom"), cron("in"))
    kube.delete("/api/v1/namespaces/for-custom")
    until(lambda: not any(n["metadata"]["name"] == "for-custom" for n in kube.get("/api/v1/namespaces")["items"]), 30, "the namespace is gone")
    assert kube.get(where("crontabs"))["items"] == [], "and what was in it"
    owner = kube.create(where("crontabs", "default"), cron("owner"))
    ref = {"apiVersion": f"{GROUP}/v1", "kind": "CronTab", "name": "owner", "uid": owner["metadata"]["uid"]}
    kube.create("/api/v1/namespaces/default/configmaps", {"metadata": {"name": "owned", "ownerReferences": [ref]}})
    kube.create(where("crontabs", "default"), {**cron("owned"), "metadata": {"name": "owned", "ownerReferences": [ref]}})
    time.sleep(1)
    assert kube.get(where("crontabs", "default", "owned")), "its owner stands"
    kube.delete(where("crontabs", "default", "owner"))
    until(lambda: kube.get(where("crontabs", "default"))["items"] == [], 20, "the owned one is gone")
    until(lambda: not any(c["metadata"]["name"] == "owned" for c in kube.get("/api/v1/namespaces/default/configmaps")["items"]), 20, "so is the builtin one")


def test_survives_a_restart(fresh):
    server = fresh(node=False, ephemeral=False)
    server.start().wait_api()
    define(server.kube, definition("crontabs", "CronTab", version(properties=CRON)))
    server.kube.create(where("crontabs", "default"), cron("a"))
    server.stop()
    server.start().wait_api()
    assert server.kube.get(where("crontabs", "default", "a"))["spec"] == {"replicas": 1}
    assert server.kube.create(where("crontabs", "default"), cron("b"))["spec"] == {"replicas": 1}


def test_the_python_client(server, kube):
    configuration = client.Configuration()
    config.load_kube_config(server.kubeconfig, client_configuration=configuration)
    configuration.proxy = None
    api = client.ApiClient(configuration)
    define(kube, definition("crontabs", "CronTab", version(properties=CRON, subresources={"status": {}})))
    custom = client.CustomObjectsApi(api)
    custom.create_namespaced_custom_object(GROUP, "v1", "default", "crontabs", cron("py"))
    custom.patch_namespaced_custom_object(GROUP, "v1", "default", "crontabs", "py", {"spec": {"replicas": 2}})
    custom.patch_namespaced_custom_object_status(GROUP, "v1", "default", "crontabs", "py", {"status": {"done": True}})
    got = custom.get_namespaced_custom_object(GROUP, "v1", "default", "crontabs", "py")
    assert got["spec"]["replicas"] == 2 and got["status"] == {"done": True}
    assert [i["metadata"]["name"] for i in custom.list_cluster_custom_object(GROUP, "v1", "crontabs")["items"]] == ["py"]
    custom.delete_namespaced_custom_object(GROUP, "v1", "default", "crontabs", "py")
    found = client.ApiextensionsV1Api(api).read_custom_resource_definition(f"crontabs.{GROUP}")
    assert found.status.accepted_names.kind == "CronTab"


def test_size(kube):
    """A schema of 1 MB, and many definitions: figures only."""
    big = {f"field{i:05}": {"type": "string", "description": "x" * 60, "maxLength": 100} for i in range(8000)}
    crd = definition("bigs", "Big", version(properties=big))
    began = time.monotonic()
    kube.create(CRDS, crd)
    created = time.monotonic()
    until(lambda: condition(kube.get(f"{CRDS}/bigs.{GROUP}"), "Established").get("status") == "True", 20, "established", 0.005)
    figures("a definition with a schema of 1 MB", bytes=len(json.dumps(crd)), created_ms=round((created - began) * 1000), ready_ms=round((time.monotonic() - began) * 1000))
