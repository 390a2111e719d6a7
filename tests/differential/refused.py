"""Cases that must be refused, or whose answer is easily wrong: each request is one case, sent against objects that setup() made."""
import json

import kind_rules
from kind_rules import merged
from objects import NAMESPACE, kinds, where

JSON = "application/json"
MERGE, STRATEGIC, PATCH, APPLY = ("application/merge-patch+json", "application/strategic-merge-patch+json", "application/json-patch+json",
                                  "application/apply-patch+yaml")
NS = f"/api/v1/namespaces/{NAMESPACE}"
MAPS, PODS, SERVICES, DEPLOYMENTS = f"{NS}/configmaps", f"{NS}/pods", f"{NS}/services", f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
BAD_NAMES = ["", "A", "a_b", "-a", "a-", ".a", "a.", "a..b", "a b", "a/b", "ä", "a" * 254, "a" * 64, "a%b", "..", ".", "1", "a.b", "a\u0000b", "a\n"]
BAD_QUANTITIES = ["", "1.1.1", "1 Gi", "Gi", "1gi", "1KB", "-1", "1e", "0x10", "1mi", "+-1", "1" * 40, ".", "١"]
BAD_KEYS = ["", "-a", "a/b/c", "/a", "a/", "a b", "a" * 64, "A.com/" + "b" * 64, "a_/b", "ä", "a//b"]
BAD_VALUES = ["-", "a b", "a" * 64, "ä", "a/b", ".a", "a-"]


def pod(**spec):
    return {"metadata": {"name": "bad"}, "spec": {"automountServiceAccountToken": False, "containers": [{"name": "c", "image": "i"}], **spec}}


def container(**more):
    return pod(containers=[{"name": "c", "image": "i", **more}])


def service(*ports, **spec):
    return {"metadata": {"name": "bad"}, "spec": {"ports": list(ports) or [{"port": 80}], **spec}}


def deployment(**spec):
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    return {"metadata": {"name": "bad"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template, **spec}}


def setup():
    """What refused cases need to stand there already."""
    yield "POST", MAPS, {"metadata": {"name": "there", "labels": {"a": "b"}}, "data": {"k": "v", "l": "w"}}
    yield "POST", MAPS, {"metadata": {"name": "fixed"}, "data": {"k": "v"}, "immutable": True}
    yield "POST", PODS, {"metadata": {"name": "there"}, "spec": {"automountServiceAccountToken": False, "nodeName": "nowhere",
                                                                 "containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "i"}]}}
    yield "POST", SERVICES, {"metadata": {"name": "there"}, "spec": {"clusterIP": "10.96.77.77", "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}]}}
    yield "POST", DEPLOYMENTS, dict(deployment(), metadata={"name": "there"})
    for row, group_version, resource in kinds():
        if resource in ("jobs", "statefulsets", "persistentvolumeclaims", "storageclasses", "priorityclasses", "roles", "rolebindings", "secrets",
                        "ingresses", "networkpolicies", "leases", "limitranges", "runtimeclasses", "csidrivers") and not row.get("name"):
            yield "POST", where(group_version, resource), dict(row["minimal"], metadata={"name": "there"})
    yield from kind_rules.setup()


def documents():
    text = b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"bad"}'
    bodies = {
        "empty": b"", "cut": text, "trailing": text + b"}}", "two": text + b"}" + text + b"}", "null": b"null", "list": b"[]", "number": b"1", "string": b'"a"',
        "true": b"true", "nul-byte": b"\0", "bom": b"\xef\xbb\xbf" + text + b"}", "not-utf8": text + b',"data":{"a":"\xff\xfe"}}', "lone-surrogate": text + b',"data":{"a":"\\ud800"}}',
        "control-char": text + b',"data":{"a":"\x01"}}', "bad-escape": text + b',"data":{"a":"\\x"}}', "single-quotes": b"{'kind':'ConfigMap'}", "comment": text + b"/* */}",
        "trailing-comma": text + b",}", "nan": text + b',"data":NaN}', "leading-zero": b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"bad","generation":01}}',
        "huge-number": b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"bad","generation":1e400}}', "deep": b"[" * 100000, "deep-object": b'{"a":' * 20000 + b"1" + b"}" * 20000,
        "too-large": text + b',"data":{"a":"' + b"x" * 3300000 + b'"}}', "bytes-in-data": text + b',"binaryData":{"a":"***"}}', "same-key-twice-in-both": text + b',"data":{"a":"b"},"binaryData":{"a":"AA=="}}',
        "wrong-kind": text.replace(b"ConfigMap", b"Secret") + b"}", "unknown-kind": text.replace(b"ConfigMap", b"Nothing") + b"}", "wrong-version": text.replace(b'"v1"', b'"v2"') + b"}",
        "wrong-group": text.replace(b'"v1"', b'"apps/v1"') + b"}", "no-kind": b'{"metadata":{"name":"bad"}', "data-too-large": text + b',"data":{"a":"' + b"x" * 1100000 + b'"}}',
        "version-number": text.replace(b'"v1"', b"1") + b"}", "kind-number": text.replace(b'"ConfigMap"', b"1") + b"}", "slashes": text.replace(b'"v1"', b'"a/b/c"') + b"}",
    }
    for name, data in bodies.items():
        yield f"document/{name}", "POST", MAPS, data, JSON
    for name, data in {"tab": b"a:\tb\n\t- c", "unclosed": b"a: [", "anchor-loop": b"a: &a [*a]", "two-documents": b"a: b\n---\nc: d\n", "not-a-map": b"- a\n", "alias-unknown": b"a: *b",
                       "binary": b"\x00\x01\x02"}.items():
        yield f"yaml/{name}", "POST", MAPS, data, "application/yaml"
    for kind in ("text/plain", "application/xml", "application/json; charset=latin1", "application/cbor-x", "a", "", "application/vnd.kubernetes.protobuf"):
        yield f"content-type/{kind or 'empty'}", "POST", MAPS, {"metadata": {"name": "bad"}}, kind
    yield "protobuf/garbage", "POST", MAPS, b"k8s\0\xff\xff\xff", "application/vnd.kubernetes.protobuf"
    yield "protobuf/empty-envelope", "POST", MAPS, b"k8s\0", "application/vnd.kubernetes.protobuf"


