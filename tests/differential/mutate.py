#!/usr/bin/env python3
"""Sends randomly mutated objects to a real Kubernetes 1.20 API server and to a Kogge of its own, and tells in how many ways the answers differ.

    mutate.py KUBECONFIG-OF-THE-PEER [--kogge KUBECONFIG] [--seed N] [--cases N] [--only RE] [--case N] [--known]

A case takes an object of objects.yaml, changes one to three places of it as the peer's OpenAPI document makes it likely to hurt, and sends it as
create, PUT, one of the patches or apply, to the object, its status or its scale; or it deletes a collection. Some patches are operations or
directives that chance makes. Of what is taken, who owns which field is compared, too. All requests are dry runs against objects that stand there unchanged, so that a case is the same
whatever went before it: `--seed S --case N` repeats one, with its requests and answers. Differences that differences.yaml explains are left
out, those of mutated.yaml too (all with --known). Each kind of difference is told once, by the least case that showed it, the commonest first.
"""
import argparse
import collections
import copy
import json
import os
import random
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import kogge  # noqa: E402
import objects  # noqa: E402
import run  # noqa: E402
from refused import APPLY, JSON, MERGE, PATCH, STRATEGIC  # noqa: E402

WORDS = ["", "x", "A b", "-", "a/b", "x" * 254, "ä", "*", "None", "1Gi", "-1", "80", "101%", "192.0.2.1", "2020-01-01T00:00:00Z", "a.example.com/b"]
NUMBERS = [0, 1, -1, 65536, 2**31 - 1, 2**31, 2**63, 1.5]
TIMES = {"Time": "2020-01-01T00:00:00Z", "MicroTime": "2020-01-01T00:00:00.123456Z"}
AMOUNTS = ["0", "1", "100m", "1Gi", "-1", "1.5"]
WRONG = ["text", 7, True, {}, [], ["a"], {"a": "b"}]
GONE = object()
HANDWRITTEN = [("metadata",), ("metadata", "name"), ("apiVersion",), ("kind",)]  # refused.py has enough of them
SCALED = ("deployments", "replicasets", "statefulsets", "replicationcontrollers")
ADMITTING = ("limitranges", "resourcequotas")  # full ones would judge other objects: they do not stand there


# ---- what an object may look like ------------------------------------------------------------------------------------

class Schema:
    """The peer's own: what it does not know, it drops, and there is nothing to compare."""

    def __init__(self, kube):
        self.definitions = kube.get("/openapi/v2")["definitions"]
        self.kinds = {(g["group"], g["version"], g["kind"]): d for d in self.definitions.values() for g in d.get("x-kubernetes-group-version-kind", [])}

    def resolve(self, node):
        return self.definitions[node["$ref"].rsplit("/", 1)[1]] if "$ref" in node else node

    def places(self, node, value, path=()):
        """(path, node, value) of everything in a value."""
        node = self.resolve(node)
        yield path, node, value
        if isinstance(value, dict):
            for key, inner in value.items():
                below = node.get("properties", {}).get(key) or node.get("additionalProperties") or {}
                yield from self.places(below, inner, path + (key,))
        elif isinstance(value, list):
            for i, inner in enumerate(value):
                yield from self.places(node.get("items", {}), inner, path + (i,))

    def make(self, rng, node, depth=0):
        """Some value of the type: what it requires, and one or two fields more."""
        named = node.get("$ref", "").rsplit(".", 1)[-1]
        if named in TIMES and rng.random() < 0.9:
            return TIMES[named]
        if named == "Quantity" and rng.random() < 0.8:
            return rng.choice(AMOUNTS)
        node = self.resolve(node)
        kind = node.get("type", "object")
        if kind == "array":
            return [self.make(rng, node["items"], depth + 1) for _ in range(rng.choice([0, 1, 1, 2]))]
        if kind == "object":
            fields = node.get("properties", {})
            if not fields:
                inner = node.get("additionalProperties")
                return {rng.choice(WORDS): self.make(rng, inner, depth + 1)} if inner and rng.random() < 0.7 else {}
            names = set(node.get("required", []))
            if depth < 4:
                names |= set(rng.sample(sorted(fields), min(len(fields), rng.choice([0, 1, 2]))))
            return {name: self.make(rng, fields[name], depth + 1) for name in sorted(names)}
        if kind == "boolean":
            return rng.random() < 0.5
        if kind in ("integer", "number") or node.get("format") == "int-or-string" and rng.random() < 0.5:
            return rng.choice(NUMBERS)
        return rng.choice(WORDS)


