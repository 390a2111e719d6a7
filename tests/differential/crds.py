#!/usr/bin/env python3
"""Makes random CustomResourceDefinitions and random objects of them, sends both to a real Kubernetes 1.20 API server and to a Kogge of its own, and
tells in how many ways the answers differ.

    crds.py KUBECONFIG-OF-THE-PEER [--kogge KUBECONFIG] [--seed N] [--definitions N] [--kinds N] [--objects N] [--case NAME] [--only RE]

--definitions are many definitions with one to three things about them that may be wrong, sent as dry runs. --kinds are definitions that both
take and serve; of each, --objects are sent as create, PUT, patches and apply, to the object, its status or its scale. A definition depends on
seed and number alone, and so does each of its objects: `--seed S --case d17`, `--case k3` or `--case k3/12` shows one with both answers. --only: ways of writing ("create|put"). Each kind
of difference is told once, the commonest first; what differences.yaml explains is left out.
"""
import argparse
import collections
import copy
import json
import os
import random
import re
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import kogge  # noqa: E402
import mutate  # noqa: E402
import run  # noqa: E402
from refused import APPLY, JSON, MERGE, PATCH  # noqa: E402

GROUP = "random.example.com"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
BATCH = 12
FORMATS = ["date", "date-time", "email", "ipv4", "ipv6", "uuid", "byte", "hostname", "uri", "int32", "int64", "password", "duration", "mac", "cidr", "unknown"]
TEXTS = ["a", "abc", "A b", "2020-01-02", "2020-01-02T03:04:05Z", "a@example.com", "192.0.2.1", "2001:db8::1", "YWJj", "x" * 12, "ä", "5", "1h", "10.0.0.0/8"]
PATTERNS = ["^a", "^[a-z]+$", "b$", r"^\d*$"]
NAMES = ["alpha", "beta", "gamma", "delta", "name"]


# ---- schemas ---------------------------------------------------------------------------------------------------------

