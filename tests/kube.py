"""A thin Kubernetes client for tests and benchmarks: the standard library and PyYAML, nothing else."""
import base64
import http.client
import json
import os
import select
import ssl
import tempfile
import threading
import time
from urllib.parse import urlsplit

import yaml

GROUPS = {
    "": ("pods", "services", "configmaps", "secrets", "namespaces", "nodes", "events", "endpoints", "serviceaccounts", "resourcequotas"),
    "apps/v1": ("deployments", "replicasets", "daemonsets", "statefulsets"),
    "batch/v1": ("jobs", "cronjobs"),
    "discovery.k8s.io/v1": ("endpointslices",),
    "rbac.authorization.k8s.io/v1": ("roles", "rolebindings", "clusterroles", "clusterrolebindings"),
    "coordination.k8s.io/v1": ("leases",),
    "certificates.k8s.io/v1": ("certificatesigningrequests",),
    "networking.k8s.io/v1": ("networkpolicies",),
}
PREFIX = {r: f"/apis/{g}" if g else "/api/v1" for g, resources in GROUPS.items() for r in resources}


class ApiError(Exception):
    def __init__(self, code, status):
        self.code, self.status = code, status
        super().__init__(f"{code}: {status.get('message', status) if isinstance(status, dict) else status}")


def path(resource, namespace=None, name=None, sub=None):
    parts = [PREFIX[resource]] + (["namespaces", namespace] if namespace else []) + [resource]
    return "/".join(parts + [p for p in (name, sub) if p])


class Kube:
    """One connection to one server; a thread needs its own (see clone)."""

    def __init__(self, kubeconfig, timeout=30):
        with open(kubeconfig, encoding="utf-8") as f:
            config = yaml.safe_load(f)
        named = {kind: {e["name"]: e for e in config[kind]} for kind in ("clusters", "users", "contexts")}
        context = named["contexts"][config["current-context"]]["context"]
        cluster = named["clusters"][context["cluster"]]["cluster"]
        user = named["users"][context["user"]]["user"]
        self.kubeconfig, self.timeout, self.server = kubeconfig, timeout, urlsplit(cluster["server"])
        self.token = user.get("token")
        self.tls = ssl.create_default_context(cadata=self._text(cluster, "certificate-authority"))
        self._load_client_certificate(user)
        self.connection = None

    @staticmethod
    def _text(entry, key):
        if key + "-data" in entry:
            return base64.b64decode(entry[key + "-data"]).decode()
        if key not in entry:
            return None
        with open(entry[key], encoding="utf-8") as f:
            return f.read()

    def _load_client_certificate(self, user):
        crt, key = self._text(user, "client-certificate"), self._text(user, "client-key")
        if not crt:
            return
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as f:  # ssl reads files only
            f.write(crt + "\n" + key)
            f.flush()
            self.tls.load_cert_chain(f.name)

    def clone(self, timeout=None):
        return Kube(self.kubeconfig, timeout or self.timeout)

    def _connect(self, timeout):
        return http.client.HTTPSConnection(self.server.hostname, self.server.port, timeout=timeout, context=self.tls)

    def _reuse(self):
        """The connection of the last request, unless the server has ended it meanwhile; as client libraries look before they ask."""
        if sock := self.connection and self.connection.sock:
            look = select.poll()
            look.register(sock, select.POLLIN)
            if look.poll(0):
                self.connection.close()
                self.connection = None
        return self.connection

    def _headers(self, body, kind):
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = kind
        if self.token:
            headers["Authorization"] = "Bearer " + self.token
        return headers

    def text(self, method, where, body=None, kind="application/json"):
        """The status code and the body's bytes. An error of the connection ends it and is the caller's."""
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        reused = self._reuse() is not None
        self.connection = self.connection or self._connect(self.timeout)
        try:
            self.connection.request(method, where, body, self._headers(body, kind))
            answer = self.connection.getresponse()
            return answer.status, answer.read()
        except Exception as e:
            self.connection.close()
            self.connection = None
            if reused and method == "GET" and isinstance(e, http.client.RemoteDisconnected):  # the server had closed it meanwhile
                return self.text(method, where, body, kind)
            raise

    def call(self, method, where, body=None, kind="application/json"):
        code, data = self.text(method, where, body, kind)
        try:
            value = json.loads(data)
        except ValueError:
            value = data.decode(errors="replace")
        if code >= 400:
            raise ApiError(code, value)
        return value

    def get(self, where):
        return self.call("GET", where)

    def create(self, where, body):
        return self.call("POST", where, body)

    def patch(self, where, body, kind="application/merge-patch+json"):
        return self.call("PATCH", where, body, kind)

    def delete(self, where, **options):
        return self.call("DELETE", where, options or None)

    def ready(self):
        try:
            return self.text("GET", "/readyz")[0] == 200
        except OSError:
            return False
        except http.client.HTTPException:
            return False

    def watch(self, where, seconds=600, since=None):
        """Events as they come: (monotonic time, type, object)."""
        mark = "&" if "?" in where else "?"
        query = f"{where}{mark}watch=1&timeoutSeconds={int(seconds)}" + (f"&resourceVersion={since}" if since else "")
        connection = self._connect(seconds + 5)
        try:
            connection.request("GET", query, headers=self._headers(None, None))
            answer = connection.getresponse()
            if answer.status != 200:
                raise ApiError(answer.status, answer.read().decode(errors="replace"))
            while line := answer.readline():
                event = json.loads(line)
                yield time.monotonic(), event["type"], event["object"]
        finally:
            connection.close()