def near(value):
    """Another value that is as good: what may not change is told from what may."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    return value[::-1] if isinstance(value, list) else value


# ---- mutations: (path, value), where the value may be GONE -------------------------------------------------------------

def mutation(rng, schema, root, thing):
    path, node, value = rng.choice([p for p in schema.places(root, thing) if p[0] not in HANDWRITTEN])
    acts = [GONE, None, rng.choice(WRONG), schema.make(rng, node), near(value)]
    fields = node.get("properties", {})
    if isinstance(value, dict) and fields:
        new = [name for name in sorted(set(fields) - set(value)) if path + (name,) not in HANDWRITTEN]
        made = [(path + (name,), schema.make(rng, fields[name])) for name in rng.sample(new, min(len(new), 6))]
        return rng.choice(made + [(path + ("unknown",), "x")] + ([(path, rng.choice(acts))] if path else []))
    if isinstance(value, dict):
        inner = schema.make(rng, node["additionalProperties"]) if "additionalProperties" in node else "x"
        return rng.choice([(path + (rng.choice(WORDS),), inner), (path, {}), (path, rng.choice(acts))])
    if isinstance(value, list):
        more = [schema.make(rng, node.get("items", {}))] + [copy.deepcopy(v) for v in value[:1]] * 2
        return rng.choice([(path + (len(value),), rng.choice(more)), (path, []), (path, rng.choice(acts))])
    return path, rng.choice(acts)


def changed(thing, mutations):
    thing = copy.deepcopy(thing)
    for path, value in mutations:
        at = thing
        try:
            for step, after in zip(path, path[1:]):
                if at[step] is None:  # as Go writes an empty list
                    at[step] = [] if isinstance(after, int) else {}
                at = at[step]
            if isinstance(at, list) and path[-1] == len(at):
                at.append(None)
            if value is GONE:
                del at[path[-1]]
            else:
                at[path[-1]] = copy.deepcopy(value)
        except (KeyError, IndexError, TypeError):
            pass  # an earlier mutation took the place away
    return thing


# ---- requests ------------------------------------------------------------------------------------------------------

def partial(thing, mutations):
    """What a patch has to say of a changed object: the ways to the changes, lists as a whole."""
    patch = {}
    for path, _ in mutations:
        to, source = patch, thing
        for i, step in enumerate(path):
            if not isinstance(source, dict):
                break
            source = source.get(step)
            if i + 1 < len(path) and isinstance(source, dict) and not isinstance(path[i + 1], int):
                to = to.setdefault(step, {})
                if not isinstance(to, dict):
                    break
            else:
                to[step] = source
                break
    return patch


def pointer(path):
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)


def operations(mutations):
    return [{"op": "remove", "path": pointer(path)} if value is GONE else {"op": "add", "path": pointer(path), "value": value} for path, value in mutations]


def random_operations(rng, schema, root, thing):
    """Operations of a JSON patch on places that are there, or beside them."""
    places = [p for p in schema.places(root, thing) if p[0] and p[0] != ("metadata", "name")]
    made = []
    for _ in range(rng.choice([1, 2, 2, 3])):
        (path, _, value), (other, node, _) = rng.choice(places), rng.choice(places)
        beside = rng.choice([path, path, path[:-1] + (rng.choice(["new", "-", 0, "a/b"]),)])
        if beside == ("metadata",):
            beside = ("metadata", "labels")
        op = rng.choice(["test", "test", "copy", "move", "replace", "remove", "add", "other"])
        step = {"op": op, "path": pointer(beside)}
        if op in ("copy", "move"):
            step["from"] = pointer(other)
        elif op != "remove":
            step["value"] = rng.choice([value, value, near(value), schema.make(rng, node)])
        if rng.random() < 0.1:
            step.pop(rng.choice(sorted(step)))
        made.append(step)
    return made


def directive(rng, schema, root, thing):
    """A strategic merge patch with a word of its own somewhere."""
    places = [p for p in schema.places(root, thing) if isinstance(p[2], (dict, list)) and p[2] and not any(isinstance(s, int) for s in p[0])]
    path, node, value = rng.choice(places)
    key = node.get("x-kubernetes-patch-merge-key", "name")
    if isinstance(value, dict):
        patch = rng.choice([{"$patch": rng.choice(["replace", "delete", "merge", "other", 1])}, {"$retainKeys": rng.choice([sorted(value)[:1], ["x"], "x"]), **value}])
        patch.update({k: near(v) for k, v in value.items() if rng.random() < 0.4 and not isinstance(v, (dict, list))})
        return nested(path, patch)
    keys = [v[key] for v in value if isinstance(v, dict) and key in v]
    order = [{key: k} for k in reversed(keys)] if keys else value[::-1]
    patch = rng.choice([
        {path[-1]: [{"$patch": "replace"}] + value[:1]}, {path[-1]: [{"$patch": rng.choice(["delete", "merge", "other"]), key: rng.choice(keys + ["x"])}]},
        {f"$setElementOrder/{path[-1]}": order + rng.choice([[], [{key: "x"}], order[:1]])}, {f"$setElementOrder/{path[-1]}": order, path[-1]: value[:1]},
        {f"$deleteFromPrimitiveList/{path[-1]}": rng.choice([value[:1], ["x"], "x"])}])
    return nested(path[:-1], patch)


def nested(path, value):
    for step in reversed(path):
        value = {step: value}
    return value


def deletion(rng, resource, name):
    """(query, body) of a request to delete a collection; of what is no namespace's, no more than this object."""
    one = f"fieldSelector=metadata.name={name}"
    query = [one] if resource in objects.CLUSTER_SCOPED else rng.sample([one, "labelSelector=a=b", "labelSelector=a,,", "fieldSelector=a=b", "limit=1", "resourceVersion=0"], rng.choice([0, 1, 1, 2]))
    query += rng.sample(["gracePeriodSeconds=0", "gracePeriodSeconds=-1", "gracePeriodSeconds=x", "propagationPolicy=Orphan", "propagationPolicy=x", "orphanDependents=true"], rng.choice([0, 1, 2]))
    options = {"kind": "DeleteOptions", "apiVersion": "v1", "dryRun": ["All"]}
    more = {"gracePeriodSeconds": rng.choice([0, 5, -1, "x"]), "propagationPolicy": rng.choice(["Foreground", "Background", "Orphan", "x"]), "orphanDependents": rng.choice([True, None]),
            "preconditions": rng.choice([{"uid": "x"}, {"resourceVersion": "1"}, {}]), "kind": "Pod", "dryRun": rng.choice([["All"], ["x", "All"]])}
    options.update({k: more[k] for k in rng.sample(sorted(more), rng.choice([0, 1, 2]))})
    return "".join("&" + q for q in query), rng.choice([None, options, options])


