"""IPv6: clusters of both families and of IPv6 alone, with real pods and real traffic."""
import ipaddress
import socket
import subprocess

import pytest
from conftest import ALL_KUBECTLS, Kubectl, Space
from test_network import A, AAAA, PTR, fetch, query

from kube import ApiError, is_ready, path, until

WEB = "app=web"


def ranges(slot):
    return f"fd00:10:{slot.n:x}::/64", f"fd00:10:{slot.n + 256:x}::/112"


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
            s.connect(("2001:db8::1", 53))
        return True
    except OSError:
        return False


pytestmark = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 address and route")


@pytest.fixture(scope="module", params=["dual", "ipv6"])
def stack(request, tmp_path_factory):
    """A cluster, its families and kubectl."""
    from server import Server
    server = Server()
    pods, services = ranges(server.slot)
    if request.param == "dual":
        pods, services = f"{server.slot.pods},{pods}", f"{server.slot.services},{services}"
    server.flags += ["--cluster-cidr", pods, "--service-cidr", services]
    server.add_images("busybox", "web-v1")
    try:
        server.start().wait_ready()
        server.wait_images("busybox:test", "web:v1")
        server.families = ["IPv4", "IPv6"] if request.param == "dual" else ["IPv6"]
        server.kubectl = Kubectl(ALL_KUBECTLS[-1][1], server, tmp_path_factory.mktemp("home"))
        yield server
    finally:
        server.end()


@pytest.fixture
def space(stack):
    one = Space(stack)
    yield one
    one.end()


def dns_of(server):
    return [str(ipaddress.ip_network(r)[10]) for r in server.flags[-1].split(",")]


def family(ip):
    return "IPv6" if ":" in ip else "IPv4"


def url(ip, port=80):
    return f"http://[{ip}]:{port}/" if ":" in ip else f"http://{ip}:{port}/"


def asks(space, pod, where):
    done = space.server.kubectl.within(space.name).run("exec", pod, "--", "timeout", "5", "wget", "-qO-", where)
    return done.stdout.startswith("v1 from")


def reaches(space, pod, where):
    until(lambda: asks(space, pod, where), 15, f"an answer of {where} in {pod}")


def dns_tells(server, name, kind, count):
    """The cluster's DNS, on every one of its addresses."""
    until(lambda: {query(ip, name, kind)[:2] for ip in dns_of(server)} == {(0, count)}, 10, f"{count} answers for {name} of kind {kind}")


