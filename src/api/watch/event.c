/* WATCH: an event as bytes, in the form that a watch asked for. */
#include "api/watch/event.h"
#include "api/custom/custom.h"
#include <stdatomic.h>
#define LOG_MODULE "api"

#define FRAME_MOST ((size_t)4 << 10) /* a longer text goes out uncopied */

struct frame {
	atomic_uint refs;
	size_t n;
	char bytes[];
};

/* Pieces are added at p[n], at most EVENT_PIECES for an event. */
struct out {
	struct net_piece *p;
	size_t n;
};

/* Compared as pointers. */
static const char added_type[] = "ADDED", modified_type[] = "MODIFIED", deleted_type[] = "DELETED";

static struct str type_prefix(const char *type)
{
	static const char *const text[] = { "{\"type\":\"ADDED\",\"object\":", "{\"type\":\"MODIFIED\",\"object\":",
		"{\"type\":\"DELETED\",\"object\":", "{\"type\":\"BOOKMARK\",\"object\":",
		"{\"type\":\"ERROR\",\"object\":" };

	for (size_t i = 0; i < ARRAY_LEN(text); i++)
		if (!strncmp(text[i] + 9, type, strlen(type)))
			return str_c(text[i]);
	return str_c(text[4]);
}

/* A frame: its length in four bytes, then the event. */
static bool protobuf_frame(const char *type, const struct schema_type *t, const struct doc *d, struct buf *out)
{
	struct buf raw = BUF_INIT, event = BUF_INIT;
	struct err e;

	err_init(&e);
	bool ok = t && schema_to_protobuf(t, doc_root(d), &raw, &e) >= 0;
	if (ok) {
		schema_watch_to_protobuf(type, buf_view(&raw), &event);
		char len[4] = { (char)(event.n >> 24), (char)(event.n >> 16), (char)(event.n >> 8), (char)event.n };
		buf_add(out, len, 4);
		buf_str(out, buf_view(&event));
	}
	buf_fini(&raw);
	buf_fini(&event);
	return ok;
}

static void add_buf(struct out *o, struct buf *take)
{
	size_t n;
	char *p = buf_take(take, &n);

	o->p[o->n++] = (struct net_piece){ str_n(p, n), p, free };
}

static void frame_unref(void *arg)
{
	struct frame *f = arg;

	if (atomic_fetch_sub(&f->refs, 1) == 1)
		free(f);
}

void event_latest_fini(struct event_latest *l)
{
	doc_unref(l->doc);
	if (l->frame)
		frame_unref(l->frame);
	*l = (struct event_latest){ 0 };
}

static struct frame *frame_new(struct str head, struct str body, struct str tail)
{
	struct frame *f = xmalloc(sizeof(*f) + head.n + body.n + tail.n);

	atomic_init(&f->refs, 1);
	f->n = head.n + body.n + tail.n;
	memcpy(f->bytes, head.p, head.n);
	memcpy(f->bytes + head.n, body.p, body.n);
	memcpy(f->bytes + head.n + body.n, tail.p, tail.n);
	return f;
}

static void add_frame(struct out *o, struct frame *f)
{
	atomic_fetch_add(&f->refs, 1);
	o->p[o->n++] = (struct net_piece){ str_n(f->bytes, f->n), f, frame_unref };
}

/* Whole documents are what most watches want, and many of them the same at the same time: the second to want one makes it one
 * piece of bytes, which all later ones share. A straggler alone takes the document itself, so that what it has not read costs
 * no copies. */