class Case:
    def __init__(self, number, seed, schema, rows):
        rng = random.Random(f"{seed}/{number}")
        self.number = number
        self.row, self.group_version, self.resource = rng.choice(rows)
        self.which = rng.choice(["minimal", "full", "full"])
        self.sub = rng.choice([""] * 7 + ["status", "status"] + ["scale"] * (self.resource in SCALED))
        self.how = rng.choice(["put", "merge", "strategic", "json-patch", "apply", "apply-force"] + ([] if self.sub else ["create", "create", "create", "put", "apply-new", "operations", "directive", "delete"]))
        if self.resource in ADMITTING and self.which == "full":
            self.how, self.sub = "create", ""
        self.validation = rng.choice(["", "", "Warn", "Strict"])
        self.name = self.row.get("object_name") or f"{self.row.get('name', 'x')}-{self.which}"
        self.thing = objects.body(self.row, self.which, self.name)
        self.root = schema.kinds[self.row["kind_there"]]
        for path, node, value in list(schema.places(self.root, self.thing)):  # 1.20 cannot apply quantities that are numbers
            if node.get("type") == "string" and "format" not in node and isinstance(value, (int, float)):
                self.thing = changed(self.thing, [(path, str(value))])
        self.mutations = []
        self.manager = rng.choice(["mutate", "mutate", "other", "third"])
        if self.sub == "status":
            node = schema.resolve(self.root).get("properties", {}).get("status")
            status = schema.make(rng, node) if node else {}
            self.thing = {"metadata": self.thing["metadata"], "status": status if isinstance(status, dict) else {}}
        elif self.sub == "scale":
            self.root = schema.kinds[("autoscaling", "v1", "Scale")]
            self.thing = {"metadata": {"name": self.name}, "spec": {"replicas": rng.choice([0, 1, 3])}}
        self.made = {"operations": random_operations, "directive": directive}.get(self.how, lambda *_: None)(rng, schema, self.root, self.thing)
        self.deletion = deletion(rng, self.resource, self.name)
        for _ in range(0 if self.made or self.how == "delete" else rng.choice([1, 1, 1, 2, 3])):
            self.mutations.append(mutation(rng, schema, self.root, changed(self.thing, self.mutations)))

    def label(self):
        return f"object/{self.resource}.{self.group_version.split('/')[0]}/{self.which}"

    def request(self, server, mutations):
        """(method, path, body, content type) for this server."""
        to = objects.where(self.group_version, self.resource)
        group = server.path(to).split("/namespaces/")[0].strip("/").split("/")
        typed = {"apiVersion": "/".join(group[1:] if self.resource not in group else group[1:-1]), "kind": self.row["kind"]}
        if self.sub == "scale":
            typed = {"apiVersion": "autoscaling/v1", "kind": "Scale"}
        query = "?dryRun=All" + (f"&fieldValidation={self.validation}" if self.validation and not server.before else "")
        query += f"&fieldManager={self.manager}"
        new, one = changed(self.thing, mutations), f"{to}/{self.name}" + (f"/{self.sub}" if self.sub else "")
        if self.how in ("create", "apply-new") and isinstance(new.get("metadata"), dict) and new["metadata"].get("name") == self.name:
            new["metadata"]["name"] = "new-" + self.name if "object_name" not in self.row else self.name
        if self.how == "create":
            return "POST", to + query, new, JSON
        if self.how == "delete":
            return "DELETE", to + query + self.deletion[0], self.deletion[1], JSON
        if self.made:
            return "PATCH", one + query, self.made, PATCH if self.how == "operations" else STRATEGIC
        if self.how.startswith("apply"):
            name = (new.get("metadata") or {}).get("name", self.name) if isinstance(new.get("metadata"), dict) else self.name
            name = name if self.how == "apply-new" and name == "new-" + self.name else self.name
            at = one if self.sub else f"{to}/{name}"
            return "PATCH", at + query + ("&force=true" if self.how == "apply-force" else ""), {**typed, **new}, APPLY
        if self.how == "put":
            stored = server.ask("GET", one)[1]
            if self.sub == "status" and isinstance(stored, dict):
                stored["status"] = self.thing["status"]
            return "PUT", one + query, changed(stored, mutations), JSON
        if self.how == "json-patch":
            first = [{"op": "add", "path": "/status", "value": self.thing["status"]}] if self.sub == "status" else []
            return "PATCH", one + query, first + operations(mutations), PATCH
        patch = {**partial(new, mutations), "status": new.get("status")} if self.sub == "status" else partial(new, mutations)
        return "PATCH", one + query, patch, MERGE if self.how == "merge" else STRATEGIC

    def show(self, mutations):
        places = "; ".join(f"{'.'.join(map(str, path))} {'gone' if value is GONE else '= ' + json.dumps(value, ensure_ascii=False)[:160]}" for path, value in mutations)
        what = json.dumps(self.made or self.deletion, ensure_ascii=False)[:400] if self.made or self.how == "delete" else places
        how = " ".join(filter(None, (self.how, self.sub, self.validation)))
        return f"case {self.number}: {how} {self.group_version}/{self.resource} {self.name}: {what}"


