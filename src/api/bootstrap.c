/* What every cluster has: namespaces, roles and their bindings, priority classes, APIServices of builtin groups,
 * the Services default/kubernetes and kube-system/kube-dns.
 *
 * All wishes are collected first and written by a few tasks at once, so that the store commits them in groups. What is
 * there stays as its owner made it, except roles with autoupdate, which get back the rules they lack. */
#include "api/bootstrap.h"
#include "api/aggregate/aggregate.h"
#include "api/auth/auth.h"
#include "claims/claims.h"

#include <arpa/inet.h>
#include <stdio.h>

#define LOG_MODULE "bootstrap"
#define WRITERS 12
#define RBAC "rbac.authorization.k8s.io"
#define DEFAULT_CLASS "storageclass.kubernetes.io/is-default-class"
#define AUTOUPDATE "rbac.authorization.kubernetes.io/autoupdate"

struct wish {
	const char *group, *resource;
	struct str ns, name;
	struct doc *object;
	enum verb verb; /* V_CREATE, V_UPDATE */
};

struct bootstrap {
	struct api *api;
	struct arena *a;
	struct wish *wishes;
	size_t n, room;
	size_t next; /* atomic: the first that no writer has taken */
	struct task_mutex lock;
	struct err first_error;
};

/* Take: object. */
static void wish(struct bootstrap *b, enum verb verb, const char *group, const char *resource, struct node *object)
{
	struct doc *d = node_publish(object);

	GROW(b->wishes, b->n, b->room, 256);
	b->wishes[b->n++] = (struct wish){ group, resource, doc_ns(d), doc_name(d), d, verb };
}

/* Own: one reference; NULL: not there. */
static struct doc *existing(
	struct bootstrap *b, const char *group, const char *resource, const char *ns, const char *name)
{
	return api_get(b->api, group, resource, str_c(ns), str_c(name));
}

static void need(struct bootstrap *b, const char *group, const char *resource, const char *ns, const char *name,
	struct node *object)
{
	auto_(doc_unref) struct doc *d = existing(b, group, resource, ns, name);

	if (!d)
		wish(b, V_CREATE, group, resource, object);
}

/* ---- roles ----------------------------------------------------------------------------------- */

static struct node *words(struct arena *a, struct str text)
{
	struct node *list = node_list(a);

	for (struct str part, rest = text; str_next(&rest, ',', &part);)
		node_add(list, node_str(a, str_is(part, "core") ? STR("") : part));
	return list;
}

static struct node *rule(struct arena *a, struct str line)
{
	struct str groups, resources, verbs,
		names = str_cut(str_cut(str_cut(line, ' ', &groups), ' ', &resources), ' ', &verbs);

	if (str_is(groups, "url"))
		return node_pack(a, "{nonResourceURLs:o, verbs:o}", words(a, resources), words(a, verbs));
	return node_pack(a, "{apiGroups:o, resources:o, resourceNames:o, verbs:o}", words(a, groups),
		words(a, resources), names.n ? words(a, names) : NULL, words(a, verbs));
}

static struct node *rules_of(struct arena *a, const char *text)
{
	struct node *list = node_list(a);

	for (struct str line, rest = str_c(text); str_next(&rest, '\n', &line);)
		if (line.n)
			node_add(list, rule(a, line));
	return list;
}

/* As the clusterrole-aggregation-controller gathers them, in the order of the parts' names. */
static void add_parts(struct arena *a, struct node *list, const char *role)
{
	for (const struct boot_role *r = boot_cluster_roles; r->name; r++) {
		struct node *own;

		if (!r->part_of || strcmp(r->part_of, role) != 0)
			continue;
		own = rules_of(a, r->rules);
		for (size_t i = 0; i < node_len(own); i++)
			node_add(list, node_at(own, i));
		if (r->aggregates)
			add_parts(a, list, r->aggregates);
	}
}

static struct node *aggregated_rules(struct arena *a, const char *role)
{
	struct node *list = node_list(a);

	add_parts(a, list, role);
	return list;
}

static struct node *aggregation_rule(struct arena *a, const char *role)
{
	struct node *labels = node_map(a);

	node_set(labels, arena_strf(a, "rbac.authorization.k8s.io/aggregate-to-%s", role), node_c(a, "true"));
	return node_pack(a, "{clusterRoleSelectors:[{matchLabels:o}]}", labels);
}

