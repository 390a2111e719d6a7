/* Objects of every builtin kind through the whole write path, as a dry run: decoded, defaulted, admitted, checked, once
 * as new and once as a change of another. Nothing may fall over; a refusal is a Status with causes; what was accepted as
 * new is accepted again, and is no change.
 *
 * Input: JSON texts of two objects, a line each, or else bytes that choose: the resource, the writer, and for each field
 * of its schema whether it is there and with which value. So most objects are nearly right. */
#include "api/api_internal.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define DEPTH_MAX 12
#define FIELDS_MAX 400 /* in one object, so that none takes long */

static struct api *api;

struct choice {
	const uint8_t *p, *end;
	struct arena *a;
	size_t fields;
};

static size_t below(struct choice *c, size_t n)
{
	return c->p < c->end ? *c->p++ % n : 0;
}

/* ---- objects --------------------------------------------------------------------------------- */

static const char *const words[] = { "", "a", "b", "default", "a.b", "a.b/c", "A_b", "-a", "a b", "*", "None", "Always",
	"Never", "tcp", "TCP", "UDP", "http", "/a", "/a/../b", "../a", "10.1.2.3", "10.96.7.7", "fd00::1", "127.0.0.1",
	"10.0.0.0/8", "fd00::/64", "50%", "150%", "1", "-1", "100m", "1Gi", "1e3", "cpu", "memory", "storage",
	"hugepages-2Mi", "ephemeral-storage", "example.com/gpu", "requests.cpu", "In", "Exists", "Gt", "Equal",
	"NoExecute", "ClusterIP", "NodePort", "LoadBalancer", "ExternalName", "IPv4", "IPv6", "SingleStack",
	"RequireDualStack", "Local", "Cluster", "Indexed", "NonIndexed", "FailJob", "FailIndex", "Ignore", "Count",
	"* * * * *", "Etc/UTC", "metadata.name", "metadata.labels['a']", "limits.cpu", "kubernetes.io/tls",
	"kubernetes.io/dockerconfigjson", "system-a", "kubernetes.io/hostname", "string", "object", "array",
	"int-or-string", "date", "^a$", "v1", "Namespaced", "as", "kube-api-access-x",
	"kubernetes.io/kube-apiserver-client", "eHg=", "e30=" };

static struct node *any_word(struct choice *c)
{
	size_t i = below(c, ARRAY_LEN(words) + 8);

	if (i < ARRAY_LEN(words))
		return node_c(c->a, words[i]);
	if (i == ARRAY_LEN(words))
		return node_str(c->a, arena_strf(c->a, "%0*d", 63 + (int)below(c, 240), 7));
	struct str raw = str_n((const char *)c->p, MIN((size_t)(c->end - c->p), i - ARRAY_LEN(words)));
	for (size_t k = 0; k < raw.n; k++)
		if (c->p[k] >= 0x80)
			raw.n = k;
	c->p += raw.n;
	return node_str(c->a, arena_str(c->a, raw));
}

static struct node *any_number(struct choice *c)
{
	static const int64_t numbers[] = { 0, 1, 2, 3, 5, -1, 10, 80, 100, 420, 600, 65535, 65536, 30000, 1000000000,
		INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN };

	return node_int(c->a, numbers[below(c, ARRAY_LEN(numbers))]);
}

static struct node *any_value(struct choice *c, const struct schema_type *t, int depth);

static struct node *any_object(struct choice *c, const struct schema_type *t, int depth)
{
	struct node *n = node_map(c->a);

	for (uint32_t i = 0; i < t->n_fields && c->p < c->end && depth < DEPTH_MAX && c->fields; i++) {
		const struct schema_field *f = &t->fields[i];
		size_t there = below(c, 8);

		if (t->is_kind && (!strcmp(f->name, "apiVersion") || !strcmp(f->name, "kind")))
			continue;
		if (f->must ? there == 7 : there > 1)
			continue;
		c->fields--;
		node_setc(n, f->name, any_value(c, f->type, depth + 1));
	}
	return n;
}

static struct node *any_list(struct choice *c, const struct schema_type *t, int depth)
{
	struct node *n = node_list(c->a);

	for (size_t i = below(c, 4); i > 0; i--)
		node_add(n, any_value(c, t->element, depth + 1));
	return n;
}

static struct node *any_map(struct choice *c, const struct schema_type *t, int depth)
{
	struct node *n = node_map(c->a);

	for (size_t i = below(c, 4); i > 0; i--) {
		struct str key = node_text_str(any_word(c));
		node_set(n, key, any_value(c, t->element, depth + 1));
	}
	return n;
}

static struct node *any_string(struct choice *c, const struct schema_type *t)
{
	size_t n = 0;

	while (t->enum_values && t->enum_values[n])
		n++;
	return n && below(c, 16) != 15 ? node_c(c->a, t->enum_values[below(c, n)]) : any_word(c);
}

