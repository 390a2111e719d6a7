#!/usr/bin/env python3
"""Plays random sequences of writes to a real Kubernetes 1.20 API server and to a Kogge of its own, and compares the object, its owners and the
answer after every step.

    sequences.py KUBECONFIG-OF-THE-PEER [--kogge KUBECONFIG] [--seed N] [--cases N] [--only RE] [--case N] [--known]

Several managers apply, replace and patch one object, its status and its scale with parts of what such an object may have; they force, take away, undo
managedFields, name old versions, delete and begin anew. A sequence depends on its seed and number alone and ends at the first step that
differs in owners, or in a way which neither differences.yaml nor sequences.yaml explains. Each kind of difference is told once, the commonest first.
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
import run  # noqa: E402
from mutate import GONE, changed, nested, pattern  # noqa: E402
from refused import APPLY, JSON, MERGE, PATCH, STRATEGIC  # noqa: E402

NAMESPACE = "plays"  # stays: without controllers it would not end
MANAGERS = ["one", "one", "two", "three", "kubectl", "kubectl-client-side-apply"]
KEYS = {"containers": ("name",), "env": ("name",), "volumes": ("name",), "volumeMounts": ("mountPath",), "imagePullSecrets": ("name",), "secrets": ("name",),
        "hostAliases": ("ip",), "ports": ("containerPort", "port", "protocol"), "conditions": ("type",), "ownerReferences": ("uid",), "items": ("name", "port"), "podIPs": ("ip",),
        "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable")}
# Where servers that differ there have different objects or owners from then on.
PARTS = re.compile(r"owned\..*|there|metadata\.(labels|annotations\.[ab]|finalizers|ownerReferences|resourceVersion).*|status\.(conditions|loadBalancer).*|spec\.defaultBackend.*")
# What is owned as one today, and was by its parts in 1.20.
WHOLE = re.compile(r'(f:(?:ownerReferences|imagePullSecrets|secrets)\.k:\{[^}]*\}|f:backend\.f:service\.f:port|f:defaultBackend\.f:service\.f:port|f:configMapRef|f:podSelector|f:matchLabels)\..*')
LAST = "kubectl.kubernetes.io/last-applied-configuration"


# ---- what objects are made of: places with the values that they may have -------------------------------------------------------

def item(where, **values):
    """Places of one element of a list, each with the element's key."""
    key = {k[1:]: values.pop(k) for k in list(values) if k.startswith("_")}
    return [(where, [[{**key, **nested(k.split("__"), v)}] for v in vs]) for k, vs in values.items()] + [(where, [[key]])]


META = [("metadata.labels.a", ["1", "2", None]), ("metadata.labels.b", ["1", "2"]), ("metadata.labels", [{}, None]), ("metadata.annotations.a", ["1", "2"]), ("metadata.annotations.b/c", ["1"]),
        ("metadata.finalizers", [["a.b/c"], ["a.b/d"], ["a.b/c", "a.b/d"], []])] + item("metadata.ownerReferences", _apiVersion="v1", _kind="ConfigMap", _name="o", _uid="u", _controller=True)
POD = (item("containers", _name="c", image=["i", "j"], command=[["a"], ["b", "c"]], env=[[{"name": "X", "value": "1"}], [{"name": "Y", "value": "1"}, {"name": "X", "value": "2"}], [], None],
            ports=[[{"containerPort": 80}], [{"containerPort": 80, "protocol": "UDP"}], [{"containerPort": 81, "name": "p"}, {"containerPort": 80, "name": "q", "protocol": "TCP"}]],
            resources=[{"limits": {"cpu": "1"}}, {"limits": {"cpu": "1000m"}}, {"limits": {"memory": "1Gi"}}, {}], livenessProbe=[{"httpGet": {"port": 80}}, {"exec": {"command": ["a"]}}, None],
            volumeMounts=[[{"name": "v", "mountPath": "/a"}], [{"name": "v", "mountPath": "/b", "readOnly": True}]], securityContext=[{"runAsUser": 1}, {"capabilities": {"add": ["A"]}}, {}])
       + item("containers", _name="d", image=["i", "j"], imagePullPolicy=["Always", "Never"])
       + item("volumes", _name="v", emptyDir=[{}, {"medium": "Memory"}], configMap=[{"name": "m"}, {"name": "m", "items": [{"key": "a", "path": "b"}]}, None])
       + item("hostAliases", _ip="1.2.3.4", hostnames=[["a"], ["b", "a"]])
       + [("tolerations", [[{"key": "a", "operator": "Exists"}], [{"key": "b", "operator": "Exists"}], []]), ("imagePullSecrets", [[{"name": "a"}], [{"name": "b"}, {"name": "a"}]]),
          ("terminationGracePeriodSeconds", [1, 2]), ("securityContext", [{"runAsUser": 5}, {}, None]), ("hostNetwork", [False])])
