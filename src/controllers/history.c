#include "controllers/history.h"

#define HISTORY_DEFAULT 10

static int by_number(const void *x, const void *y)
{
	struct doc *const *a = x, *const *b = y;
	int64_t m = doc_int(*a, "revision", 0), n = doc_int(*b, "revision", 0);

	return m != n ? (m < n ? -1 : 1) : str_cmp(doc_name(*a), doc_name(*b));
}

struct doc *revisions_find(const struct revisions *r, struct str name)
{
	for (size_t i = 0; i < r->n; i++)
		if (str_eq(doc_name(r->items[i]), name))
			return r->items[i];
	return NULL;
}

struct node *revision_template(struct arena *a, struct doc *revision)
{
	struct node *template = node_copy(a, node_from(a, doc_get(revision, "data.spec.template")));

	node_delc(template, "$patch");
	return template;
}

/* Keys in order, as Go writes maps. Depth is bounded by the parser. */
static struct node *sorted(struct arena *a, struct node *n)
{
	size_t len = node_len(n);
	struct str *keys;
	struct node *out;

	if (node_kind(n) == VAL_LIST) {
		out = node_list(a);
		for (size_t i = 0; i < len; i++)
			node_add(out, sorted(a, node_at(n, i)));
		return out;
	}
	if (node_kind(n) != VAL_MAP)
		return n;
	keys = ARENA_ARRAY(a, struct str, len + 1);
	for (size_t i = 0; i < len; i++)
		keys[i] = node_key_at(n, i);
	qsort(keys, len, sizeof(*keys), str_order);
	out = node_map(a);
	for (size_t i = 0; i < len; i++)
		node_set(out, keys[i], sorted(a, node_get(n, keys[i])));
	return out;
}

static void need_resources(struct arena *a, struct node *containers)
{
	for (size_t i = 0; i < node_len(containers); i++)
		if (!node_getc(node_at(containers, i), "resources"))
			node_setc(node_at(containers, i), "resources", node_map(a));
}

/* To the byte what upstream's controllers write for the same template (their clients compare the text): keys in order,
 * and the fields that Go never leaves out. */
static struct node *data_of(struct arena *a, struct doc *owner)
{
	struct node *template = node_copy(a, node_from(a, doc_get(owner, "spec.template"))),
		    *meta = node_need_map(template, "metadata");

	if (!node_getc(meta, "creationTimestamp"))
		node_setc(meta, "creationTimestamp", node_null(a));
	need_resources(a, node_path(template, "spec.containers"));
	need_resources(a, node_path(template, "spec.initContainers"));
	node_setc(template, "$patch", node_c(a, "replace"));
	return sorted(a, node_pack(a, "{spec:{template:o}}", template));
}

static int64_t newest(const struct revisions *r)
{
	return r->n ? doc_int(r->items[r->n - 1], "revision", 0) : 0;
}

static void hold(struct arena *a, struct doc *take)
{
	doc_hold(a, take);
}

/* An old template again: the same revision under the next number. */
static int renumber(struct ctl *c, struct arena *a, struct revisions *r, struct doc *old, struct err *e)
{
	struct doc *answer = NULL;

	if (doc_int(old, "revision", 0) != newest(r)) {
		if (merge_patch(c, res_controllerrevisions, old, NULL, node_pack(a, "{revision:I}", newest(r) + 1),
			    &answer, e) < 0)
			return err_wrap(e, "revision %.*s", STR_ARG(doc_name(old)));
		hold(a, answer);
		old = answer;
	}
	r->update = old;
	return 0;
}

static struct doc *new_revision(
	struct arena *a, struct doc *owner, const struct revisions *r, struct node *data, const char *hash)
{
	struct node *labels = val_has(doc_get(owner, "spec.template.metadata.labels")) ?
		node_copy(a, node_from(a, doc_get(owner, "spec.template.metadata.labels"))) :
		node_map(a);