def wrong_types():
    values = {"string": "x", "number": 7, "bool": True, "list": [1], "map": {"a": 1}, "null": None, "float": 1.5}
    places = [(MAPS, lambda v: {"metadata": {"name": "bad"}, "data": v}), (MAPS, lambda v: {"metadata": v}), (MAPS, lambda v: {"metadata": {"name": v}}),
              (MAPS, lambda v: {"metadata": {"name": "bad", "labels": v}}), (MAPS, lambda v: {"metadata": {"name": "bad", "labels": {"a": v}}}),
              (MAPS, lambda v: {"metadata": {"name": "bad", "finalizers": v}}), (MAPS, lambda v: {"metadata": {"name": "bad"}, "immutable": v}),
              (PODS, lambda v: {"metadata": {"name": "bad"}, "spec": v}), (PODS, lambda v: pod(containers=v)), (PODS, lambda v: container(image=v)),
              (PODS, lambda v: container(ports=[{"containerPort": v}])), (PODS, lambda v: container(resources={"limits": {"cpu": v}})),
              (SERVICES, lambda v: service({"port": 80, "targetPort": v})), (DEPLOYMENTS, lambda v: deployment(replicas=v)), (DEPLOYMENTS, lambda v: deployment(paused=v))]
    for i, (path, make) in enumerate(places):
        for name, value in values.items():
            yield f"type/{i}-{name}", "POST", path + "?dryRun=All", make(value), JSON


