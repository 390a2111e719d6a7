"""From pods and from the host: ClusterIP, NodePort, DNS names, the API with a pod's own token.

`timeout 3 wget` and not `wget -T 3`: Debian's static busybox crashes with -T.
"""
import http.client
import json
import socket
import struct
import threading

import pytest

from kube import path, until


def fetch(host, port, timeout=5):
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", "/", headers={"Connection": "close"})
        return connection.getresponse().read().decode()
    finally:
        connection.close()


@pytest.fixture
def web(space):
    space.web(2)
    service = space.service(type="NodePort")
    space.wait_deployment()
    return space, service["spec"]["clusterIP"], service["spec"]["ports"][0]["nodePort"]


def all_pods_answer(host, port, count):
    until(lambda: len({fetch(host, port) for _ in range(60)}) == count, 10, f"{count} pods behind {host}:{port}")


def hears(kubectl, pod, url, begin):
    """The pod has such an answer; a try may be too early for name and address of a new Service."""
    until(lambda: kubectl.run("exec", pod, "--", "timeout", "10", "wget", "-qO-", url).stdout.startswith(begin), 15, f"an answer of {url} in {pod}")


def test_cluster_ip_and_node_port_from_the_host(web):
    space, address, node_port = web
    all_pods_answer(address, 80, 2)
    all_pods_answer(space.server.node_ip(), node_port, 2)


def test_service_follows_its_pods(web):
    space, address, _ = web
    space.kube.patch(f"/apis/apps/v1/namespaces/{space.name}/deployments/web", {"spec": {"replicas": 5}})
    space.wait_deployment()
    all_pods_answer(address, 80, 5)
    space.kube.patch(f"/apis/apps/v1/namespaces/{space.name}/deployments/web", {"spec": {"replicas": 0}})
    until(lambda: not space.items("pods", "app=web"), 30, "no pods")
    with pytest.raises(OSError):
        fetch(address, 80)


def test_from_a_pod(web, any_kubectl):
    space, address, node_port = web
    kubectl = any_kubectl.within(space.name)
    space.box()
    space.wait_pod("box")
    for url in (f"http://{address}/", "http://web/", f"http://web.{space.name}/", f"http://web.{space.name}.svc.cluster.local/",
                f"http://{space.server.node_ip()}:{node_port}/"):
        hears(kubectl, "box", url, "v1 from web-")
    assert address in kubectl("exec", "box", "--", "nslookup", f"web.{space.name}.svc.cluster.local")
    settings = kubectl("exec", "box", "--", "cat", "/etc/resolv.conf")
    assert f"search {space.name}.svc.cluster.local svc.cluster.local cluster.local" in settings and "ndots:5" in settings
    assert kubectl.run("exec", "box", "--", "timeout", "3", "wget", "-qO-", "http://nobody/").returncode != 0


def test_a_pod_reaches_itself_through_its_service(space, any_kubectl):
    """Hairpin: the only endpoint asks its own service."""
    space.web(1)
    space.service()
    space.wait_deployment()
    pod = space.items("pods", "app=web")[0]["metadata"]["name"]
    answer = until(lambda: any_kubectl.within(space.name).run("exec", pod, "--", "timeout", "10", "wget", "-qO-", "http://web/").stdout, 10, "an answer")
    assert answer.strip().endswith(pod)


def test_environment_names_services(space, any_kubectl):
    service = space.service("early")
    dns_tells(space.server, f"early.{space.name}.svc.cluster.local", A, 1)  # the node has heard of it
    space.box()
    space.wait_pod("box")
    env = any_kubectl.within(space.name)("exec", "box", "--", "env")
    assert f"EARLY_SERVICE_HOST={service['spec']['clusterIP']}" in env and "KUBERNETES_SERVICE_PORT=443" in env


def query(server, name, kind, tcp=False):
    """A DNS question by hand: the answer's code, count and bytes."""
    labels = b"".join(bytes([len(p)]) + p.encode() for p in name.strip(".").split(".")) + b"\0"
    packet = struct.pack(">HHHHHH", 4242, 0x0100, 1, 0, 0, 0) + labels + struct.pack(">HH", kind, 1)
    with socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as s:
        s.settimeout(10)
        s.connect((server, 53))
        s.sendall(struct.pack(">H", len(packet)) + packet if tcp else packet)
        data = s.recv(4096)
    data = data[2:] if tcp else data
    number, flags, _, answers = struct.unpack(">HHHH", data[:8])
    assert number == 4242
    return flags & 15, answers, data


A, CNAME, PTR, SRV, AAAA = 1, 5, 12, 33, 28


def dns_of(server):
    return server.slot.services.replace("0.0/16", "0.10")


def dns_tells(server, name, kind, count, tcp=False):
    until(lambda: query(dns_of(server), name, kind, tcp)[:2] == (0, count), 10, f"{count} answers for {name} of kind {kind}")


def test_dns_from_the_host(space):
    dns = dns_of(space.server)
    headless = {"clusterIP": "None", "ports": [{"name": "http", "port": 8080}]}
    space.web(2)
    space.service(**headless)
    space.service("fixed")
    space.service("abroad", type="ExternalName", externalName="example.org", selector=None, ports=None)
    space.wait_deployment()
    zone = f"{space.name}.svc.cluster.local"
    for name, kind, count, tcp in (("web", A, 2, False), ("web", A, 2, True), ("_http._tcp.web", SRV, 2, False), ("fixed", A, 1, False), ("fixed", AAAA, 0, False)):
        dns_tells(space.server, f"{name}.{zone}", kind, count, tcp)
    assert query(dns, f"nobody.{zone}", A)[0] == 3
    assert query(dns, "kubernetes.default.svc.cluster.local", A)[:2] == (0, 1)
    reverse = ".".join(reversed(space.get("services", "fixed")["spec"]["clusterIP"].split(".")))
    assert b"fixed" in query(dns, f"{reverse}.in-addr.arpa", PTR)[2]
    dns_tells(space.server, f"abroad.{zone}", CNAME, 1)  # not A: what that says depends on this machine's own servers
    assert b"example" in query(dns, f"abroad.{zone}", CNAME)[2]


