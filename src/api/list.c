/* LIST: a snapshot of references, streamed item by item without being assembled. */
#include "api/custom/custom.h"
#include <stdio.h>
#define LOG_MODULE "api"

struct listing {
	struct doc **docs; /* held by the arena */
	size_t n, room;
	int64_t rev, remaining;
	struct str next; /* first key, "ns/name", that was left out; n 0: complete */
};

struct list_query {
	struct filter filter;
	int64_t limit;
	int64_t at;      /* exact revision; 0: now */
	struct str from; /* key */
};

static void listing_add(struct rq *rq, struct listing *l, struct doc *d)
{
	ARENA_GROW(rq->a, l->docs, l->n, l->room, 64);
	l->docs[l->n++] = d;
}

/* d as it is served, held by the arena. */
static struct doc *served(struct rq *rq, struct doc *borrowed)
{
	if (rq->res->stored == rq->res || rq->res->custom) /* custom kinds: all together, at the end */
		return borrowed;
	struct doc *d = doc_as_served(rq->a, rq->res, doc_ref(borrowed));
	doc_hold(rq->a, d);
	return d;
}

static struct str list_prefix(struct rq *rq)
{
	return rq->res->def.namespaced && rq->ns.n ? arena_strf(rq->a, "%.*s/", STR_ARG(rq->ns)) : STR("");
}

static void list_one(struct rq *rq, struct listing *l, const struct list_query *q, struct str name)
{
	struct cache *c = rq->res->stored->cache;

	l->rev = cache_revision(c);
	struct doc *d = cache_get(c, cache_key(rq->a, rq->res, rq->ns, name));
	if (!d)
		return;
	doc_hold(rq->a, d);
	d = served(rq, d);
	if (filter_matches(&q->filter, d))
		listing_add(rq, l, d);
}

static void list_from_cache(struct rq *rq, struct listing *l, const struct list_query *q)
{
	bool all = filter_is_all(&q->filter);
	struct cache_list cl = cache_list(rq->res->stored->cache, rq->a, list_prefix(rq), q->from,
		all && q->limit ? (size_t)q->limit : 0, &l->rev);

	l->docs = ARENA_ARRAY(rq->a, struct doc *, cl.n + 1);
	l->room = cl.n + 1;
	for (size_t i = 0; i < cl.n; i++) {
		struct doc *d = served(rq, cl.items[i].doc);
		if (!all && !filter_matches(&q->filter, d))
			continue;
		if (q->limit && (int64_t)l->n == q->limit) {
			l->next = cl.items[i].key;
			return;
		}
		l->docs[l->n++] = d;
	}
	if (cl.more && cl.n) {
		l->remaining = (int64_t)cl.more;
		l->next =
			arena_strf(rq->a, "%.*s%c", STR_ARG(cl.items[cl.n - 1].key), 1); /* right after the last one */
	}
}

struct history {
	struct rq *rq;
	struct listing *l;
	const struct list_query *q;
	size_t prefix;
	bool all, failed;
	struct err *e;
};

static bool history_each(void *arg, const struct store_kv *kv)
{
	struct history *h = arg;
	struct doc *d;

	if (h->l->next.n) {
		h->l->remaining++;
		return h->all;
	}
	struct str key = arena_str(h->rq->a, str_sub(kv->key, h->prefix, kv->key.n));
	if (h->q->limit && (int64_t)h->l->n == h->q->limit) {
		h->l->next = key;
		h->l->remaining = 1;
		return h->all;
	}
	if (stored_doc(h->rq->api, h->rq->res->stored, kv, NULL, &d, h->e) < 0) {
		h->failed = true;
		return false;
	}
	doc_hold(h->rq->a, d);
	d = served(h->rq, d);
	if (h->all || filter_matches(&h->q->filter, d))
		listing_add(h->rq, h->l, d);
	return true;
}

#define TOKEN_VERSION "meta.k8s.io/v1"

static struct str token_make(struct rq *rq, int64_t rev, struct str start)
{
	struct buf b = BUF_INIT;