static struct node *any_value(struct choice *c, const struct schema_type *t, int depth)
{
	static const char *const quantities[] = { "0", "1", "2", "100m", "-1", "1Gi", "1.5", "9223372036854775807" };

	switch ((enum schema_kind)t->kind) {
	case SCHEMA_OBJECT:
		return any_object(c, t, depth);
	case SCHEMA_LIST:
		return any_list(c, t, depth);
	case SCHEMA_MAP:
		return any_map(c, t, depth);
	case SCHEMA_BOOL:
		return node_bool(c->a, below(c, 2));
	case SCHEMA_STRING:
		return any_string(c, t);
	case SCHEMA_QUANTITY:
		return node_c(c->a, quantities[below(c, ARRAY_LEN(quantities))]);
	case SCHEMA_INT_OR_STRING:
		return below(c, 2) ? any_word(c) : any_number(c);
	case SCHEMA_TIME:
		return node_c(c->a, below(c, 2) ? "2026-01-02T03:04:05.5Z" : "2026-01-02T03:04:05Z");
	case SCHEMA_MICRO_TIME:
		return node_c(c->a, "2026-01-02T03:04:05.500000Z");
	case SCHEMA_DURATION:
		return node_c(c->a, "1s");
	case SCHEMA_FIELDS_V1:
	case SCHEMA_RAW:
		return node_map(c->a);
	case SCHEMA_JSON:
		return any_number(c);
	case SCHEMA_OR_BOOL:
	case SCHEMA_OR_LIST:
		return any_value(c, t->element, depth + 1);
	case SCHEMA_OR_STRINGS:
		return any_list(c, &(struct schema_type){ .element = t->element }, depth);
	case SCHEMA_BYTES:
		return any_word(c);
	default:
		return any_number(c);
	}
}

/* ---- writes ---------------------------------------------------------------------------------- */

static const struct identity *any_writer(struct choice *c)
{
	static const struct str masters[] = { { "system:masters", 14 } }, nodes[] = { { "system:nodes", 12 } };
	static const struct identity writers[] = { { .user = { "admin", 5 }, .groups = masters, .n_groups = 1 },
		{ .user = { "somebody", 8 } }, { .user = { "system:node:a", 13 }, .groups = nodes, .n_groups = 1 } };
	size_t i = below(c, 8);

	return &writers[i < ARRAY_LEN(writers) ? i : 0];
}

static struct rq *request(struct resource *r, const struct identity *id, enum verb verb, const char *sub)
{
	struct rq *rq = rq_new(api);

	rq->id = *id;
	rq->method = rq->path = STR("/");
	rq->user_agent = rq->field_manager = STR("fuzz");
	rq->verb = verb;
	rq->verb_text = str_c(verb_name(verb));
	rq->resource_request = rq->dry_run = true;
	rq->res = r;
	resource_hold(r);
	rq->group = str_c(r->def.group);
	rq->version = str_c(r->def.version);
	rq->resource_name = str_c(r->def.resource);
	rq->ns = r->def.namespaced ? STR("default") : STR_NULL;
	rq->sub = str_c(sub);
	rq->subres = sub[0] ? resource_sub(r, rq->sub) : NULL;
	return rq;
}

static void check_refusal(struct rq *rq, const struct err *e)
{
	auto_buf struct buf b = BUF_INIT;
	auto_(doc_unref) struct doc *d = NULL;
	struct err why;

	err_init(&why);
	status_json(rq, e, &b);
	if (doc_parse(buf_view(&b), &d, &why) < 0)
		PANIC("%s: %.*s", why.message, (int)b.n, b.p);
	if (e->code == ERR_INVALID && !e->causes_len)
		PANIC("no causes: %s", e->message);
}

/* Own: the object as it would be stored, in rq's form; NULL: refused. */
static struct doc *create(struct resource *r, const struct identity *id, struct doc *body)
{
	struct rq *rq = request(r, id, V_CREATE, "");
	struct write_job j = { .object = node_from(rq->a, doc_root(body)) };
	struct outcome out = { 0 };
	struct err e;

	err_init(&e);
	if (schema_decode(r->type, rq->a, j.object, NULL, &e) >= 0 && write_object_create(rq, &j, &out, &e) < 0)
		check_refusal(rq, &e);
	rq_free(rq);
	return out.doc;
}

/* live: what body is a change of. same: it is none, and was accepted as it is. */
static void update(
	struct resource *r, const struct identity *id, const char *sub, struct doc *live, struct doc *body, bool same)
{
	struct rq *rq = request(r, id, V_UPDATE, sub);
	struct write_job j = { .object = node_from(rq->a, doc_root(body)), .live = live };
	struct outcome out = { 0 };
	struct err e;

	err_init(&e);
	rq->name = arena_str(rq->a, doc_name(live));
	node_set_path(j.object, "metadata.name", node_str(rq->a, rq->name));
	if (schema_decode(r->type, rq->a, j.object, NULL, &e) >= 0 && write_object_update(rq, &j, &out, &e) < 0)
		check_refusal(rq, &e);
	if (same && out.doc != live)
		PANIC("accepted, and then not the same: %s\n%.*s\n%.*s", e.message, STR_ARG(doc_text(live)),
			STR_ARG(out.doc ? doc_text(out.doc) : STR("")));
	doc_unref(out.doc);
	rq_free(rq);
}

