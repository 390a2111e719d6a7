"""An HTTPS server that answers AdmissionReviews as a test wants, with a certificate of its own."""
import base64
import http.server
import json
import os
import ssl
import subprocess
import threading


def certificate(folder, names):
    cert, key = os.path.join(folder, "hook.crt"), os.path.join(folder, "hook.key")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", cert,
                    "-days", "2", "-subj", "/CN=hook", "-addext", "subjectAltName=" + names], check=True, capture_output=True)
    return cert, key


class Hook:
    """answer(request) gives the response's fields, or an int: that HTTP status. Requests are kept in `seen`."""

    def __init__(self, folder, answer, names="IP:127.0.0.1", address="127.0.0.1"):
        self.seen, self.answer, self.release = [], answer, threading.Event()
        cert, key = certificate(str(folder), names)
        with open(cert, "rb") as f:
            self.ca = base64.b64encode(f.read()).decode()
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                review = json.loads(self.rfile.read(int(self.headers["content-length"])))
                hook.seen.append(review["request"])
                answer = hook.answer(review["request"])
                if isinstance(answer, int):
                    self.send_error(answer)
                    return
                body = json.dumps({"apiVersion": review["apiVersion"], "kind": "AdmissionReview",
                                   "response": {"uid": review["request"]["uid"], **answer}}).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer((address, 0), Handler)
        self.http.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        self.http.socket = context.wrap_socket(self.http.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self.http.server_address[1]
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def hold(self, _request):
        """An answer that does not come before release is set."""
        self.release.wait(300)
        return {"allowed": True}

    def url(self, path="/"):
        return {"url": f"https://127.0.0.1:{self.port}{path}", "caBundle": self.ca}

    def end(self):
        self.release.set()
        self.http.shutdown()
        self.http.server_close()


def patch(*operations):
    return {"allowed": True, "patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(list(operations)).encode()).decode()}


def configuration(kind, name, client, resources=("configmaps",), operations=("CREATE",), groups=("",), versions=("v1",), **more):
    return {"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "webhooks": [
        {"name": f"{name}.example.com", "clientConfig": client, "sideEffects": "None", "admissionReviewVersions": ["v1", "v1beta1"],
         "rules": [{"operations": list(operations), "apiGroups": list(groups), "apiVersions": list(versions), "resources": list(resources)}],
         "timeoutSeconds": 5, **more}]}
