"""A registry of images for tests: serves one docker archive on a loopback port, open or behind basic or token authentication."""
import base64
import hashlib
import http.server
import json
import tarfile
import threading

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


class Registry:
    def __init__(self, archive, auth=None, user="tester", password="s3cret"):
        self.auth, self.user, self.password, self.token, self.asked = auth, user, password, "token-of-tests", []
        self.blobs, self.manifest = self._read(archive)
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_HEAD(self):
                registry.answer(self, body=False)

            def do_GET(self):
                registry.answer(self, body=True)

            def do_POST(self):  # of the token service: clients then try GET
                registry._send(self, 404, "text/plain", b"", False)

            def log_message(self, *args):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"localhost:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    @staticmethod
    def _digest(data):
        return "sha256:" + hashlib.sha256(data).hexdigest()

    def _read(self, archive):
        with tarfile.open(archive) as tar:
            described = json.load(tar.extractfile("manifest.json"))[0]
            config = tar.extractfile(described["Config"]).read()
            layers = [tar.extractfile(name).read() for name in described["Layers"]]

        def entry(kind, data):
            return {"mediaType": f"application/vnd.docker.{kind}", "size": len(data), "digest": self._digest(data)}
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": entry("container.image.v1+json", config),
                    "layers": [entry("image.rootfs.diff.tar", layer) for layer in layers]}
        return {self._digest(b): b for b in [config, *layers]}, json.dumps(manifest).encode()

    def _allowed(self, header):
        if not self.auth:
            return True
        if self.auth == "token":
            return header == f"Bearer {self.token}"
        return header == "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()

    def _find(self, where):
        if where == "/v2/":
            return "application/json", b"{}"
        kind, name = where.rsplit("/", 2)[1:]
        if kind == "manifests" and (not name.startswith("sha256:") or name == self._digest(self.manifest)):
            return MANIFEST, self.manifest
        return "application/octet-stream", self.blobs.get(name)

    def answer(self, rq, body):
        where, header = rq.path.split("?")[0], rq.headers.get("Authorization", "")
        self.asked.append(where)
        if where == "/token":
            right = header == "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
            return self._send(rq, 200 if right else 401, "application/json", json.dumps({"token": self.token}).encode(), True)
        if not self._allowed(header):
            scheme = f'Bearer realm="http://{self.host}/token",service="tests"' if self.auth == "token" else 'Basic realm="tests"'
            return self._send(rq, 401, "application/json", b'{"errors":[{"code":"UNAUTHORIZED"}]}', body, ("WWW-Authenticate", scheme))
        kind, data = self._find(where)
        if data is None:
            return self._send(rq, 404, "application/json", b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}', body)
        return self._send(rq, 200, kind, data, body, ("Docker-Content-Digest", self._digest(data)))

    @staticmethod
    def _send(rq, code, kind, data, body, *headers):
        rq.send_response(code)
        for name, value in [("Content-Type", kind), ("Content-Length", str(len(data))), *headers]:
            rq.send_header(name, value)
        rq.end_headers()
        if body:
            rq.wfile.write(data)