/* What an older server may have stored: defaults are there, and no rule was asked. */
static struct doc *unchecked(struct choice *c, struct resource *r, struct doc *body)
{
	struct node *n = node_from(c->a, doc_root(body)), *meta;
	struct err e;

	err_init(&e);
	if (schema_decode(r->type, c->a, n, NULL, &e) < 0)
		return NULL;
	schema_default(r->type, c->a, n, NULL);
	meta = node_need_map(n, "metadata");
	node_setc(meta, "name", node_c(c->a, "a"));
	if (r->def.namespaced)
		node_setc(meta, "namespace", node_c(c->a, "default"));
	return node_publish_versioned(n);
}

static void write_both(struct choice *c, struct resource *r, struct doc *one, struct doc *two)
{
	const struct identity *id = any_writer(c);
	const char *sub =
		r->def.subs && r->def.subs[0].name && !strcmp(r->def.subs[0].name, "status") && below(c, 4) == 3 ?
		"status" :
		"";
	auto_(doc_unref) struct doc *made = create(r, id, one), *old = made ? doc_ref(made) : unchecked(c, r, one);

	if (made)
		update(r, id, "", made, made, true);
	if (old)
		update(r, id, sub, old, two, false);
}

static struct resource *row_at(struct choice *c, struct str api_version, struct str kind)
{
	size_t n, found = 0;
	struct resource **rows = api_resources(api, c->a, &n);

	for (size_t i = 0; i < n; i++)
		if (!rows[i]->def.create && !rows[i]->def.compute &&
			(!kind.n || (str_is(kind, rows[i]->def.kind) && str_is(api_version, rows[i]->api_version))))
			rows[found++] = rows[i];
	return found ? rows[below(c, found)] : NULL;
}

static struct doc *object_of(struct choice *c, struct resource *r)
{
	struct node *n;

	c->fields = FIELDS_MAX;
	n = any_object(c, r->type, 0);
	if (below(c, 8) != 7)
		node_set_path(n, "metadata", node_pack(c->a, "{name:'a'}"));
	return node_publish(n);
}

static void from_text(struct choice *c)
{
	struct str first, rest = str_cut(str_n((const char *)c->p, (size_t)(c->end - c->p)), '\n', &first);
	auto_(doc_unref) struct doc *one = NULL, *two = NULL;
	struct resource *r;
	struct err e;

	err_init(&e);
	c->p = c->end;
	if (doc_parse_lenient(first, NULL, NULL, &one, &e) < 0 || val_kind(doc_root(one)) != VAL_MAP)
		return;
	if (doc_parse_lenient(rest, NULL, NULL, &two, &e) < 0 || val_kind(doc_root(two)) != VAL_MAP) {
		doc_unref(two);
		two = doc_ref(one);
	}
	r = row_at(c, doc_str(one, "apiVersion"), doc_str(one, "kind"));
	if (r)
		write_both(c, r, one, two);
}

static void from_choices(struct choice *c)
{
	struct resource *r = row_at(c, STR_NULL, STR_NULL);
	auto_(doc_unref) struct doc *one = object_of(c, r), *two = object_of(c, r);

	write_both(c, r, one, two);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct choice c = { data, data + n, a, 0 };

	if (n && data[0] == '{')
		from_text(&c);
	else
		from_choices(&c);
	return 0;
}

/* ---- the server ------------------------------------------------------------------------------ */

static void there(const char *group, const char *resource, const char *ns, const char *text)
{
	auto_(doc_unref) struct doc *d = NULL;
	struct err e;

	err_init(&e);
	if (doc_parse(str_c(text), &d, &e) < 0 ||
		api_write(api, V_CREATE, group, resource, str_c(ns), STR_NULL, d, NULL, &e) < 0)
		PANIC("%s: %s", resource, e.message);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct api_opts o = { .service_cidrs = "10.96.0.0/16,fd00::/112" };
	struct err e;

	(void)argc;
	(void)argv;
	err_init(&e);
	if (store_open_memory(&o.store, &e) < 0 || api_new(&o, &api, &e) < 0)
		PANIC("%s", e.message);
	there("", "serviceaccounts", "default", "{\"metadata\":{\"name\":\"default\"}}");
	there("", "limitranges", "default",
		"{\"metadata\":{\"name\":\"l\"},\"spec\":{\"limits\":[{\"type\":\"Container\",\"default\":{\"cpu\":\"2\"},\"max\":{\"memory\":\"8Gi\"}}]}}");
	there("storage.k8s.io", "storageclasses", "",
		"{\"metadata\":{\"name\":\"s\",\"annotations\":{\"storageclass.kubernetes.io/is-default-class\":\"true\"}},\"provisioner\":\"a.b/c\"}");
	return 0;
}
