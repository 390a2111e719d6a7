/* Requests for another server's group version: who asks travels in X-Remote-* headers, which that server believes
 * because our certificate is the front proxy's. */
#include "api/aggregate/aggregate.h"
#include "api/relay/relay.h"
#include <ctype.h>

#define LOG_MODULE "aggregate"
#define SILENCE_MS 60000

struct hand_over {
	struct rq *rq;
	struct aggregate to;
	struct str path;
	struct http_header *headers;
	size_t n_headers;
	struct outgoing_link *link;
};

static void add(struct hand_over *o, struct str name, struct str value)
{
	o->headers[o->n_headers++] = (struct http_header){ name, value };
}

/* Header names have no capitals and no odd characters: %2f for '/'. */
static struct str extra_name(struct arena *a, struct str key)
{
	auto_buf struct buf b = BUF_INIT;

	buf_c(&b, "x-remote-extra-");
	for (size_t i = 0; i < key.n; i++) {
		unsigned char c = (unsigned char)key.p[i];

		if (isalnum(c) || strchr("-_.~", c))
			buf_byte(&b, (char)tolower(c));
		else
			buf_printf(&b, "%%%02x", c);
	}
	return arena_str(a, buf_view(&b));
}

size_t aggregate_who_max(const struct identity *id)
{
	return 2 + id->n_groups + id->n_extra;
}

size_t aggregate_who(struct arena *a, const struct identity *id, struct http_header *h)
{
	size_t n = 0;

	h[n++] = (struct http_header){ STR("x-remote-user"), id->user };
	if (id->uid.n)
		h[n++] = (struct http_header){ STR("x-remote-uid"), id->uid };
	for (size_t i = 0; i < id->n_groups; i++)
		h[n++] = (struct http_header){ STR("x-remote-group"), id->groups[i] };
	for (size_t i = 0; i < id->n_extra; i++)
		h[n++] = (struct http_header){ extra_name(a, id->extra[i].key), id->extra[i].value };
	return n;
}

static void make_headers(struct hand_over *o)
{
	struct rq *rq = o->rq;
	const struct http_header *in;
	size_t n_in = http_headers(rq->http, &in);
	struct http_header *passed = ARENA_ARRAY(rq->a, struct http_header, n_in + 1);
	size_t n = relay_pass_headers(rq, in, n_in, passed);
	struct str packs = arena_str(rq->a, rq_header(rq, "accept-encoding"));

	o->headers = ARENA_ARRAY(rq->a, struct http_header, n + 1 + aggregate_who_max(&rq->id));
	for (size_t i = 0; i < n; i++)
		if (!str_starts(passed[i].name, STR("x-remote-")))
			add(o, passed[i].name, passed[i].value);
	if (packs.n)
		add(o, STR("accept-encoding"), packs);
	o->n_headers += aggregate_who(rq->a, &rq->id, o->headers + o->n_headers);
}

static void fail(struct rq *rq, struct err *e)
{
	if (e->code == ERR_IO || e->code == ERR_NOT_FOUND)
		e->code = ERR_UNAVAILABLE;
	reply_error(rq, e);
}

static void answer_over(void *arg)
{
	struct hand_over *o = arg;

	outgoing_release(o->rq->api, o->link);
}

static int begin(struct hand_over *o, struct err *e)
{
	struct rq *rq = o->rq;

	if (!rq->http || !rq->api->opts.loop)
		return err_set(e, ERR_UNSUPPORTED, "aggregated servers need a server with sockets");
	if (!o->to.available)
		return err_set(e, ERR_UNAVAILABLE, "the server is currently unable to handle the request");
	if (outgoing_acquire(rq->api, &o->to.target, &o->link, e) < 0)
		return -e->code;
	make_headers(o);
	return 0;
}

/* Of a resource, the group version that was authorized. Else that of its list of resources, or of their description, which
 * stands where it does. */
static bool find(struct rq *rq, struct aggregate *ret)
{
	struct str group, version, path = rq->path;

	if (rq->resource_request)
		return rq->group.n && aggregates_find(rq->api, rq->a, rq->group, rq->version, ret);
	if (str_starts(path, STR("/openapi/v3/")))
		path = str_sub(path, sizeof("/openapi/v3") - 1, path.n);
	if (!str_starts(path, STR("/apis/")))
		return false;
	path = str_cut(str_sub(path, sizeof("/apis/") - 1, path.n), '/', &group);
	str_cut(path, '/', &version);
	return group.n && version.n && aggregates_find(rq->api, rq->a, group, version, ret);
}

bool aggregate_answer(struct rq *rq)
{
	struct hand_over *o;
	struct aggregate to;
	struct err e;

	if (!find(rq, &to))
		return false;
	err_init(&e);
	o = ARENA_NEW(rq->a, struct hand_over);
	o->rq = rq;
	o->to = to;
	o->path = arena_strf(rq->a, "%.*s%s%.*s", STR_ARG(rq->path), rq->query.n ? "?" : "", STR_ARG(rq->query));
	if (begin(o, &e) < 0) {
		fail(rq, &e);
		return true;
	}
	struct relay_call call = { .client = outgoing_client(o->link),
		.method = arena_cstr(rq->a, rq->method),
		.path = o->path,
		.headers = o->headers,
		.n_headers = o->n_headers,
		.body = rq->body,
		.silence_ms = rq->verb == V_WATCH ? 0 : SILENCE_MS,
		.over = answer_over,
		.arg = o };
	bool upgrade = rq_header(rq, "upgrade").n && http_version(rq->http) == 1;
	(upgrade ? relay_upgrade : relay_answer)(rq, &call);
	return true;
}
