"""Fixtures: a running cluster, kubectl in the versions that this machine has, a namespace for each test."""
import itertools
import json
import os
import re
import shutil
import subprocess
import threading
import time

import pytest
from server import IMAGES, KOGGE, Server
from kube import ApiError, is_ready, path, top, until

NAMES = itertools.count(1)


def pytest_collection_modifyitems(items):
    if not os.path.exists(KOGGE) or not os.path.isdir(IMAGES):
        raise pytest.UsageError(f"{KOGGE} or {IMAGES} is missing: make build/kogge test-images")
    items.sort(key=lambda item: "cluster" in item.fixturenames)  # those that look at the whole machine run before the shared server


# ---- failures show the server's log ------------------------------------------------------------------------------

@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed:
        Server.failures += 1
        logs = [server.last_log() for server in servers_of(item)]
        for server, log in zip(servers_of(item), logs):
            keep_log(item, server)
            report.sections.append((f"log of {server.slot.instance}", log))
        EVIDENCE.append(evidence(report, logs))


def servers_of(item):
    """Those that the test works with; fixtures lend theirs as `server`, and `fresh` tells those that it made."""
    found = {}
    for value in getattr(item, "funcargs", {}).values():
        for server in [*getattr(value, "made", []), getattr(value, "server", value)]:
            if isinstance(server, Server):
                found[server.slot.instance] = server
    return list(found.values())


def keep_log(item, server):
    folder = os.path.join(top(), "build", "logs", "e2e")
    os.makedirs(folder, exist_ok=True)
    if os.path.exists(server.log):
        shutil.copy(server.log, os.path.join(folder, f"{item.name.replace('/', '_')}.{server.slot.instance}.log"))


EVIDENCE = []  # for tools/test.sh, whose reader sees no other file: a few lines of each failure


def evidence(report, logs, most=8, width=290):
    """What was wrong, where, and what the servers had to say about it."""
    text = report.longreprtext.splitlines()
    said = [line[1:].strip() for line in text if line.startswith("E ")] or text[-most:]
    where = [line for line in text if re.match(r"[\w/.]+\.py:\d+: ", line)]
    warned = [line for log in logs for line in log.splitlines() if re.search(r"Z (WARN|ERROR)|^(?!\d{4}-)", line)]  # and the supervisor's words
    return [f"{report.nodeid} ({report.when})"] + ["   " + line[:width] for line in said[:most] + where[-1:] + warned[-3:]]


# ---- figures: what a test measured and does not assert is told at the end ------------------------------------------

FIGURES = []


def figures(what, **measured):
    FIGURES.append(f"figures: {what}: {json.dumps(measured)}")


def pytest_terminal_summary(terminalreporter):
    for line in FIGURES + [f"evidence: {line}" for lines in EVIDENCE for line in lines]:
        terminalreporter.write_line(line)


# ---- kubectl -------------------------------------------------------------------------------------------------------

def version_of(program):
    try:
        done = subprocess.run([program, "version", "--client", "-o", "json"], capture_output=True, text=True, timeout=120, check=False)
        v = json.loads(done.stdout)["clientVersion"]
        return int(v["major"]), int("".join(c for c in v["minor"] if c.isdigit()))
    except (OSError, ValueError, KeyError, subprocess.TimeoutExpired):
        return None


def kubectls():
    """Version and program of: KUBECTL, what lies on PATH or beside it, Debian's unpacked below build/. Oldest first."""
    found = [os.environ.get("KUBECTL", ""), os.path.join(top(), "build", "kubectl-1.20", "usr", "bin", "kubectl")]
    folders = os.environ.get("PATH", "").split(":")
    if on_path := shutil.which("kubectl"):
        folders.append(os.path.dirname(os.path.realpath(on_path)))
    for folder in folders:
        if os.path.isdir(folder):
            found += [os.path.join(folder, n) for n in sorted(os.listdir(folder)) if n == "kubectl" or n.startswith("kubectl.1.")]
    versions = {}
    for program in {os.path.realpath(p) for p in found if os.access(p, os.X_OK)}:
        if version := version_of(program):
            versions.setdefault(version, program)
    return [(f"{a}.{b}", versions[a, b]) for a, b in sorted(versions)]


ALL_KUBECTLS = kubectls()
KUBECTLS = list(dict.fromkeys(ALL_KUBECTLS[:1] + ALL_KUBECTLS[-1:]))  # the oldest and the newest


class Kubectl:
    def __init__(self, program, server, home, namespace=None):
        self.program, self.server, self.home, self.namespace = program, server, home, namespace
        self.env = dict(os.environ, KUBECONFIG=server.kubeconfig, HOME=str(home))
        self.version = version_of(program)

    def within(self, namespace):
        return Kubectl(self.program, self.server, self.home, namespace)

    def command(self, *args):
        return [self.program] + (["-n", self.namespace] if self.namespace else []) + [str(a) for a in args]

    def run(self, *args, stdin=None, timeout=300, env=None):
        """The finished process, whatever its code: what until() is given to look at, as a try may fail."""
        return subprocess.run(self.command(*args), input=stdin, capture_output=True, text=True, timeout=timeout,
                              env=dict(self.env, **(env or {})), check=False)

    def __call__(self, *args, **options):
        """Its output; a failure is the test's."""
        done = self.run(*args, **options)
        assert done.returncode == 0, f"kubectl {' '.join(map(str, args))}: code {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def fails(self, *args, **options):
        """Its error text; success is the test's failure."""
        done = self.run(*args, **options)
        assert done.returncode != 0, f"kubectl {' '.join(map(str, args))} succeeded:\n{done.stdout}"
        return done.stdout + done.stderr

    def start(self, *args, seconds=300):
        """A process whose output the test reads. One that says nothing is killed in the end: reading then ends, too."""
        process = subprocess.Popen(self.command(*args), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.env)
        end = threading.Timer(seconds, process.kill)
        end.daemon = True
        end.start()
        return process