def names_and_words():
    for i, name in enumerate(BAD_NAMES):
        yield f"name/configmap-{i}", "POST", MAPS, {"metadata": {"name": name}}, JSON
        yield f"name/service-{i}", "POST", SERVICES, dict(service(), metadata={"name": name}), JSON
        yield f"name/namespace-{i}", "POST", "/api/v1/namespaces", {"metadata": {"name": name}}, JSON
        yield f"name/role-{i}", "POST", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}/roles?dryRun=All", {"metadata": {"name": name}, "rules": []}, JSON
    for i, key in enumerate(BAD_KEYS):
        yield f"label/key-{i}", "POST", MAPS, {"metadata": {"name": "bad", "labels": {key: "v"}}}, JSON
        yield f"annotation/key-{i}", "POST", MAPS, {"metadata": {"name": "bad", "annotations": {key: "v"}}}, JSON
        yield f"data/key-{i}", "POST", MAPS, {"metadata": {"name": "bad"}, "data": {key: "v"}}, JSON
    for i, value in enumerate(BAD_VALUES):
        yield f"label/value-{i}", "POST", MAPS, {"metadata": {"name": "bad", "labels": {"k": value}}}, JSON
    for i, q in enumerate(BAD_QUANTITIES):
        yield f"quantity/{i}", "POST", PODS, container(resources={"requests": {"memory": q}}), JSON
    yield "annotation/too-large", "POST", MAPS, {"metadata": {"name": "bad", "annotations": {"a": "x" * 300000}}}, JSON
    yield "metadata/namespace-differs", "POST", MAPS, {"metadata": {"name": "bad", "namespace": "other"}}, JSON
    yield "metadata/no-name", "POST", MAPS, {"metadata": {}}, JSON
    yield "metadata/finalizer", "POST", MAPS, {"metadata": {"name": "bad", "finalizers": ["nope"]}}, JSON
    yield "metadata/owner-without-uid", "POST", MAPS, {"metadata": {"name": "bad", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p"}]}}, JSON
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": True}
    yield "metadata/two-controllers", "POST", MAPS, {"metadata": {"name": "bad", "ownerReferences": [owner, dict(owner, uid="w")]}}, JSON
    yield "metadata/resource-version", "POST", MAPS, {"metadata": {"name": "bad", "resourceVersion": "5"}}, JSON
    yield "metadata/bad-time", "POST", MAPS, {"metadata": {"name": "bad", "creationTimestamp": "yesterday"}}, JSON


def kinds_rules():
    """Cross-field rules of the kinds that people write by hand."""
    pods = {
        "no-containers": pod(containers=[]), "no-image": container(image=""), "same-name": pod(containers=[{"name": "c", "image": "i"}] * 2), "upper-name": pod(containers=[{"name": "C", "image": "i"}]),
        "restart-policy": pod(restartPolicy="Sometimes"), "dns-policy": pod(dnsPolicy="Nothing"), "dns-none-without-config": pod(dnsPolicy="None"), "grace-negative": pod(terminationGracePeriodSeconds=-1),
        "deadline-zero": pod(activeDeadlineSeconds=0), "host-port-range": container(ports=[{"containerPort": 80, "hostPort": 70000}]), "port-range": container(ports=[{"containerPort": 0}]),
        "protocol": container(ports=[{"containerPort": 80, "protocol": "ICMP"}]), "same-host-port": container(ports=[{"containerPort": 80, "hostPort": 1}, {"containerPort": 81, "hostPort": 1}]),
        "same-port-name": container(ports=[{"name": "a", "containerPort": 80}, {"name": "a", "containerPort": 81}]), "port-name": container(ports=[{"name": "a_b", "containerPort": 80}]),
        "host-network-port": pod(hostNetwork=True, containers=[{"name": "c", "image": "i", "ports": [{"containerPort": 80, "hostPort": 81}]}]),
        "env-name": container(env=[{"name": "", "value": "v"}]), "env-both": container(env=[{"name": "A", "value": "v", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]),
        "env-field": container(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.nothing"}}}]), "env-from-empty": container(envFrom=[{}]),
        "env-resource": container(env=[{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.nothing"}}}]), "mount-unknown": container(volumeMounts=[{"name": "v", "mountPath": "/v"}]),
        "mount-same-path": pod(volumes=[{"name": "v", "emptyDir": {}}], containers=[{"name": "c", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/v"}] * 2}]),
        "subpath-dots": pod(volumes=[{"name": "v", "emptyDir": {}}], containers=[{"name": "c", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "../x"}]}]),
        "volume-two-sources": pod(volumes=[{"name": "v", "emptyDir": {}, "hostPath": {"path": "/x"}}]), "volume-no-source-name": pod(volumes=[{"name": ""}]), "volume-same-name": pod(volumes=[{"name": "v"}, {"name": "v"}]),
        "host-path-dots": pod(volumes=[{"name": "v", "hostPath": {"path": "/a/../b"}}]), "host-path-type": pod(volumes=[{"name": "v", "hostPath": {"path": "/a", "type": "Pipe"}}]),
        "config-map-nameless": pod(volumes=[{"name": "v", "configMap": {}}]), "item-path": pod(volumes=[{"name": "v", "configMap": {"name": "m", "items": [{"key": "k", "path": "/abs"}]}}]),
        "item-mode": pod(volumes=[{"name": "v", "configMap": {"name": "m", "items": [{"key": "k", "path": "p", "mode": 99999}]}}]), "projected-empty-source": pod(volumes=[{"name": "v", "projected": {"sources": [{}]}}]),
        "token-seconds": pod(volumes=[{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 1}}]}}]),
        "request-over-limit": container(resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}), "unknown-resource": container(resources={"limits": {"nothing": "1"}}), "fraction-of-bytes": container(resources={"limits": {"example.com/gpu": "500m"}}),
        "gpu-request-only": container(resources={"requests": {"example.com/gpu": "1"}}), "hugepages-alone": container(resources={"limits": {"hugepages-2Mi": "2Mi"}}),
        "probe-two": container(livenessProbe={"exec": {"command": ["a"]}, "tcpSocket": {"port": 1}}), "probe-none": container(livenessProbe={}), "probe-port": container(livenessProbe={"httpGet": {"path": "/", "port": 0}}),
        "probe-scheme": container(livenessProbe={"httpGet": {"port": 1, "scheme": "FTP"}}), "liveness-success": container(livenessProbe={"tcpSocket": {"port": 1}, "successThreshold": 2}),
        "probe-negative": container(readinessProbe={"tcpSocket": {"port": 1}, "periodSeconds": -1}), "lifecycle-empty": container(lifecycle={"preStop": {}}),
        "pull-policy": container(imagePullPolicy="Maybe"), "termination-policy": container(terminationMessagePolicy="Loud"), "privileged-no-escalation": container(securityContext={"privileged": True, "allowPrivilegeEscalation": False}),
        "user-negative": container(securityContext={"runAsUser": -1}), "seccomp-type": pod(securityContext={"seccompProfile": {"type": "Sometimes"}}), "seccomp-localhost": pod(securityContext={"seccompProfile": {"type": "Localhost"}}),
        "sysctl-name": pod(securityContext={"sysctls": [{"name": "a b", "value": "1"}]}), "sysctl-twice": pod(securityContext={"sysctls": [{"name": "a.b", "value": "1"}] * 2}), "host-alias-ip": pod(hostAliases=[{"ip": "x", "hostnames": ["a"]}]),
        "hostname": pod(hostname="A"), "subdomain": pod(subdomain="a.b"), "node-selector-key": pod(nodeSelector={"a b": "c"}), "toleration-operator": pod(tolerations=[{"key": "a", "operator": "Near"}]),
        "toleration-exists-value": pod(tolerations=[{"key": "a", "operator": "Exists", "value": "b"}]), "toleration-no-key": pod(tolerations=[{"operator": "Equal", "value": "b"}]), "toleration-seconds": pod(tolerations=[{"key": "a", "effect": "NoSchedule", "tolerationSeconds": 5}]),
        "affinity-weight": pod(affinity={"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 0, "preference": {"matchExpressions": [{"key": "k", "operator": "Exists"}]}}]}}),
        "affinity-operator": pod(affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "k", "operator": "Like"}]}]}}}),
        "affinity-gt-list": pod(affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "k", "operator": "Gt", "values": ["1", "2"]}]}]}}}),
        "affinity-no-terms": pod(affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}), "anti-affinity-no-key": pod(affinity={"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"labelSelector": {}}]}}),
        "spread-skew": pod(topologySpreadConstraints=[{"maxSkew": 0, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}]), "spread-when": pod(topologySpreadConstraints=[{"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "Maybe"}]),
        "gate": pod(readinessGates=[{"conditionType": "a b"}]), "account": pod(serviceAccountName="nobody-there"), "priority-class": pod(priorityClassName="nothing"), "priority-number": pod(priority=7), "runtime-class": pod(runtimeClassName="nothing"), "node-name": pod(nodeName="A B"),
        "ephemeral": pod(ephemeralContainers=[{"name": "e", "image": "i"}]), "init-same-name": pod(initContainers=[{"name": "c", "image": "i"}]), "working-dir-null-image": container(image=" i"),
    }
    services = {
        "no-ports": {"metadata": {"name": "bad"}, "spec": {}}, "port-zero": service({"port": 0}), "port-large": service({"port": 70000}), "unnamed": service({"port": 80}, {"port": 81}), "same-port": service({"name": "a", "port": 80}, {"name": "b", "port": 80}),
        "same-name": service({"name": "a", "port": 80}, {"name": "a", "port": 81}), "protocol": service({"port": 80, "protocol": "ICMP"}), "target-name": service({"port": 80, "targetPort": "a_b"}), "target-range": service({"port": 80, "targetPort": 70000}),
        "type": service(type="Other"), "node-port-range": service({"port": 80, "nodePort": 80}, type="NodePort"), "node-port-cluster-ip": service({"port": 80, "nodePort": 30123}), "cluster-ip-text": service(clusterIP="x"), "cluster-ip-range": service(clusterIP="192.0.2.1"),
        "cluster-ip-taken": service(clusterIP="10.96.77.77"), "external-name-none": service(type="ExternalName"), "external-name-bad": service(type="ExternalName", externalName="a_b"), "headless-node-port": service(type="NodePort", clusterIP="None"), "affinity": service(sessionAffinity="Always"),
        "affinity-seconds": service(sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 0}}), "external-ip": service(externalIPs=["127.0.0.1"]), "external-ip-text": service(externalIPs=["x"]), "policy-cluster-ip": service(externalTrafficPolicy="Local"),
        "policy": service(type="NodePort", externalTrafficPolicy="Near"), "ranges": service(type="LoadBalancer", loadBalancerSourceRanges=["x"]), "ranges-cluster-ip": service(loadBalancerSourceRanges=["10.0.0.0/8"]), "selector-key": service(selector={"a b": "c"}), "health-port": service(healthCheckNodePort=30125),
    }
    deployments = {
        "no-selector": {"metadata": {"name": "bad"}, "spec": {"template": deployment()["spec"]["template"]}}, "empty-selector": deployment(selector={}), "selector-mismatch": deployment(selector={"matchLabels": {"x": "y"}}), "selector-operator": deployment(selector={"matchExpressions": [{"key": "a", "operator": "Like"}]}),
        "selector-in-empty": deployment(selector={"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "a", "operator": "In"}]}), "replicas-negative": deployment(replicas=-1), "ready-seconds": deployment(minReadySeconds=-1), "history": deployment(revisionHistoryLimit=-1), "progress": deployment(progressDeadlineSeconds=0), "progress-under-ready": deployment(minReadySeconds=700),
        "strategy": deployment(strategy={"type": "Fast"}), "recreate-rolling": deployment(strategy={"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}), "both-zero": deployment(strategy={"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}), "percent": deployment(strategy={"rollingUpdate": {"maxSurge": "x%"}}), "over-hundred": deployment(strategy={"rollingUpdate": {"maxUnavailable": "101%"}}),
        "surge-negative": deployment(strategy={"rollingUpdate": {"maxSurge": -1}}), "restart-policy": deployment(template={"metadata": {"labels": {"a": "b"}}, "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}), "no-labels": deployment(template={"spec": {"containers": [{"name": "c", "image": "i"}]}}),
    }
    for group, path, table in (("pod", PODS, pods), ("service", SERVICES, services), ("deployment", DEPLOYMENTS, deployments)):
        for name, thing in table.items():
            yield f"{group}/{name}", "POST", path, thing, JSON


def policy_rules():
    """Rules of the kinds that say what others may have and do."""
    rbac, rule = "rbac.authorization.k8s.io", {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}
    user = {"kind": "User", "apiGroup": rbac, "name": "u"}
    role = lambda **r: {"metadata": {"name": "bad"}, "rules": [r]}  # noqa: E731
    limit = lambda **r: {"metadata": {"name": "bad"}, "spec": {"limits": [{"type": "Container", **r}]}}  # noqa: E731
    ref = lambda **r: {"metadata": {"name": "bad"}, "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "r", **r}, "subjects": [user]}  # noqa: E731
    subject = lambda **r: {"metadata": {"name": "bad"}, "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "r"}, "subjects": [{"name": "s", **r}]}  # noqa: E731
    handler = lambda **r: {"metadata": {"name": "bad"}, "handler": "h", **r}  # noqa: E731
    roles = {"no-groups": role(verbs=["get"], resources=["pods"]), "no-resources": role(verbs=["get"], apiGroups=[""]), "url": role(verbs=["get"], nonResourceURLs=["/x"])}
    cluster_roles = {"url-and-resources": role(nonResourceURLs=["/x"], **rule), "nothing-to-aggregate": {"metadata": {"name": "bad"}, "aggregationRule": {}},
                     "aggregate-key": {"metadata": {"name": "bad"}, "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a b": "c"}}]}}}
    bindings = {"ref-group": ref(apiGroup="x"), "ref-kind": ref(kind="X"), "ref-name": ref(name=""), "ref-percent": ref(name="a%b"), "subject-kind": subject(kind="X"), "user-group": subject(kind="User", apiGroup="x"),
                "account-name": subject(kind="ServiceAccount", name="A"), "account-group": subject(kind="ServiceAccount", apiGroup=rbac)}
    cluster_bindings = {"role": ref(), "account-nowhere": subject(kind="ServiceAccount")}
    limits = {"type": limit(type="X"), "twice": {"metadata": {"name": "bad"}, "spec": {"limits": [{"type": "Pod", "max": {"cpu": "1"}}] * 2}}, "pod-default": limit(type="Pod", default={"cpu": "1"}),
              "pod-request": limit(type="Pod", defaultRequest={"cpu": "1"}), "claim-empty": limit(type="PersistentVolumeClaim"), "min-max": limit(min={"cpu": "2"}, max={"cpu": "1"}, default={"cpu": "1"}, defaultRequest={"cpu": "2"}),
              "default-max": limit(max={"cpu": "1"}, default={"cpu": "2"}, defaultRequest={"cpu": "1"}), "request-default": limit(default={"cpu": "1"}, defaultRequest={"cpu": "2"}), "ratio": limit(maxLimitRequestRatio={"cpu": "500m"})}
    classes = {"handler": handler(handler="A"), "overhead": handler(overhead={"podFixed": {"x": "1"}}), "overhead-negative": handler(overhead={"podFixed": {"cpu": "-1"}}),
               "selector": handler(scheduling={"nodeSelector": {"a b": "c"}}), "toleration": handler(scheduling={"tolerations": [{"operator": "Near", "key": "a"}]})}
    here, everywhere = f"/apis/{rbac}/v1/namespaces/{NAMESPACE}", f"/apis/{rbac}/v1"
    for path, table in ((f"{here}/roles", roles), (f"{everywhere}/clusterroles", cluster_roles), (f"{here}/rolebindings", bindings), (f"{everywhere}/clusterrolebindings", cluster_bindings),
                        (f"{NS}/limitranges", limits), ("/apis/node.k8s.io/v1/runtimeclasses", classes)):
        for name, thing in table.items():
            yield f"{path.rsplit('/', 1)[1]}/{name}", "POST", path, thing, JSON


def ingress_rules():
    web = {"service": {"name": "web", "port": {"number": 80}}}
    thing = lambda **spec: {"metadata": {"name": "bad"}, "spec": spec}  # noqa: E731
    rule = lambda path="/", kind="Prefix", backend=None, **r: thing(rules=[{"http": {"paths": [{"path": path, "pathType": kind, "backend": backend or web}]}, **r}])  # noqa: E731
    service = lambda **s: thing(defaultBackend={"service": {"name": "web", "port": {"number": 80}, **s}})  # noqa: E731
    cases = {"empty": thing(), "host-address": rule(host="1.2.3.4"), "host-upper": rule(host="A.b"), "host-star": rule(host="*.*.a"), "path": rule(path="a"), "path-slashes": rule(path="/a//b"), "path-dots": rule(path="/a/.."),
             "path-escaped": rule(path="/a%2fb", kind="Exact"), "path-own": rule(path="a", kind="ImplementationSpecific"), "path-type": rule(kind="X"), "backend-none": rule(backend={"service": None}), "backend-name": service(name="A"),
             "backend-port": service(port={}), "backend-ports": service(port={"name": "a", "number": 1}), "backend-port-name": service(port={"name": "a_b"}), "backend-port-number": service(port={"number": 70000}),
             "backend-both": thing(defaultBackend={**web, "resource": {"kind": "x", "name": "y"}}), "resource-kind": thing(defaultBackend={"resource": {"kind": "a/b", "name": "y"}}), "tls-host": thing(defaultBackend=web, tls=[{"hosts": ["A"]}]),
             "tls-star": thing(defaultBackend=web, tls=[{"hosts": ["a.*"]}]), "tls-secret": thing(defaultBackend=web, tls=[{"secretName": "A"}]), "class": thing(defaultBackend=web, ingressClassName="A")}
    for name, body in cases.items():
        yield f"ingress/{name}", "POST", f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/ingresses", body, JSON


def updates():
    def patched(path, name, patch, kind=MERGE):
        return "PATCH", f"{path}/{name}", patch, kind
    spec = lambda **s: {"spec": s}  # noqa: E731
    apps, storage, rbac = f"/apis/apps/v1/namespaces/{NAMESPACE}", "/apis/storage.k8s.io/v1", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}"
    cases = {
        "configmap-immutable": patched(MAPS, "fixed", {"data": {"k": "w"}}), "configmap-immutable-off": patched(MAPS, "fixed", {"immutable": False}), "uid": patched(MAPS, "there", {"metadata": {"uid": "x"}}), "version": patched(MAPS, "there", {"metadata": {"resourceVersion": "1"}}),
        "name": patched(MAPS, "there", {"metadata": {"name": "other"}}), "namespace": patched(MAPS, "there", {"metadata": {"namespace": "other"}}), "pod-image-list": patched(PODS, "there", spec(containers=[{"name": "c", "image": "j"}])), "pod-restart": patched(PODS, "there", spec(restartPolicy="Never")),
        "pod-node": patched(PODS, "there", spec(nodeName="elsewhere")), "pod-toleration": patched(PODS, "there", spec(tolerations=[])), "pod-host-network": patched(PODS, "there", spec(hostNetwork=True)), "pod-add-container": patched(PODS, "there", {"spec": {"containers": [{"name": "new", "image": "i"}]}}, STRATEGIC),
        "service-cluster-ip": patched(SERVICES, "there", spec(clusterIP="10.96.77.78")), "service-cluster-ip-none": patched(SERVICES, "there", spec(clusterIP="None")), "service-ports": patched(SERVICES, "there", spec(ports=[])), "deployment-selector": patched(DEPLOYMENTS, "there", spec(selector={"matchLabels": {"c": "d"}})),
        "job-parallel-template": patched(f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs", "there", spec(template={"spec": {"containers": [{"name": "c", "image": "j"}]}})), "job-completions": patched(f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs", "there", spec(completions=9)),
        "statefulset-service": patched(f"{apps}/statefulsets", "there", spec(serviceName="other")), "statefulset-policy": patched(f"{apps}/statefulsets", "there", spec(podManagementPolicy="Parallel")), "claim-mode": patched(f"{NS}/persistentvolumeclaims", "there", spec(accessModes=["ReadOnlyMany"])),
        "claim-size": patched(f"{NS}/persistentvolumeclaims", "there", spec(resources={"requests": {"storage": "2Gi"}})), "storageclass": patched(f"{storage}/storageclasses", "there", {"provisioner": "other.org/p"}), "storageclass-parameters": patched(f"{storage}/storageclasses", "there", {"parameters": {"a": "c"}}),
        "priorityclass": patched("/apis/scheduling.k8s.io/v1/priorityclasses", "there", {"value": 99}), "rolebinding": patched(f"{rbac}/rolebindings", "there", {"roleRef": {"name": "other"}}), "secret-type": patched(f"{NS}/secrets", "there", {"type": "other"}), "runtimeclass": patched("/apis/node.k8s.io/v1/runtimeclasses", "there", {"handler": "x"}),
        "lease-negative": patched(f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases", "there", spec(leaseDurationSeconds=-1)), "put-no-version": ("PUT", f"{MAPS}/there", {"metadata": {"name": "other"}}, JSON), "put-missing": ("PUT", f"{MAPS}/nothing", {"metadata": {"name": "nothing", "resourceVersion": "5"}}, JSON),
        "put-service-no-version": ("PUT", f"{SERVICES}/there", dict(service(), metadata={"name": "there"}), JSON), "put-old-version": ("PUT", f"{MAPS}/there", {"metadata": {"name": "there", "resourceVersion": "1"}}, JSON), "put-bad-version": ("PUT", f"{MAPS}/there", {"metadata": {"name": "there", "resourceVersion": "x"}}, JSON), "status-of-nothing": ("PUT", f"{MAPS}/there/status", {"metadata": {"name": "there"}}, JSON),
    }
    for name, (method, path, body, kind) in cases.items():
        yield f"update/{name}", method, path, body, kind


def orders():
    """Of several faults one is told: which."""
    bad, old = {"b c": ""}, {"resourceVersion": "1"}
    put = lambda path, name, thing, **meta: ("PUT", f"{path}/{name}?dryRun=All", {"metadata": {"name": name, **meta}, **thing}, JSON)  # noqa: E731
    patch = lambda path, thing, kind=MERGE: ("PATCH", f"{path}?dryRun=All", thing, kind)  # noqa: E731
    leases, endpoints, there = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases", f"{NS}/endpoints", f"{MAPS}/there"
    scale = f"{DEPLOYMENTS}/there/scale"
    job = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs/standing/status"
    cases = {
        "put-old-and-bad": put(MAPS, "there", {"data": bad}, **old), "put-uid": put(MAPS, "there", {}, uid="x"), "put-uid-old-and-bad": put(MAPS, "there", {"data": bad}, uid="x", **old), "put-absent-uid": put(MAPS, "absent", {}, uid="x"), "put-version-zero": put(MAPS, "there", {}, resourceVersion="0"),
        "put-absent-other-name": ("PUT", f"{MAPS}/absent?dryRun=All", {"metadata": {"name": "other"}}, JSON), "put-other-name-and-uid": ("PUT", f"{MAPS}/there?dryRun=All", {"metadata": {"name": "other", "uid": "x"}}, JSON), "put-absent-endpoints-version": put(endpoints, "absent", {}, resourceVersion="5"),
        "put-no-name": ("PUT", f"{MAPS}/there?dryRun=All", {"data": {}}, JSON), "put-status-no-name": ("PUT", f"{PODS}/there/status?dryRun=All", {}, JSON), "put-absent-endpoints-uid": put(endpoints, "absent", {}, uid="x"), "put-lease-zero": put(leases, "there", {}, resourceVersion="0"), "put-lease-none-and-bad": put(leases, "there", {"spec": {"leaseDurationSeconds": -1}}), "patch-old-and-bad": patch(there, {"metadata": old, "data": bad}),
        "patch-uid-and-bad": patch(there, {"metadata": {"uid": "x"}, "data": bad}), "patch-uid-and-old": patch(there, {"metadata": {"uid": "x", **old}}), "patch-version-zero": patch(there, {"metadata": {"resourceVersion": "0"}}), "patch-version-none": patch(there, {"metadata": {"resourceVersion": None}}),
        "patch-version-text": patch(there, {"metadata": {"resourceVersion": "x"}}), "patch-lease-version-none": patch(f"{leases}/there", {"metadata": {"resourceVersion": None}}), "patch-name-and-old": patch(there, {"metadata": {"name": "other", **old}}), "patch-name-none": patch(there, {"metadata": {"name": None}}),
        "patch-deleted": patch(there, {"metadata": {"deletionTimestamp": "2020-01-01T00:00:00Z"}}), "patch-grace": patch(there, {"metadata": {"deletionGracePeriodSeconds": 5}}), "patch-created": patch(there, {"metadata": {"creationTimestamp": "2020-01-01T00:00:00Z"}}),
        "patch-generate-name": patch(there, {"metadata": {"generateName": "x-"}}), "patch-generate-name-bad": patch(there, {"metadata": {"generateName": "a/b"}}), "patch-generation": patch(there, {"metadata": {"generation": 7}}), "patch-link": patch(there, {"metadata": {"selfLink": "/x"}}),
        "apply-old": patch(there + "?fieldManager=other&dryRun=All#", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "there", **old}, "data": bad}, APPLY), "apply-uid": patch(there + "?fieldManager=other&dryRun=All#", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "there", "uid": "x"}}, APPLY),
        "apply-absent-uid": patch(f"{MAPS}/absent?fieldManager=other&dryRun=All#", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "absent", "uid": "x"}}, APPLY), "apply-absent-version": patch(f"{MAPS}/absent?fieldManager=other&dryRun=All#", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "absent", **old}}, APPLY),
        "status-old": patch(f"{PODS}/there/status", {"metadata": old, "status": {"phase": "Running"}}), "status-uid": patch(f"{PODS}/there/status", {"metadata": {"uid": "x"}}), "status-put-old": ("PUT", f"{PODS}/there/status?dryRun=All", {"metadata": {"name": "there", **old}}, JSON),
        "scale-old-and-negative": patch(scale, {"metadata": old, "spec": {"replicas": -1}}), "scale-old": patch(scale, {"metadata": old, "spec": {"replicas": 2}}), "scale-uid": patch(scale, {"metadata": {"uid": "x"}}), "scale-put-old": ("PUT", f"{scale}?dryRun=All", {"metadata": {"name": "there", "namespace": NAMESPACE, **old}, "spec": {"replicas": 2}}, JSON),
        "scale-put-uid-and-negative": ("PUT", f"{scale}?dryRun=All", {"metadata": {"name": "there", "namespace": NAMESPACE, "uid": "x"}, "spec": {"replicas": -1}}, JSON), "scale-put-other-name": ("PUT", f"{scale}?dryRun=All", {"metadata": {"name": "other", "namespace": NAMESPACE}, "spec": {"replicas": 2}}, JSON),
        "scale-put-absent": ("PUT", f"{DEPLOYMENTS}/absent/scale?dryRun=All", {"metadata": {"name": "absent", "namespace": NAMESPACE}, "spec": {"replicas": 2}}, JSON), "scale-put-no-name": ("PUT", f"{scale}?dryRun=All", {"spec": {"replicas": 2}}, JSON), "scale-version-zero": patch(scale, {"metadata": {"resourceVersion": "0"}, "spec": {"replicas": 2}}),
        "job-active": patch(job, {"status": {"active": -1}}), "job-failed": patch(job, {"status": {"failed": -1}}), "job-succeeded": patch(job, {"status": {"succeeded": -1}}),
        "service-external-address": patch(f"{SERVICES}/there", {"spec": {"type": "ExternalName", "externalName": "a.b", "clusterIP": "10.96.77.79"}}), "service-health-port": patch(f"{SERVICES}/balanced", {"spec": {"healthCheckNodePort": 30998}}), "service-health-port-none": patch(f"{SERVICES}/balanced", {"spec": {"healthCheckNodePort": None}}),
        "service-place": patch(f"{SERVICES}/balanced/status", {"status": {"loadBalancer": {"ingress": [{"ip": "x"}]}}}), "service-place-name": patch(f"{SERVICES}/balanced/status", {"status": {"loadBalancer": {"ingress": [{"hostname": "1.2.3.4"}]}}}),
        "service-place-names": patch(f"{SERVICES}/balanced/status", {"status": {"loadBalancer": {"ingress": [{"hostname": "A_b"}]}}}),
    }
    for name, (method, path, body, kind) in cases.items():
        yield f"order/{name}", method, path.split("#")[0], body, kind
    services = {
        "external-name-address": service(type="ExternalName", externalName="a.b", clusterIP="10.96.77.79"), "app": service({"port": 80, "appProtocol": "a b"}), "same-node-port": service({"name": "a", "port": 80, "nodePort": 30995}, {"name": "b", "port": 81, "nodePort": 30995}, type="NodePort"),
        "same-node-port-other-protocol": service({"name": "a", "port": 80, "nodePort": 30995}, {"name": "b", "port": 80, "nodePort": 30995, "protocol": "UDP"}, type="NodePort"), "ranges-spaces": service(type="LoadBalancer", loadBalancerSourceRanges=[" 10.0.0.0/8 "]), "ranges-cluster-ip-bad": service(loadBalancerSourceRanges=["x"]),
        "ranges-noted": merged(service(type="LoadBalancer"), {"metadata": {"annotations": {"service.beta.kubernetes.io/load-balancer-source-ranges": "10.0.0.0/8, x"}}}), "ranges-noted-cluster-ip": merged(service(), {"metadata": {"annotations": {"service.beta.kubernetes.io/load-balancer-source-ranges": "10.0.0.0/8"}}}),
        "ranges-noted-empty": merged(service(type="LoadBalancer"), {"metadata": {"annotations": {"service.beta.kubernetes.io/load-balancer-source-ranges": " "}}}), "health-port-range": service(type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=70000),
        "affinity-none-config": service(sessionAffinity="None", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 5}}), "bad-address-and-port": service({"port": 0}, clusterIP="192.0.2.1"),
    }
    for name, body in services.items():
        yield f"service/{name}", "POST", f"{SERVICES}?dryRun=All", body, JSON


