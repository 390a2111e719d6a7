"""What tests of custom resources share: definitions, and an HTTPS server that the API calls."""
import base64
import http.server
import json
import os
import ssl
import subprocess
import threading

GROUP = "stable.example.com"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def version(name="v1", storage=True, properties=None, **more):
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": properties or {}},
                                               "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}
    return {"name": name, "served": True, "storage": storage, "schema": {"openAPIV3Schema": schema}, **more}


def definition(plural, kind, *versions, scope="Namespaced", **spec):
    names = {"plural": plural, "kind": kind, **spec.pop("names", {})}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": f"{plural}.{GROUP}"},
            "spec": {"group": GROUP, "scope": scope, "names": names, "versions": list(versions), **spec}}


def where(plural, namespace=None, name=None, version="v1"):
    parts = [f"/apis/{GROUP}/{version}"] + (["namespaces", namespace] if namespace else []) + [plural] + ([name] if name else [])
    return "/".join(parts)


def condition(thing, kind):
    return next((c for c in thing.get("status", {}).get("conditions") or [] if c["type"] == kind), {})


class Hook:
    """An HTTPS server with a certificate of its own for names: answer(path, object) makes the answers. With client_ca (PEM) it
    asks for a certificate and notes its common name. Requests for an upgrade are for upgrade(handler); serve(method, path, object),
    where it is set, gives status and answer of others, or None: that is for answer()."""

    def __init__(self, folder, answer, address="127.0.0.1", names=("IP:127.0.0.1",), client_ca=None):
        key, crt = os.path.join(folder, "hook.key"), os.path.join(folder, "hook.crt")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", crt,
                        "-days", "1", "-subj", "/CN=hook", "-addext", "subjectAltName=" + ",".join(names)], check=True, capture_output=True)
        with open(crt, "rb") as f:
            self.bundle = base64.b64encode(f.read()).decode()
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                cert = self.connection.getpeercert() if client_ca else {}
                hook.peer = dict(pair for group in (cert or {}).get("subject", ()) for pair in group).get("commonName")
                hook.seen.append((self.command, self.path, self.headers))
                if self.headers.get("Upgrade") and hook.upgrade:
                    hook.upgrade(self)
                    self.close_connection = True
                    return
                value = json.loads(body) if body else None
                status, out = hook.serve and hook.serve(self.command, self.path, value) or (hook.status, answer(self.path, value))
                out = json.dumps(out).encode() + b"\n"
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(out)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(out)
            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = answer

            def log_message(self, *_):
                pass
        self.seen, self.status, self.peer, self.upgrade, self.serve = [], 200, None, None, None
        self.server = http.server.ThreadingHTTPServer((address, 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(crt, key)
        if client_ca:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=client_ca)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def port(self):
        return self.server.server_address[1]

    def end(self):
        self.server.shutdown()
        self.server.server_close()