	node_setc(labels, REVISION_LABEL, node_c(a, hash));
	return node_publish(node_pack(a,
		"{apiVersion:'apps/v1', kind:'ControllerRevision', metadata:{name:o, namespace:S, labels:o, annotations:v, "
		"ownerReferences:[o]}, data:o, revision:I}",
		node_strf(a, "%.*s-%s", STR_ARG(doc_name(owner)), hash), doc_ns(owner), labels,
		doc_get(owner, "metadata.annotations"), owner_reference(a, owner), data, newest(r) + 1));
}

static void hash_of(struct node *data, int64_t collisions, char ret[24])
{
	auto_buf struct buf text = BUF_INIT;

	node_write(data, &text);
	if (collisions)
		buf_printf(&text, "/%lld", (long long)collisions);
	safe_encode(fnv32a(buf_view(&text)), ret);
}

static int create(
	struct ctl *c, struct arena *a, struct doc *owner, struct revisions *r, struct node *data, struct err *e)
{
	for (int tries = 0; tries < 5; tries++) {
		auto_(doc_unref) struct doc *body = NULL;
		struct doc *made = NULL;
		char hash[24];

		hash_of(data, r->collisions, hash);
		body = new_revision(a, owner, r, data, hash);
		if (client_create(c->client, res_controllerrevisions, doc_ns(owner), body, &made, e) < 0) {
			if (e->code != ERR_EXISTS)
				return err_wrap(e, "create ControllerRevision");
			err_init(e);
			if (client_get(c->client, res_controllerrevisions, doc_ns(owner), doc_name(body), &made, e) < 0)
				return -e->code;
		}
		hold(a, made);
		if (controlled_by(made, doc_uid(owner)) && node_equal(node_from(a, doc_get(made, "data")), data)) {
			r->update = made; /* ours, perhaps of a moment ago, which the informer has not seen */
			return 0;
		}
		r->collisions++;
	}
	return err_set(e, ERR_CONFLICT, "no free name for a new ControllerRevision of %.*s", STR_ARG(doc_name(owner)));
}

int revisions_sync(struct ctl *c, struct arena *a, struct doc *owner, struct revisions *ret, struct err *e)
{
	struct informer_list mine = claim(c, a, owner, ctl_selector(c, a, owner), res_controllerrevisions, e);
	struct node *data = data_of(a, owner);
	int rc;

	*ret = (struct revisions){
		.items = mine.items, .n = mine.n, .collisions = doc_int(owner, "status.collisionCount", 0)
	};
	if (e->code)
		return -e->code;
	if (ret->n)
		qsort(ret->items, ret->n, sizeof(*ret->items), by_number);
	for (size_t i = ret->n; i-- > 0;)
		if (node_equal(node_from(a, doc_get(ret->items[i], "data")), data))
			return renumber(c, a, ret, ret->items[i], e);
	rc = create(c, a, owner, ret, data, e);
	return rc;
}

int revisions_trim(struct ctl *c, struct doc *owner, const struct revisions *r,
	bool (*is_live)(void *arg, struct doc *revision), void *arg, struct err *e)
{
	int64_t keep = doc_int(owner, "spec.revisionHistoryLimit", HISTORY_DEFAULT), idle = 0;

	for (size_t i = 0; i < r->n; i++)
		idle += r->items[i] != r->update && !is_live(arg, r->items[i]);
	for (size_t i = 0; i < r->n && idle > keep; i++) {
		struct doc *old = r->items[i];

		if (old == r->update || is_live(arg, old))
			continue;
		if (client_delete(c->client, res_controllerrevisions, doc_ns(old), doc_name(old),
			    (struct client_delete){ .uid = doc_uid(old), .grace_s = -1 }, e) < 0 &&
			e->code != ERR_NOT_FOUND)
			return err_wrap(e, "delete old revision %.*s", STR_ARG(doc_name(old)));
		err_init(e);
		idle--;
	}
	return 0;
}