def patches():
    there = f"{MAPS}/there"
    json_patches = {
        "not-a-list": {"op": "add"}, "no-op": [{"path": "/a"}], "unknown-op": [{"op": "jump", "path": "/a"}], "test-fails": [{"op": "test", "path": "/data/k", "value": "other"}], "remove-missing": [{"op": "remove", "path": "/data/nothing"}], "replace-missing": [{"op": "replace", "path": "/data/nothing", "value": "x"}],
        "bad-pointer": [{"op": "add", "path": "data", "value": 1}], "add-under-missing": [{"op": "add", "path": "/nothing/a", "value": 1}], "wrong-type": [{"op": "add", "path": "/data/n", "value": 1}], "move-into-itself": [{"op": "move", "from": "/data", "path": "/data/x"}], "copy-missing": [{"op": "copy", "from": "/nothing", "path": "/data/x"}],
        "root": [{"op": "replace", "path": "", "value": {}}], "kind": [{"op": "replace", "path": "/kind", "value": "Secret"}], "index": [{"op": "add", "path": "/metadata/finalizers/7", "value": "a"}],
    }
    for name, p in json_patches.items():
        yield f"json-patch/{name}", "PATCH", there, p, PATCH
    for name, data in {"cut": b'[{"op":', "not-json": b"x", "empty": b""}.items():
        yield f"json-patch/{name}", "PATCH", there, data, PATCH
    for name, data in {"list": b"[]", "string": b'"x"', "cut": b"{", "null": b"null", "wrong-type": b'{"data":{"k":1}}', "list-for-map": b'{"data":[]}', "kind": b'{"kind":"Secret"}', "version": b'{"apiVersion":"v2"}'}.items():
        yield f"merge-patch/{name}", "PATCH", there, data, MERGE
        yield f"strategic/{name}", "PATCH", there, data, STRATEGIC
    yield "strategic/directive", "PATCH", f"{PODS}/there", {"spec": {"containers": [{"$patch": "explode", "name": "c"}]}}, STRATEGIC
    yield "strategic/no-merge-key", "PATCH", f"{PODS}/there", {"spec": {"containers": [{"image": "x"}]}}, STRATEGIC
    yield "strategic/order-mismatch", "PATCH", f"{PODS}/there", {"spec": {"$setElementOrder/containers": [{"name": "d"}], "containers": [{"name": "c", "image": "x"}]}}, STRATEGIC
    yield "patch/missing", "PATCH", f"{MAPS}/nothing", {"data": {}}, MERGE
    yield "patch/unknown-type", "PATCH", there, {"data": {}}, "application/other-patch+json"
    yield "patch/plain-json", "PATCH", there, {"data": {}}, JSON
    yield "apply/no-manager", "PATCH", there, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "there"}, "data": {"k": "x"}}, APPLY
    for name, thing in {"conflict": {"apiVersion": "v1", "kind": "ConfigMap", "data": {"k": "x"}}, "no-kind": {"data": {"k": "x"}}, "wrong-name": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "other"}}, "managed-fields": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"managedFields": [{"manager": "x", "operation": "Apply"}]}},
                        "wrong-kind": {"apiVersion": "v1", "kind": "Secret"}, "wrong-type": {"apiVersion": "v1", "kind": "ConfigMap", "data": {"k": 1}}}.items():
        yield f"apply/{name}", "PATCH", there + "?fieldManager=other", thing, APPLY
    yield "apply/same-key-twice", "PATCH", f"{PODS}/there?fieldManager=other", {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "c", "image": "a"}, {"name": "c", "image": "b"}]}}, APPLY


