"""Rules of single kinds: a good object of each, the faults that it may have, and the changes that an object that is there may not see.

A fault or a change is what is merged into the object: maps field by field, everything else as a whole, None takes a field away."""
import base64

from objects import where

AUTH, NET = "rbac.authorization.k8s.io", "networking.k8s.io"
POD = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
ONCE = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}
SELECTS = {"matchLabels": {"a": "b"}}
ON_NODE = {"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}]}}
LIKE = {"matchExpressions": [{"key": "a", "operator": "Like"}]}
REQUEST = ("LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlISE1HNENBUUF3RERFS01BZ0dBMVVFQXd3QllUQlpNQk1HQnlxR1NNNDlBZ0VHQ0NxR1NNNDlBd0VIQTBJQQpCQ25DRkNET3NGQ2"
           "s3R0pnY1Y3TWU2VVpLL3ZjWExyNzBKekpTL2VIc2toSWZsVHErRXNZU25mbFNMc2hjVVF0Ck16cUlpdDRjd2ppbnJxa0l3NWlpSERHZ0FEQUtCZ2dxaGtqT1BRUURBZ05KQURCR0FpRUE3WXJjb25y"
           "T2dXa2QKNWM1dzBpaXJBUFJJSm91N3cvM3A1K3pNYTJOZUxMNENJUURRK1lTZFNqVXZBVjd5QzZyV0hEMFNMWTdnY2lPegpWaGN2OWUrbWF3TXRkQT09Ci0tLS0tRU5EIENFUlRJRklDQVRFIFJFUV"
           "VFU1QtLS0tLQo=")

CERTIFICATE = ("LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUJiekNDQVJXZ0F3SUJBZ0lVYUtGb1IzV1ZXdHNkMXRreGNZUldqK2owZXBjd0NnWUlLb1pJemowRUF3SXcKRERFS01BZ0dBMVVFQXd3QllUQW"
               "dGdzB5TmpFeE1qY3hNakl6TURSYUdBOHlNVEkyTVRFd016RXlNak13TkZvdwpEREVLTUFnR0ExVUVBd3dCWVRCWk1CTUdCeXFHU000OUFnRUdDQ3FHU000OUF3RUhBMElBQkJ0OFExYUlENmkzClpV"
               "RjRjN0pNV1FEYkVVTlpITzdkTUd5Rnlibmdjd0xEbXBtSWl1ZVYwT1NoZzgzWDMxRHJSN3dRdkZWRUw0RkMKZlBaaytJRW1SQjZqVXpCUk1CMEdBMVVkRGdRV0JCUTJ3aGNqSnlkR1dOWUUwK2I5Mk"
               "R6cHFxek9nREFmQmdOVgpIU01FR0RBV2dCUTJ3aGNqSnlkR1dOWUUwK2I5MkR6cHFxek9nREFQQmdOVkhSTUJBZjhFQlRBREFRSC9NQW9HCkNDcUdTTTQ5QkFNQ0EwZ0FNRVVDSUVrZWxQaHNiY3NX"
               "Q3NFYWg1V1I5aDFyN3RDeWFLSGVvVUxESHkrbzkrdHMKQWlFQW9EeUpqaU50QmJLdGZIdkpWL2JmVGhBN3h5Y2w5QU9YY1ZYcjBPL1hCeEU9Ci0tLS0tRU5EIENFUlRJRklDQVRFLS0tLS0K")
OTHER_CERTIFICATE = ("LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUJiekNDQVJXZ0F3SUJBZ0lVQXcweFMyaG9laTNWb05Ibmk5andIWlYzRTFFd0NnWUlLb1pJemowRUF3SXcKRERFS01BZ0dBMVVFQXd3QllqQW"
                     "dGdzB5TmpFeE1qY3hNakl6TURSYUdBOHlNVEkyTVRFd016RXlNak13TkZvdwpEREVLTUFnR0ExVUVBd3dCWWpCWk1CTUdCeXFHU000OUFnRUdDQ3FHU000OUF3RUhBMElBQkNJaUJ1ODlaeTdSCnFM"
                     "RzRUY1BvUjVNZ2RVSEg5cnFkRUh5UisrNWo3VU5iY2IzN0V3cFV0ODJKTHc4aFpoUW1VNVhVc2FSMmpDSFcKTWlTenN1NlJ4N1dqVXpCUk1CMEdBMVVkRGdRV0JCU1o0aTBvSnA0VXpnblh3enIyRW"
                     "Y2cUw1QlovekFmQmdOVgpIU01FR0RBV2dCU1o0aTBvSnA0VXpnblh3enIyRWY2cUw1QlovekFQQmdOVkhSTUJBZjhFQlRBREFRSC9NQW9HCkNDcUdTTTQ5QkFNQ0EwZ0FNRVVDSVFEYVNJSW00Mmhu"
                     "cFdacWtJNHJuWGtoNE4xdThHSllMU2RlblVFM2Njd2wKUHdJZ2JIVHFMb3VwNnhjZGwyclJlUDBGN3p1VnJYSDFWdWJOWkNlVVBsN0VROUU9Ci0tLS0tRU5EIENFUlRJRklDQVRFLS0tLS0K")
CERTIFICATES = "/apis/certificates.k8s.io/v1/certificatesigningrequests"


def spec(**fields):
    return {"spec": fields}


def source(name, **fields):
    """A volume of this source instead of the usual one."""
    return spec(hostPath=None, **{name: fields})


def merged(thing, change):
    if not isinstance(thing, dict) or not isinstance(change, dict):
        return change
    out = dict(thing)
    for key, value in change.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = merged(out.get(key), value) if isinstance(out.get(key), dict) else value
    return out


class Kind:
    """good: an object that is right. faults and changes by their names. standing: the name of the one that is changed."""

    def __init__(self, group_version, resource, good, faults=None, changes=None, standing="standing"):
        self.path, self.good, self.faults, self.changes, self.standing = where(group_version, resource), good, faults or {}, changes or {}, standing
        self.short = f"{resource}-v2" if group_version.endswith("/v2") else resource


STORAGE = [
    Kind("v1", "persistentvolumes", spec(capacity={"storage": "1Gi"}, accessModes=["ReadWriteOnce"], hostPath={"path": "/x"}), {
        "capacity-none": spec(capacity=None), "capacity-more": spec(capacity={"cpu": "1"}), "capacity-other": spec(capacity={"storage": None, "cpu": "1"}), "capacity-negative": spec(capacity={"storage": "-1"}),
        "capacity-zero": spec(capacity={"storage": "0"}), "modes-none": spec(accessModes=[]), "mode": spec(accessModes=["X"]), "reclaim": spec(persistentVolumeReclaimPolicy="X"),
        "recycle-root": spec(persistentVolumeReclaimPolicy="Recycle", hostPath={"path": "/"}), "source-none": spec(hostPath=None), "sources": spec(nfs={"server": "s", "path": "/x"}), "path-dots": spec(hostPath={"path": "/.."}),
        "path-none": spec(hostPath={"path": ""}), "path-type": spec(hostPath={"type": "X"}), "local-anywhere": source("local", path="/a"), "local-dots": dict(spec(hostPath=None, local={"path": "../a"}, nodeAffinity=ON_NODE)),
        "local-nowhere": spec(hostPath=None, local={"path": ""}, nodeAffinity=ON_NODE), "nfs-server": source("nfs", path="/x"), "nfs-path-none": source("nfs", server="s"), "nfs-path": source("nfs", server="s", path="x"),
        "csi-driver": source("csi", volumeHandle="h"), "csi-driver-name": source("csi", driver="a_b", volumeHandle="h"), "csi-handle": source("csi", driver="a"),
        "csi-secret": source("csi", driver="a", volumeHandle="h", nodePublishSecretRef={"name": "s"}), "iscsi": source("iscsi", lun=1), "iscsi-iqn": source("iscsi", targetPortal="1.2.3.4", iqn="x", lun=300),
        "iscsi-chap": source("iscsi", targetPortal="1.2.3.4", iqn="iqn.2001-04.com.example:storage", lun=1, chapAuthDiscovery=True), "fc": source("fc"), "fc-lun": source("fc", targetWWNs=["a"]), "fc-both": source("fc", targetWWNs=["a"], lun=1, wwids=["b"]),
        "mode-of-volume": spec(volumeMode="X"), "affinity-none": spec(nodeAffinity={}), "affinity-empty": spec(nodeAffinity={"required": {"nodeSelectorTerms": []}}),
        "affinity-operator": spec(nodeAffinity={"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "k", "operator": "Like"}]}]}}), "class": spec(storageClassName="A_b"), "name": {"metadata": {"name": "A"}},
    }, {"source": spec(hostPath={"path": "/y"}), "other-source": spec(hostPath=None, nfs={"server": "s", "path": "/y"}), "capacity": spec(capacity={"storage": "2Gi"}), "mode": spec(volumeMode="Block"), "affinity": spec(nodeAffinity=ON_NODE),
        "reclaim": spec(persistentVolumeReclaimPolicy="Delete"), "class": spec(storageClassName="other")}),
    Kind("v1", "persistentvolumeclaims", spec(accessModes=["ReadWriteOnce"], storageClassName="c", resources={"requests": {"storage": "1Gi"}}), {
        "modes-none": spec(accessModes=[]), "mode": spec(accessModes=["X"]), "size-none": spec(resources=None), "size-zero": spec(resources={"requests": {"storage": "0"}}), "size-negative": spec(resources={"requests": {"storage": "-1"}}),
        "class": spec(storageClassName="A_b"), "mode-of-volume": spec(volumeMode="X"), "selector": spec(selector=LIKE), "selector-key": spec(selector={"matchLabels": {"a b": "c"}}), "source-kind": spec(dataSource={"kind": "", "name": "n"}),
        "source-name": spec(dataSource={"kind": "PersistentVolumeClaim", "name": ""}), "source-other": spec(dataSource={"kind": "X", "name": "n"}),
    }, {"mode": spec(accessModes=["ReadOnlyMany"]), "size": spec(resources={"requests": {"storage": "2Gi"}}), "class": spec(storageClassName="d"), "volume": spec(volumeName="v"), "selector": spec(selector=SELECTS), "mode-of-volume": spec(volumeMode="Block")}),
    Kind("storage.k8s.io/v1", "storageclasses", {"provisioner": "a.b/c", "parameters": {"a": "b"}}, {
        "provisioner-none": {"provisioner": ""}, "provisioner": {"provisioner": "a b"}, "provisioner-upper": {"provisioner": "A.b/C"}, "parameter-unnamed": {"parameters": {"": "a"}}, "parameters": {"parameters": {f"a{i}": "b" for i in range(513)}},
        "parameters-large": {"parameters": {"a": "x" * 300000}}, "reclaim": {"reclaimPolicy": "X"}, "recycle": {"reclaimPolicy": "Recycle"}, "binding": {"volumeBindingMode": "X"}, "topology-empty": {"allowedTopologies": [{}]},
        "topology-nothing": {"allowedTopologies": [{"matchLabelExpressions": []}]}, "topology-key": {"allowedTopologies": [{"matchLabelExpressions": [{"key": "a b", "values": ["a"]}]}]},
        "topology-values": {"allowedTopologies": [{"matchLabelExpressions": [{"key": "a", "values": []}]}]}, "topology-twice": {"allowedTopologies": [{"matchLabelExpressions": [{"key": "a", "values": ["b", "b"]}]}]},
        "topology-keys": {"allowedTopologies": [{"matchLabelExpressions": [{"key": "a", "values": ["b"]}, {"key": "a", "values": ["c"]}]}]}, "topologies": {"allowedTopologies": [{"matchLabelExpressions": [{"key": "a", "values": ["b"]}]}] * 2},
    }, {"provisioner": {"provisioner": "d"}, "parameters": {"parameters": {"a": "c"}}, "reclaim": {"reclaimPolicy": "Retain"}, "binding": {"volumeBindingMode": "WaitForFirstConsumer"}, "expansion": {"allowVolumeExpansion": True}, "options": {"mountOptions": ["a"]},
        "topologies": {"allowedTopologies": [{"matchLabelExpressions": [{"key": "a", "values": ["b"]}]}]}}),
    Kind("storage.k8s.io/v1", "csidrivers", spec(attachRequired=True), {
        "name": {"metadata": {"name": "a_b"}}, "name-upper": {"metadata": {"name": "A.b"}}, "name-long": {"metadata": {"name": "a" * 64}}, "lifecycle": spec(volumeLifecycleModes=["X"]), "group-policy": spec(fsGroupPolicy="X"),
    }, {"attach": spec(attachRequired=False), "lifecycle": spec(volumeLifecycleModes=["Ephemeral"]), "info": spec(podInfoOnMount=True)}),
    Kind("storage.k8s.io/v1", "csinodes", spec(drivers=[{"name": "a", "nodeID": "n", "topologyKeys": ["a"]}]), {
        "name-none": spec(drivers=[{"name": "", "nodeID": "n"}]), "name": spec(drivers=[{"name": "a_b", "nodeID": "n"}]), "node-none": spec(drivers=[{"name": "a", "nodeID": ""}]), "node-long": spec(drivers=[{"name": "a", "nodeID": "n" * 200}]),
        "twice": spec(drivers=[{"name": "a", "nodeID": "n"}] * 2), "key": spec(drivers=[{"name": "a", "nodeID": "n", "topologyKeys": ["a b"]}]), "key-none": spec(drivers=[{"name": "a", "nodeID": "n", "topologyKeys": [""]}]),
        "keys": spec(drivers=[{"name": "a", "nodeID": "n", "topologyKeys": ["a", "a"]}]), "count": spec(drivers=[{"name": "a", "nodeID": "n", "allocatable": {"count": -1}}]),
    }, {"node": spec(drivers=[{"name": "a", "nodeID": "m", "topologyKeys": ["a"]}]), "topology": spec(drivers=[{"name": "a", "nodeID": "n", "topologyKeys": ["b"]}]), "none": spec(drivers=[])}),
    Kind("storage.k8s.io/v1", "volumeattachments", spec(attacher="a", nodeName="n", source={"persistentVolumeName": "v"}), {
        "attacher-none": spec(attacher=""), "attacher": spec(attacher="a_b"), "node-none": spec(nodeName=""), "node": spec(nodeName="A"), "source-none": spec(source={"persistentVolumeName": None}), "volume-empty": spec(source={"persistentVolumeName": ""}),
        "volume": spec(source={"persistentVolumeName": "A"}), "inline": spec(source={"persistentVolumeName": None, "inlineVolumeSpec": {}}),
        "both": spec(source={"inlineVolumeSpec": {"accessModes": ["ReadWriteOnce"], "csi": {"driver": "a", "volumeHandle": "h"}}}),
    }, {"node": spec(nodeName="m"), "attacher": spec(attacher="b")}),
]

CORE = [
    Kind("v1", "resourcequotas", spec(hard={"cpu": "1"}), {
        "key": spec(hard={"x": "1"}), "key-bad": spec(hard={"a b": "1"}), "key-other": spec(hard={"example.com/x": "1"}), "key-count": spec(hard={"count/x.y": "1"}), "negative": spec(hard={"cpu": "-1"}), "part": spec(hard={"pods": "1.5"}), "scope": spec(scopes=["X"]),
        "scopes-against": spec(scopes=["BestEffort", "NotBestEffort"], hard={"cpu": None, "pods": "1"}), "scopes-ends": spec(scopes=["Terminating", "NotTerminating"]), "scope-of-other": spec(scopes=["BestEffort"]), "scope-twice": spec(scopes=["Terminating"] * 2),
        "selector-name": spec(scopeSelector={"matchExpressions": [{"scopeName": "X", "operator": "Exists"}]}), "selector-operator": spec(scopeSelector={"matchExpressions": [{"scopeName": "PriorityClass", "operator": "Like"}]}),
        "selector-values": spec(scopeSelector={"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In"}]}), "selector-more": spec(scopeSelector={"matchExpressions": [{"scopeName": "PriorityClass", "operator": "Exists", "values": ["a"]}]}),
        "selector-in": spec(scopeSelector={"matchExpressions": [{"scopeName": "Terminating", "operator": "In", "values": ["a"]}]}), "selector-of-other": spec(scopeSelector={"matchExpressions": [{"scopeName": "BestEffort", "operator": "Exists"}]}),
    }, {"hard": spec(hard={"cpu": "2"}), "negative": spec(hard={"cpu": "-2"}), "scopes": spec(scopes=["Terminating"]), "selector": spec(scopeSelector={"matchExpressions": [{"scopeName": "PriorityClass", "operator": "Exists"}]})}),
    Kind("v1", "endpoints", {"subsets": [{"addresses": [{"ip": "10.1.2.3"}], "ports": [{"port": 80}]}]}, {
        name: {"subsets": [subset]} for name, subset in {
            "empty": {}, "loopback": {"addresses": [{"ip": "127.0.0.1"}]}, "ip": {"addresses": [{"ip": "x"}]}, "not-ready": {"notReadyAddresses": [{"ip": "169.254.0.1"}]}, "hostname": {"addresses": [{"ip": "10.1.2.3", "hostname": "A"}]},
            "node": {"addresses": [{"ip": "10.1.2.3", "nodeName": "A"}]}, "port": {"addresses": [{"ip": "10.1.2.3"}], "ports": [{"port": 0}]}, "protocol": {"addresses": [{"ip": "10.1.2.3"}], "ports": [{"port": 1, "protocol": "X"}]},
            "port-name": {"addresses": [{"ip": "10.1.2.3"}], "ports": [{"port": 1, "name": "A"}]}, "port-unnamed": {"addresses": [{"ip": "10.1.2.3"}], "ports": [{"port": 1}, {"port": 2}]},
            "app": {"addresses": [{"ip": "10.1.2.3"}], "ports": [{"port": 1, "appProtocol": "a b"}]}}.items()
    }, {"bad": {"subsets": [{"addresses": [{"ip": "x"}]}]}, "good": {"subsets": []}}),
    Kind("v1", "secrets", {"type": "Opaque", "data": {"a": "YQ=="}}, {
        "key": {"data": {"a b": ""}}, "tls": {"type": "kubernetes.io/tls"}, "tls-key": {"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}, "dockercfg": {"type": "kubernetes.io/dockercfg"},
        "dockercfg-json": {"type": "kubernetes.io/dockercfg", "data": {".dockercfg": "e30K"}}, "dockercfg-text": {"type": "kubernetes.io/dockercfg", "data": {".dockercfg": "eA=="}}, "dockerconfig": {"type": "kubernetes.io/dockerconfigjson"},
        "dockerconfig-text": {"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "eA=="}}, "token": {"type": "kubernetes.io/service-account-token"}, "basic": {"type": "kubernetes.io/basic-auth"},
        "ssh": {"type": "kubernetes.io/ssh-auth"}, "ssh-empty": {"type": "kubernetes.io/ssh-auth", "data": {"ssh-privatekey": ""}}, "size": {"data": {"a": "eHh4" * 400000}},
    }, {"type": {"type": "x"}, "type-none": {"type": ""}, "key": {"data": {"a b": ""}}}),
    Kind("v1", "secrets", {"data": {"a": "YQ=="}, "immutable": True}, {}, {"fixed-data": {"data": {"a": "Yg=="}}, "fixed-key": {"data": {"b": "Yg=="}}, "fixed-off": {"immutable": False}, "fixed-label": {"metadata": {"labels": {"a": "b"}}}}, standing="fixed"),
    Kind("v1", "configmaps", {"data": {"a": "b"}}, {"size": {"binaryData": {"b": "eHh4" * 400000}}}, {"key": {"data": {"a b": ""}}}),
    Kind("v1", "serviceaccounts", {}, {"name": {"metadata": {"name": "A"}}, "secret": {"secrets": [{"name": "A"}]}}, {"secret": {"secrets": [{"name": "x"}]}}),
    Kind("v1", "namespaces", {}, {"finalizer": spec(finalizers=["x"]), "finalizer-bad": spec(finalizers=["a b/c"]), "label": {"metadata": {"labels": {"kubernetes.io/metadata.name": "x"}}}}, {"label": {"metadata": {"labels": {"a b": "c"}}}}),
    Kind("v1", "nodes", spec(podCIDR="10.1.0.0/24"), {
        "taint-key": spec(taints=[{"key": "a b", "effect": "NoSchedule"}]), "taint-none": spec(taints=[{"key": "", "effect": "NoSchedule"}]), "taint-effect": spec(taints=[{"key": "a", "effect": "X"}]), "taint-effect-none": spec(taints=[{"key": "a"}]),
        "taint-value": spec(taints=[{"key": "a", "value": "a b", "effect": "NoSchedule"}]), "taint-twice": spec(taints=[{"key": "a", "effect": "NoSchedule"}] * 2), "cidr": spec(podCIDR="x"), "cidrs": spec(podCIDRs=["10.1.0.0/24", "10.2.0.0/24"]),
        "cidrs-bad": spec(podCIDR=None, podCIDRs=["x"]), "name": {"metadata": {"name": "A"}},
    }, {"cidr": spec(podCIDR="10.2.0.0/24", podCIDRs=["10.2.0.0/24"]), "cidr-bad": spec(podCIDR="x", podCIDRs=["x"]), "taint": spec(taints=[{"key": "a b", "effect": "NoSchedule"}]), "provider": spec(providerID="p"), "unschedulable": spec(unschedulable=True)}),
    Kind("v1", "events", {"involvedObject": {"namespace": "diff", "kind": "Pod", "name": "p"}}, {"namespace": {"involvedObject": {"namespace": "other"}}, "namespace-none": {"involvedObject": {"namespace": None}},
                                                                                              "name": {"metadata": {"name": "A"}}}, {"namespace": {"involvedObject": {"namespace": "other"}}, "message": {"message": "x"}}),
    Kind("v1", "podtemplates", {"template": POD}, {"containers": {"template": {"spec": {"containers": []}}}, "label": {"template": {"metadata": {"labels": {"a b": "c"}}}}, "restart": {"template": {"spec": {"restartPolicy": "X"}}}},
         {"image": {"template": {"spec": {"containers": [{"name": "c", "image": ""}]}}}}),
    Kind("scheduling.k8s.io/v1", "priorityclasses", {"value": 5}, {"value": {"value": 2000000000}, "preemption": {"preemptionPolicy": "X"}, "system": {"metadata": {"name": "system-x"}}, "name": {"metadata": {"name": "A"}}},
         {"value": {"value": 6}, "preemption": {"preemptionPolicy": "Never"}, "description": {"description": "d"}}),
    Kind("coordination.k8s.io/v1", "leases", spec(leaseDurationSeconds=5), {"duration": spec(leaseDurationSeconds=0), "transitions": spec(leaseTransitions=-1)}, {"duration": spec(leaseDurationSeconds=0), "transitions": spec(leaseTransitions=-1)}),
]

NETWORK = [
    Kind(f"{NET}/v1", "networkpolicies", spec(podSelector={}), {
        "port": spec(ingress=[{"ports": [{"port": 70000}]}]), "port-name": spec(ingress=[{"ports": [{"port": "A_b"}]}]), "protocol": spec(ingress=[{"ports": [{"protocol": "ICMP"}]}]), "peer-none": spec(ingress=[{"from": [{}]}]),
        "cidr": spec(ingress=[{"from": [{"ipBlock": {"cidr": "x"}}]}]), "cidr-none": spec(ingress=[{"from": [{"ipBlock": {"cidr": ""}}]}]), "except": spec(egress=[{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/8"]}}]}]),
        "except-bad": spec(egress=[{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["x"]}}]}]), "both": spec(ingress=[{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}]}]), "type": spec(policyTypes=["Ingress", "X"]),
        "types": spec(policyTypes=["Ingress", "Egress", "Ingress"]), "selector": spec(podSelector=LIKE), "peer-selector": spec(ingress=[{"from": [{"namespaceSelector": LIKE}]}]), "selector-value": spec(podSelector={"matchLabels": {"a": "b c"}}),
    }, {"type": spec(policyTypes=["X"]), "selector": spec(podSelector=LIKE)}),
    Kind(f"{NET}/v1", "ingressclasses", spec(controller="a.b/c"), {
        "controller": spec(controller="A b"), "controller-none": spec(controller=""), "controller-long": spec(controller="a.b/" + "c" * 250), "parameters-kind": spec(parameters={"kind": "", "name": "n"}), "parameters-name": spec(parameters={"kind": "k", "name": ""}),
        "parameters-group": spec(parameters={"apiGroup": "A", "kind": "k", "name": "n"}), "parameters-percent": spec(parameters={"kind": "a%b", "name": "n"}),
    }, {"controller": spec(controller="d.e/f"), "parameters": spec(parameters={"kind": "k", "name": "n"})}),
    Kind("discovery.k8s.io/v1", "endpointslices", {"addressType": "IPv4", "endpoints": [{"addresses": ["10.1.2.3"]}]}, {
        "type": {"addressType": "X"}, "type-none": {"addressType": ""}, "addresses-none": {"endpoints": [{"addresses": []}]}, "address": {"endpoints": [{"addresses": ["x"]}]}, "addresses": {"endpoints": [{"addresses": ["10.1.2.3"] * 101}]},
        "address-loopback": {"endpoints": [{"addresses": ["127.0.0.1"]}]}, "address-family": {"endpoints": [{"addresses": ["fd00::1"]}]}, "address-name": {"addressType": "FQDN", "endpoints": [{"addresses": ["A_b"]}]},
        "hostname": {"endpoints": [{"addresses": ["10.1.2.3"], "hostname": "A"}]}, "port-name": {"ports": [{"name": "A", "port": 1}]}, "ports": {"ports": [{"name": "a", "port": 1}, {"name": "a", "port": 2}]},
        "protocol": {"ports": [{"name": "a", "port": 1, "protocol": "X"}]}, "app": {"ports": [{"name": "a", "port": 1, "appProtocol": "a b"}]}, "many-ports": {"ports": [{"name": f"p{i}", "port": 1} for i in range(101)]},
    }, {"type": {"addressType": "IPv6", "endpoints": []}, "address": {"endpoints": [{"addresses": ["x"]}]}}),
    Kind("policy/v1", "poddisruptionbudgets", spec(minAvailable=1, selector=SELECTS), {
        "both": spec(maxUnavailable=1), "negative": spec(minAvailable=-1), "text": spec(minAvailable="x"), "percent": spec(minAvailable="101%"), "unavailable": spec(minAvailable=None, maxUnavailable="x%"), "selector": spec(selector=LIKE),
    }, {"both": spec(maxUnavailable=1), "negative": spec(minAvailable=-1), "selector": spec(selector={"matchLabels": {"a": "c"}})}),
]

WORK = [
    Kind("batch/v1", "jobs", spec(template=ONCE), {
        "parallelism": spec(parallelism=-1), "completions": spec(completions=-1), "deadline": spec(activeDeadlineSeconds=-1), "limit": spec(backoffLimit=-1), "ttl": spec(ttlSecondsAfterFinished=-1), "restart": spec(template={"spec": {"restartPolicy": "Always"}}),
        "restart-none": spec(template={"spec": {"restartPolicy": None}}), "selector": spec(selector=SELECTS), "manual": spec(manualSelector=True), "manual-mismatch": spec(manualSelector=True, selector={"matchLabels": {"x": "y"}}),
        "image": spec(template={"spec": {"containers": [{"name": "c", "image": ""}]}}), "name": {"metadata": {"name": "a" * 64}},
    }, {"completions": spec(completions=9), "template": spec(template={"spec": {"containers": [{"name": "c", "image": "j"}]}}), "parallelism": spec(parallelism=3), "selector": spec(selector=SELECTS), "negative": spec(parallelism=-1)}),
    Kind("batch/v1", "cronjobs", spec(schedule="* * * * *", jobTemplate=spec(template=ONCE)), {
        "schedule": spec(schedule="x"), "schedule-none": spec(schedule=""), "concurrency": spec(concurrencyPolicy="X"), "deadline": spec(startingDeadlineSeconds=-1), "history": spec(successfulJobsHistoryLimit=-1), "failed": spec(failedJobsHistoryLimit=-1),
        "containers": spec(jobTemplate=spec(template={"spec": {"containers": []}})), "restart": spec(jobTemplate=spec(template={"spec": {"restartPolicy": "Always"}})), "manual": spec(jobTemplate=spec(manualSelector=True)), "selector": spec(jobTemplate=spec(selector=SELECTS)),
        "parallelism": spec(jobTemplate=spec(parallelism=-1)), "ttl": spec(jobTemplate=spec(ttlSecondsAfterFinished=-1)), "name": {"metadata": {"name": "a" * 53}},
    }, {"schedule": spec(schedule="x"), "suspend": spec(suspend=True)}),
    Kind("apps/v1", "statefulsets", spec(serviceName="s", selector=SELECTS, template=POD), {
        "replicas": spec(replicas=-1), "management": spec(podManagementPolicy="X"), "update": spec(updateStrategy={"type": "X"}), "on-delete": spec(updateStrategy={"type": "OnDelete", "rollingUpdate": {"partition": 1}}),
        "partition": spec(updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": -1}}), "selector-empty": spec(selector={"matchLabels": None}), "selector-none": spec(selector=None), "mismatch": spec(selector={"matchLabels": {"a": "c"}}),
        "restart": spec(template={"spec": {"restartPolicy": "Never"}}), "deadline": spec(template={"spec": {"activeDeadlineSeconds": 1}}), "history": spec(revisionHistoryLimit=-1), "claim": spec(volumeClaimTemplates=[{"metadata": {"name": "a"}, "spec": {}}]),
    }, {"service": spec(serviceName="t"), "management": spec(podManagementPolicy="Parallel"), "selector": spec(selector={"matchLabels": {"a": "c"}}), "replicas": spec(replicas=-1), "scale": spec(replicas=2), "history": spec(revisionHistoryLimit=3)}),
    Kind("apps/v1", "daemonsets", spec(selector=SELECTS, template=POD), {
        "mismatch": spec(selector={"matchLabels": {"a": "c"}}), "update": spec(updateStrategy={"type": "X"}), "unavailable": spec(updateStrategy={"rollingUpdate": {"maxUnavailable": 0}}), "percent": spec(updateStrategy={"rollingUpdate": {"maxUnavailable": "x%"}}),
        "over": spec(updateStrategy={"rollingUpdate": {"maxUnavailable": "101%"}}), "ready": spec(minReadySeconds=-1), "history": spec(revisionHistoryLimit=-1), "restart": spec(template={"spec": {"restartPolicy": "Never"}}), "selector-none": spec(selector=None),
    }, {"selector": spec(selector={"matchLabels": {"a": "c"}}), "ready": spec(minReadySeconds=-1)}),
    Kind("apps/v1", "replicasets", spec(selector=SELECTS, template=POD), {
        "replicas": spec(replicas=-1), "ready": spec(minReadySeconds=-1), "mismatch": spec(selector={"matchLabels": {"a": "c"}}), "selector-empty": spec(selector={"matchLabels": None}), "template-none": spec(template=None), "restart": spec(template={"spec": {"restartPolicy": "Never"}}),
    }, {"selector": spec(selector={"matchLabels": {"a": "c"}}), "replicas": spec(replicas=-1)}),
    Kind("v1", "replicationcontrollers", spec(selector={"a": "b"}, template=POD), {
        "replicas": spec(replicas=-1), "ready": spec(minReadySeconds=-1), "mismatch": spec(selector={"a": "c"}), "template-none": spec(template=None), "restart": spec(template={"spec": {"restartPolicy": "Never"}}), "selector-key": spec(selector={"a b": "c"}),
    }, {"replicas": spec(replicas=-1), "selector": spec(selector={"a": "c"})}),
    Kind("apps/v1", "controllerrevisions", {"revision": 1, "data": {"a": 1}}, {"revision": {"revision": -1}, "data": {"data": None}}, {"data": {"data": {"a": 2}}, "revision": {"revision": 2}, "negative": {"revision": -1}}),
    Kind("autoscaling/v1", "horizontalpodautoscalers", spec(maxReplicas=3, scaleTargetRef={"kind": "Deployment", "name": "d"}), {
        "min": spec(minReplicas=0), "max": spec(maxReplicas=0), "max-below": spec(minReplicas=5), "kind-none": spec(scaleTargetRef={"kind": ""}), "kind": spec(scaleTargetRef={"kind": "a%b"}), "name-none": spec(scaleTargetRef={"name": ""}), "name": spec(scaleTargetRef={"name": "a/b"}),
        "cpu": spec(targetCPUUtilizationPercentage=0),
    }, {"max": spec(maxReplicas=0), "name": spec(scaleTargetRef={"name": ""})}),
    Kind("autoscaling/v2", "horizontalpodautoscalers", spec(maxReplicas=3, scaleTargetRef={"kind": "Deployment", "name": "d"}), {
        name: spec(metrics=[metric]) for name, metric in {
            "type-none": {"type": ""}, "type": {"type": "X"}, "resource-none": {"type": "Resource"}, "resource-name": {"type": "Resource", "resource": {"name": "", "target": {"type": "Utilization", "averageUtilization": 1}}},
            "target-none": {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}}}, "target-type": {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "X", "averageUtilization": 1}}},
            "target-type-none": {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "", "averageUtilization": 1}}}, "target-both": {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 1, "averageValue": "1"}}},
            "target-zero": {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 0}}}, "value-negative": {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "AverageValue", "averageValue": "-1"}}},
            "more": {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 1}}, "pods": {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "1"}}},
            "pods-value": {"type": "Pods", "pods": {"metric": {"name": "m"}, "target": {"type": "Value", "value": "1"}}}, "pods-name": {"type": "Pods", "pods": {"metric": {"name": ""}, "target": {"type": "AverageValue", "averageValue": "1"}}},
            "metric-name": {"type": "Pods", "pods": {"metric": {"name": "a/b"}, "target": {"type": "AverageValue", "averageValue": "1"}}},
            "object-of": {"type": "Object", "object": {"describedObject": {"kind": "", "name": ""}, "metric": {"name": "m"}, "target": {"type": "Value", "value": "1"}}},
            "object-target": {"type": "Object", "object": {"describedObject": {"kind": "Service", "name": "s"}, "metric": {"name": "m"}, "target": {"type": "Value"}}},
            "external-target": {"type": "External", "external": {"metric": {"name": "m"}, "target": {"type": "Value"}}}, "external-both": {"type": "External", "external": {"metric": {"name": "m"}, "target": {"type": "Value", "value": "1", "averageValue": "1"}}},
            "external-selector": {"type": "External", "external": {"metric": {"name": "m", "selector": LIKE}, "target": {"type": "Value", "value": "1"}}}}.items()
    } | {name: spec(behavior={"scaleUp": rules}) for name, rules in {
        "window": {"stabilizationWindowSeconds": -1}, "window-long": {"stabilizationWindowSeconds": 3601}, "select": {"selectPolicy": "X"}, "policies": {"policies": []}, "policy-type": {"policies": [{"type": "X", "value": 1, "periodSeconds": 1}]},
        "policy-value": {"policies": [{"type": "Pods", "value": 0, "periodSeconds": 1}]}, "period": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 0}]}, "period-long": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 1801}]}}.items()}),
]