def test_what_node_and_pods_are_told(space):
    server, families = space.server, space.server.families
    node = server.nodes()[0]
    internal = [a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP"]
    assert [family(ip) for ip in internal] == families, internal
    assert [family(c) for c in node["spec"]["podCIDRs"]] == families and node["spec"]["podCIDR"] == node["spec"]["podCIDRs"][0]
    fields = {"IP": "status.podIP", "IPS": "status.podIPs", "HOST": "status.hostIP", "HOSTS": "status.hostIPs"}
    space.box(container={"env": [{"name": k, "valueFrom": {"fieldRef": {"fieldPath": v}}} for k, v in fields.items()]})
    space.box("host", hostNetwork=True)
    status = space.wait_pod("box")["status"]
    ips, hosts = [p["ip"] for p in status["podIPs"]], [h["ip"] for h in status["hostIPs"]]
    assert [family(ip) for ip in ips] == families and status["podIP"] == ips[0]
    assert hosts == internal and status["hostIP"] == internal[0]
    assert [p["ip"] for p in space.wait_pod("host")["status"]["podIPs"]] == internal
    kubectl = server.kubectl.within(space.name)
    env = kubectl("exec", "box", "--", "env").split()
    for line in (f"IP={ips[0]}", f"IPS={','.join(ips)}", f"HOST={internal[0]}", f"HOSTS={','.join(internal)}"):
        assert line in env
    first = ipaddress.ip_network(server.flags[-1].split(",")[0])[1]
    assert f"KUBERNETES_SERVICE_HOST={first}" in env
    resolv = kubectl("exec", "box", "--", "cat", "/etc/resolv.conf")
    assert [f"nameserver {ip}" in resolv for ip in dns_of(server)] == [True] * len(families)
    endpoints = server.kube.get(path("endpoints", "default", "kubernetes"))
    assert endpoints["subsets"][0]["addresses"][0]["ip"] == internal[0]


def test_services_of_each_policy(space):
    """ClusterIP, NodePort, DNS names and addresses of pods, from a pod and from the node, over each family."""
    server, families = space.server, space.server.families
    space.web(2)
    space.box()
    space.wait_deployment()
    space.wait_pod("box")
    zone = f"{space.name}.svc.cluster.local"
    for policy in ("SingleStack", "PreferDualStack", "RequireDualStack"):
        name = policy.lower()
        spec = {"selector": {"app": "web"}, "type": "NodePort", "ipFamilyPolicy": policy}
        if policy == "RequireDualStack" and len(families) == 1:
            with pytest.raises(ApiError, match="this cluster is not configured for dual-stack services"):
                space.service(name, **spec)
            continue
        made = space.service(name, **spec)["spec"]
        wanted = families[:1] if policy == "SingleStack" else families
        assert made["ipFamilies"] == wanted and [family(ip) for ip in made["clusterIPs"]] == wanted
        node_ips = [a["address"] for a in server.nodes()[0]["status"]["addresses"] if a["type"] == "InternalIP"]
        for ip in made["clusterIPs"]:
            until(lambda ip=ip: len({fetch(ip, 80) for _ in range(30)}) == 2, 15, f"both pods behind {ip} of {name}")
            reaches(space, "box", url(ip))
        for ip in node_ips:
            if family(ip) in wanted:
                until(lambda ip=ip: fetch(ip, made["ports"][0]["nodePort"]).startswith("v1 from"), 10, f"{name}'s port of the node on {ip}")
                reaches(space, "box", url(ip, made["ports"][0]["nodePort"]))
        reaches(space, "box", f"http://{name}.{zone}/")
        dns_tells(server, f"{name}.{zone}", A, int("IPv4" in wanted))
        dns_tells(server, f"{name}.{zone}", AAAA, int("IPv6" in wanted))
        for ip in made["clusterIPs"]:
            reverse = ipaddress.ip_address(ip).reverse_pointer
            until(lambda r=reverse: name.encode() in query(dns_of(server)[0], r, PTR)[2], 10, f"the name of {ip}")
        until(lambda: sorted(s["addressType"] for s in space.items("endpointslices", f"kubernetes.io/service-name={name}")) == sorted(wanted), 10,
              "a slice of each family")
    for pod in space.items("pods", WEB):
        for ip in pod["status"]["podIPs"]:
            reaches(space, "box", url(ip["ip"], 8080))


def test_hairpin_affinity_and_nobody(space):
    space.web(1)
    made = space.service(ipFamilyPolicy="PreferDualStack", sessionAffinity="ClientIP")["spec"]
    nobody = space.service("nobody", ipFamilyPolicy="PreferDualStack")["spec"]
    space.wait_deployment()
    pod = space.items("pods", WEB)[0]["metadata"]["name"]
    for ip in made["clusterIPs"]:
        reaches(space, pod, url(ip))
    space.kube.patch(f"/apis/apps/v1/namespaces/{space.name}/deployments/web", {"spec": {"replicas": 3}})
    space.wait_deployment()
    for ip in made["clusterIPs"]:
        until(lambda ip=ip: len({fetch(ip, 80) for _ in range(20)}) == 1, 10, f"{ip} sends a client to one pod")

    def refuses(ip):
        try:
            fetch(ip, 80)
        except ConnectionRefusedError:
            return True
        return False
    for ip in nobody["clusterIPs"]:
        until(lambda ip=ip: refuses(ip), 10, f"{ip}, which has no endpoints, refuses")


def test_host_port(space):
    port = 24000 + space.server.slot.n
    space.box("web", container={"image": "web:v1", "command": ["/bin/web", "8080"], "ports": [{"containerPort": 8080, "hostPort": port}]})
    space.wait_pod("web")
    for address in space.server.nodes()[0]["status"]["addresses"]:
        if address["type"] == "InternalIP":
            until(lambda ip=address["address"]: fetch(ip, port), 10, f"the host's port on {address['address']}")


def test_network_policy(space):
    space.web(1)
    space.service(ipFamilyPolicy="PreferDualStack")
    space.box()
    space.box("other")
    space.wait_deployment()
    ips = [p["ip"] for p in space.items("pods", WEB)[0]["status"]["podIPs"]]
    for name in ("box", "other"):
        space.wait_pod(name)
        for ip in ips:
            reaches(space, name, url(ip, 8080))
    space.create("networkpolicies", {"metadata": {"name": "only-box"}, "spec": {
        "podSelector": {"matchLabels": {"app": "web"}},
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "box"}}}], "ports": [{"port": 8080}]}]}})
    for ip in ips:
        until(lambda ip=ip: not asks(space, "other", url(ip, 8080)), 10, f"{ip} is closed to the other box")
        reaches(space, "box", url(ip, 8080))
    assert is_ready(space.items("pods", WEB)[0])
    # by prefix: only who has the other box's address of that family
    blocks = [f"{p['ip']}/{128 if ':' in p['ip'] else 32}" for p in space.get("pods", "other")["status"]["podIPs"]]
    space.kube.patch(path("networkpolicies", space.name, "only-box"), {"spec": {"ingress": [{"from": [{"ipBlock": {"cidr": b}} for b in blocks]}]}})
    for ip in ips:
        until(lambda ip=ip: asks(space, "other", url(ip, 8080)), 10, f"{ip} is open to the other box")
        assert not asks(space, "box", url(ip, 8080))