# ---- what differs ----------------------------------------------------------------------------------------------------

def causes(answer):
    """Each cause as one text; the message where there are none."""
    body = run.told_once(answer)[1]
    if not isinstance(body, dict) or body.get("kind") != "Status":
        return []
    told = (body.get("details") or {}).get("causes") or []
    return [f"{c.get('field')}: {c.get('message')}" for c in told] or [str(body.get("message"))]


def owned(answer):
    """(who, field) of what managedFields say."""
    for entry in (answer[1].get("metadata") or {}).get("managedFields") or []:
        who = f"{entry.get('manager')} {entry.get('operation')}"
        yield from ((who, path) for path, _ in run.leaves(entry.get("fieldsV1") or {}))


def owners_differ(peer, ours):
    """What differs of owners, where both took it. In 1.20 whoever wrote an object owned the status that he sent, too; and what is owned as one today was owned
    by its parts, or the other way round. What the other server does not show, it cannot have given to somebody: fields that are newer, or gone."""
    if any(a[0] not in (200, 201) or not isinstance(a[1], dict) or "metadata" not in a[1] for a in (peer, ours)):
        return
    a, b = set(owned(peer)), set(owned(ours))
    for side, mine, theirs, other_says in (("by the peer", a, b, ours[1]), ("by us", b, a, peer[1])):
        shown = json.dumps({**other_says, "metadata": {k: v for k, v in other_says["metadata"].items() if k != "managedFields"}})
        for who, path in sorted(mine - theirs):
            kept = [other for whose, other in theirs if whose == who and (other.startswith(path + ".") or path.startswith(other + "."))]
            if not kept and path.endswith("..") and (who, path[:-2]) in theirs:
                continue
            field = re.search(r"f:([^:]*?)\.*$", path)
            if not kept and not path.startswith("f:status") and "selfLink" not in path and (not field or f'"{field[1]}":' in shown):
                yield f"owned {side}: {pattern(path)}", *((who, path) if mine is x else "" for x in (a, b))