# Go writes them always, so that whoever wrote the element owned them.
TIMES = {"_status": "Unknown", "_lastTransitionTime": "2020-01-01T00:00:00Z", "_lastUpdateTime": "2020-01-01T00:00:00Z"}
PROBED = {"_status": "Unknown", "_lastTransitionTime": "2020-01-01T00:00:00Z", "_lastProbeTime": "2020-01-01T00:00:00Z"}
KINDS = [
    ("apps/v1", "deployments", "Deployment", {"spec": {"selector": {"matchLabels": {"x": "y"}}, "template": {"metadata": {"labels": {"x": "y"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}},
     META + [("spec.template.spec." + w, v) for w, v in POD] + [
         ("spec.replicas", [1, 2, 3, 0, None]), ("spec.minReadySeconds", [0, 1, 2]), ("spec.paused", [True, False]), ("spec.strategy", [{"type": "Recreate"}, {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}, {}]),
         ("spec.template.metadata.annotations.t", ["1", "2"]), ("spec.revisionHistoryLimit", [1, None])],
     item("status.conditions", _type="A", **TIMES, status=["True", "False"], reason=["R", ""]) + item("status.conditions", _type="B", **TIMES, status=["True", "False"]) + [("status.replicas", [1, 2, 0]), ("status.observedGeneration", [1, 2])]),
    ("v1", "services", "Service", {"spec": {"ports": [{"port": 80}]}},
     META + item("spec.ports", _port=80, name=["a", "b"], targetPort=["x", 8080], protocol=["TCP", "UDP"]) + item("spec.ports", _port=81, _protocol="TCP", _name="z", targetPort=[1, 2]) + [
         ("spec.type", ["ClusterIP", "NodePort", None]), ("spec.sessionAffinity", ["ClientIP", "None"]), ("spec.externalIPs", [["1.2.3.4"], ["1.2.3.5", "1.2.3.4"], []]),
         ("spec.publishNotReadyAddresses", [True, False])],
     [("status.loadBalancer.ingress", [[{"ip": "1.2.3.4"}], [{"hostname": "a"}], []])]),
    ("v1", "configmaps", "ConfigMap", {}, META + [("data.a", ["1", "2", None]), ("data.b", ["1", "2", ""]), ("data", [{}, None]), ("binaryData.c", ["AA==", "AQ=="]), ("immutable", [False, None])], []),
    ("v1", "secrets", "Secret", {}, META + [("data.a", ["AA==", "AQ=="]), ("stringData.a", ["x", "y"]), ("stringData.b", ["x"]), ("data", [{}, None])], []),
    ("networking.k8s.io/v1", "ingresses", "Ingress", {"spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}},
     META + [("spec.defaultBackend.service.name", ["s", "t"]), ("spec.defaultBackend.service.port", [{"number": 80}, {"number": 81}, {"name": "p", "number": None}]), ("spec.ingressClassName", ["a", "b"]),
             ("spec.tls", [[{"hosts": ["a"]}], [{"secretName": "x"}], []]), ("spec.rules", [[{"host": "a"}], [{"host": "b"}, {"host": "a"}], []])],
     [("status.loadBalancer.ingress", [[{"ip": "1.2.3.4"}], [{"hostname": "a"}]])]),
    ("v1", "serviceaccounts", "ServiceAccount", {}, META + [("imagePullSecrets", [[{"name": "a"}], [{"name": "b"}, {"name": "a"}], []]), ("automountServiceAccountToken", [True, False, None])], []),
    ("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy", {"spec": {"podSelector": {}}},
     META + [("spec.ingress", [[], [{"ports": [{"port": 80}]}], [{"from": [{"podSelector": {}}]}]]), ("spec.policyTypes", [["Ingress"], ["Egress"], ["Ingress", "Egress"]]), ("spec.egress", [[{}], []])], []),
    ("v1", "pods", "Pod", {"spec": {"automountServiceAccountToken": False, "containers": [{"name": "c", "image": "i"}]}},
     META + [("spec.activeDeadlineSeconds", [9, 8, 10]), ("spec.tolerations", [[{"key": "a", "operator": "Exists"}]]), ("spec.containers", [[{"name": "c", "image": "j"}], [{"name": "c", "image": "i"}], [{"name": "d", "image": "i"}]])],
     item("status.conditions", _type="A", **PROBED, status=["True", "False"]) + item("status.conditions", _type="Ready", **PROBED, status=["True", "False"]) + [("status.phase", ["Running", "Pending"]), ("status.podIPs", [[{"ip": "1.2.3.4"}]]), ("status.message", ["a", ""])]),
    ("seq.example.com/v1", "things", "Thing", {},
     META + item("spec.items", _name="a", value=["1", "2"], port=[1, 2]) + item("spec.items", _name="b", value=["1", "2"], deep=[{"x": "1"}, {"y": "1"}, {}]) + [
         ("spec.set", [["a"], ["b", "a"], ["c"], []]), ("spec.list", [["a"], ["b", "a"], []]), ("spec.atom", [{"a": "1"}, {"b": "1"}, {}]), ("spec.map.a", ["1", "2"]), ("spec.map.b", ["1", None]), ("spec.map", [{}, None]),
         ("spec.any.a", [1, {"b": [1]}, {"c": {}}, None]), ("spec.any.b", [[1], [], "x"]), ("spec.any", [{}, None]), ("spec.replicas", [1, 2, 3]), ("spec.number", [1, 1.5, 2]), ("spec.none", [None, "x"]), ("spec", [{}, None]), ("spec.with.a", ["1", "2"]), ("spec.with", [{}]), ("spec.unknown", ["x"])],
     [("status.replicas", [1, 2]), ("status.any", [{"a": 1}, {"b": 1}])] + item("status.conditions", _type="A", status=["True", "False"])),
]
TEXT = {"type": "string"}
CRD = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "things.seq.example.com"}, "spec": {
    "group": "seq.example.com", "scope": "Namespaced", "names": {"plural": "things", "singular": "thing", "kind": "Thing"}, "versions": [{
        "name": "v1", "served": True, "storage": True, "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                "items": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name", "port"], "items": {"type": "object", "required": ["name"], "properties": {
                    "name": TEXT, "port": {"type": "integer", "default": 1}, "value": TEXT, "deep": {"type": "object", "additionalProperties": TEXT}}}},
                "set": {"type": "array", "x-kubernetes-list-type": "set", "items": TEXT}, "list": {"type": "array", "items": TEXT},
                "atom": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": TEXT}, "map": {"type": "object", "additionalProperties": TEXT},
                "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}, "replicas": {"type": "integer"}, "number": {"type": "number"}, "none": {"type": "string", "nullable": True},
                "with": {"type": "object", "default": {}, "properties": {"a": TEXT, "b": {"type": "string", "default": "d"}}}}},
            "status": {"type": "object", "properties": {"replicas": {"type": "integer"}, "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}, "conditions": {
                "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"], "items": {"type": "object", "required": ["type"], "properties": {"type": TEXT, "status": TEXT}}}}}}}}}]}}


