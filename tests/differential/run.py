#!/usr/bin/env python3
"""Sends the same requests to a real Kubernetes 1.20 API server and to Kogge and compares the answers, field by field.

    run.py record KUBECONFIG             asks the peer and writes recording.json.xz 
    run.py compare KUBECONFIG            asks Kogge and compares with the recording; needs no peer
    run.py show KUBECONFIG CASE          both answers to one case

What may differ is listed in differences.yaml, each with its reason; a difference that is not listed is a failure, and so is a listed one
that no case shows any more. A row with `says` and `now` is about words: what the peer says is put into today's words and then has to be the
same to the letter (`ours_says` is replaced in Kogge's words, where those have a part that no pattern can make of the peer's; `when` says which to look at). After each refused case the server's revision and a hash of all its objects must be what they were; that this is noticed
is tried first.
Ends with "N passed, N failed".
"""
import hashlib
import http.client
import json
import lzma
import os
import re
import sys
import time

import yaml

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]
import objects  # noqa: E402
import refused  # noqa: E402
from kube import ApiError, Kube  # noqa: E402

RECORDING = os.path.join(HERE, "recording.json.xz")
NAMESPACE = objects.NAMESPACE


# ---- asking --------------------------------------------------------------------------------------------------------

# Where 1.20 serves what has become v1 since.
BEFORE = [(re.compile("/apis/policy/v1/"), "/apis/policy/v1beta1/"), (re.compile("/apis/discovery.k8s.io/v1/"), "/apis/discovery.k8s.io/v1beta1/"),
          (re.compile("/apis/autoscaling/v2/"), "/apis/autoscaling/v2beta2/"), (re.compile("/apis/batch/v1/(.*cronjobs)"), r"/apis/batch/v1beta1/\1")]


