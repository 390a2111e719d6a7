/* Role-based access: roles and bindings compiled into "subject → grants", rebuilt when one of them changes.
 *
 *     caches of the four RBAC kinds ──notify──► stale ──next question──► new policy (old one lives until its readers
 *     are done)
 *
 * Source of the semantics: the Kubernetes documentation, "Using RBAC Authorization". */
#include "api/auth/auth.h"

#include <stdio.h>

#define LOG_MODULE "rbac"
#define RBAC_GROUP "rbac.authorization.k8s.io"

static const char *const rbac_resources[4] = { "clusterroles", "clusterrolebindings", "roles", "rolebindings" };

struct grant {
	struct str ns;    /* empty: everywhere */
	struct val rules; /* of the role */
	const char *why;  /* "ClusterRoleBinding \"x\" of ClusterRole \"y\" to Group \"z\"" */
	struct grant *next;
};

struct policy {
	int refs; /* under auth->lock */
	struct arena *a;
	struct map *subjects; /* "User:alice" → struct grant, a list */
};

static void mark_stale(void *arg)
{
	struct auth *auth = arg;

	__atomic_store_n(&auth->policy_stale, true, __ATOMIC_RELEASE);
}

void policy_new(struct api *api)
{
	api->auth->policy_stale = true;
}

static struct policy *policy_unref(struct auth *auth, struct policy *p)
{
	bool last;

	if (!p)
		return NULL;
	task_lock(&auth->lock);
	last = --p->refs == 0;
	task_unlock(&auth->lock);
	if (last) {
		map_free(p->subjects);
		arena_free(p->a);
		free(p);
	}
	return NULL;
}

void policy_free(struct auth *auth)
{
	for (size_t i = 0; i < ARRAY_LEN(auth->policy_watches); i++)
		cache_watch_free(auth->policy_watches[i]);
	policy_unref(auth, auth->policy);
	auth->policy = NULL;
}

/* ---- compiling ------------------------------------------------------------------------------- */

/* A ServiceAccount is the user that its tokens carry. */
static struct str subject_key(struct arena *a, struct val subject, struct str binding_ns)
{
	struct str name = val_str(val_get(subject, "name")), ns = val_str(val_get(subject, "namespace"));

	if (val_is(val_get(subject, "kind"), "ServiceAccount"))
		return arena_strf(
			a, "User:system:serviceaccount:%.*s:%.*s", STR_ARG(ns.n ? ns : binding_ns), STR_ARG(name));
	return arena_strf(a, "%.*s:%.*s", STR_ARG(val_str(val_get(subject, "kind"))), STR_ARG(name));
}

/* *ret: its rules, as long as a is. False: there is no such role. */
static bool role_rules(struct api *api, struct arena *a, struct val ref, struct str ns, struct val *ret)
{
	bool cluster = val_is(val_get(ref, "kind"), "ClusterRole");
	struct doc *role = api_get(api, RBAC_GROUP, cluster ? "clusterroles" : "roles", cluster ? STR_NULL : ns,
		val_str(val_get(ref, "name")));

	if (!role)
		return false;
	doc_hold(a, role);
	*ret = doc_get(role, "rules");
	return true;
}

static void compile_binding(struct api *api, struct policy *p, struct doc *binding)
{
	struct str ns = doc_ns(binding);
	struct val root = doc_root(binding), ref = val_get(root, "roleRef"), rules;

	if (!role_rules(api, p->a, ref, ns, &rules) || !val_len(rules))
		return;
	for (struct val_iter it = val_iter(val_get(root, "subjects")); val_next(&it);) {
		struct str key = subject_key(p->a, it.val, ns);
		struct grant *g = ARENA_NEW(p->a, struct grant);

		*g = (struct grant){ .ns = ns, .rules = rules, .next = map_get(p->subjects, key) };
		g->why = arena_printf(p->a, "RBAC: allowed by %s \"%.*s%s%.*s\" of %.*s \"%.*s\" to %.*s \"%.*s\"",
			ns.n ? "RoleBinding" : "ClusterRoleBinding", STR_ARG(doc_name(binding)), ns.n ? "/" : "",
			STR_ARG(ns), STR_ARG(val_str(val_get(ref, "kind"))), STR_ARG(val_str(val_get(ref, "name"))),
			STR_ARG(val_str(val_get(it.val, "kind"))), STR_ARG(val_str(val_get(it.val, "name"))));
		map_put(p->subjects, key, g);
	}
}