	buf_printf(&b, "{\"v\":\"" TOKEN_VERSION "\",\"rv\":%lld,\"start\":", (long long)rev);
	buf_json(&b, start);
	buf_byte(&b, '}');
	auto_free char *text = base64_encode(buf_view(&b));
	buf_fini(&b);
	char *out = arena_strdup(rq->a, text);
	size_t n = strlen(out);
	while (n && out[n - 1] == '=')
		n--;
	for (size_t i = 0; i < n; i++)
		out[i] = out[i] == '+' ? '-' : out[i] == '/' ? '_' : out[i];
	return str_n(out, n);
}

/* The revision is compacted. Who pages may go on from there with what there is now. */
static int expired(struct rq *rq, const struct list_query *q, struct err *e)
{
	if (!q->from.n)
		return err_set(e, ERR_EXPIRED, "The resourceVersion for the provided list is too old.");
	rq->go_on = token_make(rq, -1, q->from);
	return err_set(e, ERR_EXPIRED,
		"The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.");
}

static int list_from_history(struct rq *rq, struct listing *l, const struct list_query *q, struct err *e)
{
	struct resource *stored = rq->res->stored;
	struct history h = { rq, l, q, strlen(stored->key_prefix), filter_is_all(&q->filter), false, e };
	struct str prefix = arena_strf(rq->a, "%s%.*s", stored->key_prefix, STR_ARG(list_prefix(rq)));
	struct str from = q->from.n ? arena_strf(rq->a, "%s%.*s", stored->key_prefix, STR_ARG(q->from)) : STR_NULL;
	int rc = store_range(rq->api->opts.store, prefix, from, q->at, history_each, &h, &l->rev, e);

	if (rc == -ERR_EXPIRED)
		return expired(rq, q, e);
	if (h.failed)
		return -e->code;
	l->rev = q->at;
	return rc;
}

static int bad_token(struct err *e, const char *why)
{
	return err_set(e, ERR_BAD_REQUEST, "invalid continue token: continue key is not valid: %s", why);
}

/* The parts of a path that upstream's path.Clean() would change. */
static bool is_clean(struct str start)
{
	for (struct str part, rest = start; str_next(&rest, '/', &part);)
		if (str_empty(part) || str_is(part, ".") || str_is(part, ".."))
			return false;
	return !str_ends(start, STR("/"));
}

/* revision 0: the newest, which a token with -1 asks for. */
static int token_read(struct rq *rq, struct str token, int64_t *rev, struct str *start, struct err *e)
{
	auto_buf struct buf b = BUF_INIT;
	auto_(doc_unref) struct doc *d = NULL;
	char *text = arena_printf(rq->a, "%.*s%s", STR_ARG(token), &"==="[3 - (4 - token.n % 4) % 4]);

	for (char *p = text; *p; p++)
		*p = *p == '-' ? '+' : *p == '_' ? '/' : *p;
	if (base64_decode(str_c(text), &b) < 0 || doc_parse(buf_view(&b), &d, e) < 0)
		return bad_token(e, "it is not what this server gave");
	if (!str_is(doc_str(d, "v"), TOKEN_VERSION))
		return bad_token(e,
			arena_printf(rq->a, "server does not recognize this encoded version \"%.*s\"",
				STR_ARG(doc_str(d, "v"))));
	*rev = doc_int(d, "rv", 0);
	*start = arena_str(rq->a, doc_str(d, "start"));
	if (!*rev)
		return bad_token(e, "incorrect encoded start resourceVersion (version " TOKEN_VERSION ")");
	if (!start->n)
		return bad_token(e, "encoded start key empty (version " TOKEN_VERSION ")");
	if (!is_clean(*start))
		return bad_token(e, arena_printf(rq->a, "%.*s", STR_ARG(*start)));
	*rev = MAX(*rev, (int64_t)0);
	return 0;
}