class Server:
    def __init__(self, kubeconfig, before=False):
        self.kube, self.before = Kube(kubeconfig, timeout=60), before

    def path(self, path):
        """Where this server has what is at that path today."""
        for now, was in BEFORE if self.before else []:
            path = now.sub(was, path)
        return path

    def ask(self, method, path, body=None, kind=None):
        """[code, body]; the body as JSON where it is."""
        path = self.path(path)
        headers = {"Accept": "application/json"}
        if isinstance(kind, tuple):
            headers["Accept"] = kind[1]
        elif kind is not None:
            headers["Content-Type"] = kind
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        connection = self.kube._connect(60)
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders()
            try:
                if body:
                    connection.send(body)
            except OSError:
                pass  # refused before all of it was read: the answer is there
            answer = connection.getresponse()
            data = answer.read()
        except (OSError, http.client.HTTPException, ValueError) as e:
            return [0, type(e).__name__]
        finally:
            connection.close()
        try:
            return [answer.status, json.loads(data)]
        except ValueError:
            return [answer.status, data.decode(errors="replace").strip()]

    def notices(self):
        """Whether state() tells a write, and that nothing but writes changes it."""
        before = self.state()
        path, thing = f"/api/v1/namespaces/{NAMESPACE}/configmaps", {"metadata": {"name": "noticed"}}
        self.kube.call("POST", path + "?dryRun=All", thing)
        same = self.state()
        self.kube.call("POST", path, thing)
        made = self.state()
        self.kube.call("DELETE", f"{path}/noticed")
        gone = self.state()
        return before == same and made[0] != same[0] and made[1] != same[1] and gone[0] != made[0] and gone[1] == before[1]

    def set_up(self):
        for method, path, body in [("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}}),
                                   ("POST", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts", {"metadata": {"name": "default"}, "secrets": [{"name": "s"}]})]:
            try:
                self.kube.call(method, path, body)
            except ApiError as e:
                if e.code != 409:
                    raise
        for method, path, body in refused.setup():
            code, answer = self.ask(method, path, body, "application/json")
            if code not in (200, 201) and self.ask("GET", f"{path}/{body['metadata']['name']}")[0] != 200:
                sys.exit(f"{path}: {code} {answer}")

    # ---- what is there -------------------------------------------------------------------------------------------------

    def state(self):
        """Revision and hash of everything."""
        if not hasattr(self, "lists"):
            self.lists = []
            groups = ["/api/v1"] + ["/apis/" + g["preferredVersion"]["groupVersion"] for g in self.kube.get("/apis")["groups"]]
            for group in groups:
                self.lists += [f"{group}/{r['name']}" for r in self.kube.get(group)["resources"]
                               if "list" in r["verbs"] and r["name"] != "componentstatuses"]
        total, revision = hashlib.sha256(), None
        for path in self.lists:
            answer = self.kube.get(path)
            revision = answer["metadata"]["resourceVersion"]
            total.update(json.dumps(answer["items"], sort_keys=True).encode())
        return revision, total.hexdigest()


# ---- comparing -----------------------------------------------------------------------------------------------------

CHANGING = re.compile(r"(^|\.)(uid|resourceVersion|creationTimestamp|deletionTimestamp|time|selfLink|managedFields|startTime|requestReceivedTimestamp)$")
FOREIGN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

VERSIONS = re.compile(r"((?:current: |ResourceVersion in record \())\d+")


def leaves(value, path=""):
    """path → value of everything in a JSON value; lists by position."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value:
        for i, inner in enumerate(value):
            yield from leaves(inner, f"{path}[{i}]")
    else:
        yield path, FOREIGN.sub("UID", value) if isinstance(value, str) else value


def facts(answer):
    code, body = answer
    out = {"code": code}
    if isinstance(body, str):
        try:  # the events of a watch: those that it begins with come in no order
            body = sorted((json.loads(line) for line in body.splitlines()), key=lambda event: event["object"]["metadata"]["name"])
        except (ValueError, KeyError, TypeError):
            pass
    if isinstance(body, (dict, list)):
        for path, value in leaves(body):
            if CHANGING.search(path) or ".managedFields[" in path or path.startswith("metadata.managedFields"):
                continue
            if re.search(r"(clusterIPs?(\[0\])?|nodePort|healthCheckNodePort)$", path) and value not in ("None", "10.96.77.77", 0):
                value = "ALLOCATED"
            if path.endswith(("lastTransitionTime", "lastUpdateTime")) and value:
                value = "TIME"
            if path.endswith("message") and isinstance(value, str):
                value = VERSIONS.sub(r"\1N", value)
            out[path] = value
    else:
        out["text"] = body
    return out


def told_once(answer):
    """1.20 checks some objects twice and tells what it found as often; Kogge tells it once."""
    code, body = answer
    causes = body.get("details", {}).get("causes") if code == 422 and isinstance(body, dict) else None
    if not causes:
        return answer
    once = list({json.dumps(c, sort_keys=True): c for c in causes}.values())
    if len(once) == len(causes):
        return answer
    told = [f"{c['field']}: {c['message']}" for c in once]
    message = body["message"].split(" is invalid: ")[0] + " is invalid: " + (told[0] if len(told) == 1 else f"[{', '.join(told)}]")
    return [code, dict(body, message=message, details=dict(body["details"], causes=once))]


def differences(peer, ours, reasons):
    a, b = facts(told_once(peer)), facts(ours)
    if a.get("kind") != b.get("kind"):  # an error here, an object there: what follows says nothing
        a, b = ({k: x[k] for k in ("code", "kind", "message", "text") if k in x} for x in (a, b))
    for path in sorted(set(a) | set(b)):
        said, says = a.get(path, "(absent)"), b.get(path, "(absent)")
        if said != says:
            said = reasons.today(said, says)
        if said != says:
            yield path, said, says


class Reasons:
    def __init__(self, *files):
        self.rows = []
        for name in files or ("differences.yaml",):
            with open(os.path.join(HERE, name), encoding="utf-8") as f:
                self.rows += yaml.safe_load(f) or []
        for row in self.rows:
            row["used"] = 0
            if "says" in row:
                row["says"], row["when"] = re.compile(row["says"], re.S), re.compile(row.get("when", ""), re.S)
            row["re"] = [re.compile(row.get(k, ".*"), re.S) for k in ("case", "path", "peer", "ours")]

    def of(self, case, path, peer, ours):
        for row in self.rows:
            if "says" not in row and all(r.fullmatch(str(v)) for r, v in zip(row["re"], (case, path, peer, ours))):
                row["used"] += 1
                return row["reason"]
        return None

    def today(self, said, ours):
        """The peer's words as today's server has them; only rows that help count as used."""
        if not isinstance(said, str) or not isinstance(ours, str):
            return said
        says = ours
        helped, now = [], said
        for row in self.rows:
            if "says" in row and row["when"].search(said) and row["says"].search(now):
                helped.append(row)
                now = row["says"].sub(row["now"], now)
                if "ours_says" in row:
                    says = re.sub(row["ours_says"], row["now"], says, flags=re.S)
        if now != says:
            return said
        for row in helped:
            row["used"] += 1
        return ours


# ---- the two runs --------------------------------------------------------------------------------------------------

def ask(server, method, path, *rest):
    """A server writes the status of an APIService a moment after the object is there: that is what is compared, not the moment."""
    until = time.monotonic() + 10
    while method == "GET" and "/apiservices/" in path and time.monotonic() < until:
        status, answer = server.ask(method, path, *rest)[:2]
        if status != 200 or "conditions" in str(answer):
            break
        time.sleep(0.1)
    return server.ask(method, path, *rest)


def answers(server, only=None, check=None):
    """case → answers. check(case) runs after each refused case."""
    for name, steps in objects.cases():
        if only in (None, name):
            yield f"object/{name}", [ask(server, *step) for step in steps]
    for name, method, path, body, kind in refused.cases():
        if only in (None, name):
            before = server.state() if check else None
            answer = server.ask(method, path, body, kind)
            if check and (answer[0] >= 400 or answer[0] == 0):
                check(name, before)
            elif answer[0] == 201:
                tidy(server, path, answer)
            yield f"refused/{name}", [answer]


def tidy(server, path, answer):
    """Takes away what a case made, so that the next one meets what the first one met."""
    name = isinstance(answer[1], dict) and answer[1].get("metadata", {}).get("name")
    if name:
        if answer[1]["metadata"].get("finalizers"):
            server.ask("PATCH", f"{path.split('?')[0]}/{name}", {"metadata": {"finalizers": None}}, "application/merge-patch+json")
        server.ask("DELETE", f"{path.split('?')[0]}/{name}?gracePeriodSeconds=0")


def record(kubeconfig):
    server = Server(kubeconfig, before=True)
    server.set_up()
    recorded = dict(answers(server))
    with lzma.open(RECORDING, "wt", preset=9) as f:
        json.dump(recorded, f, indent=0, sort_keys=True)
    print(f"{len(recorded)} cases recorded, {os.path.getsize(RECORDING) // 1024} KiB")
    return 0


def compare(kubeconfig):
    with lzma.open(RECORDING, "rt") as f:
        recorded = json.load(f)
    server, reasons, passed, failed, explained, changed = Server(kubeconfig), Reasons(), 0, 0, 0, []
    server.set_up()
    if not server.notices():
        changed.append("state() does not tell writes")
        print("CHANGED: a write is not told from none")

    def unchanged(name, before):
        after = server.state()
        if after != before:
            changed.append(name)
            print(f"CHANGED refused/{name}: revision {before[0]} → {after[0]}")

    for case, ours in answers(server, check=unchanged):
        wrong = []
        for i, (a, b) in enumerate(zip(recorded.get(case, []), ours)):
            for path, peer, mine in differences(a, b, reasons):
                if reasons.of(case, path, peer, mine):
                    explained += 1
                else:
                    wrong.append(f"   step {i} {path}: peer {str(peer)[:300]!r}, ours {str(mine)[:300]!r}")
        if case not in recorded:
            wrong.append("   not in the recording: make differential")
        passed, failed = passed + (not wrong), failed + bool(wrong)
        if wrong:
            print(f"DIFFERS {case}\n" + "\n".join(wrong[:int(os.environ.get("MOST", "12"))]))
    stale = [row for row in reasons.rows if not row["used"]]
    for row in stale:
        print("UNUSED difference: " + row["reason"])
    print(f"{explained} differences are explained by {len(reasons.rows)} reasons in differences.yaml")
    print(f"{passed} passed, {failed + len(changed) + len(stale)} failed")
    return 1 if failed or changed or stale else 0


def show(kubeconfig, case):
    with lzma.open(RECORDING, "rt") as f:
        recorded = json.load(f)
    server = Server(kubeconfig)
    server.set_up()
    for name, ours in answers(server, only=case.split("/", 1)[1]):
        for a, b in zip(recorded[name], ours):
            print(json.dumps({"peer": a, "ours": b}, indent=1)[:6000])
            for path, peer, mine in differences(a, b, Reasons()):
                print(f"   {path}: peer {peer!r}, ours {mine!r}")
    return 0


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in ("record", "compare", "show"):
        sys.exit(__doc__)
    sys.exit({"record": record, "compare": compare, "show": show}[sys.argv[1]](*sys.argv[2:]))