static void compile_bindings(struct api *api, struct policy *p, const char *resource)
{
	auto_(arena_free) struct arena *scratch = arena_new();
	int64_t revision;
	struct cache_list all =
		cache_list(api_cache(api, RBAC_GROUP, resource), scratch, STR_NULL, STR_NULL, 0, &revision);

	for (size_t i = 0; i < all.n; i++) {
		doc_hold(p->a, doc_ref(all.items[i].doc));
		compile_binding(api, p, all.items[i].doc);
	}
}

/* Reads past what is outstanding, so that the next change calls mark_stale() again. */
static void drain(struct api *api, size_t i)
{
	struct auth *auth = api->auth;
	struct cache *cache = api_cache(api, RBAC_GROUP, rbac_resources[i]);
	struct cache_event ev;
	int64_t progress;
	struct err e;
	int got = -1;

	err_init(&e);
	while (auth->policy_watches[i] && (got = cache_watch_next(auth->policy_watches[i], &ev, &progress, &e)) > 0) {
		doc_unref(ev.before);
		doc_unref(ev.after);
	}
	if (got == 0)
		return;
	/* the first time, or it fell out of the ring */
	auth->policy_watches[i] = cache_watch_free(auth->policy_watches[i]);
	if (cache_watch(cache, cache_revision(cache), STR_NULL, mark_stale, auth, &auth->policy_watches[i], &e) < 0 ||
		cache_watch_next(auth->policy_watches[i], &ev, &progress, &e) > 0)
		mark_stale(auth);
}

static struct policy *compile(struct api *api)
{
	struct policy *p = xcalloc(1, sizeof(*p));

	p->refs = 1;
	p->a = arena_new();
	p->subjects = map_new(NULL);
	compile_bindings(api, p, "clusterrolebindings");
	compile_bindings(api, p, "rolebindings");
	return p;
}

/* Own: one reference. Compiling happens under the lock: whoever asks meanwhile wants the new one anyway. */
static struct policy *policy_now(struct api *api)
{
	struct auth *auth = api->auth;
	struct policy *p, *old = NULL;

	task_lock(&auth->lock);
	if (__atomic_exchange_n(&auth->policy_stale, false, __ATOMIC_ACQ_REL)) {
		for (size_t i = 0; i < ARRAY_LEN(auth->policy_watches); i++)
			drain(api, i);
		old = auth->policy;
		auth->policy = compile(api);
	}
	p = auth->policy;
	p->refs++;
	task_unlock(&auth->lock);
	policy_unref(auth, old);
	return p;
}

/* ---- asking ---------------------------------------------------------------------------------- */

static bool list_has(struct val list, struct str want)
{
	for (struct val_iter it = val_iter(list); val_next(&it);)
		if (str_eq(val_str(it.val), want) || val_is(it.val, "*"))
			return true;
	return false;
}

/* "pods", "pods/log", "*", and "*" with a subresource */
static bool resource_listed(struct val list, const struct authz_attrs *at)
{
	for (struct val_iter it = val_iter(list); val_next(&it);) {
		struct str resource, entry = val_str(it.val), sub = str_cut(entry, '/', &resource);

		if (str_is(entry, "*"))
			return true;
		if (!str_eq(sub, at->sub))
			continue;
		if (str_eq(resource, at->resource) || (sub.n && str_is(resource, "*")))
			return true;
	}
	return false;
}

static bool path_listed(struct val list, struct str path)
{
	for (struct val_iter it = val_iter(list); val_next(&it);) {
		struct str entry = val_str(it.val);

		if (str_eq(entry, path))
			return true;
		if (entry.n && entry.p[entry.n - 1] == '*' && str_starts(path, str_sub(entry, 0, entry.n - 1)))
			return true;
	}
	return false;
}