HOOK = {"name": "a.b.c", "admissionReviewVersions": ["v1"], "sideEffects": "None", "clientConfig": {"url": "https://h/p"}, "rules": [{"operations": ["CREATE"], "apiGroups": ["x.y"], "apiVersions": ["v1"], "resources": ["nothings"]}]}


def hook(**fields):
    return {"webhooks": [merged(HOOK, fields)]}


def hook_rule(**fields):
    return hook(rules=[{**HOOK["rules"][0], **fields}])


def hook_service(**fields):
    return hook(clientConfig={"url": None, "service": {"name": "s", "namespace": "n", **fields}})


SYSTEM = [
    Kind("admissionregistration.k8s.io/v1", "validatingwebhookconfigurations", {"webhooks": [HOOK]}, {
        "name": hook(name="a"), "name-bad": hook(name="A.b.c"), "twice": {"webhooks": [HOOK, HOOK]}, "operation": hook_rule(operations=["X"]), "operations-none": hook_rule(operations=[]), "operations-all": hook_rule(operations=["*", "CREATE"]),
        "groups": hook_rule(apiGroups=["*", "a"]), "groups-none": hook_rule(apiGroups=[]), "versions": hook_rule(apiVersions=["*", "v1"]), "versions-none": hook_rule(apiVersions=[]), "version-empty": hook_rule(apiVersions=[""]), "resources-none": hook_rule(resources=[]),
        "resource-empty": hook_rule(resources=[""]), "resources-all": hook_rule(resources=["*/*", "a"]), "resources-star": hook_rule(resources=["*", "a"]), "resource-subs": hook_rule(resources=["a/*", "a/b"]), "sub-of-all": hook_rule(resources=["*/b", "a/b"]),
        "scope": hook_rule(scope="X"), "failure": hook(failurePolicy="X"), "match": hook(matchPolicy="X"), "effects": hook(sideEffects="Some"), "effects-none": hook(sideEffects=None), "timeout": hook(timeoutSeconds=31), "timeout-zero": hook(timeoutSeconds=0),
        "review-none": hook(admissionReviewVersions=[]), "review": hook(admissionReviewVersions=["v9"]), "review-bad": hook(admissionReviewVersions=["A"]), "review-twice": hook(admissionReviewVersions=["v1", "v1"]), "client-none": hook(clientConfig={"url": None}),
        "client-both": hook(clientConfig={"service": {"name": "s", "namespace": "n"}}), "url": hook(clientConfig={"url": "http://h"}), "url-host": hook(clientConfig={"url": "https:///p"}), "url-user": hook(clientConfig={"url": "https://u@h/p"}),
        "url-query": hook(clientConfig={"url": "https://h/p?q"}), "url-fragment": hook(clientConfig={"url": "https://h/p#f"}), "url-text": hook(clientConfig={"url": "x"}), "service-name": hook_service(name=""), "service-namespace": hook_service(namespace=""),
        "service-port": hook_service(port=70000), "service-path": hook_service(path="p"), "service-segment": hook_service(path="/a//b"), "service-segment-bad": hook_service(path="/A_b"), "selector": hook(namespaceSelector=LIKE), "object-selector": hook(objectSelector=LIKE),
    }, {"name": hook(name="a"), "effects": hook(sideEffects="Some")}),
    Kind("admissionregistration.k8s.io/v1", "mutatingwebhookconfigurations", {"webhooks": [HOOK]}, {"reinvocation": hook(reinvocationPolicy="X"), "timeout": hook(timeoutSeconds=31)}, {"reinvocation": hook(reinvocationPolicy="X")}),
    Kind("apiregistration.k8s.io/v1", "apiservices", dict(spec(group="g.h", version="v1", groupPriorityMinimum=100, versionPriority=10, service={"name": "s", "namespace": "n"}, insecureSkipTLSVerify=True), metadata={"name": "v1.g.h"}), {
        "name": {"metadata": {"name": "x"}}, "group-priority": spec(groupPriorityMinimum=0), "group-priority-high": spec(groupPriorityMinimum=20001), "version-priority": spec(versionPriority=0), "version-priority-high": spec(versionPriority=1001),
        "service-name": spec(service={"name": ""}), "service-namespace": spec(service={"namespace": ""}), "service-port": spec(service={"port": 70000}), "bundle": spec(caBundle="eA=="), "local": spec(service=None),
        "group": dict(spec(group="A"), metadata={"name": "v1.A"}), "version": dict(spec(version="A"), metadata={"name": "A.g.h"}), "version-none": dict(spec(version=""), metadata={"name": ".g.h"}),
    }),
    Kind("certificates.k8s.io/v1", "certificatesigningrequests", spec(request=REQUEST, signerName="a.b/c", usages=["client auth"]), {
        "request": spec(request="eA=="), "request-none": spec(request=None), "signer": spec(signerName="x"), "signer-none": spec(signerName=""), "signer-legacy": spec(signerName="kubernetes.io/legacy-unknown"), "signer-domain": spec(signerName="a/b"),
        "signer-upper": spec(signerName="A.b/c"), "signer-path": spec(signerName="a.b/-c"), "signer-long": spec(signerName="a.b/" + "c" * 600), "usage": spec(usages=["X"]), "usages-none": spec(usages=[]), "usage-twice": spec(usages=["any", "any"]),
    }),
]
GROUPS = {"storage": STORAGE, "core": CORE, "network": NETWORK, "work": WORK, "system": SYSTEM}
KINDS = [kind for group in GROUPS.values() for kind in group]


