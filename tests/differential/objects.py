"""Cases of whole objects: the least and the most of every kind, created, read and deleted."""
import os

import yaml

HERE = os.path.dirname(os.path.abspath(__file__))
NAMESPACE = "diff"
CLUSTER_SCOPED = {"namespaces", "persistentvolumes", "nodes", "ingressclasses", "clusterroles", "clusterrolebindings", "priorityclasses", "storageclasses",
                  "volumeattachments", "csidrivers", "csinodes", "runtimeclasses", "validatingwebhookconfigurations",
                  "mutatingwebhookconfigurations", "apiservices"}


def where(group_version, resource, name=None):
    parts = ["/api" if group_version == "v1" else "/apis", group_version]
    if resource not in CLUSTER_SCOPED:
        parts += ["namespaces", NAMESPACE]
    return "/".join(parts + [resource] + ([name] if name else []))


def kinds():
    with open(os.path.join(HERE, "objects.yaml"), encoding="utf-8") as f:
        for row in yaml.safe_load(f):
            group_version, resource = row["resource"].rsplit("/", 1)
            yield row, group_version, resource


def body(row, which, name):
    thing = dict(row[which])
    meta = dict(thing.get("metadata") or {}, name=name)
    meta.pop("generateName", None)
    thing["metadata"] = meta
    return thing


def cases():
    """(name, steps); a step is (method, path, body, content type)."""
    for row, group_version, resource in kinds():
        for which in ("minimal", "full"):
            case = f"{resource}.{group_version.split('/')[0]}/{row.get('name', which)}-{which}" if row.get("name") else f"{resource}.{group_version.split('/')[0]}/{which}"
            name = row.get("object_name") or f"{row.get('name', 'x')}-{which}"
            one = where(group_version, resource, name)
            thing = body(row, which, name)
            yield case, [
                ("POST", where(group_version, resource), thing, "application/json"),
                ("POST", where(group_version, resource), thing, "application/json"),
                ("GET", one, None, None),
                ("PATCH", one, {"metadata": {"labels": {"patched": "yes"}}}, "application/merge-patch+json"),
                ("PATCH", one, {"metadata": {"finalizers": None}}, "application/merge-patch+json"),
                ("DELETE", one + "?gracePeriodSeconds=0", None, None),
                ("GET", one, None, None),
            ]
