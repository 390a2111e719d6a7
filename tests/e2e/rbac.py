"""A second opinion on RBAC, written from its documentation: who may do what, from the roles and bindings as they are served."""

ROLES = "/apis/rbac.authorization.k8s.io/v1/"


class Rbac:
    def __init__(self, kube):
        self.roles = {(r["metadata"].get("namespace", ""), r["metadata"]["name"]): r.get("rules") or []
                      for what in ("roles", "clusterroles") for r in kube.get(ROLES + what)["items"]}
        self.bindings = [b for what in ("rolebindings", "clusterrolebindings") for b in kube.get(ROLES + what)["items"]]

    def rules(self, user, groups, namespace):
        for b in self.bindings:
            where = b["metadata"].get("namespace", "")
            if where and where != namespace:
                continue
            if any(self.is_subject(s, user, groups, where) for s in b.get("subjects") or []):
                home = where if b["roleRef"]["kind"] == "Role" else ""
                yield from self.roles.get((home, b["roleRef"]["name"]), [])

    @staticmethod
    def is_subject(s, user, groups, where):
        if s["kind"] == "User":
            return s["name"] == user
        if s["kind"] == "Group":
            return s["name"] in groups
        return user == f"system:serviceaccount:{s.get('namespace') or where}:{s['name']}"

    def allows(self, user, groups, verb, group="", resource="", sub="", namespace="", name="", path=None):
        if "system:masters" in groups:
            return True
        for r in self.rules(user, groups, namespace if path is None else ""):
            if verb not in r["verbs"] and "*" not in r["verbs"]:
                continue
            if path is not None:
                if any(u == path or u == "*" or (u.endswith("*") and path.startswith(u[:-1])) for u in r.get("nonResourceURLs") or []):
                    return True
                continue
            full = f"{resource}/{sub}" if sub else resource
            listed = {"*", full} | ({f"*/{sub}"} if sub else set())
            if not {"*", group} & set(r.get("apiGroups") or []) or not listed & set(r.get("resources") or []):
                continue
            if not r.get("resourceNames") or name in r["resourceNames"]:
                return True
        return False