def test_service_of_dns(cluster):
    """Programs ask for cluster DNS by this name; its address is the one that pods are told, and still the DNS server's own."""
    service = cluster.kube.get(path("services", "kube-system", "kube-dns"))
    assert service["spec"]["clusterIPs"] == [dns_of(cluster)] and service["metadata"]["labels"]["k8s-app"] == "kube-dns"
    assert [(p["name"], p["port"], p["protocol"]) for p in service["spec"]["ports"]] == [("dns", 53, "UDP"), ("dns-tcp", 53, "TCP")]
    for tcp in (False, True):
        dns_tells(cluster, "kube-dns.kube-system.svc.cluster.local", A, 1, tcp)


def test_api_with_the_mounted_token(space, any_kubectl):
    """curl of the host, in a pod: the certificate is checked, the token is the pod's own."""
    folders = [f for f in ("/usr", "/lib", "/lib64", "/etc/ssl") if f]
    space.box(container={"volumeMounts": [{"name": f"host{i}", "mountPath": f, "readOnly": True} for i, f in enumerate(folders)]},
              volumes=[{"name": f"host{i}", "hostPath": {"path": f}} for i, f in enumerate(folders)])
    space.wait_pod("box")
    kubectl = any_kubectl.within(space.name)

    def curl(where):
        account = "/var/run/secrets/kubernetes.io/serviceaccount"
        script = (f'/usr/bin/curl -sS --noproxy "*" --cacert {account}/ca.crt -H "Authorization: Bearer $(cat {account}/token)" '
                  f'https://kubernetes.default{where.replace("NAMESPACE", f"$(cat {account}/namespace)")}')
        return kubectl("exec", "box", "--", "sh", "-c", script)
    assert '"major"' in curl("/version")
    refused = curl("/api/v1/namespaces/NAMESPACE/pods")
    assert f"system:serviceaccount:{space.name}:default" in refused and "cannot list resource" in refused
    kubectl("create", "rolebinding", "viewer", "--clusterrole=view", f"--serviceaccount={space.name}:default")
    until(lambda: '"PodList"' in curl("/api/v1/namespaces/NAMESPACE/pods").replace(" ", "").replace('"kind":', ""), 5, "the granted list")


class NameServer:
    """A name server on an address of this machine that says `address` to every question for A, and counts them."""

    def __init__(self, ip, address):
        self.socket, self.asked = socket.socket(type=socket.SOCK_DGRAM), 0
        self.socket.bind((ip, 0))
        self.at = f"{ip}:{self.socket.getsockname()[1]}"
        self.answer = struct.pack(">HHHIH", 0xC00C, A, 1, 60, 4) + socket.inet_aton(address)
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                packet, client = self.socket.recvfrom(1500)
            except OSError:
                return
            end = packet.index(b"\0", 12) + 5
            self.asked += 1
            self.socket.sendto(packet[:2] + struct.pack(">HHHHH", 0x8180, 1, 1, 0, 0) + packet[12:end] + self.answer, client)

    def end(self):
        self.socket.close()


def test_stub_domains_and_upstream_servers(cluster):
    """ConfigMap kube-system/kube-dns: read at once, the next server where one is silent, what is wrong changes nothing."""
    kube, dns, where = cluster.kube, dns_of(cluster), path("configmaps", "kube-system")
    corp, other = NameServer("127.0.0.1", "192.0.2.10"), NameServer("127.0.0.1", "192.0.2.20")

    def says(name, address):
        return socket.inet_aton(address) in query(dns, name, A)[2]

    def patch(**data):
        kube.patch(f"{where}/kube-dns", {"data": data})
    try:
        kube.create(where, {"metadata": {"name": "kube-dns"}, "data": {
            "stubDomains": json.dumps({"corp.example": ["127.0.0.1:1", corp.at]}), "upstreamNameservers": json.dumps([other.at])}})
        until(lambda: says("db.corp.example", "192.0.2.10"), 10, "an answer of the stub domain's second server")
        until(lambda: says("corp.example", "192.0.2.10") and says("www.example.org", "192.0.2.20"), 10, "each domain's own server")
        assert query(dns, "kubernetes.default.svc.cluster.local", A)[:2] == (0, 1)
        asked = corp.asked
        patch(stubDomains='{"corp.example": ["ns.corp.example"]}')
        event = until(lambda: [e for e in kube.get(path("events", "kube-system"))["items"] if e["reason"] == "InvalidDNSConfig"], 10, "an Event")[0]
        assert event["type"] == "Warning" and event["involvedObject"]["name"] == "kube-dns"
        assert 'stubDomains: "corp.example": "ns.corp.example" is not an IP address' in event["message"]
        until(lambda: says("db.corp.example", "192.0.2.10"), 10, "the last good one stays")
        assert corp.asked > asked
        patch(stubDomains=json.dumps({"corp.example": [other.at]}))
        until(lambda: says("db.corp.example", "192.0.2.20"), 10, "the new server answers")
    finally:
        kube.delete(f"{where}/kube-dns")
        corp.end()
        other.end()