static struct node *rbac_metadata(struct arena *a, const char *ns, const char *name, const char *part_of)
{
	struct node *labels = node_pack(a, "{'kubernetes.io/bootstrapping':'rbac-defaults'}");

	if (part_of)
		node_set(
			labels, arena_strf(a, "rbac.authorization.k8s.io/aggregate-to-%s", part_of), node_c(a, "true"));
	return node_pack(a, "{name:s, namespace:s, labels:o, annotations:{'" AUTOUPDATE "':'true'}}", name, ns, labels);
}

static bool has_rule(struct val rules, struct val wanted)
{
	for (struct val_iter it = val_iter(rules); val_next(&it);)
		if (val_equal(it.val, wanted))
			return true;
	return false;
}

static bool add_rules(struct arena *a, struct node *fresh, struct val stored, struct val wanted)
{
	struct node *rules = node_need_list(fresh, "rules");
	bool changed = false;

	for (struct val_iter it = val_iter(wanted); val_next(&it);)
		if (!has_rule(stored, it.val)) {
			node_add(rules, node_from(a, it.val));
			changed = true;
		}
	return changed;
}

static bool add_labels(struct arena *a, struct node *fresh, struct val stored, struct val wanted)
{
	struct node *labels = node_need_map(fresh, "metadata.labels");
	bool changed = false;

	for (struct val_iter it = val_iter(wanted); val_next(&it);)
		if (!val_has(val_get_str(stored, it.key))) {
			node_set(labels, it.key, node_from(a, it.val));
			changed = true;
		}
	return changed;
}

/* A newer program knows rules and labels that the stored role lacks: they are added, the user's own stay. Rules that are
 * gathered come with those of the parts. */
static void reconcile_role(struct bootstrap *b, const char *resource, struct doc *stored, struct node *object)
{
	auto_(doc_unref) struct doc *wanted = node_publish(object);
	struct node *fresh = node_from(b->a, doc_root(stored));
	bool changed;

	if (!val_is(val_get(doc_get(stored, "metadata.annotations"), AUTOUPDATE), "true"))
		return;
	changed = add_labels(b->a, fresh, doc_get(stored, "metadata.labels"), doc_get(wanted, "metadata.labels"));
	if (!val_has(doc_get(stored, "aggregationRule")))
		changed |= add_rules(b->a, fresh, doc_get(stored, "rules"), doc_get(wanted, "rules"));
	if (changed)
		wish(b, V_UPDATE, RBAC, resource, fresh);
}

static void need_role(struct bootstrap *b, const char *kind, const char *resource, const char *ns, const char *name,
	const struct boot_role *r)
{
	struct node *rules = r->aggregates ? aggregated_rules(b->a, r->aggregates) : rules_of(b->a, r->rules);
	struct node *object =
		node_pack(b->a, "{apiVersion:'" RBAC "/v1', kind:s, metadata:o, aggregationRule:o, rules:o}", kind,
			rbac_metadata(b->a, ns, name, r->part_of),
			r->aggregates ? aggregation_rule(b->a, r->aggregates) : NULL, rules);
	auto_(doc_unref) struct doc *stored = existing(b, RBAC, resource, ns, name);

	if (!stored)
		wish(b, V_CREATE, RBAC, resource, object);
	else
		reconcile_role(b, resource, stored, object);
}

static struct node *subject(struct arena *a, const char *kind, struct str name)
{
	struct str ns, account = str_cut(name, ':', &ns);

	if (!strcmp(kind, "ServiceAccount"))
		return node_pack(a, "{kind:s, name:S, namespace:S}", kind, account, ns);
	return node_pack(a, "{apiGroup:'" RBAC "', kind:s, name:S}", kind, name);
}

static void need_binding(struct bootstrap *b, const struct boot_binding *binding)
{
	struct node *subjects = node_list(b->a);

	for (struct str part, rest = str_c(binding->subjects); str_next(&rest, ',', &part);)
		node_add(subjects, subject(b->a, binding->kind, part));
	need(b, RBAC, "clusterrolebindings", NULL, binding->name,
		node_pack(b->a,
			"{apiVersion:'" RBAC "/v1', kind:'ClusterRoleBinding', metadata:o, roleRef:{apiGroup:'" RBAC
			"', kind:'ClusterRole', name:s}, subjects:o}",
			rbac_metadata(b->a, NULL, binding->name, NULL), binding->role, subjects));
}