static bool emit_shared(struct event_form *f, struct out *o, const char *type, struct doc *d)
{
	const struct rq *rq = f->rq;
	struct event_latest *l = f->latest, want = { d, type, rq->res, rq->media, NULL };

	if (rq->render != RENDER_OBJECT || (rq->media != MEDIA_PROTOBUF && doc_text(d).n > FRAME_MOST))
		return false;
	bool again = l->doc == d && l->type == type && l->res == rq->res && l->media == want.media;
	if (!again) {
		event_latest_fini(l);
		*l = want;
		doc_ref(d);
	}
	if (!l->frame && rq->media == MEDIA_PROTOBUF) {
		auto_buf struct buf out = BUF_INIT;
		if (!protobuf_frame(type, rq->res->type, d, &out))
			return false;
		l->frame = frame_new(buf_view(&out), STR(""), STR(""));
	} else if (!l->frame && again) {
		l->frame = frame_new(type_prefix(type), doc_text(d), STR("}\n"));
	}
	if (!l->frame)
		return false;
	add_frame(o, l->frame);
	return true;
}

/* d is taken. Other forms than the document itself are written out. */
static void emit(struct event_form *f, struct out *o, const char *type, struct doc *take_d, bool as_is)
{
	struct rq *rq = f->rq;
	struct buf out = BUF_INIT;
	const struct schema_type *t = as_is ? schema_builtin(STR(""), STR("v1"), STR("Status")) : rq->res->type;

	if (!as_is && emit_shared(f, o, type, take_d)) {
		doc_unref(take_d);
		return;
	}
	if (rq->media == MEDIA_PROTOBUF && (as_is || rq->render == RENDER_OBJECT)) {
		if (protobuf_frame(type, t, take_d, &out))
			add_buf(o, &out);
		doc_unref(take_d);
		return;
	}
	if (as_is || rq->render == RENDER_OBJECT) {
		o->p[o->n++] = (struct net_piece){ type_prefix(type), NULL, NULL };
		o->p[o->n++] = (struct net_piece){ doc_text(take_d), take_d, doc_end };
		o->p[o->n++] = (struct net_piece){ STR("}\n"), NULL, NULL };
		return;
	}
	struct arena *keep = rq->a;
	rq->a = arena_new(); /* what a row needs goes away with it */
	if (rq->render == RENDER_METADATA && rq->media == MEDIA_PROTOBUF) {
		struct buf m = BUF_INIT;
		struct doc *md = NULL;
		struct err e;
		err_init(&e);
		metadata_object(take_d, true, rq->table_beta, &m);
		if (doc_parse(buf_view(&m), &md, &e) == 0 &&
			protobuf_frame(type,
				schema_builtin(STR("meta.k8s.io"), STR("v1"), STR("PartialObjectMetadata")), md, &out))
			add_buf(o, &out);
		doc_unref(md);
		buf_fini(&m);
	} else {
		buf_str(&out, type_prefix(type));
		if (rq->render == RENDER_TABLE) {
			table_head(rq, rq->res, !f->columns_sent, doc_revision(take_d), STR_NULL, 0, &out);
			table_row(rq, rq->res, take_d, &out);
			buf_c(&out, "]}");
			f->columns_sent = true;
		} else {
			metadata_object(take_d, true, rq->table_beta, &out);
		}
		buf_c(&out, "}\n");
		add_buf(o, &out);
	}
	arena_free(rq->a);
	rq->a = keep;
	doc_unref(take_d);
}

size_t event_bookmark(struct event_form *f, int64_t rev, bool initial_end, struct net_piece ret[EVENT_PIECES])
{
	struct out o = { ret, 0 };
	struct arena *a = arena_new();
	struct resource *r = f->rq->res;
	bool partial = f->rq->render == RENDER_METADATA;
	struct node *n = node_pack(a, "{kind:s, apiVersion:s, metadata:{resourceVersion:o, creationTimestamp:n}}",
		partial ? "PartialObjectMetadata" : r->def.kind, partial ? "meta.k8s.io/v1" : r->api_version,
		node_strf(a, "%lld", (long long)rev));

	if (initial_end)
		node_set(node_need_map(n, "metadata.annotations"), STR("k8s.io/initial-events-end"), node_c(a, "true"));
	struct doc *d = node_publish(n);
	enum render keep = f->rq->render;
	if (keep == RENDER_METADATA)
		f->rq->render = RENDER_OBJECT;
	emit(f, &o, "BOOKMARK", d, false);
	f->rq->render = keep;
	arena_free(a);
	return o.n;
}