def verdict(kind, **more):
    return {"type": kind, "status": "True", "reason": "r", "message": "m", **more}


def setup():
    """An object of each kind that is to be changed; certificates that were asked for, approved and signed."""
    for kind in KINDS:
        if kind.changes:
            yield "POST", kind.path, dict(kind.good, metadata={"name": kind.standing})
    for name in ("asked", "approved", "signed"):
        yield "POST", CERTIFICATES, {"metadata": {"name": name}, "spec": {"request": REQUEST, "signerName": "a.b/c", "usages": ["client auth"]}}
    for name in ("approved", "signed"):
        yield "PUT", f"{CERTIFICATES}/{name}/approval", {"metadata": {"name": name}, "status": {"conditions": [verdict("Approved")]}}
    yield "PUT", f"{CERTIFICATES}/signed/status", {"metadata": {"name": "signed"}, "status": {"conditions": [verdict("Approved")], "certificate": CERTIFICATE}}
    yield "POST", "/api/v1/namespaces/diff/services", {"metadata": {"name": "balanced"}, "spec": {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 30997, "ports": [{"port": 80, "nodePort": 30996}]}}


def certificates():
    """What approvers and signers may say of a request."""
    conditions = lambda *list: {"status": {"conditions": [*list]}}  # noqa: E731
    approved = verdict("Approved")
    pem = lambda text: {"status": {"certificate": base64.b64encode(text.encode()).decode()}}  # noqa: E731
    twice = base64.b64encode(base64.b64decode(CERTIFICATE) + base64.b64decode(OTHER_CERTIFICATE)).decode()
    of_approval = {
        "both": ("asked", conditions(approved, verdict("Denied"))), "false": ("asked", conditions(verdict("Approved", status="False"))), "maybe": ("asked", conditions(verdict("a", status="Maybe"))), "no-type": ("asked", conditions(verdict(""))),
        "no-status": ("asked", conditions({"type": "Approved"})), "twice": ("asked", conditions(approved, approved)), "approve": ("asked", conditions(approved)), "deny": ("asked", conditions(verdict("Denied"))), "certificate": ("asked", pem("x")),
        "spec": ("asked", dict(conditions(approved), spec={"usages": ["any"]})), "again": ("approved", conditions(approved)), "other-words": ("approved", conditions(verdict("Approved", message="n"))), "taken-back": ("approved", conditions()),
        "then-denied": ("approved", conditions(approved, verdict("Denied"))), "denied-instead": ("approved", conditions(verdict("Denied"))), "failed": ("approved", conditions(approved, verdict("Failed"))), "own": ("approved", conditions(approved, verdict("a", status="Unknown"))),
    }
    of_status = {
        "approve": ("asked", conditions(approved)), "deny": ("asked", conditions(verdict("Denied"))), "failed": ("asked", conditions(verdict("Failed"))), "failed-false": ("asked", conditions(verdict("Failed", status="False"))), "text": ("asked", pem("x")),
        "empty": ("asked", pem("")), "other-block": ("asked", pem("-----BEGIN KEY-----\nAAAA\n-----END KEY-----\n")), "no-certificate": ("asked", pem("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")),
        "headers": ("asked", pem("-----BEGIN CERTIFICATE-----\na: b\n\nAAAA\n-----END CERTIFICATE-----\n")), "sign": ("approved", {"status": {"certificate": CERTIFICATE}}), "two": ("approved", {"status": {"certificate": twice}}), "approval-taken-back": ("approved", conditions()),
        "other-words": ("approved", conditions(verdict("Approved", message="n"))), "other-certificate": ("signed", {"status": {"certificate": OTHER_CERTIFICATE}}), "certificate-taken-back": ("signed", {"status": {"certificate": None}}), "same": ("signed", {"status": {"certificate": CERTIFICATE}}),
    }
    of_itself = {"spec": ("asked", {"spec": {"usages": ["any"], "signerName": "x"}}), "status": ("asked", conditions(approved)), "label": ("signed", {"metadata": {"labels": {"a b": "c"}}})}
    for sub, cases in (("/approval", of_approval), ("/status", of_status), ("", of_itself)):
        for name, (which, change) in cases.items():
            yield f"csr{sub.replace('/', '-')}/{name}", "PATCH", f"{CERTIFICATES}/{which}{sub}?dryRun=All", change, "application/merge-patch+json"