int check_list_options(struct rq *rq, bool watch, struct err *e)
{
	static const char *const known[] = { "Exact", "NotOlderThan", "", NULL };
	static const char field[] = "resourceVersionMatch";
	struct str match = rq_param(rq, field), rv = rq_param(rq, "resourceVersion");
	bool initial = rq_param(rq, "sendInitialEvents").p;

	if (watch && initial && !str_is(match, "NotOlderThan"))
		v_forbidden(e, field, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
	if (match.n && watch && !initial)
		v_forbidden(
			e, field, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
	if (match.n && !watch && !rv.n)
		v_forbidden(e, field, "resourceVersionMatch is forbidden unless resourceVersion is provided");
	if (match.n && !watch && rq_param(rq, "continue").n)
		v_forbidden(e, field, "resourceVersionMatch is forbidden when continue is provided");
	if (match.n && !str_is(match, "Exact") && !str_is(match, "NotOlderThan"))
		v_unsupported(e, field, match, known);
	if (match.n && watch && rq_param(rq, "continue").n)
		v_forbidden(e, field, "resourceVersionMatch is forbidden when continue is provided");
	if (!watch && str_is(match, "Exact") && str_is(rv, "0"))
		v_forbidden(e, field, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
	if (!watch && initial)
		v_forbidden(e, "sendInitialEvents", "sendInitialEvents is forbidden for list");
	return validate_options(rq, "ListOptions", e);
}

static int query_revision(struct rq *rq, struct list_query *q, struct err *e)
{
	struct str rv = rq_param(rq, "resourceVersion"), match = rq_param(rq, "resourceVersionMatch");
	struct str cont = rq_param(rq, "continue");
	int64_t want;

	if (check_list_options(rq, false, e) < 0)
		return -e->code;
	if (cont.n) {
		if (rv.n && !str_is(rv, "0"))
			return err_set(
				e, ERR_BAD_REQUEST, "specifying resource version is not allowed when using continue");
		return token_read(rq, cont, &q->at, &q->from, e);
	}
	if (check_revision(rq, rv, &want, e) < 0)
		return -e->code;
	if (str_is(match, "Exact") || (rv.n && !match.n && q->limit && !str_is(rv, "0")))
		q->at = want;
	return 0;
}

int query_number(struct rq *rq, const char *name, int64_t *ret, struct err *e)
{
	struct str s = rq_param(rq, name);

	*ret = 0;
	if (!s.n || str_i64(s, ret))
		return 0;
	return err_set(e, ERR_BAD_REQUEST, "%s: Invalid value: \"%.*s\": must be a number", name, STR_ARG(s));
}

static int query_read(struct rq *rq, struct list_query *q, struct err *e)
{
	int64_t seconds;

	memset(q, 0, sizeof(*q));
	if (query_number(rq, "limit", &q->limit, e) < 0)
		return -e->code;
	q->limit = MAX(q->limit, 0); /* as upstream: no limit */
	if (filter_parse(rq, rq_param(rq, "labelSelector"), rq_param(rq, "fieldSelector"), &q->filter, e) < 0)
		return -e->code;
	if (query_number(rq, "timeoutSeconds", &seconds, e) < 0)
		return -e->code;
	return query_revision(rq, q, e);
}

static int list_run(struct rq *rq, const struct list_query *q, struct listing *l, struct err *e)
{
	struct str name = filter_name(&q->filter);
	int64_t last = __atomic_load_n(&rq->res->stored->last_event, __ATOMIC_ACQUIRE);

	memset(l, 0, sizeof(*l));
	/* Nothing of this resource has changed since the wanted revision: the cache is that snapshot. */
	bool changed = q->at && q->at < last;
	if (changed && list_from_history(rq, l, q, e) < 0)
		return -e->code;
	if (changed)
		return rq->res->custom ? custom_list_as_served(rq, l->docs, l->n, e) : 0;
	if (name.p && !q->from.n && (rq->ns.n || !rq->res->def.namespaced))
		list_one(rq, l, q, name);
	else
		list_from_cache(rq, l, q);
	if (q->at && q->at < __atomic_load_n(&rq->res->stored->last_event, __ATOMIC_ACQUIRE)) {
		memset(l, 0, sizeof(*l)); /* something came in between */
		if (list_from_history(rq, l, q, e) < 0)
			return -e->code;
	} else if (q->at) {
		l->rev = q->at;
	}
	return rq->res->custom ? custom_list_as_served(rq, l->docs, l->n, e) : 0;
}

int list_collect(
	struct rq *rq, const struct filter *f, struct doc ***ret, size_t *ret_n, int64_t *ret_rev, struct err *e)
{
	struct list_query q = { .filter = *f };
	struct listing l;

	if (list_run(rq, &q, &l, e) < 0)
		return -e->code;
	*ret = l.docs;
	*ret_n = l.n;
	*ret_rev = l.rev;
	return 0;
}

int list_asked(struct rq *rq, struct doc ***ret, size_t *ret_n, int64_t *ret_rev, struct str *ret_token, struct err *e)
{
	struct list_query q;
	struct listing l;

	if (query_read(rq, &q, e) < 0 || list_run(rq, &q, &l, e) < 0)
		return -e->code;
	*ret = l.docs;
	*ret_n = l.n;
	*ret_rev = l.rev;
	*ret_token = l.next.n ? token_make(rq, l.rev, l.next) : STR_NULL;
	return 0;
}

static void list_meta(const struct listing *l, struct str token, bool count, struct buf *out)
{
	buf_printf(out, "\"metadata\":{\"resourceVersion\":\"%lld\"", (long long)l->rev);
	if (token.n)
		buf_printf(out, ",\"continue\":\"%.*s\"", STR_ARG(token));
	if (token.n && count && l->remaining)
		buf_printf(out, ",\"remainingItemCount\":%lld", (long long)l->remaining);
	buf_c(out, "}");
}

/* The list as text: its head, then for each item what is before it and the item, then the end. Lives in rq's arena. */
struct list_text {
	struct rq *rq;
	struct doc **docs;
	size_t n;
	struct str head;
	size_t at; /* pieces that were taken */
};

static struct str next_text(void *owner)
{
	struct list_text *t = owner;
	size_t at = t->at++, i = (at - 1) / 2;

	if (!at)
		return t->head;
	if (i == t->n)
		return STR("]}");
	return at % 2 == 0 ? doc_item_text(t->docs[i]) : i ? STR(",{") : STR("{");
}

static void text_end(void *owner)
{
	rq_free(((struct list_text *)owner)->rq);
}

/* The same for people. */
struct pretty_list {
	struct list_text *text;
	size_t left; /* bytes of the compact text */
	struct pretty p;
	struct buf piece;
};

static struct str next_pretty(void *owner)
{
	struct pretty_list *l = owner;
	struct str s = next_text(l->text);

	buf_reset(&l->piece);
	pretty_text(&l->p, s, &l->piece);
	l->left -= s.n;
	if (!l->left)
		buf_byte(&l->piece, '\n');
	return buf_view(&l->piece);
}

static void pretty_end(void *owner)
{
	text_end(((struct pretty_list *)owner)->text);
}

static void piece_free(void *piece)
{
	buf_fini(piece);
}

/* A first pass counts: a body's length is told before it. */
static struct net_source pretty_source(struct list_text *t, size_t n)
{
	struct pretty_list *l = ARENA_NEW(t->rq->a, struct pretty_list);
	struct net_source s = { .next = next_pretty, .end = pretty_end, .owner = l };

	*l = (struct pretty_list){ .text = t, .left = n, .piece = BUF_INIT };
	arena_hold(t->rq->a, &l->piece, piece_free);
	while (l->left)
		s.n += next_pretty(l).n;
	t->at = 0;
	l->left = n;
	l->p = (struct pretty){ 0 };
	return s;
}

/* Keys stand in order, so that all has to be there before the first byte is sent. */
static void reply_as_yaml(struct rq *rq, struct net_source *json)
{
	struct buf b = BUF_INIT;

	while (b.n < json->n)
		buf_str(&b, json->next(json->owner));
	reply_buf(rq, 200, media_type(MEDIA_JSON, false), &b);
}

static void reply_objects(struct rq *rq, const struct listing *l, struct str token, bool count)
{
	struct list_text *t = ARENA_NEW(rq->a, struct list_text);
	struct net_source s = { .next = next_text, .end = text_end, .owner = t };
	struct buf head = BUF_INIT;

	buf_printf(&head, "{\"kind\":\"%s\",\"apiVersion\":\"%s\",", rq->res->list_kind, rq->res->api_version);
	list_meta(l, token, count, &head);
	buf_c(&head, ",\"items\":[");
	arena_hold(rq->a, head.p, free);
	*t = (struct list_text){ .rq = rq, .docs = l->docs, .n = l->n, .head = buf_view(&head) };
	s.n = head.n + STR("]}").n;
	for (size_t i = 0; i < l->n; i++)
		s.n += doc_item_text(l->docs[i]).n + (i ? STR(",{").n : STR("{").n);
	if (rq->media == MEDIA_YAML) {
		reply_as_yaml(rq, &s);
		return;
	}
	if (rq->pretty)
		s = pretty_source(t, s.n);
	reply_source(rq, media_type(MEDIA_JSON, false), NULL, 0, &s);
}

struct items {
	const struct listing *l;
	size_t i;
};

static bool next_item(void *arg, struct val *ret)
{
	struct items *it = arg;

	if (it->i >= it->l->n)
		return false;
	*ret = doc_root(it->l->docs[it->i++]);
	return true;
}

static int reply_protobuf(struct rq *rq, const struct listing *l, struct str token, bool count, struct err *e)
{
	struct items it = { l, 0 };
	struct buf meta = BUF_INIT, b = BUF_INIT;
	struct doc *m;

	buf_byte(&meta, '{');
	list_meta(l, token, count, &meta);
	buf_byte(&meta, '}');
	int rc = doc_parse(buf_view(&meta), &m, e);
	buf_fini(&meta);
	if (rc < 0)
		return rc;
	rc = schema_list_to_protobuf(str_c(rq->res->api_version), str_c(rq->res->list_kind), rq->res->type,
		doc_get(m, "metadata"), next_item, &it, &b, e);
	doc_unref(m);
	if (rc < 0) {
		buf_fini(&b);
		return rc;
	}
	reply_buf(rq, 200, media_type(MEDIA_PROTOBUF, false), &b);
	return 0;
}

static void reply_metadata(struct rq *rq, const struct listing *l, struct str token, bool count)
{
	struct buf b = BUF_INIT;

	buf_printf(&b, "{\"kind\":\"PartialObjectMetadataList\",\"apiVersion\":\"meta.k8s.io/%s\",",
		rq->table_beta ? "v1beta1" : "v1");
	list_meta(l, token, count, &b);
	buf_c(&b, ",\"items\":[");
	for (size_t i = 0; i < l->n; i++) {
		if (i)
			buf_byte(&b, ',');
		metadata_object(l->docs[i], true, rq->table_beta, &b);
	}
	buf_c(&b, "]}");
	if (rq->media == MEDIA_PROTOBUF) {
		struct buf pb = BUF_INIT;
		struct err e;
		struct doc *d = NULL;
		err_init(&e);
		const struct schema_type *t =
			schema_builtin(STR("meta.k8s.io"), STR("v1"), STR("PartialObjectMetadataList"));
		if (t && doc_parse(buf_view(&b), &d, &e) == 0 && schema_to_protobuf(t, doc_root(d), &pb, &e) == 0) {
			doc_unref(d);
			buf_fini(&b);
			reply_buf(rq, 200, media_type(MEDIA_PROTOBUF, false), &pb);
			return;
		}
		doc_unref(d);
		buf_fini(&pb);
	}
	reply_buf(rq, 200, "application/json", &b);
}

static void reply_table(struct rq *rq, const struct listing *l, struct str token, bool count)
{
	struct buf b = BUF_INIT;

	table_head(rq, rq->res, true, l->rev, token, count ? l->remaining : 0, &b);
	for (size_t i = 0; i < l->n; i++) {
		if (i)
			buf_byte(&b, ',');
		table_row(rq, rq->res, l->docs[i], &b);
	}
	buf_c(&b, "]}");
	reply_buf(rq, 200, "application/json", &b);
}

static void reply_listing(struct rq *rq, const struct listing *l, struct str token, bool count)
{
	struct err e;

	err_init(&e);
	if (rq->render == RENDER_TABLE)
		reply_table(rq, l, token, count);
	else if (rq->render == RENDER_METADATA)
		reply_metadata(rq, l, token, count);
	else if (rq->media != MEDIA_PROTOBUF)
		reply_objects(rq, l, token, count);
	else if (reply_protobuf(rq, l, token, count, &e) < 0)
		reply_error(rq, &e);
}

void list_reply(struct rq *rq, struct doc **docs, size_t n)
{
	struct listing l = { .docs = docs, .n = n, .rev = store_revision(rq->api->opts.store) };

	reply_listing(rq, &l, STR_NULL, false);
}

void read_list(struct rq *rq)
{
	struct list_query q;
	struct listing l;
	struct err e;

	err_init(&e);
	if (query_read(rq, &q, &e) < 0 || list_run(rq, &q, &l, &e) < 0) {
		reply_error(rq, &e);
		return;
	}
	reply_listing(rq, &l, l.next.n ? token_make(rq, l.rev, l.next) : STR_NULL, filter_is_all(&q.filter));
}