def put_in(into, what, name=""):
    """Deep merge; lists by the keys that their elements have."""
    if isinstance(into, dict) and isinstance(what, dict):
        for key, value in what.items():
            into[key] = put_in(into[key], value, key) if key in into else copy.deepcopy(value)
        return into
    if isinstance(into, list) and isinstance(what, list) and name in KEYS:
        for one in what:
            same = [o for o in into if all(o.get(k) == one.get(k) for k in KEYS[name])]
            if same:
                put_in(same[0], one)
            else:
                into.append(copy.deepcopy(one))
        return into
    return copy.deepcopy(what)


def some(rng, places, most):
    """A partial object of a few places."""
    made = {}
    for where, values in rng.sample(places, min(len(places), rng.randint(0, most))):
        made = put_in(made, nested(where.split("."), rng.choice(values)))
    return made


# ---- steps -----------------------------------------------------------------------------------------------------------------

class Sequence:
    """Steps that are requests of the state each server is in; both are asked the same as long as both say the same."""

    def __init__(self, number, seed):
        self.number, self.rng = number, random.Random(f"{seed}/{number}")
        self.group_version, self.resource, self.kind, self.base, self.places, self.status = self.rng.choice(KINDS)
        self.to = f"{'/api' if self.group_version == 'v1' else '/apis'}/{self.group_version}/namespaces/{NAMESPACE}/{self.resource}"
        self.name = f"s{seed}-{number}"
        self.typed = {"apiVersion": self.group_version, "kind": self.kind}
        self.old, self.mine = {}, {}  # versions seen; who applied what

    def step(self):
        """(how it is called, request of a server's live object)."""
        rng = self.rng
        how = rng.choice(["apply"] * 8 + ["put"] * 3 + ["merge", "merge", "strategic", "json", "json", "client", "managed", "managed", "delete", "create"]
                         + (["status-apply", "status-apply", "status-put", "status-merge"] if self.status else []) + (["scale"] * 3 if self.resource in ("deployments", "things") else []))
        manager = rng.choice(["status-one", "status-two"] if how.startswith("status") else MANAGERS)  # in 1.20 the object's are the status's
        make = getattr(self, how.replace("-", "_"))(manager)
        return how, manager, make

    def query(self, manager, sub="", more=""):
        return f"{self.to}/{self.name}{sub}?fieldManager={manager}{more}"

    def config(self, places, manager, base):
        """What a manager applies: what it applied before with a few changes, or something else."""
        rng, last = self.rng, self.mine.get((manager, places is self.status))
        if last is not None and rng.random() < 0.7:
            made = copy.deepcopy(last)
            if rng.random() < 0.5:
                paths = [p for p, _ in inside(made)]
                made = changed(made, [(rng.choice(paths), GONE)]) if paths else made
            if rng.random() < 0.6:
                put_in(made, some(rng, places, 2))
        else:
            made = put_in(copy.deepcopy(base) if rng.random() < 0.5 else {}, some(rng, places, 6))
        self.mine[(manager, places is self.status)] = made
        return made

    def apply(self, manager):
        rng = self.rng
        config, force = self.config(self.places, manager, self.base), rng.random() < 0.4
        version = rng.choice([None] * 10 + ["old", "now"])
        twist = rng.choice([None] * 14 + ["status", "uid", "managed", "name", "undeclared"])

        def make(live):
            body = {**copy.deepcopy(config), **self.typed}
            body["metadata"] = {**(body.get("metadata") or {}), "name": self.name}
            if version:
                body["metadata"]["resourceVersion"] = (live or {}).get("metadata", {}).get("resourceVersion", "1") if version == "now" else "1"
            if twist == "uid":
                body["metadata"]["uid"] = "no-such-uid"
            elif twist == "managed":
                body["metadata"]["managedFields"] = [{"manager": "x", "operation": "Apply", "apiVersion": "v1"}]
            elif twist == "name":
                del body["metadata"]["name"]
            elif twist == "undeclared":
                body["undeclared"] = 1
            elif twist == "status" and self.status:
                body["status"] = {}
            return "PATCH", self.query(manager, more="&force=true" if force else ""), body, APPLY
        return make

    def put(self, manager):
        rng = self.rng
        add, drop, version = some(rng, self.places, 3), rng.random(), rng.choice(["now", "now", "now", "none", "old"])
        fields = rng.choice([None] * 5 + ["gone", "gone", []])

        def make(live):
            body = copy.deepcopy(live) if live else {**self.typed, **copy.deepcopy(self.base), "metadata": {"name": self.name}}
            paths = sorted((p for p, _ in inside(body) if p[0] in ("spec", "data", "metadata") and not (p[0] == "metadata" and p[-1] in ("name", "namespace", "uid"))
                            and "managedFields" not in p and p[-1] not in ("creationTimestamp", "resourceVersion", "selfLink", "generation", "clusterIP", "clusterIPs", "nodePort")), key=str)
            if paths and drop < 0.5:
                body = changed(body, [(paths[int(drop * 2 * len(paths))], GONE)])
            body = put_in(body, add)
            if not isinstance(body.get("metadata"), dict):
                body["metadata"] = {"name": self.name}
            if version != "now":
                body["metadata"].pop("resourceVersion", None)
                if version == "old":
                    body["metadata"]["resourceVersion"] = "1"
            if fields == "gone":
                body["metadata"].pop("managedFields", None)
            elif fields is not None:
                body["metadata"]["managedFields"] = fields
            return "PUT", self.query(manager), body, JSON
        return make

    def create(self, manager):
        body = {**put_in(copy.deepcopy(self.base), some(self.rng, self.places, 5)), **self.typed}
        body["metadata"] = {**(body.get("metadata") or {}), "name": self.name}
        return lambda live: ("POST", f"{self.to}?fieldManager={manager}", body, JSON)

    def merge(self, manager, kind=MERGE):
        patch = some(self.rng, self.places, 3)
        return lambda live: ("PATCH", self.query(manager), patch, kind)

    def strategic(self, manager):
        return self.merge(manager, STRATEGIC)

    def json(self, manager):
        where, values = self.rng.choice(self.places)
        value, away = self.rng.choice(values), self.rng.random() < 0.4
        path = "/" + "/".join(step.replace("/", "~1") for step in where.split("."))
        ops = [{"op": "remove", "path": path}] if away else [{"op": "add", "path": path, "value": value}]
        return lambda live: ("PATCH", self.query(manager), ops, PATCH)

    def client(self, _):
        """As kubectl apply without --server-side does."""
        config = self.config(self.places, "client", self.base)

        def make(live):
            body = {**copy.deepcopy(config), **self.typed}
            body["metadata"] = {**(body.get("metadata") or {}), "name": self.name}
            body["metadata"]["annotations"] = {**(body["metadata"].get("annotations") or {}), LAST: json.dumps(body) + "\n"}
            if not live:
                return "POST", f"{self.to}?fieldManager=kubectl-client-side-apply", body, JSON
            return "PATCH", self.query("kubectl-client-side-apply"), body, MERGE
        return make

    def managed(self, manager):
        how, pick, moved = self.rng.choice(["reset", "reset", "none", "drop", "rename", "as-update", "bad", "wrong-version", "twice"]), self.rng.random(), self.rng.choice(["one", "two"])

        def make(live):
            fields = copy.deepcopy(((live or {}).get("metadata") or {}).get("managedFields") or [])
            fields.sort(key=lambda e: (e["manager"], e["operation"], e.get("subresource", "")))
            if how == "reset" or not fields:
                fields = [{}] if pick < 0.5 else []
            elif how == "none":
                fields = None
            elif how == "drop":
                del fields[int(pick * len(fields))]
            else:
                one = fields[int(pick * len(fields))]
                one.update({"rename": {"manager": moved}, "as-update": {"operation": "Update" if one["operation"] == "Apply" else "Apply"}, "bad": {"operation": "Other"},
                            "wrong-version": {"apiVersion": "x/v9"}, "twice": {}}[how])
                if how == "twice":
                    fields.append(dict(one))
            return "PATCH", self.query(manager), {"metadata": {"managedFields": fields}}, MERGE
        return make

    def delete(self, _):
        return lambda live: ("DELETE", f"{self.to}/{self.name}?gracePeriodSeconds=0", None, None)

    def status_apply(self, manager):
        config, force = self.config(self.status, manager, {}), self.rng.random() < 0.4
        return lambda live: ("PATCH", self.query(manager, "/status", "&force=true" if force else ""), {**config, **self.typed, "metadata": {"name": self.name}}, APPLY)

    def status_put(self, manager):
        status, whole = some(self.rng, self.status, 4).get("status") or {}, self.rng.random() < 0.5
        return lambda live: ("PUT", self.query(manager, "/status"), {**(copy.deepcopy(live) or {**self.typed, "metadata": {"name": self.name}}),
                                                                     "status": status if whole else put_in(copy.deepcopy((live or {}).get("status") or {}), status)}, JSON)

    def status_merge(self, manager):
        patch = some(self.rng, self.status, 3)
        return lambda live: ("PATCH", self.query(manager, "/status"), patch, MERGE)

    def scale(self, manager):
        how, replicas = self.rng.choice(["merge", "apply", "force", "put"]), self.rng.choice([0, 1, 2, 3])
        body = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": self.name, "namespace": NAMESPACE}, "spec": {"replicas": replicas}}
        if how == "put":
            return lambda live: ("PUT", self.query(manager, "/scale"), body, JSON)
        if how == "merge":
            return lambda live: ("PATCH", self.query(manager, "/scale"), {"spec": {"replicas": replicas}}, MERGE)
        return lambda live: ("PATCH", self.query(manager, "/scale", "&force=true" if how == "force" else ""), body, APPLY)