def standing_cases(kind):
    """A bad object under a name that is taken, and a PUT that names no version, of what is there and of what is not."""
    bad = next((merged(kind.good, fault) for fault in kind.faults.values() if "metadata" not in fault), None)
    if bad:  # not every kind has a fault that is not of its name
        yield f"{kind.short}/taken", "POST", f"{kind.path}?dryRun=All", merged(bad, {"metadata": {"name": kind.standing}}), "application/json"
    for name, which in (("replaced", kind.standing), ("absent", "absent")):
        yield f"change-{kind.short}/{name}", "PUT", f"{kind.path}/{which}?dryRun=All", merged(kind.good, {"metadata": {"name": which}}), "application/json"


def cases():
    yield from certificates()
    for kind in KINDS:
        for name, fault in kind.faults.items():
            yield f"{kind.short}/{name}", "POST", f"{kind.path}?dryRun=All", merged({"metadata": {"name": "bad"}, **kind.good}, fault), "application/json"
        for name, change in kind.changes.items():
            yield f"change-{kind.short}/{name}", "PATCH", f"{kind.path}/{kind.standing}?dryRun=All", change, "application/merge-patch+json"
    for kind in KINDS:
        if kind.changes and kind.faults:
            yield from standing_cases(kind)
    for kind in STORAGE + NETWORK:
        if kind.changes:
            yield f"delete-{kind.short}/other-uid", "DELETE", f"{kind.path}/{kind.standing}", {"preconditions": {"uid": "other"}}, "application/json"