class Make:
    def __init__(self, rng):
        self.rng = rng

    def some(self, chance):
        return self.rng.random() < chance

    def limits(self, kind):
        """Value rules that fit the type; each is there by chance."""
        r, out = self.rng, {}
        if kind == "string":
            rules = {"enum": r.sample(TEXTS, 3), "pattern": r.choice(PATTERNS), "format": r.choice(FORMATS), "maxLength": r.choice([0, 1, 5, 20]), "minLength": r.choice([0, 1, 2])}
        elif kind in ("integer", "number"):
            rules = {"enum": [0, 1, 5], "minimum": r.choice([0, 1, -5]), "maximum": r.choice([5, 10, 0]), "multipleOf": r.choice([2, 5]), "exclusiveMinimum": True, "exclusiveMaximum": True,
                     "format": r.choice(["int32", "int64"] if kind == "integer" else ["float", "double"])}
        elif kind == "array":
            rules = {"minItems": r.choice([0, 1, 2]), "maxItems": r.choice([0, 1, 3])}
        elif kind == "object":
            rules = {"minProperties": r.choice([0, 1, 2]), "maxProperties": r.choice([1, 2, 5])}
        else:
            rules = {}
        for key, value in rules.items():
            if self.some(0.14):
                out[key] = value
        return out

    def nested(self, schema, depth=0):
        """A schema for allOf and the like: rules without types, of what the outer one has."""
        kind = schema.get("type") or "string"
        out = self.limits(kind)
        if kind == "object" and schema.get("properties"):
            names = sorted(schema["properties"])
            if self.some(0.6):
                out["required"] = self.rng.sample(names, 1)
            if depth < 2 and self.some(0.6):
                name = self.rng.choice(names)
                if name != "metadata":
                    out["properties"] = {name: self.nested(schema["properties"][name], depth + 1)}
        if kind == "array" and "items" in schema and depth < 2 and self.some(0.4):
            out["items"] = self.nested(schema["items"], depth + 1)
        if depth < 1 and self.some(0.2):
            out[self.rng.choice(["allOf", "anyOf", "oneOf"])] = [self.nested(schema, depth + 1) for _ in "12"]
        return out

    def scalar(self):
        kind = self.rng.choice(["string", "string", "integer", "number", "boolean"])
        return {"type": kind, **self.limits(kind)}

    def schema(self, depth=0):
        r = self.rng
        what = r.choice(["scalar"] * 5 + ["either", "any"] + (["object", "object", "map", "array", "array", "keyed", "set", "embedded"] if depth < 4 else []))
        out = {}
        if what == "scalar":
            out = self.scalar()
        elif what == "either":
            out = {"x-kubernetes-int-or-string": True}
            if self.some(0.3):
                out["anyOf"] = [{"type": "integer"}, {"type": "string"}]
        elif what == "any":
            out = {"x-kubernetes-preserve-unknown-fields": True}
            if self.some(0.4):
                out["type"] = "object"
        elif what == "object":
            out = self.object(depth)
        elif what == "map":
            out = {"type": "object", "additionalProperties": self.schema(depth + 1), **self.limits("object")}
        elif what == "array":
            out = {"type": "array", "items": self.schema(depth + 1), **self.limits("array")}
            if self.some(0.2):
                out["x-kubernetes-list-type"] = "atomic"
        elif what == "set":
            out = {"type": "array", "items": self.scalar(), "x-kubernetes-list-type": "set", **self.limits("array")}
        elif what == "keyed":
            keys = r.sample(NAMES, r.choice([1, 1, 2]))
            items = self.object(depth + 1)
            for key in keys:
                items["properties"][key] = {"type": r.choice(["string", "string", "integer"])}
                if self.some(0.4):
                    items["properties"][key]["default"] = "abc" if items["properties"][key]["type"] == "string" else 5
                elif key not in items.setdefault("required", []):
                    items["required"].append(key)
            out = {"type": "array", "items": items, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys, **self.limits("array")}
        elif what == "embedded":
            out = {"type": "object", "x-kubernetes-embedded-resource": True}
            if self.some(0.5):
                out["x-kubernetes-preserve-unknown-fields"] = True
            if self.some(0.5) or len(out) == 2:
                out["properties"] = {"spec": self.schema(depth + 1)}
            if self.some(0.2) and "properties" in out:
                out["properties"]["metadata"] = {"type": "object"}
        if self.some(0.1):
            out["nullable"] = True
        if self.some(0.15) and "anyOf" not in out:
            word = r.choice(["allOf", "anyOf", "oneOf", "not"])
            out[word] = self.nested(out) if word == "not" else [self.nested(out) for _ in range(r.choice([1, 2]))]
        if self.some(0.15):
            out["default"] = Value(r, 0.15).of(out)
        if self.some(0.1):
            out["description"] = "some words"
        return out

    def object(self, depth):
        r = self.rng
        names = r.sample(NAMES, r.choice([1, 2, 3]))
        out = {"type": "object", "properties": {n: self.schema(depth + 1) for n in names}, **self.limits("object")}
        if self.some(0.3):
            out["required"] = r.sample(names, 1)
        if self.some(0.15):
            out["x-kubernetes-preserve-unknown-fields"] = True
        if self.some(0.1):
            out["x-kubernetes-map-type"] = r.choice(["atomic", "granular"])
        return out

    def version(self, name, storage):
        r = self.rng
        schema = {"type": "object", "properties": {"spec": self.object(0), "status": self.object(2)}}
        if self.some(0.2):
            schema["required"] = ["spec"]
        if self.some(0.1):
            schema["x-kubernetes-preserve-unknown-fields"] = True
        if self.some(0.1):
            schema["properties"]["metadata"] = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 5}}}
        if self.some(0.15):
            schema["properties"]["more"] = self.schema(1)
        out = {"name": name, "served": True, "storage": storage, "schema": {"openAPIV3Schema": schema}}
        if self.some(0.6):
            out["subresources"] = {"status": {}} if self.some(0.8) else {}
            if self.some(0.4):
                count = {"type": "integer"} if self.some(0.8) else {"x-kubernetes-int-or-string": True}
                schema["properties"]["spec"]["properties"]["replicas"] = count
                schema["properties"]["status"]["properties"]["replicas"] = {"type": "integer"}
                out["subresources"]["scale"] = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", **({"labelSelectorPath": ".status.selector"} if self.some(0.4) else {})}
        if self.some(0.4):
            paths = [".metadata.name", ".metadata.creationTimestamp", ".spec." + r.choice(NAMES), ".spec.alpha[0]", '.spec.beta[?(@.name=="abc")].alpha', ".spec.alpha[*].beta", ".status.replicas"]
            out["additionalPrinterColumns"] = [{"name": f"Column{i}", "type": r.choice(["string", "integer", "number", "boolean", "date"]), "jsonPath": r.choice(paths),
                                                **({"priority": 1} if self.some(0.2) else {})} for i in range(r.choice([1, 2]))]
        return out

    def definition(self, number):
        versions = [self.version("v1", True)] + ([self.version("v1beta1", False)] if self.some(0.3) else [])
        return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": f"k{number}s.{GROUP}"},
                "spec": {"group": GROUP, "scope": "Namespaced", "names": {"plural": f"k{number}s", "kind": f"K{number}"}, "versions": versions}}