def inside(value, path=()):
    """(path, value) of all that is in a value."""
    for step, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield path + (step,), inner
        yield from inside(inner, path + (step,))


# ---- what differs ------------------------------------------------------------------------------------------------------------

def owners(thing):
    """(manager and operation and version, field): what a sub-resource's entry has counts as the manager's, as in 1.20."""
    for entry in ((thing or {}).get("metadata") or {}).get("managedFields") or []:
        who = f"{entry.get('manager')} {entry.get('operation')} {entry.get('apiVersion')}"
        yield from ((who, WHOLE.sub(r"\1", path)) for path, _ in run.leaves(entry.get("fieldsV1") or {}))


def grown(before, after, ours):
    """What 1.20 gives to who owned an empty map or list as one: all that it holds later, as if it had been atomic. Then, as ours has it, itself."""
    alone = {(who, path) for who, path in before if not path.endswith("..")}
    more = {(who, path) for who, path in after - before if any(w == who and path.startswith(p + ".") for w, p in alone)}
    return more | {one for one in (alone & ours) - after}


class Sequences:
    def __init__(self, peer, ours, known):
        self.peer, self.ours = run.Server(peer, before=True), run.Server(ours)
        self.reasons = run.Reasons("differences.yaml", *([] if known else ["mutated.yaml", "sequences.yaml"]))
        for server in (self.peer, self.ours):
            server.ask("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}}, JSON)
            server.ask("POST", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts", {"metadata": {"name": "default"}, "automountServiceAccountToken": False}, JSON)
            server.ask("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", CRD, JSON)
        for server in (self.peer, self.ours):
            for _ in range(100):
                if server.ask("GET", f"/apis/seq.example.com/v1/namespaces/{NAMESPACE}/things")[0] == 200:
                    break
                time.sleep(0.1)

    def tidy(self):
        for server in (self.peer, self.ours):
            server.ask("DELETE", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/things.seq.example.com")

    def end(self, sequence):
        for server in (self.peer, self.ours):
            one = f"{sequence.to}/{sequence.name}"
            server.ask("PATCH", one, {"metadata": {"finalizers": None}}, MERGE)
            server.ask("DELETE", one + "?gracePeriodSeconds=0")

    def live(self, sequence):
        answers = [server.ask("GET", f"{sequence.to}/{sequence.name}") for server in (self.peer, self.ours)]
        return [a[1] if a[0] == 200 else None for a in answers]

    def differ(self, case, answers, before, after):
        """(kind, peer's, ours) of one step; none where 1.20 panics."""
        self.parted = answers[0][0] == 0
        if self.parted:
            return
        def known(path, said, says):
            reason = self.reasons.of(case, path, said, says)
            self.parted |= reason is not None and PARTS.fullmatch(path) is not None
            return reason
        told = False
        for path, said, says in run.differences(answers[0], answers[1], self.reasons):
            if not known(path, said, says):
                told = True
                short = ".".join(re.sub(r"\[\d+\]", "[]", path).split(".")[-3:])
                yield f"answer {short}: {pattern(said)[:60]} → {pattern(says)[:60]}", said, says
        if not told and (answers[0][0] < 300) != (answers[1][0] < 300):  # what follows would differ, too
            self.parted = True
            return
        if (after[0] is None) != (after[1] is None):
            if not known("there", *(thing and answers[0][0] for thing in after)):
                yield "there, or not", after[0], after[1]
        elif after[0]:
            for path, said, says in run.differences([200, after[0]], [200, after[1]], self.reasons):
                if not known(path, said, says):
                    yield f"object {re.sub('[0-9]+', 'N', path)}", said, says
            was, now = [{o for o in owners(thing)} for thing in after]
            more = grown({o for o in owners(before[0])}, was, now)
            self.parted |= bool(more)
            was, now = was - more, now - more
            for side, mine, other in (("peer", was, now), ("ours", now, was)):
                for who, path in sorted(mine - other):
                    if not known(f"owned.{side}", who, path):
                        yield f"owned by {side}: {re.sub(' .*', '', who.split(' ', 1)[1])} {pattern(path)}", f"{who} {path}" if side == "peer" else "", f"{who} {path}" if side == "ours" else ""
            if before[0] and before[1] and not self.parted:
                wrote = [b["metadata"]["resourceVersion"] != a["metadata"]["resourceVersion"] for a, b in zip(after, before)]
                if wrote[0] != wrote[1] and not known("wrote", *wrote):
                    yield "wrote, or not", *wrote

    def play(self, sequence, show=False):
        """(what differs, steps) of a sequence up to where it differs."""
        told, before = [], [None, None]
        for _ in range(sequence.rng.randint(4, 14)):
            how, manager, make = sequence.step()
            requests = [make(live) for live in before]
            answers = [server.ask(*request) for server, request in zip((self.peer, self.ours), requests)]
            after = self.live(sequence)
            told.append((how, manager, requests, answers))
            if show:
                print(f"---- {how} by {manager}: {requests[1][0]} {requests[1][1]}\n{json.dumps(requests[1][2])}\n  peer {str(answers[0])[:show]}\n  ours {str(answers[1])[:show]}")
            found = list(self.differ(f"{how}/{sequence.resource}", answers, before, after))
            if found or self.parted:
                return found, told
            before = after
        return [], told

    def run(self, seed, cases, only):
        seen, first, steps = collections.Counter(), {}, 0
        for number in range(cases):
            sequence = Sequence(number, seed)
            if not re.search(only, sequence.resource):
                continue
            found, told = self.play(sequence)
            self.end(sequence)
            steps += len(told)
            if found:
                kind, said, says = found[0]
                how, manager, requests, _ = told[-1]
                kind = f"{how} {kind}"
                seen[kind] += 1
                first.setdefault(kind, f"sequence {number}, step {len(told)}: {how} by {manager} of {sequence.resource} {json.dumps(requests[1][2], ensure_ascii=False)[:300]}"
                                 + "".join(f"\n      {k}\n        peer {str(a)[:300]}\n        ours {str(b)[:300]}" for k, a, b in found[:4]))
        for kind, count in seen.most_common():
            print(f"{count} × {kind}\n   {first[kind]}")
        print(f"{cases} sequences, {steps} steps of seed {seed}: {sum(seen.values())} differ, in {len(seen)} ways")


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("peer")
    args.add_argument("--kogge")
    args.add_argument("--seed", type=int, default=1)
    args.add_argument("--cases", type=int, default=300)
    args.add_argument("--only", default="")
    args.add_argument("--case", type=int)
    args.add_argument("--known", action="store_true")
    args.add_argument("--show", type=int, default=400, help="of each answer, with --case")
    args = args.parse_args()
    with kogge.beside(args.kogge) as ours:
        both = Sequences(args.peer, ours, args.known)
        if args.case is None:
            both.run(args.seed, args.cases, args.only)
        else:
            sequence = Sequence(args.case, args.seed)
            for kind, said, says in both.play(sequence, args.show)[0]:
                print(f"{kind}\n   peer {said}\n   ours {says}")
            both.end(sequence)
        both.tidy()


if __name__ == "__main__":
    main()