def pattern(text):
    """What is the same of messages about other values and other places."""
    text = re.sub(r'"(\\.|[^"\\])*"', '"…"', str(text))
    text = re.sub(r"(Invalid|Unsupported|Duplicate) value: .*?(: |$)", r"\1 value: …\2", text, flags=re.S)
    text = re.sub(r"(\S*\.)(\w+(\[[^]]*\])?:)", r"….\2", text)
    return re.sub(r"\d+", "N", re.sub(r"\[[^\]]*\]", "[]", text))[:160]


def told(peer, ours, reasons, label):
    """(kind of difference, peer's, ours) of two answers."""
    if peer[0] == 0:
        return  # 1.20 panics at some
    found = [d for d in run.differences(peer, ours, reasons) if not reasons.of(label, *d)]
    if not found:
        return
    one, other = causes(peer), causes(ours)
    if peer[0] != ours[0]:
        yield f"{peer[0]} → {ours[0]}: {pattern(' | '.join(other or one))}", one or "(taken)", other or "(taken)"
    elif one or other:
        one, other = [c for c in one if c not in other], [c for c in other if c not in one]
        for said in list(one):
            match = next((c for c in other if reasons.today(said, c) == c), None)
            if match is not None:
                one.remove(said)
                other.remove(match)
        if one or other:
            yield "told: " + pattern(" | ".join(sorted(one))) + " → " + pattern(" | ".join(sorted(other))), one, other
        else:
            for path, said, says in found:
                if "message" not in path and "causes" not in path:
                    yield f"{re.sub(r'[0-9]+', 'N', path)}", said, says
    else:
        for path, said, says in found:
            short = ".".join(re.sub(r"\[\d+\]", "[]", path).split(".")[-2:])
            yield f"field: {short}: {pattern(said)[:40]} → {pattern(says)[:40]}", f"{path}: {said}", says