def test_what_may_be_asked_of_families(space):
    families = space.server.families

    def refused(text, **spec):
        with pytest.raises(ApiError, match=text) as e:
            space.service("wrong", **spec)
        assert e.value.code == 422
    four, six = "10.1.2.3", ranges(space.server.slot)[1].replace("/112", "77")
    refused("Unsupported value", ipFamilyPolicy="Both")
    refused("must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified",
            ipFamilyPolicy="SingleStack", ipFamilies=["IPv4", "IPv6"])
    if families == ["IPv6"]:
        refused("not configured on this cluster", ipFamilies=["IPv4"])
        refused("IPv4 is not configured on this cluster", clusterIP=four)
        assert space.service("named", clusterIP=six)["spec"]["ipFamilies"] == ["IPv6"]
        return
    refused("expected an IPv4 value as indicated by `ipFamilies", ipFamilies=["IPv4"], clusterIP=six)
    refused("Duplicate value", ipFamilyPolicy="PreferDualStack", ipFamilies=["IPv6", "IPv6"])
    assert space.service("named", clusterIP=six)["spec"]["ipFamilies"] == ["IPv6"]
    refused("already allocated", clusterIP=ipaddress.ip_address(six).exploded)
    turned = space.service("turned", ipFamilyPolicy="RequireDualStack", ipFamilies=["IPv6", "IPv4"])["spec"]
    assert family(turned["clusterIP"]) == "IPv6"
    without = space.service("without", clusterIP="None", selector=None)["spec"]
    assert without["ipFamilies"] == ["IPv4", "IPv6"] and without["ipFamilyPolicy"] == "RequireDualStack"


def test_upgrade_and_downgrade(space):
    if len(space.server.families) == 1:
        pytest.skip("one family")
    space.web(1)
    first = space.service()["spec"]
    assert first["ipFamilyPolicy"] == "SingleStack" and len(first["clusterIPs"]) == 1
    both = space.kube.patch(path("services", space.name, "web"), {"spec": {"ipFamilyPolicy": "PreferDualStack"}})["spec"]
    assert both["ipFamilies"] == ["IPv4", "IPv6"] and both["clusterIPs"][0] == first["clusterIP"]
    space.wait_deployment()
    six = both["clusterIPs"][1]
    until(lambda: fetch(six, 80), 10, "an answer over IPv6")
    one = space.kube.patch(path("services", space.name, "web"), {"spec": {"ipFamilyPolicy": "SingleStack"}})["spec"]
    assert one["ipFamilies"] == ["IPv4"] and one["clusterIPs"] == [first["clusterIP"]]
    until(lambda: [s["addressType"] for s in space.items("endpointslices", "kubernetes.io/service-name=web")] == ["IPv4"], 10, "slices of IPv4 only")
    assert space.service("again", clusterIP=six)["spec"]["clusterIP"] == six, "the address is free again"


def test_restart_keeps_addresses(space):
    """The node and control processes are killed; pods, Services and their addresses stay."""
    server = space.server
    space.web(1)
    made = space.service(ipFamilyPolicy="PreferDualStack")["spec"]
    space.wait_deployment()
    before = space.items("pods", WEB)[0]["status"]["podIPs"]
    server.kill_all()
    server.start().wait_ready()
    server.kubectl = Kubectl(server.kubectl.program, server, server.kubectl.home)
    for ip in made["clusterIPs"]:
        until(lambda ip=ip: fetch(ip, 80), 20, f"an answer of {ip} after the restart")
    space.box()
    space.wait_pod("box")
    after = space.items("pods", WEB)[0]["status"]
    assert after["podIPs"] == before and after["containerStatuses"][0]["restartCount"] == 0
    assert space.get("services", "web")["spec"]["clusterIPs"] == made["clusterIPs"]
    mine = {p["ip"] for p in space.get("pods", "box")["status"]["podIPs"]}
    assert not mine & {p["ip"] for p in before}
    reaches(space, "box", "http://web/")


def test_check_names_ipv6_that_is_switched_off(tmp_path):
    from server import KOGGE
    check = f"{KOGGE} check --data-dir {tmp_path} --cluster-cidr fd00:1::/64 --service-cidr fd00:2::/112"
    off = "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; "
    for before, said in ((off, "[-] IPv6: --service-cidr fd00:2::/112 has IPv6, which is switched off here"), ("", "[-] IPv6: this machine has no IPv6 address")):
        done = subprocess.run(["unshare", "-n", "sh", "-c", before + check], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 1 and said in done.stdout
    done = subprocess.run([KOGGE, "check", "--data-dir", str(tmp_path)], capture_output=True, text=True, timeout=120, check=False)
    assert "[+] IPv6" in done.stdout, "nobody wants it"


@pytest.mark.parametrize("flags, said", [
    (["--service-cidr", "10.96.0.0/16,10.97.0.0/16"], "two ranges must be one of IPv4 and one of IPv6"),
    (["--service-cidr", "fd00:1::/112"], "must have the same families in the same order"),
    (["--service-cidr", "10.96.0.0/16,fd00:1::/112", "--cluster-cidr", "fd00:2::/64,10.244.0.0/16"], "must have the same families in the same order"),
    (["--cluster-dns", "fd00::a"], "fd00::a is IPv6, of which --service-cidr has no range"),
    (["--node-ip", "x"], '"x" is no IP address'),
])
def test_flags_that_do_not_fit(flags, said, tmp_path):
    from server import KOGGE
    done = subprocess.run([KOGGE, "server", "--data-dir", str(tmp_path), *flags], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode != 0 and said in done.stderr