static bool name_listed(struct val names, struct str name)
{
	if (!val_len(names))
		return true;
	for (struct val_iter it = val_iter(names); val_next(&it);)
		if (name.n && str_eq(val_str(it.val), name))
			return true;
	return false;
}

bool rule_allows(struct val rule, const struct authz_attrs *at)
{
	if (!list_has(val_get(rule, "verbs"), at->verb))
		return false;
	if (!at->resource_request)
		return path_listed(val_get(rule, "nonResourceURLs"), at->path);
	return list_has(val_get(rule, "apiGroups"), at->group) && resource_listed(val_get(rule, "resources"), at) &&
		name_listed(val_get(rule, "resourceNames"), at->name);
}

static bool walk_grants(const struct policy *p, const char *kind, struct str name, struct str ns,
	bool (*each)(void *arg, struct val rule, const char *why), void *arg)
{
	char key[512];
	int n = snprintf(key, sizeof(key), "%s:%.*s", kind, STR_ARG(name));

	if (n < 0 || (size_t)n >= sizeof(key))
		return false;
	for (const struct grant *g = map_get(p->subjects, str_n(key, (size_t)n)); g; g = g->next) {
		if (g->ns.n && !str_eq(g->ns, ns))
			continue;
		for (struct val_iter it = val_iter(g->rules); val_next(&it);)
			if (each(arg, it.val, g->why))
				return true;
	}
	return false;
}

bool policy_rules(struct api *api, const struct identity *id, struct str ns,
	bool (*each)(void *arg, struct val rule, const char *why), void *arg)
{
	struct policy *p = policy_now(api);
	bool ended = walk_grants(p, "User", id->user, ns, each, arg);

	for (size_t i = 0; i < id->n_groups && !ended; i++)
		ended = walk_grants(p, "Group", id->groups[i], ns, each, arg);
	policy_unref(api->auth, p);
	return ended;
}

struct question {
	const struct authz_attrs *at;
	char *reason;
	size_t reason_max;
};

static bool answers_question(void *arg, struct val rule, const char *why)
{
	struct question *q = arg;

	if (!rule_allows(rule, q->at))
		return false;
	if (q->reason)
		snprintf(q->reason, q->reason_max, "%s", why);
	return true;
}

bool authz_allowed(
	struct api *api, const struct identity *id, const struct authz_attrs *at, char *reason, size_t reason_max)
{
	struct question q = { at, reason, reason_max };
	struct str node = identity_node(id);

	if (reason && reason_max)
		reason[0] = 0;
	if (api->opts.no_authz || identity_in_group(id, "system:masters"))
		return true;
	if (node.n && node_allowed(api, node, at))
		return true;
	return policy_rules(api, id, at->resource_request ? at->ns : STR_NULL, answers_question, &q);
}

/* ---- nobody gives what he lacks -------------------------------------------------------------- */

static bool allowed_here(struct rq *rq, const char *verb, const char *resource, struct str ns, struct str name)
{
	const struct authz_attrs at = { .verb = str_c(verb),
		.resource_request = true,
		.group = STR(RBAC_GROUP),
		.version = STR("v1"),
		.resource = str_c(resource),
		.ns = ns,
		.name = name };

	return authz_allowed(rq->api, &rq->id, &at, NULL, 0);
}

/* One verb on one thing of a rule, as a question. */
static bool covers(struct rq *rq, struct str ns, const struct authz_attrs *at, struct val names)
{
	struct authz_attrs one = *at;

	one.ns = ns;
	if (!val_len(names))
		return authz_allowed(rq->api, &rq->id, &one, NULL, 0);
	for (struct val_iter it = val_iter(names); val_next(&it);) {
		one.name = val_str(it.val);
		if (!authz_allowed(rq->api, &rq->id, &one, NULL, 0))
			return false;
	}
	return true;
}