class Mutate:
    def __init__(self, peer, ours, only, known):
        self.peer, self.ours, self.known = run.Server(peer, before=True), run.Server(ours), known
        self.reasons = run.Reasons("differences.yaml", *([] if known else ["mutated.yaml"]))
        self.schema = Schema(self.peer.kube)
        self.rows = []
        for server in (self.peer, self.ours):
            server.set_up()
        for row, group_version, resource in objects.kinds():
            self.stand(row, group_version, resource)
            if re.search(only, resource):
                self.rows.append((row, group_version, resource))

    def stand(self, row, group_version, resource):
        """The objects that changes are tried on."""
        to = objects.where(group_version, resource)
        base = to.split("/namespaces/")[0] if "/namespaces/" in to else to.rsplit("/", 1)[0]
        there = self.peer.path(to)
        listed = self.ours.kube.get(base)["resources"]
        row["kind"] = next(r["kind"] for r in listed if r["name"] == resource)
        spoken = there.strip("/").split("/")[1:]
        group = ("", "v1") if there.startswith("/api/") else tuple(spoken[:2])
        row["kind_there"] = (*group, row["kind"])
        for which in ("minimal",) if resource in ADMITTING else ("minimal", "full"):
            name = row.get("object_name") or f"{row.get('name', 'x')}-{which}"
            for server in (self.peer, self.ours):
                code, answer = server.ask("POST", to, objects.body(row, which, name), JSON)
                if code not in (201, 409):
                    print(f"{to} {name}: {code} {answer}")

    def compare(self, case, mutations):
        requests = [case.request(server, mutations) for server in (self.peer, self.ours)]
        answers = [server.ask(*request) for server, request in zip((self.peer, self.ours), requests)]
        if case.validation == "Strict" and "strict decoding error" in str(answers[1][1]):
            return requests, answers, []  # 1.20 has no such thing
        return requests, answers, list(told(*answers, self.reasons, case.label())) + list(owners_differ(*answers))

    def least(self, case, found):
        """As few mutations as show the same."""
        mutations, kinds = case.mutations, {k for k, _, _ in found}
        for one in case.mutations if len(mutations) > 1 else []:
            fewer = [m for m in mutations if m is not one]
            if fewer and kinds & {k for k, _, _ in self.compare(case, fewer)[2]}:
                mutations = fewer
        return mutations

    def run(self, seed, cases):
        seen, first = collections.Counter(), {}
        for number in range(cases):
            case = Case(number, seed, self.schema, self.rows)
            found = self.compare(case, case.mutations)[2]
            new = [d for d in found if d[0] not in seen]
            seen.update({d[0] for d in found})
            if new:
                shown = case.show(self.least(case, new))
                for kind, said, says in new:
                    first[kind] = f"{shown}\n      peer {str(said)[:400]}\n      ours {str(says)[:400]}"
        for kind, count in seen.most_common():
            print(f"{count} × {kind}\n   {first[kind]}")
        print(f"{cases} cases of seed {seed}: {len(seen)} kinds of difference")

    def show(self, seed, number):
        case = Case(number, seed, self.schema, self.rows)
        requests, answers, found = self.compare(case, case.mutations)
        print(case.show(case.mutations))
        for who, (method, path, body, kind), answer in zip(("peer", "ours"), requests, answers):
            print(f"---- {who}: {method} {path} ({kind})\n{json.dumps(body)}\n{json.dumps(answer, indent=1)}")
        for difference in found:
            print(*difference, sep="\n   ")


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("peer")
    args.add_argument("--kogge")
    args.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    args.add_argument("--cases", type=int, default=2000)
    args.add_argument("--only", default="")
    args.add_argument("--case", type=int)
    args.add_argument("--known", action="store_true")
    args = args.parse_args()
    print(f"seed {args.seed}", flush=True)
    with kogge.beside(args.kogge) as ours:
        both = Mutate(args.peer, ours, args.only, args.known)
        if args.case is None:
            both.run(args.seed, args.cases)
        else:
            both.show(args.seed, args.case)


if __name__ == "__main__":
    main()