static void need_roles(struct bootstrap *b)
{
	const struct str controller = STR("system:controller:");

	for (const struct boot_role *r = boot_cluster_roles; r->name; r++) {
		need_role(b, "ClusterRole", "clusterroles", NULL, r->name, r);
		if (str_starts(str_c(r->name), controller)) {
			const struct boot_binding own = { r->name, r->name, "ServiceAccount",
				arena_printf(b->a, "kube-system:%s", r->name + controller.n) };

			need_binding(b, &own);
		}
	}
	for (const struct boot_binding *r = boot_bindings; r->name; r++)
		need_binding(b, r);
	for (const struct boot_role *r = boot_roles; r->name; r++) {
		struct str ns, name = str_cut(str_c(r->name), '/', &ns);

		need_role(b, "Role", "roles", arena_cstr(b->a, ns), arena_cstr(b->a, name), r);
	}
}

/* ---- the rest -------------------------------------------------------------------------------- */

static void need_namespaces(struct bootstrap *b)
{
	static const char *const names[] = { "default", "kube-system", "kube-public", "kube-node-lease" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		need(b, "", "namespaces", NULL, names[i],
			node_pack(b->a, "{apiVersion:'v1', kind:'Namespace', metadata:{name:s}}", names[i]));
}

static void need_priorities(struct bootstrap *b)
{
	static const struct {
		const char *name, *what;
		int64_t value;
	} classes[] = {
		{ "system-cluster-critical",
			"Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
			2000000000 },
		{ "system-node-critical",
			"Used for system critical pods that must not be moved from their current node.", 2000001000 },
	};

	for (size_t i = 0; i < ARRAY_LEN(classes); i++)
		need(b, "scheduling.k8s.io", "priorityclasses", NULL, classes[i].name,
			node_pack(b->a,
				"{apiVersion:'scheduling.k8s.io/v1', kind:'PriorityClass', metadata:{name:s}, value:I, globalDefault:false, description:s}",
				classes[i].name, classes[i].value, classes[i].what));
}

static bool read_whole(const char *path, struct buf *out)
{
	FILE *f = fopen(path, "re");
	size_t n;

	if (!f)
		return false;
	for (char *room; (room = buf_reserve(out, 4096)) && (n = fread(room, 1, 4096, f)) > 0;)
		out->n += n;
	fclose(f);
	return true;
}

static void need_authentication_config(struct bootstrap *b)
{
	const char *dir = b->api->opts.pki_dir;
	auto_buf struct buf ca = BUF_INIT, front = BUF_INIT;

	if (!dir || !read_whole(arena_printf(b->a, "%s/ca.crt", dir), &ca))
		return;
	read_whole(arena_printf(b->a, "%s/front-ca.crt", dir), &front);
	need(b, "", "configmaps", "kube-system", "extension-apiserver-authentication",
		node_pack(b->a,
			"{apiVersion:'v1', kind:'ConfigMap', metadata:{name:'extension-apiserver-authentication', namespace:'kube-system'}, data:o}",
			node_pack(b->a,
				"{'client-ca-file':S, 'requestheader-client-ca-file':S, 'requestheader-allowed-names':s, "
				"'requestheader-username-headers':s, 'requestheader-group-headers':s, 'requestheader-extra-headers-prefix':s}",
				buf_view(&ca), front.n ? buf_view(&front) : STR_NULL, "[\"front-proxy-client\"]",
				"[\"X-Remote-User\"]", "[\"X-Remote-Group\"]", "[\"X-Remote-Extra-\"]")));
}

static void need_apiservice(void *arg, struct node *object)
{
	struct str name = node_text_str(node_getc(node_getc(object, "metadata"), "name"));
	struct bootstrap *b = arg;

	need(b, "apiregistration.k8s.io", "apiservices", NULL, arena_cstr(b->a, name), object);
}

/* ---- once in a cluster's life: who deletes or changes it, has the last word ------------------ */

#define MADE_ONCE "kogge-made-once"

static bool has_default_class(struct bootstrap *b)
{
	int64_t revision;
	struct cache_list all = cache_list(
		api_cache(b->api, "storage.k8s.io", "storageclasses"), b->a, STR(""), STR_NULL, 0, &revision);

	for (size_t i = 0; i < all.n; i++)
		if (str_is(claim_note(all.items[i].doc, DEFAULT_CLASS), "true"))
			return true;
	return false;
}

/* false: it was made before. */
static bool need_storage_class(struct bootstrap *b)
{
	auto_(doc_unref) struct doc *made = existing(b, "", "configmaps", "kube-system", MADE_ONCE);

	if (made)
		return false;
	need(b, "storage.k8s.io", "storageclasses", NULL, "local-path",
		node_pack(b->a,
			"{apiVersion:'storage.k8s.io/v1', kind:'StorageClass', metadata:{name:'local-path', annotations:{'" DEFAULT_CLASS
			"':s}}, provisioner:'" LOCAL_PATH_PROVISIONER
			"', reclaimPolicy:'Delete', volumeBindingMode:'WaitForFirstConsumer'}",
			has_default_class(b) ? "false" : "true"));
	return true;
}

/* After the objects are stored: a start that was cut short makes them again. */
static void note_made_once(struct bootstrap *b)
{
	need(b, "", "configmaps", "kube-system", MADE_ONCE,
		node_pack(b->a,
			"{apiVersion:'v1', kind:'ConfigMap', metadata:{name:'" MADE_ONCE
			"', namespace:'kube-system', annotations:{'kubernetes.io/description':"
			"'What Kogge makes at the first start only, so that deleting or changing it lasts. Delete this to have it made again.'}}, "
			"data:{storageclass:'local-path'}}"));
}

/* Written last and again at every start: the address may be another than it was. */
static void need_endpoints(struct bootstrap *b)
{
	const struct api_opts *o = &b->api->opts;
	int port = o->advertise_port ? o->advertise_port : 6443;
	const char *family = o->advertise_address && strchr(o->advertise_address, ':') ? "IPv6" : "IPv4";
	auto_(doc_unref) struct doc *endpoints = NULL, *slice = NULL;
	struct node *subset, *whole;

	if (!o->advertise_address)
		return;
	endpoints = existing(b, "", "endpoints", "default", "kubernetes");
	slice = existing(b, "discovery.k8s.io", "endpointslices", "default", "kubernetes");
	subset = node_pack(b->a, "[{addresses:[{ip:s}], ports:[{name:'https', port:i, protocol:'TCP'}]}]",
		o->advertise_address, port);
	whole = node_pack(b->a,
		"{apiVersion:'v1', kind:'Endpoints', metadata:{name:'kubernetes', namespace:'default', "
		"labels:{'endpointslice.kubernetes.io/skip-mirror':'true'}}, subsets:o}",
		subset);
	wish(b, endpoints ? V_UPDATE : V_CREATE, "", "endpoints", whole);
	whole = node_pack(b->a,
		"{apiVersion:'discovery.k8s.io/v1', kind:'EndpointSlice', metadata:{name:'kubernetes', namespace:'default', "
		"labels:{'kubernetes.io/service-name':'kubernetes'}}, addressType:s, endpoints:[{addresses:[s], conditions:{ready:true}}], "
		"ports:[{name:'https', port:i, protocol:'TCP'}]}",
		family, o->advertise_address, port);
	wish(b, slice ? V_UPDATE : V_CREATE, "discovery.k8s.io", "endpointslices", whole);
}

/* Certificates and pods' environments name the first address of the first range. */
static const char *first_service_ip(struct bootstrap *b)
{
	const char *ranges = b->api->opts.service_cidrs ? b->api->opts.service_cidrs : "10.96.0.0/16";
	int family = strchr(ranges, ':') && (!strchr(ranges, '.') || strchr(ranges, ':') < strchr(ranges, '.')) ?
		AF_INET6 :
		AF_INET;
	unsigned char ip[16];
	char text[INET6_ADDRSTRLEN];
	struct str base;

	str_cut(str_c(ranges), '/', &base);
	if (inet_pton(family, arena_cstr(b->a, base), ip) != 1)
		return NULL; /* any will do; api_new() has refused malformed ones */
	ip[family == AF_INET6 ? 15 : 3] |= 1;
	return arena_strdup(b->a, inet_ntop(family, ip, text, sizeof(text)));
}

static void need_service(struct bootstrap *b)
{
	const struct api_opts *o = &b->api->opts;

	need(b, "", "services", "default", "kubernetes",
		node_pack(b->a,
			"{apiVersion:'v1', kind:'Service', metadata:{name:'kubernetes', namespace:'default', labels:{component:'apiserver', provider:'kubernetes'}}, "
			"spec:{type:'ClusterIP', clusterIP:s, sessionAffinity:'None', ports:[{name:'https', port:443, protocol:'TCP', targetPort:i}]}}",
			first_service_ip(b), o->advertise_port ? o->advertise_port : 6443));
}

/* Cluster DNS by the name under which programs ask for it. Its server is the node's own and no pod: there is neither
 * selector nor endpoint. What bears the name already, such as CoreDNS of a chart, stays. */
static struct node *dns_service(struct bootstrap *b)
{
	struct node *ips = node_list(b->a);

	for (struct str ip, rest = str_c(b->api->opts.cluster_dns); str_next(&rest, ',', &ip);)
		node_add(ips, node_str(b->a, ip));
	return node_pack(b->a,
		"{apiVersion:'v1', kind:'Service', metadata:{name:'kube-dns', namespace:'kube-system', "
		"labels:{'k8s-app':'kube-dns', 'kubernetes.io/cluster-service':'true', 'kubernetes.io/name':'KubeDNS'}}, "
		"spec:{type:'ClusterIP', clusterIP:S, clusterIPs:o, ipFamilyPolicy:s, ports:["
		"{name:'dns', port:53, protocol:'UDP'}, {name:'dns-tcp', port:53, protocol:'TCP'}]}}",
		node_text_str(node_at(ips, 0)), ips, node_len(ips) > 1 ? "RequireDualStack" : "SingleStack");
}

/* Not fatal: the address may be out of the range, or another Service's from before. */
static void need_dns_service(struct bootstrap *b)
{
	auto_(doc_unref) struct doc *stored = existing(b, "", "services", "kube-system", "kube-dns");
	auto_(doc_unref) struct doc *object = NULL;
	struct err e;

	if (stored || !b->api->opts.cluster_dns)
		return;
	err_init(&e);
	object = node_publish(dns_service(b));
	if (api_write(b->api, V_CREATE, "", "services", doc_ns(object), doc_name(object), object, NULL, &e) < 0)
		log_warn("cluster DNS has no Service kube-system/kube-dns: %s", e.message);
}

/* ---- writing --------------------------------------------------------------------------------- */

static void write_wishes(void *arg)
{
	struct bootstrap *b = arg;
	struct err e;

	for (size_t i; (i = __atomic_fetch_add(&b->next, 1, __ATOMIC_RELAXED)) < b->n;) {
		struct wish *w = &b->wishes[i];

		err_init(&e);
		if (api_write(b->api, w->verb, w->group, w->resource, w->ns, w->name, w->object, NULL, &e) >= 0 ||
			e.code == ERR_EXISTS)
			continue;
		task_lock(&b->lock);
		if (!b->first_error.code) {
			err_wrap(&e, "%s %.*s", w->resource, STR_ARG(w->name));
			err_copy(&b->first_error, &e);
		}
		task_unlock(&b->lock);
	}
}

static void write_all(struct bootstrap *b)
{
	struct task *writers[WRITERS];
	size_t n = MIN((size_t)WRITERS, b->n);

	b->next = 0;
	for (size_t i = 0; i < n; i++)
		writers[i] = task_spawn("bootstrap", write_wishes, b);
	for (size_t i = 0; i < n; i++)
		task_join(writers[i]);
	for (size_t i = 0; i < b->n; i++)
		doc_unref(b->wishes[i].object);
	b->n = 0;
}

int api_bootstrap(struct api *api, struct err *e)
{
	struct bootstrap b = { .api = api, .a = arena_new() };
	bool once;

	task_mutex_init(&b.lock);
	err_init(&b.first_error);
	/* what the others live in, and the service that must have the first address, then the one of DNS */
	need_namespaces(&b);
	write_all(&b);
	need_service(&b);
	write_all(&b);
	need_dns_service(&b);
	need_roles(&b);
	need_priorities(&b);
	aggregates_builtin(api, b.a, need_apiservice, &b);
	need_authentication_config(&b);
	need_endpoints(&b);
	once = need_storage_class(&b);
	write_all(&b);
	if (once && !b.first_error.code)
		note_made_once(&b);
	write_all(&b);
	free(b.wishes);
	arena_free(b.a);
	task_mutex_fini(&b.lock);
	if (!b.first_error.code)
		return 0;
	err_copy(e, &b.first_error);
	return err_wrap(e, "first objects of the cluster");
}