class Watcher(threading.Thread):
    """Keeps every event of a watch with the time of its arrival, from a list onwards."""

    def __init__(self, kube, where):
        super().__init__(daemon=True)
        self.kube, self.where, self.events, self.changed = kube.clone(), where, [], threading.Condition()
        self.since = self.kube.get(where)["metadata"]["resourceVersion"]
        self.start()

    def run(self):
        try:
            for event in self.kube.watch(self.where, since=self.since):
                with self.changed:
                    self.events.append(event)
                    self.changed.notify_all()
        except (OSError, http.client.HTTPException, ApiError) as e:
            with self.changed:
                self.events.append((time.monotonic(), "ENDED", {"message": str(e)}))
                self.changed.notify_all()

    def wait(self, wanted, seconds=60):
        """The time of the first event for which wanted(type, object) holds."""
        end, seen = time.monotonic() + seconds, 0
        with self.changed:
            while True:
                for when, kind, thing in self.events[seen:]:
                    if wanted(kind, thing):
                        return when
                seen = len(self.events)
                if seen and self.events[-1][1] == "ENDED":
                    raise RuntimeError(f"watch of {self.where} ended: {self.events[-1][2]}")
                if not self.changed.wait(end - time.monotonic()) and time.monotonic() >= end:
                    raise TimeoutError(f"no such event of {self.where} within {seconds} s; the last: {self.events[-1:]}")


def condition(thing, name):
    return next((c["status"] for c in thing.get("status", {}).get("conditions", []) if c["type"] == name), "")


def is_ready(thing):
    return condition(thing, "Ready") == "True"


LEAST_S, SLOW = 60, 3


def until(wanted, seconds, what, every=0.05):
    """Waits until wanted() is true and gives what it returned. The limit ends what hangs and judges nobody: `seconds` are those of a
    machine that does nothing else, a busy one gets SLOW times as many, and LEAST_S at least. It looks once more after the limit."""
    seconds, last, value = max(LEAST_S, SLOW * seconds), None, None
    end = time.monotonic() + seconds
    while True:
        late = time.monotonic() >= end
        try:
            if value := wanted():
                return value
            last = None
        except (ApiError, OSError, http.client.HTTPException) as e:
            last = e
        if late:
            raise TimeoutError(f"{what}: not within {seconds} s; the last look: {str(last or repr(value))[:600]}")
        time.sleep(every)


def top():
    return os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
