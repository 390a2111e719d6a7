"""Certificate requests as people make them: with openssl, through the API, and into a connection."""
import base64
import ssl
import subprocess

import yaml
from kube import path, until

CLIENT, NODE, SERVING = (f"kubernetes.io/{name}" for name in ("kube-apiserver-client", "kube-apiserver-client-kubelet", "kubelet-serving"))


class Request:
    """A key of one's own and what is asked for it."""

    def __init__(self, folder, subject, sans=None):
        self.subject, self.key, csr = subject, folder / "key.pem", folder / "csr.pem"
        more = ["-addext", f"subjectAltName={sans}"] if sans else []
        subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", self.key, "-out", csr,
                        "-subj", subject, *more], check=True, capture_output=True)
        self.pem = csr.read_bytes()

    def body(self, name, signer=CLIENT, usages=("client auth",), **spec):
        return {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name},
                "spec": {"request": base64.b64encode(self.pem).decode(), "signerName": signer, "usages": list(usages), **spec}}


def ask(kube, body):
    return kube.create(path("certificatesigningrequests"), body)


def decide(kube, name, kind="Approved"):
    request = kube.get(path("certificatesigningrequests", None, name))
    request["status"] = {"conditions": request["status"].get("conditions", []) + [{"type": kind, "status": "True", "reason": "Test", "message": "said so"}]}
    return kube.call("PUT", path("certificatesigningrequests", None, name, "approval"), request)


def certificate(kube, name):
    """In base64."""
    where = path("certificatesigningrequests", None, name)
    return until(lambda: kube.get(where)["status"].get("certificate"), 10, f"a certificate for {name}")


def show(context, request, pem):
    """context (ssl) shows this certificate of the request's key from now on."""
    both = request.key.with_suffix(".both")
    both.write_bytes(pem + request.key.read_bytes())
    context.load_cert_chain(both)


def node_certificate(kube, folder, node, context):
    """context (ssl) shows a certificate of this node from now on. Who asks is an administrator, so it is approved by itself."""
    request = Request(folder, f"/O=system:nodes/CN=system:node:{node}")
    ask(kube, request.body(f"node-of-{node}", NODE, ("digital signature", "client auth")))
    show(context, request, base64.b64decode(certificate(kube, f"node-of-{node}")))


def config_of(server):
    with open(server.kubeconfig, encoding="utf-8") as f:
        return yaml.safe_load(f)


def plain_tls(server):
    """Trusts the server and shows no certificate."""
    cluster = config_of(server)["clusters"][0]["cluster"]
    return ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