# ---- servers ---------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="session")
def cluster():
    server = Server()
    server.add_images("busybox", "web-v1", "web-v2", "web-v3")
    try:
        server.start().wait_ready()
        server.wait_images("busybox:test", "web:v1", "web:v2", "web:v3")
        yield server
    finally:
        server.end()


@pytest.fixture(scope="module")
def server():
    """The API alone, of one file of tests."""
    made = Server(node=False)
    try:
        yield made.start().wait_api()
    finally:
        made.end()


@pytest.fixture
def data(tmp_path_factory):
    """A folder that every user may pass through; it goes away."""
    folder = f"/tmp/kogge-cli-{os.getpid()}-{time.monotonic_ns()}"
    os.mkdir(folder, 0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def fresh():
    """Makes servers that the test starts itself: fresh(node=False, flags=[…])."""
    made = []

    def make(**options):
        made.append(Server(**options))
        return made[-1]
    make.made = made
    yield make
    for server in made:
        server.end()


class Space:
    """A namespace and short ways to put things into it."""

    def __init__(self, server):
        self.server, self.name = server, f"test-{next(NAMES)}"
        self.kube.create(path("namespaces"), {"metadata": {"name": self.name}})
        until(lambda: self.get("serviceaccounts", "default"), 20, f"service account default in {self.name}")

    @property
    def kube(self):
        return self.server.kube  # another one after each start

    def get(self, resource, name=None, sub=None):
        return self.kube.get(path(resource, self.name, name, sub))

    def items(self, resource, selector=None):
        return self.kube.get(path(resource, self.name) + (f"?labelSelector={selector}" if selector else ""))["items"]

    def create(self, resource, body):
        return self.kube.create(path(resource, self.name), body)

    def wait(self, resource, name, wanted, seconds=60):
        def look():
            thing = self.get(resource, name)
            return thing if wanted(thing) else None
        return until(look, seconds, f"{resource}/{name} in {self.name}")

    def wait_gone(self, resource, name, seconds=60):
        def gone():
            try:
                self.get(resource, name)
            except ApiError as e:
                return e.code == 404
            return False
        until(gone, seconds, f"{resource}/{name} gone")

    def box(self, name="box", script="sleep 100000", **spec):
        """A busybox pod that ends at once when asked to."""
        main = {"name": "box", "image": "busybox:test", "command": ["sh", "-c", f"trap 'exit 0' TERM; {script} & wait"]}
        main.update(spec.pop("container", {}))
        self.create("pods", {"metadata": {"name": name, "labels": {"app": name}}, "spec": {"terminationGracePeriodSeconds": 1, "containers": [main], **spec}})
        return name

    def web(self, replicas=2, name="web", version="v1", **spec):
        container = {"name": "web", "image": f"web:{version}", "ports": [{"containerPort": 8080}],
                     "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1, "timeoutSeconds": 30}}
        self.create("deployments", {"metadata": {"name": name}, "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": name}}, **spec,
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}}})
        return name

    def service(self, name="web", **spec):
        body = {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}], **spec}
        return self.create("services", {"metadata": {"name": name}, "spec": body})

    def wait_pod(self, name, seconds=60):
        return self.wait("pods", name, is_ready, seconds)

    def wait_deployment(self, name="web", seconds=90):
        def done(d):
            status, wanted = d.get("status", {}), d["spec"]["replicas"]
            return (status.get("observedGeneration", 0) >= d["metadata"]["generation"] and status.get("updatedReplicas", 0) == wanted
                    and status.get("availableReplicas", 0) == wanted and status.get("replicas", 0) == wanted)
        return self.wait("deployments", name, done, seconds)

    def end(self):
        for kind in ("deployments", "replicasets"):
            self.kube.call("DELETE", path(kind, self.name), {"propagationPolicy": "Background"})
        self.kube.call("DELETE", path("pods", self.name), {"gracePeriodSeconds": 1})
        self.kube.delete(path("namespaces", None, self.name))


@pytest.fixture
def space(cluster):
    one = Space(cluster)
    yield one
    one.end()


@pytest.fixture(scope="session", params=[p for _, p in KUBECTLS], ids=[v for v, _ in KUBECTLS])
def any_kubectl(request, cluster, tmp_path_factory):
    return Kubectl(request.param, cluster, tmp_path_factory.mktemp("home"))


@pytest.fixture
def kubectl(any_kubectl, space):
    return any_kubectl.within(space.name)


@pytest.fixture(scope="session")
def demo(any_kubectl, cluster):
    """For tests that only read: a Deployment behind a Service and a busybox pod; one for each kubectl version."""
    one = Space(cluster)
    one.web(2)
    one.service()
    one.box(script="while :; do echo tick; sleep 1; done")
    one.wait_deployment()
    one.wait_pod("box")
    yield any_kubectl.within(one.name)
    one.end()