def queries():
    get = lambda name, path: (f"query/{name}", "GET", path, None, None)  # noqa: E731
    for i, q in enumerate(["limit=-1", "limit=x", "continue=garbage", "continue=e30", "resourceVersion=x", "resourceVersion=-1", "resourceVersion=99999999", "resourceVersionMatch=Exact", "resourceVersionMatch=Near&resourceVersion=1", "resourceVersionMatch=Exact&resourceVersion=0",
                           "labelSelector=a%3D%3D%3Db", "labelSelector=a+in+b", "labelSelector=a+in+()", "labelSelector=!", "labelSelector=a%3Db%2C%2Cc", "labelSelector=-a", "fieldSelector=spec.nothing%3Da", "fieldSelector=a", "fieldSelector=metadata.name%3D%3D%3Da", "watch=x&timeoutSeconds=1", "timeoutSeconds=x", "watch=true&resourceVersion=x",
                           "limit=1&resourceVersionMatch=NotOlderThan", "allowWatchBookmarks=x", "pretty=x"]):
        yield get(f"list-{i}", f"{MAPS}?{q}")
    for i, p in enumerate(["/", "/api/", "/apis/", "/api/v2", "/apis/nothing", "/apis/apps/v9", "/apis/apps/v1/nothing", "/api/v1/namespaces/diff/nothing", "/api/v1/namespaces/nothing/configmaps/a", "/api/v1/namespaces/nothing/configmaps", "/api/v1/nothing/a/b", f"{MAPS}/nothing", f"{MAPS}/there/nothing", f"{PODS}/there/status/more",
                           "/api/v1/namespaces//configmaps", "/api/v1/namespaces/diff/configmaps/", "/api/v1/../v1/namespaces", "/api/v1/namespaces/..%2fdefault/configmaps", "/api/v1/namespaces/diff/configmaps/%2e%2e", "/api/v1/namespaces/diff/configmaps/a%2fb", "/api/v1/namespaces/diff/configmaps/a%00b", "/api/v1/%6eamespaces",
                           "/API/v1/namespaces", "//api/v1/namespaces", "/api//v1/namespaces", "/nothing", "/healthz/nothing", "/apis/apps/v1/namespaces/diff/deployments/there/scale/x", "/apis/apps/v1/watch/nothing"]):
        yield get(f"path-{i}", p)
    for i, (method, path) in enumerate([("POST", f"{MAPS}/there"), ("PUT", MAPS), ("PATCH", MAPS), ("DELETE", f"{MAPS}/nothing"), ("DELETE", "/api/v1/namespaces/nothing"), ("OPTIONS", MAPS), ("TRACE", MAPS), ("BREW", MAPS), ("POST", "/version"), ("DELETE", "/api/v1"), ("PUT", f"{PODS}/there/log"), ("POST", "/api/v1/componentstatuses"),
                                        ("DELETE", "/api/v1/namespaces/default"), ("DELETE", "/api/v1/namespaces/kube-system"), ("DELETE", f"{SERVICES}/nothing"), ("POST", "/api/v1/namespaces/nothing/configmaps")]):
        yield f"method/{i}", method, path, {"metadata": {"name": "bad"}} if method in ("POST", "PUT", "PATCH") else None, MERGE if method == "PATCH" else JSON
    for i, q in enumerate(["dryRun=x", "dryRun=All&dryRun=x", "fieldManager=" + "x" * 200, "fieldManager=%00", "pretty=true&dryRun="]):
        yield f"write-query/{i}", "POST", f"{MAPS}?{q}", {"metadata": {"name": f"bad-{i}"}}, JSON
    for i, options in enumerate([{"propagationPolicy": "Slowly"}, {"orphanDependents": True, "propagationPolicy": "Orphan"}, {"gracePeriodSeconds": "x"}, {"preconditions": {"uid": "x"}}, {"preconditions": {"resourceVersion": "1"}}, {"dryRun": ["x"]}, {"kind": "Pod", "apiVersion": "v1"}, b"{", []]):
        yield f"delete-options/{i}", "DELETE", f"{MAPS}/there", options, JSON
    for i, accept in enumerate(["application/xml", "text/html", "application/json;as=Nothing;v=v1;g=meta.k8s.io", "application/json;as=Table;v=v9;g=meta.k8s.io", "*/*;q=0", ""]):
        yield f"accept/{i}", "GET", f"{MAPS}/there", None, ("accept", accept)
    reviews = "/apis/authorization.k8s.io/v1"
    for name, path, spec in [("empty", "subjectaccessreviews", {}), ("no-user", "subjectaccessreviews", {"resourceAttributes": {"verb": "get"}}), ("both", "subjectaccessreviews", {"user": "u", "resourceAttributes": {"verb": "get"}, "nonResourceAttributes": {"path": "/"}}), ("self-empty", "selfsubjectaccessreviews", {})]:
        yield f"review/{name}", "POST", f"{reviews}/{path}", {"spec": spec}, JSON
    yield "review/token-empty", "POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {}}, JSON
    yield "review/token-garbage", "POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": "garbage"}}, JSON
    yield "token/bad-seconds", "POST", f"{NS}/serviceaccounts/default/token", {"spec": {"expirationSeconds": 5, "audiences": ["a"]}}, JSON
    yield "token/nobody", "POST", f"{NS}/serviceaccounts/nobody/token", {"spec": {"audiences": ["a"]}}, JSON
    yield "binding/no-pod", "POST", f"{PODS}/nothing/binding", {"metadata": {"name": "nothing"}, "target": {"kind": "Node", "name": "n"}}, JSON
    yield "binding/bound", "POST", f"{PODS}/there/binding", {"metadata": {"name": "there"}, "target": {"kind": "Node", "name": "n"}}, JSON
    yield "binding/kind", "POST", f"{PODS}/there/binding", {"metadata": {"name": "there"}, "target": {"kind": "Pod", "name": "n"}}, JSON
    yield "scale/negative", "PUT", f"{DEPLOYMENTS}/there/scale", {"metadata": {"name": "there", "namespace": NAMESPACE}, "spec": {"replicas": -1}}, JSON


def cases():
    """(name, method, path, body, content type or ("accept", value)); body is bytes or something to be written as JSON."""
    for part in (documents, wrong_types, names_and_words, kinds_rules, policy_rules, ingress_rules, kind_rules.cases, updates, orders, patches, queries):
        for name, method, path, body, kind in part():
            if body is not None and not isinstance(body, bytes):
                if isinstance(body, dict) and kind == APPLY and "metadata" not in body:
                    body = dict(body, metadata={"name": path.split("?")[0].rsplit("/", 1)[1]})
                body = json.dumps(body).encode()
            yield name, method, path, body, kind
