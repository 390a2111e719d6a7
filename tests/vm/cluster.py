"""The cluster in the virtual machine, seen from outside: its API, its pods, and the files of their control groups."""
import os

import yaml

from kube import ApiError, Kube, is_ready, path, until

DATA = "/var/lib/kogge"
GROUPS = "/sys/fs/cgroup"


def container(image, **more):
    return {"name": "main", "image": image, **more}


def template(app, *containers, **spec):
    return {"metadata": {"labels": {"app": app}}, "spec": {"terminationGracePeriodSeconds": 1, "containers": list(containers), **spec}}


def pod(name, *containers, **spec):
    return {"apiVersion": "v1", "kind": "Pod", **template(name, *containers, **spec), "metadata": {"name": name, "labels": {"app": name}}}


def workload(name, one, **spec):
    return {"metadata": {"name": name}, "spec": {"selector": {"matchLabels": {"app": name}}, "template": template(name, one), **spec}}


class Cluster:
    def __init__(self, machine, folder):
        self.machine, self.kubeconfig, self.kube = machine, os.path.join(folder, "admin.kubeconfig"), None

    def connect(self, seconds=60):
        """A new connection to an API that answers, by the port that qemu forwards."""
        config = yaml.safe_load(self.machine.out(f"cat {DATA}/admin.kubeconfig"))
        config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{self.machine.port}"
        with open(self.kubeconfig, "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as f:
            yaml.safe_dump(config, f)
        self.kube = Kube(self.kubeconfig, timeout=2 * self.machine.patience)
        self.until(self.kube.ready, seconds, "/readyz")
        return self.kube

    def until(self, wanted, seconds, what):
        return until(wanted, seconds * self.machine.patience, what)

    def create(self, resource, body):
        return self.kube.create(path(resource, "default"), body)

    def delete_pod(self, name):
        self.kube.delete(path("pods", "default", name), gracePeriodSeconds=0)

    def pods(self):
        return self.kube.get(path("pods", "default"))["items"]

    def wait_pods(self, count, seconds=90):
        def all_ready():
            pods = self.pods()
            return pods if len(pods) == count and all(is_ready(p) for p in pods) else None
        return self.until(all_ready, seconds, f"{count} Ready pods in default")

    def wait_node(self, seconds=60):
        self.until(lambda: all(is_ready(n) for n in self.kube.get(path("nodes"))["items"] or [{}]), seconds, "a Ready node")

    def pod(self, name, wanted=is_ready, seconds=60):
        def look():
            one = self.kube.get(path("pods", "default", name))
            return one if wanted(one) else None
        return self.until(look, seconds, f"pod {name}")

    def gone(self, name, seconds=30):
        def look():
            try:
                return self.kube.get(path("pods", "default", name)) is None
            except ApiError as e:
                return e.code == 404
        return self.until(look, seconds, f"pod {name} gone")

    def demo_says(self):
        """What the demo answers through its Service, asked on the node."""
        address = self.kube.get(path("services", "default", "web"))["spec"]["clusterIP"]
        return self.machine.run(f"curl -sS --max-time {2 * self.machine.patience} http://{address}/").out

    # ---- control groups --------------------------------------------------------------------------------------------------

    def group_of(self, one):
        """The control group of a pod's only container."""
        mark = one["status"]["containerStatuses"][0]["containerID"].split("//")[1]
        return self.machine.out(f"cd {GROUPS} && find . -type d -name '*{mark}*' | head -1")[1:]

    def read_group(self, group, names):
        files = " ".join(f"{GROUPS}{group}/{name}" for name in names)
        return dict(zip(names, self.machine.out(f"for f in {files}; do cat $f 2>/dev/null || echo -; done").split("\n")))

    def processes(self):
        """Every process in a container with its control group: "PID group" a line."""
        return self.machine.out("grep -s kubepods /proc/[0-9]*/cgroup | sort -V")


def identity(pods):
    """What a restart of Kogge must leave alone."""
    return sorted((p["metadata"]["name"], p["metadata"]["uid"], s["containerID"], s["restartCount"]) for p in pods for s in p["status"]["containerStatuses"])


def names(pods):
    return sorted((p["metadata"]["name"], p["metadata"]["uid"]) for p in pods)


def containers(pods):
    return {s.get("containerID") for p in pods for s in p["status"].get("containerStatuses", [])}