class Value:
    """Values for a schema, of which every so many-th is wrong."""

    def __init__(self, rng, wrong):
        self.rng, self.wrong = rng, wrong

    def anything(self):
        return self.rng.choice(["abc", 5, -1, 1.5, True, None, {}, [], ["a", "a"], {"alpha": 1}, {"alpha": {"beta": None}}])

    def embedded(self, schema, depth):
        r, bad = self.rng, lambda: self.rng.random() < self.wrong
        meta = {k: v for k, v in {"name": "a", "namespace": "b", "labels": {"a": "b"}, "annotations": {"a": "b"}}.items() if r.random() < 0.5}
        out = {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": meta}
        if bad():
            meta.update(r.choice([{"name": "A b"}, {"name": 5}, {"labels": {"a b": "c"}}, {"labels": {"a": 5}}, {"what": "x"}, {"finalizers": ["x"]}, {"generation": 3}, {"uid": 4},
                                  {"creationTimestamp": None}, {"creationTimestamp": "2020-01-01T00:00:00Z"}, {"creationTimestamp": "yesterday"}, {"namespace": "B b"}, {"ownerReferences": [{"kind": "A"}]},
                                  {"labels": None}, {"annotations": {"a": None}}, {"managedFields": []}, {"name": "a/b"}, {"generateName": "A b"}]))
        if bad():
            where = r.choice(["apiVersion", "kind", "metadata"])
            out[where] = r.choice(["", "a/b/c", "A b", 5, None, {}, [], "x" * 64, "lower"])
        if bad():
            out.pop(r.choice(sorted(out)))
        for name, inner in schema.get("properties", {}).items():
            if name != "metadata":
                out[name] = self.of(inner, depth + 1)
        if bad():
            out["unknown"] = {"a": 1}
        return out

    def of(self, schema, depth=0):
        r = self.rng
        if r.random() < self.wrong / 2:
            return self.anything()
        if r.random() < 0.05 + (0.2 if schema.get("nullable") else 0):
            return None
        if "enum" in schema and r.random() < 0.7:
            return r.choice(schema["enum"])
        if schema.get("x-kubernetes-embedded-resource"):
            return self.embedded(schema, depth)
        kind = schema.get("type")
        if schema.get("x-kubernetes-int-or-string"):
            kind = r.choice(["integer", "string"])
        if kind == "string":
            return r.choice(TEXTS)
        if kind == "integer":
            return r.choice([0, 1, 2, 5, 10, -1, 2**31, 2**53]) if r.random() < 0.95 else 3.0
        if kind == "number":
            return r.choice([0, 1, 2.5, 5, 10.0, -1, 1e3, 1e21])
        if kind == "boolean":
            return r.random() < 0.5
        if kind == "array":
            out = [self.of(schema["items"], depth + 1) for _ in range(r.choice([0, 1, 2, 2, 3]))]
            return out + copy.deepcopy(out[:1]) if r.random() < self.wrong else out
        if kind != "object":
            return self.anything()
        if "additionalProperties" in schema:
            return {name: self.of(schema["additionalProperties"], depth + 1) for name in r.sample(NAMES, r.choice([0, 1, 2]))}
        out = {}
        for name, inner in schema.get("properties", {}).items():
            if r.random() < (0.9 if name in schema.get("required", []) else 0.6):
                out[name] = self.of(inner, depth + 1)
        if r.random() < self.wrong:
            out["unknown"] = self.anything()
        return out


# ---- what may be wrong with a definition --------------------------------------------------------------------------------

def schemas(schema, path=()):
    """Every schema inside of one."""
    yield schema
    for inner in list(schema.get("properties", {}).values()):
        yield from schemas(inner)
    for key in ("items", "additionalProperties", "not"):
        if isinstance(schema.get(key), dict):
            yield from schemas(schema[key])
    for key in ("allOf", "anyOf", "oneOf"):
        for inner in schema.get(key, []):
            yield from schemas(inner)


def spoil(rng, crd):
    """One thing about a definition that may be wrong."""
    version = rng.choice(crd["spec"]["versions"])
    if rng.random() < 0.75:
        some = rng.choice(list(schemas(version["schema"]["openAPIV3Schema"])))
        change = rng.choice([
            {"type": rng.choice(["string", "object", "array", "null", "thing", ""])}, {"nullable": True}, {"default": rng.choice([1, "a", None, {}, [], {"unknown": 1}])}, {"uniqueItems": rng.choice([True, False])},
            {"$ref": "#/x"}, {"id": "x"}, {"definitions": {"a": {"type": "string"}}}, {"dependencies": {"a": ["b"]}}, {"patternProperties": {"a": {"type": "string"}}}, {"additionalItems": True},
            {"additionalProperties": rng.choice([True, False, {"type": "string"}])}, {"items": rng.choice([{"type": "string"}, [{"type": "string"}], {}])}, {"properties": {"metadata": {"type": "object"}}},
            {"properties": {"alpha": {"type": "string"}}}, {"x-kubernetes-preserve-unknown-fields": rng.choice([True, False])}, {"x-kubernetes-embedded-resource": True}, {"x-kubernetes-int-or-string": True},
            {"x-kubernetes-list-type": rng.choice(["set", "map", "atomic", "other"])}, {"x-kubernetes-list-map-keys": rng.choice([["alpha"], ["alpha", "alpha"], []])}, {"x-kubernetes-map-type": rng.choice(["atomic", "granular", "other"])},
            {"pattern": rng.choice(["(", "(?=a)", "[a"])}, {"required": ["nope"]}, {"enum": rng.choice([[], [1, "a"], [None]])}, {"minimum": 5, "maximum": 1}, {"title": "x", "description": "y", "example": {"a": 1}, "externalDocs": {"url": "x"}},
            {"format": rng.choice(["int-or-string", "x"])}, {"not": {"type": "string"}}, {"anyOf": [{"type": "integer"}, {"type": "string"}]}, {"allOf": [{"properties": {"nope": {"minLength": 1}}}]}, {"allOf": [{"items": {"minLength": 1}}]},
            {"oneOf": [{"description": "x"}]}, {"anyOf": [{"default": 1}]}, {"allOf": [{"anyOf": [{"type": "integer"}, {"type": "string"}]}]}, {"allOf": [{"nullable": True, "x-kubernetes-list-type": "set"}]}, {"multipleOf": -1},
            {"properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}}, {"properties": {"kind": {"type": "integer"}}}, {"properties": {"apiVersion": {"type": "string", "default": "v1"}}}])
        if rng.random() < 0.25 and some:
            some.pop(rng.choice(sorted(some)))
        else:
            some.update(copy.deepcopy(change))
        return
    spec, names = crd["spec"], crd["spec"]["names"]
    plural = names["plural"]
    column = {"name": "A", "type": "string", "jsonPath": ".spec.a"}
    scale = {"specReplicasPath": ".spec.a", "statusReplicasPath": ".status.a"}
    acts = [lambda: names.update(kind=rng.choice(["a", "A_b", "", "K-"])), lambda: names.update(singular=rng.choice(["A", "", "a.b"])), lambda: names.update(shortNames=rng.choice([["A"], ["a", "a"], [""]])),
            lambda: names.update(listKind=rng.choice([names["kind"], "a_b", "x"])), lambda: names.update(categories=rng.choice([["all"], ["A b"], [""]])), lambda: spec.update(scope=rng.choice(["", "Other", "Cluster"])),
            lambda: spec.update(group=rng.choice(["", "a", "A.b", "x.k8s.io"])), lambda: names.update(plural=rng.choice(["A", "", "a.b"])), lambda: spec.pop(rng.choice(["group", "scope", "versions", "names"])),
            lambda: version.update(name=rng.choice(["V1", "", "v1", "x.y"])), lambda: version.update(storage=rng.random() < 0.5), lambda: version.update(served=False), lambda: version.update(deprecated=True),
            lambda: version.update(deprecationWarning=rng.choice(["", "x", "x" * 257])), lambda: version.pop(rng.choice(["schema", "name", "served", "storage"])), lambda: version["schema"].pop("openAPIV3Schema"),
            lambda: version.update(additionalPrinterColumns=[{**column, **rng.choice([{"name": ""}, {"type": "x"}, {"type": ""}, {"format": "x"}, {"format": "int32"}, {"jsonPath": ""}, {"jsonPath": "x"}, {"jsonPath": ".a["}, {"jsonPath": "{.a}"}, {"priority": -1}])}]),
            lambda: version.update(subresources={"scale": {**scale, **rng.choice([{"specReplicasPath": ""}, {"specReplicasPath": ".a"}, {"specReplicasPath": ".spec.a[0]"}, {"statusReplicasPath": ".spec.a"}, {"statusReplicasPath": "status"},
                                                                                      {"labelSelectorPath": ".a"}, {"labelSelectorPath": ".spec.sel"}, {"labelSelectorPath": ""}, {"specReplicasPath": ".spec"}])}}),
            lambda: version.update(subresources={"status": rng.choice([None, {"a": 1}, "x"])}), lambda: spec.update(preserveUnknownFields=rng.choice([True, False])), lambda: spec.update(conversion={"strategy": rng.choice(["None", "Webhook", "", "x"])}),
            lambda: spec.update(conversion={"strategy": "None", "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": {"url": "https://example.com"}}}),
            lambda: spec.update(conversion={"strategy": "Webhook", "webhook": {"conversionReviewVersions": rng.choice([[], ["v1"], ["v2"], ["v1", "v1"], ["V"], ["v1beta1", "x y"]]), "clientConfig": rng.choice([
                {"url": "https://example.com/x"}, {"url": "http://example.com"}, {"url": "https://a:b@c/?x#y"}, {}, {"service": {"name": "a", "namespace": "b"}}, {"service": {"name": "", "namespace": ""}}, {"service": {"name": "a", "namespace": "b", "path": "x//", "port": 0}},
                {"url": "https://x", "service": {"name": "a", "namespace": "b"}}, {"url": "https://x", "caBundle": "AAAA"}, {"url": "https://x", "caBundle": "x"}])}}),
            lambda: spec["versions"].append(copy.deepcopy(version)), lambda: crd["metadata"].update(name=plural + ".other.example.com"), lambda: crd["metadata"].update(annotations={"api-approved.kubernetes.io": "x"}),
            lambda: crd["metadata"].update(finalizers=["x"]), lambda: crd.update(status={"storedVersions": ["v9"]}), lambda: spec.update(versions=[])]
    rng.choice(acts)()


# ---- requests ------------------------------------------------------------------------------------------------------------

class Object:
    """One request about an object of a kind that both serve."""

    def __init__(self, seed, kind, number, crd, only=""):
        rng = random.Random(f"{seed}/k{kind}/{number}")
        version = rng.choice(crd["spec"]["versions"])
        self.schema = version["schema"]["openAPIV3Schema"]
        sub = version.get("subresources", {})
        self.at = f"/apis/{GROUP}/{version['name']}/namespaces/{run.NAMESPACE}/{crd['spec']['names']['plural']}"
        self.typed = {"apiVersion": f"{GROUP}/{version['name']}", "kind": crd["spec"]["names"]["kind"]}
        self.sub = rng.choice([""] * 6 + ["status"] * ("status" in sub) + ["scale"] * ("scale" in sub))
        ways = ["put", "merge", "json-patch", "apply", "apply-force"] + ([] if self.sub else ["create"] * 5 + ["apply-new", "table"])
        self.how = rng.choice([w for w in ways if re.search(only, w)] or ["merge"])
        value = Value(rng, rng.choice([0, 0.05, 0.2]))
        self.body = {**self.typed, "metadata": {"name": "base"}, **{k: value.of(s) for k, s in self.schema["properties"].items() if k != "metadata" and rng.random() < 0.9}}
        if rng.random() < 0.05:
            self.body["unknown"] = 1
        if self.sub == "scale":
            self.body = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "base"}, "spec": {"replicas": rng.choice([0, 1, 5, -1, "x", None])}}
        self.manager = rng.choice(["base", "other"])
        self.operations = []
        for path in rng.sample(list(self.places(self.body)), 1):
            self.operations.append({"op": rng.choice(["add", "replace", "remove"]), "path": mutate.pointer(path), "value": value.anything()})

    def places(self, value, path=()):
        if path and path[0] in ("spec", "status"):
            yield path
        for key, inner in value.items() if isinstance(value, dict) else []:
            yield from self.places(inner, path + (key,))
        if not path:
            yield ("spec",)

    def request(self, server):
        one = f"{self.at}/base" + (f"/{self.sub}" if self.sub else "")
        query = f"?dryRun=All&fieldManager={self.manager}"
        body = copy.deepcopy(self.body)
        if self.how == "table":
            return "GET", one, None, (None, "application/json;as=Table;g=meta.k8s.io;v=v1")
        if self.how in ("create", "apply-new"):
            body["metadata"]["name"] = "new"
        if self.how == "create":
            return "POST", self.at + query, body, JSON
        if self.how.startswith("apply"):
            return "PATCH", f"{self.at}/{body['metadata']['name']}" + (f"/{self.sub}" if self.sub else "") + query + ("&force=true" if self.how == "apply-force" else ""), body, APPLY
        if self.how == "put":
            stored = server.ask("GET", one)[1]
            body["metadata"] = stored.get("metadata", {}) if isinstance(stored, dict) else {}
            return "PUT", one + query, body, JSON
        if self.how == "json-patch":
            return "PATCH", one + query, self.operations, PATCH
        body.pop("metadata")
        return "PATCH", one + query, body, MERGE


# What 1.20 tells otherwise in every answer: it knows no places in lists, and has no reasons of their own for types and for what is too much.
WORDS = [(r": \[\d+\]\.", ": "), (r"\.?\[\d+\]", ""), (r"Invalid value: \d+: \S* ?in body should have at most (\d+) (items|properties)", r"Too many: N: must have at most \1 items"), (r"Too many: \d+:", "Too many: N:"),
         (r"Invalid value: \d+: (\S* ?in body should have at least)", r"Invalid value: N: \1"), (r'Invalid value: \\"[^"]*\\": \S* ?in body should be at most (\d+) chars long', r"Too long: may not be more than \1 bytes"),
         (r"map\[string\]interface {}{}", "{}")]
WORDS = [(re.compile(old), new) for old, new in WORDS]


# Kinds of difference in which 1.20, or what we chose, is the odd one: what of the difference is told, and why.
ODD = [("replace operation does not apply: doc is missing path", "1.20 lets a JSON patch replace what is not there"),
       ("only \\[\\] fields are allowed at the root", "a newer list of the fields that may stand at the root"),
       ("failed to create typed (patch|live) object", "1.20 knows no types of custom kinds beyond maps and scalars, and answers with a 500"),
       ("^409 → |^told: .*conflict with ", "to 1.20 lists of custom kinds are one value, and a null status belongs to somebody"),
       ("in body must be of type integer,string", "1.20 knows no type of defaults that are int-or-string"),
       ("json: cannot unmarshal .* Scale|Scale in version ", "the words of another reader, of the Scale itself"),
       ("accessor error: N is of the type floatN", "numbers are read in the form that they are stored in: 3.0 is 3"),
       ("json: cannot unmarshal .*ObjectMeta", "the words of another reader"),
       ("^(200|201) → 422: .*in body must be of type [a-z]+: \"…\"$", "1.20 drops the nulls of lists in merge patches, and now they are asked what they are"),
       ("^422 → 200: .*(in body|must (not )?validate)", "what an update leaves as it was is not judged again")]
ODD = [(re.compile(what), why) for what, why in ODD]


def plain(answer):
    """In words that both may have."""
    text = json.dumps(answer[1])
    for old, new in WORDS if answer[0] in (400, 422) else []:
        text = old.sub(new, text)
    body = json.loads(text)
    if isinstance(body, dict) and body.get("kind") == "CustomResourceDefinition":
        body["status"].pop("conditions", None)
    if isinstance(body, dict) and body.get("kind") == "Table":
        body["columnDefinitions"] = [{k: v for k, v in c.items() if k != "description"} for c in body["columnDefinitions"]]
    return [answer[0], body]


def below(path, parent):
    return path == parent or path.startswith((parent + ".", parent + "[", f'"{parent}.', f'"{parent}"'))


def phrase(cause):
    """What is told of a field, whichever element it is."""
    return cause["field"], re.split(" in body |: supported values", cause["message"], maxsplit=1)[-1]


def newer(peer, ours):
    """Ours without what 1.20 would not say: it looks no further where an object has too few or too many fields, and tells the same of
    several elements once."""
    if peer[0] != 422 or ours[0] != 422:
        return
    said = [c for c in peer[1].get("details", {}).get("causes", [])]
    counted = [c["field"] for c in said if re.search("in body should have at least .* properties|Too many: N", c["message"])]
    once = {phrase(c) for c in said}
    same = [(c["field"], c["message"]) for c in said]
    more = ours[1].get("details", {})

    def known(c):
        inside = re.sub(r'^Invalid value: "": ', "", c["message"]) if c["field"] == "<nil>" else c["field"]
        return (c["field"], c["message"]) not in same and (phrase(c) in once or any(below(inside, p) and c["field"] != p for p in counted))
    more["causes"] = [c for c in more.get("causes", []) if not known(c)]


class Crds:
    def __init__(self, peer, ours, only):
        self.only, self.owners = only, "apply" in only
        self.servers = run.Server(peer, before=True), run.Server(ours)
        self.reasons = run.Reasons("differences.yaml", "mutated.yaml")
        for server in self.servers:
            server.ask("POST", "/api/v1/namespaces", {"metadata": {"name": run.NAMESPACE}}, JSON)
        self.seen, self.first, self.odd = collections.Counter(), {}, collections.Counter()

    def note(self, name, what, answers):
        answers[0] = plain(answers[0])
        answers[1] = plain(answers[1])
        newer(*answers)
        found = list(mutate.told(*answers, self.reasons, f"crd/{name}")) + (list(mutate.owners_differ(*answers)) if "fieldManager=other" in what and "PATCH" in what and self.owners else [])
        for kind, said, says in found:
            why = next((why for what, why in ODD if what.search(kind)), None)
            if why:
                self.odd[why] += 1
                continue
            if not self.seen[kind]:
                self.first[kind] = f"{name}: {what[:700]}\n      peer {str(said)[:500]}\n      ours {str(says)[:500]}"
            self.seen[kind] += 1
        return found

    def definition(self, seed, number):
        rng = random.Random(f"{seed}/d{number}")
        crd = Make(rng).definition(number)
        for _ in range(rng.choice([0, 1, 1, 2, 3])):
            try:
                spoil(rng, crd)
            except (KeyError, IndexError):
                pass  # what was there is spoilt already
        return crd

    def ask(self, *request):
        return [server.ask(*request) for server in self.servers]

    def definitions(self, seed, numbers, show=False):
        for number in numbers:
            crd = self.definition(seed, number)
            answers = self.ask("POST", CRDS + "?dryRun=All", crd, JSON)
            found = self.note(f"d{number}", json.dumps(crd["spec"]), answers)
            if show:
                print(json.dumps({"request": crd, "peer": answers[0], "ours": answers[1]}, indent=1))
                print(*found, sep="\n")

    def kinds(self, seed, numbers, objects, only=None):
        batch = []
        for number in numbers:
            crd = Make(random.Random(f"{seed}/k{number}")).definition(number)
            answers = self.ask("POST", CRDS, crd, JSON)
            self.note(f"k{number}", json.dumps(crd["spec"]), answers)
            if all(code == 201 for code, _ in answers):
                batch.append((number, crd))
            else:
                self.ask("DELETE", f"{CRDS}/{crd['metadata']['name']}")
        for number, crd in batch:
            self.served(crd)
        for number, crd in batch:
            self.stand(seed, number, crd)
            for i in range(objects) if only is None else [only]:
                self.one(Object(seed, number, i, crd, self.only), f"k{number}/{i}", only is not None, crd)
        for _, crd in batch:
            self.ask("DELETE", f"{CRDS}/{crd['metadata']['name']}")

    def served(self, crd):
        for server in self.servers:
            for version in crd["spec"]["versions"]:
                until = time.monotonic() + 30
                while server.ask("GET", f"/apis/{GROUP}/{version['name']}/{crd['spec']['names']['plural']}")[0] != 200 and time.monotonic() < until:
                    time.sleep(0.1)

    def stand(self, seed, number, crd):
        """An object that both take, to be changed: the first of some, as full as there is."""
        for i in range(30):
            o = Object(seed, number, f"base{i}", crd)
            body = {k: v for k, v in o.body.items() if k in ("metadata", "spec", "status", "more")} if o.sub != "scale" else {"metadata": {"name": "base"}}
            body = {**o.typed, **body}
            if i == 29:
                body.pop("spec", None)
            dry = self.ask("POST", o.at + "?dryRun=All&fieldManager=base", body, JSON)
            if all(code == 201 for code, _ in dry):
                self.ask("POST", o.at + "?fieldManager=base", body, JSON)
                return

    def one(self, o, name, show, crd):
        requests = [o.request(server) for server in self.servers]
        answers = [server.ask(*request) for server, request in zip(self.servers, requests)]
        found = self.note(name, f"{requests[1][0]} {requests[1][1]} {json.dumps(requests[1][2])}", answers)
        if show:
            print(json.dumps({"schema": o.schema, "peer": {"request": requests[0], "answer": answers[0]}, "ours": {"request": requests[1], "answer": answers[1]}}, indent=1))
            print(*found, sep="\n")

    def report(self):
        for kind, count in self.seen.most_common():
            print(f"{count} × {kind}\n   {self.first[kind]}")
        for why, count in self.odd.most_common():
            print(f"{count} differ since {why}")
        print(f"{len(self.seen)} kinds of difference")


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("peer")
    args.add_argument("--kogge")
    args.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    args.add_argument("--definitions", type=int, default=500)
    args.add_argument("--kinds", type=int, default=24)
    args.add_argument("--objects", type=int, default=40)
    args.add_argument("--case")
    args.add_argument("--only", default="")
    args = args.parse_args()
    print(f"seed {args.seed}", flush=True)
    with kogge.beside(args.kogge) as ours:
        both = Crds(args.peer, ours, args.only)
        if args.case and args.case[0] == "d":
            both.definitions(args.seed, [int(args.case[1:])], True)
        elif args.case:
            kind, _, number = args.case[1:].partition("/")
            both.kinds(args.seed, [int(kind)], args.objects, int(number) if number else None)
        else:
            both.definitions(args.seed, range(args.definitions))
            for begin in range(0, args.kinds, BATCH):
                both.kinds(args.seed, range(begin, min(begin + BATCH, args.kinds)), args.objects)
        both.report()


if __name__ == "__main__":
    main()