static bool rule_covered(struct rq *rq, struct str ns, struct val rule)
{
	for (struct val_iter verb = val_iter(val_get(rule, "verbs")); val_next(&verb);) {
		struct authz_attrs at = { .verb = val_str(verb.val), .version = STR("v1") };

		for (struct val_iter url = val_iter(val_get(rule, "nonResourceURLs")); val_next(&url);) {
			at.path = val_str(url.val);
			if (!covers(rq, STR_NULL, &at, VAL_NONE))
				return false;
		}
		at.resource_request = true;
		for (struct val_iter group = val_iter(val_get(rule, "apiGroups")); val_next(&group);)
			for (struct val_iter res = val_iter(val_get(rule, "resources")); val_next(&res);) {
				at.group = val_str(group.val);
				at.sub = str_cut(val_str(res.val), '/', &at.resource);
				if (!covers(rq, ns, &at, val_get(rule, "resourceNames")))
					return false;
			}
	}
	return true;
}

static int check_rules(struct rq *rq, struct str ns, struct val rules, struct val object, struct err *e)
{
	for (struct val_iter it = val_iter(rules); val_next(&it);)
		if (!rule_covered(rq, ns, it.val))
			return err_set(e, ERR_FORBIDDEN,
				"%.*s \"%.*s\" is forbidden: user \"%.*s\" is attempting to grant RBAC permissions not currently held: %.*s",
				STR_ARG(str_c(rq->res->group_resource)),
				STR_ARG(val_str(val_path(object, "metadata.name"))), STR_ARG(rq->id.user),
				STR_ARG(val_text(it.val)));
	return 0;
}

/* Nothing changes but what the garbage collector writes to let the object go. Labels do count: by them a role's rules become
 * those of roles that gather them. */
static bool only_collects(struct val object, struct val old)
{
	return val_has(old) && auth_same_but(object, old, "metadata") &&
		auth_same_but(val_get(object, "metadata"), val_get(old, "metadata"),
			"finalizers ownerReferences managedFields resourceVersion");
}

/* What a role may gather is whatever anybody labels for it. */
static bool may_do_all(struct rq *rq)
{
	const struct authz_attrs things = { .verb = STR("*"),
		.resource_request = true,
		.group = STR("*"),
		.version = STR("*"),
		.resource = STR("*") },
				 urls = { .verb = STR("*"), .path = STR("*") };

	return authz_allowed(rq->api, &rq->id, &things, NULL, 0) && authz_allowed(rq->api, &rq->id, &urls, NULL, 0);
}

static int check_role(struct rq *rq, struct val object, struct val old, struct err *e)
{
	struct str asked = rq->verb == V_CREATE ? STR_NULL : rq->name; /* the URL's */
	bool gathers = val_has(val_get(object, "aggregationRule")) || val_has(val_get(old, "aggregationRule"));

	if (only_collects(object, old) || allowed_here(rq, "escalate", rq->res->def.resource, rq->ns, asked))
		return 0;
	if (check_rules(rq, rq->ns, val_get(object, "rules"), object, e) < 0)
		return -e->code;
	return !gathers || may_do_all(rq) ? 0 :
					    admit_forbid(rq, val_str(val_path(object, "metadata.name")), e,
						    "must have cluster-admin privileges to use the aggregationRule");
}

static int check_binding(struct rq *rq, struct val object, struct val old, struct err *e)
{
	struct val ref = val_get(object, "roleRef"), rules;
	const char *roles = val_is(val_get(ref, "kind"), "ClusterRole") ? "clusterroles" : "roles";
	struct str role = val_str(val_get(ref, "name"));

	if (only_collects(object, old) || allowed_here(rq, "bind", roles, rq->ns, role))
		return 0;
	if (role_rules(rq->api, rq->a, ref, rq->ns, &rules))
		return check_rules(rq, rq->ns, rules, object, e);
	/* who makes it later may put into it what he likes */
	return err_set(e, ERR_NOT_FOUND, "%s." RBAC_GROUP " \"%.*s\" not found", roles, STR_ARG(role));
}

int authz_check_grant(struct rq *rq, struct val object, struct val old, struct err *e)
{
	const char *resource = rq->res->def.resource;

	if (rq->api->opts.no_authz || identity_in_group(&rq->id, "system:masters"))
		return 0;
	if (!strcmp(resource, "roles") || !strcmp(resource, "clusterroles"))
		return check_role(rq, object, old, e);
	if (!strcmp(resource, "rolebindings") || !strcmp(resource, "clusterrolebindings"))
		return check_binding(rq, object, old, e);
	return 0;
}
