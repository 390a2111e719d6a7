"""The official Python client: list, watch, create, patch, exec, port-forward."""
import threading
import time

import kubernetes
import pytest
from kubernetes import client, config, watch
from kubernetes.stream import portforward, stream

from kube import until


@pytest.fixture
def api(cluster):
    configuration = client.Configuration()
    config.load_kube_config(cluster.kubeconfig, client_configuration=configuration)
    configuration.proxy = None
    return client.ApiClient(configuration)


def test_create_list_patch_delete(api, space):
    core = client.CoreV1Api(api)
    made = core.create_namespaced_config_map(space.name, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="one"), data={"a": "1"}))
    assert made.metadata.uid and made.metadata.creation_timestamp.tzinfo
    core.patch_namespaced_config_map("one", space.name, {"data": {"b": "2"}})
    assert core.read_namespaced_config_map("one", space.name).data == {"a": "1", "b": "2"}
    assert "one" in [c.metadata.name for c in core.list_namespaced_config_map(space.name).items]
    with pytest.raises(kubernetes.client.ApiException) as refused:
        core.create_namespaced_config_map(space.name, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="one")))
    assert refused.value.status == 409
    core.delete_namespaced_config_map("one", space.name)
    with pytest.raises(kubernetes.client.ApiException) as refused:
        core.read_namespaced_config_map("one", space.name)
    assert refused.value.status == 404


def test_pages(api, space):
    core = client.CoreV1Api(api)
    for i in range(25):
        core.create_namespaced_config_map(space.name, client.V1ConfigMap(metadata=client.V1ObjectMeta(name=f"c{i:02}", labels={"page": "1"})))
    names, more = [], None
    while more != "":
        page = core.list_namespaced_config_map(space.name, limit=10, label_selector="page=1", _continue=more)
        names += [c.metadata.name for c in page.items]
        more = page.metadata._continue or ""
    assert names == [f"c{i:02}" for i in range(25)]


def test_watch(api, space):
    core, seen = client.CoreV1Api(api), []
    since = core.list_namespaced_config_map(space.name).metadata.resource_version

    def follow():
        for event in watch.Watch().stream(core.list_namespaced_config_map, space.name, resource_version=since, timeout_seconds=300):
            seen.append((event["type"], event["object"].metadata.name))
            if event["type"] == "DELETED":
                return
    thread = threading.Thread(target=follow)
    thread.start()
    core.create_namespaced_config_map(space.name, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="one")))
    core.patch_namespaced_config_map("one", space.name, {"data": {"b": "2"}})
    core.delete_namespaced_config_map("one", space.name)
    thread.join(330)
    assert seen == [("ADDED", "one"), ("MODIFIED", "one"), ("DELETED", "one")]


def test_deployment_and_scale(api, space):
    apps = client.AppsV1Api(api)
    space.web(1)
    scale = apps.read_namespaced_deployment_scale("web", space.name)
    assert scale.spec.replicas == 1 and scale.status.selector == "app=web"
    apps.patch_namespaced_deployment_scale("web", space.name, {"spec": {"replicas": 2}})
    until(lambda: apps.read_namespaced_deployment_status("web", space.name).status.ready_replicas == 2, 60, "two ready replicas")


def test_exec(api, space):
    core = client.CoreV1Api(api)
    space.box()
    space.wait_pod("box")
    out = stream(core.connect_get_namespaced_pod_exec, "box", space.name, command=["sh", "-c", "echo out; echo err >&2"],
                 stdout=True, stderr=True, stdin=False, tty=False)
    assert sorted(out.split()) == ["err", "out"]
    session = stream(core.connect_get_namespaced_pod_exec, "box", space.name, command=["sh"], stdin=True, stdout=True, stderr=True, tty=False,
                     _preload_content=False)
    session.write_stdin("echo $((6 * 7)); exit 3\n")
    end = time.monotonic() + 120
    while session.is_open() and time.monotonic() < end:
        session.update(timeout=1)
    assert session.read_stdout().strip() == "42" and session.returncode == 3


def test_port_forward(api, space):
    core = client.CoreV1Api(api)
    space.web(1)
    space.wait_deployment()
    pod = core.list_namespaced_pod(space.name, label_selector="app=web").items[0].metadata.name
    forward = portforward(core.connect_get_namespaced_pod_portforward, pod, space.name, ports="8080,81")
    web = forward.socket(8080)
    web.settimeout(120)
    web.sendall(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")
    assert web.recv(12) == b"HTTP/1.1 200"
    until(lambda: "refused" in (forward.error(81) or ""), 20, "what is wrong with port 81")
    assert forward.error(8080) is None
    forward.close()


@pytest.mark.parametrize("ports", ["", "?ports=0", "?ports=80,x", "?ports=65536", "?ports=" + ",".join(map(str, range(1, 34)))])
def test_port_forward_says_what_is_wrong_with_ports(api, space, ports):
    space.box()
    space.wait_pod("box")
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "a" * 22 + "==",
               "Sec-WebSocket-Protocol": "v4.channel.k8s.io"}
    answer = api.rest_client.pool_manager.request("GET", f"{api.configuration.host}/api/v1/namespaces/{space.name}/pods/box/portforward{ports}",
                                                  headers=headers)
    assert answer.status == 400 and b"port" in answer.data


def test_logs(api, space):
    space.box(script="echo line; sleep 1000")
    space.wait_pod("box")
    core = client.CoreV1Api(api)
    until(lambda: core.read_namespaced_pod_log("box", space.name) == "line\n", 10, "the log")