size_t event_error(struct event_form *f, const struct err *e, struct net_piece ret[EVENT_PIECES])
{
	struct out o = { ret, 0 };
	struct buf text = BUF_INIT;
	struct doc *d;
	struct err ignored;

	err_init(&ignored);
	status_json(f->rq, e, &text);
	if (doc_parse(buf_view(&text), &d, &ignored) == 0)
		emit(f, &o, "ERROR", d, true);
	buf_fini(&text);
	return o.n;
}

/* The last state that a watcher saw, with the revision at which it left. */
static struct doc *restamped(struct doc *d, int64_t rev)
{
	struct arena *a = arena_new();
	struct doc *copy = node_publish_versioned(node_from(a, doc_root(d)));

	doc_stamp(copy, rev);
	arena_free(a);
	return copy;
}

/* As the watch's version has it; own. NULL: there is none, or e has an error. */
static struct doc *served(const struct event_form *f, struct doc *take_d, struct err *e)
{
	const struct resource *r = f->rq->res;
	struct doc *ret = NULL;

	if (!take_d || !r->custom)
		return take_d ? doc_as_served(f->rq->a, r, take_d) : NULL;
	custom_as_served(NULL, r, take_d, &ret, e);
	return ret;
}

/* A watch that left such a change out would say that there was none. */
static size_t fail(struct event_form *f, const struct err *e, struct net_piece ret[EVENT_PIECES])
{
	log_warn("%s: a watch ends: %s", f->rq->res->group_resource, e->message);
	f->failed = true;
	return event_error(f, e, ret);
}

size_t event_added(
	struct event_form *f, const struct filter *filter, struct doc *stored, struct net_piece ret[EVENT_PIECES])
{
	struct out o = { ret, 0 };
	struct err e;

	err_init(&e);
	struct doc *d = served(f, doc_ref(stored), &e);
	if (!d)
		return fail(f, &e, ret);
	if (filter_is_all(filter) || filter_matches(filter, d))
		emit(f, &o, added_type, d, false);
	else
		doc_unref(d);
	return o.n;
}

/* For who wants all. */
static const char *type_of(const struct cache_event *ev)
{
	return ev->deleted ? deleted_type : ev->before ? modified_type : added_type;
}

size_t event_change(struct event_form *f, const struct filter *filter, struct cache_event *take_ev,
	struct net_piece ret[EVENT_PIECES])
{
	struct out o = { ret, 0 };
	bool all = filter_is_all(filter);
	struct err e;

	err_init(&e);
	struct doc *before = served(f, take_ev->before, &e);
	struct doc *after = served(f, take_ev->after, &e);
	if (e.code) {
		doc_unref(before);
		doc_unref(after);
		return fail(f, &e, ret);
	}
	bool was = before && (all || filter_matches(filter, before));
	bool is = after && !take_ev->deleted && (all || filter_matches(filter, after));

	if (take_ev->deleted && after && (was || (!before && (all || filter_matches(filter, after)))))
		emit(f, &o, deleted_type, TAKE(after), false);
	else if (is)
		emit(f, &o, was ? modified_type : added_type, TAKE(after), false);
	else if (was)
		emit(f, &o, deleted_type, restamped(before, take_ev->revision), false);
	doc_unref(before);
	doc_unref(after);
	return o.n;
}

size_t event_again(struct event_form *f, const struct filter *filter, const struct cache_event *ev,
	struct net_piece ret[EVENT_PIECES])
{
	const struct event_latest *l = f->latest;
	const struct rq *rq = f->rq;
	struct out o = { ret, 0 };

	if (!l->frame || l->doc != ev->after || l->type != type_of(ev) || l->res != rq->res || l->media != rq->media ||
		rq->render != RENDER_OBJECT || !filter_is_all(filter))
		return 0;
	add_frame(&o, l->frame);
	return o.n;
}
