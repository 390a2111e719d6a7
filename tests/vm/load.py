"""Writes whose acknowledgements are kept outside of the machine that may lose its power, and what is compared afterwards."""
import http.client
import threading

from kube import path

NAMESPACE = "load"
WRITERS = 4


class Writer(threading.Thread):
    """Creates an object, changes it twice, deletes every fourth; one request at a time, so that at most one is unanswered at the end."""

    def __init__(self, kube, tag):
        super().__init__(daemon=True)
        self.kube, self.tag = kube, tag
        self.acknowledged = {}  # name: (value, resourceVersion); (None, None): deleted
        self.unanswered = None  # (name, value)
        self.count, self.stop, self.fault = 0, False, None

    def run(self):
        n = 0
        try:
            while not self.stop:
                name = f"{self.tag}-{n}"
                self._write(name, "1", lambda body: self.kube.create(path("configmaps", NAMESPACE), body))
                for value in ("2", "3"):
                    self._write(name, value, lambda body, name=name: self.kube.patch(path("configmaps", NAMESPACE, name), body))
                if n % 4 == 3:
                    self.unanswered = (name, None)
                    self.kube.delete(path("configmaps", NAMESPACE, name))
                    self._heard(name, None, None)
                n += 1
        except (OSError, http.client.HTTPException):
            pass  # the power is gone
        except Exception as e:  # pylint: disable=broad-except
            self.fault = f"{type(e).__name__}: {e}"

    def _write(self, name, value, send):
        self.unanswered = (name, value)
        thing = send({"metadata": {"name": name}, "data": {"value": value, "padding": "x" * 500}})
        self._heard(name, value, thing["metadata"]["resourceVersion"])

    def _heard(self, name, value, version):
        self.acknowledged[name] = (value, version)
        self.unanswered = None
        self.count += 1


class Load:
    def __init__(self, kube, tag):
        self.writers = [Writer(kube.clone(), f"{tag}-{n}") for n in range(WRITERS)]
        for writer in self.writers:
            writer.start()

    def end(self):
        """After the power has gone."""
        for writer in self.writers:
            writer.stop = True
            writer.join(60)
            if writer.fault:
                raise RuntimeError(f"a write failed before the power was cut: {writer.fault}")
        return self.count()

    def count(self):
        return sum(w.count for w in self.writers)

    def differences(self, kube):
        """What was acknowledged and is not there, a line each."""
        found = kube.get(path("configmaps", NAMESPACE) + "?limit=0")
        there = {o["metadata"]["name"]: (o["data"]["value"], o["metadata"]["resourceVersion"]) for o in found["items"] if "value" in o.get("data", {})}
        versions = [0]
        for writer in self.writers:
            for name, (value, version) in writer.acknowledged.items():
                versions.append(int(version or 0))
                have = there.get(name, (None, None))
                if have != (value, version) and (name, have[0]) != writer.unanswered:
                    yield f"{name}: acknowledged {value} at {version}, found {have[0]} at {have[1]}"
        if int(found["metadata"]["resourceVersion"]) < max(versions):
            yield f"the store is at {found['metadata']['resourceVersion']}, {max(versions)} was acknowledged"
