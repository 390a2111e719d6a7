/* Answers: common headers, bodies as pieces that point into shared documents, compression. */
#include "api/audit/audit.h"
#include <stdio.h>
#include <zlib.h>
#define LOG_MODULE "api"
#define AUDIT_ANSWER_MAX ((size_t)4 << 20) /* larger answers are not recorded */

#define GZIP_FROM ((size_t)128 << 10)

const char *media_type(enum media m, bool watch)
{
	switch (m) {
	case MEDIA_YAML:
		return "application/yaml";
	case MEDIA_PROTOBUF:
		return watch ? "application/vnd.kubernetes.protobuf;stream=watch" :
			       "application/vnd.kubernetes.protobuf";
	default:
		return "application/json";
	}
}

void rq_done(struct rq *rq, int status)
{
	rq->status = status;
	rq->answered = true;
	metrics_record(rq->api->metrics, rq, status);
	audit_record(rq->api->audit, rq, status);
}

void rq_started(struct rq *rq)
{
	audit_started(rq->api->audit, rq);
}

static struct str warning_value(struct rq *rq, const char *text)
{
	struct buf b = BUF_INIT;

	buf_c(&b, "299 - \"");
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		if (c == '"' || c == '\\')
			buf_byte(&b, '\\');
		buf_byte(&b, c < 0x20 || c == 0x7f ? ' ' : (char)c);
	}
	buf_byte(&b, '"');
	struct str s = arena_str(rq->a, buf_view(&b));
	buf_fini(&b);
	return s;
}

size_t reply_headers(struct rq *rq, const char *content_type, struct http_header *h, size_t max)
{
	size_t n = 0;

	h[n++] = (struct http_header){ STR("audit-id"), str_c(rq_audit_id(rq)) };
	h[n++] = (struct http_header){ STR("cache-control"), STR("no-cache, private") };
	if (content_type)
		h[n++] = (struct http_header){ STR("content-type"), str_c(content_type) };
	for (size_t i = 0; i < rq->n_warnings && n < max; i++)
		h[n++] = (struct http_header){ STR("warning"), warning_value(rq, rq->warnings[i]) };
	return n;
}

static void rq_end(void *owner)
{
	rq_free(owner);
}

static void keep_answer(struct rq *rq, const struct net_piece *p, size_t n)
{
	auto_buf struct buf b = BUF_INIT, plain = BUF_INIT;

	b.max = plain.max = AUDIT_ANSWER_MAX;
	for (size_t i = 0; i < n; i++)
		buf_str(&b, p[i].bytes);
	if (b.full)
		return;
	bool packed = b.n > 2 && (unsigned char)b.p[0] == 0x1f && (unsigned char)b.p[1] == 0x8b;
	if (packed && !gunzip_bytes(buf_view(&b), &plain))
		return;
	rq->audit_answer = arena_str(rq->a, packed ? buf_view(&plain) : buf_view(&b));
}

/* The last piece owns the request: its arena holds every document that the others point into. */
static void send_pieces(
	struct rq *rq, int status, const struct http_header *h, size_t n_h, struct net_piece *p, size_t n)
{
	static const struct net_piece nothing;

	if (audit_wants_answer(rq->api->audit, rq))
		keep_answer(rq, p, n);
	rq_done(rq, status);
	PRE(n == 0 || !p[n - 1].end);
	if (!n) {
		struct net_piece last = nothing;
		last.owner = rq;
		last.end = rq_end;
		p = ARENA_NEW(rq->a, struct net_piece);
		*p = last;
		n = 1;
	} else {
		p[n - 1].owner = rq;
		p[n - 1].end = rq_end;
	}
	if (rq->http)
		http_reply(rq->http, status, h, n_h, p, n);
	else
		rq->sink->reply(rq->sink_arg, status, h, n_h, p, n);
}

bool gzip_bytes(struct str in, struct buf *out, int level)
{
	z_stream z = { 0 };

	if (deflateInit2(&z, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		return false;
	size_t bound = deflateBound(&z, in.n);
	char *p = buf_reserve(out, bound);
	if (!p) {
		deflateEnd(&z);
		return false;
	}
	z.next_in = (unsigned char *)(uintptr_t)in.p;
	z.avail_in = (unsigned)in.n;
	z.next_out = (unsigned char *)p;
	z.avail_out = (unsigned)bound;
	int rc = deflate(&z, Z_FINISH);
	out->n += z.total_out;
	deflateEnd(&z);
	return rc == Z_STREAM_END;
}

bool gunzip_bytes(struct str in, struct buf *out)
{
	z_stream z = { 0 };
	int rc = Z_OK;

	if (inflateInit2(&z, 15 + 16) != Z_OK)
		return false;
	z.next_in = (unsigned char *)(uintptr_t)in.p;
	z.avail_in = (unsigned)in.n;
	while (rc == Z_OK) {
		char *p = buf_reserve(out, 65536);
		if (!p)
			break;
		z.next_out = (unsigned char *)p;
		z.avail_out = 65536;
		rc = inflate(&z, Z_NO_FLUSH);
		out->n += 65536 - z.avail_out;
	}
	inflateEnd(&z);
	return rc == Z_STREAM_END;
}

static bool accepts_gzip(struct rq *rq)
{
	return str_has(rq_header(rq, "accept-encoding"), STR("gzip"));
}

static bool pieces_gzip(struct rq *rq, struct net_piece *p, size_t n, size_t total, struct buf *out)
{
	z_stream z = { 0 };
	int rc = Z_OK;

	if (deflateInit2(&z, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		return false;
	size_t bound = deflateBound(&z, total);
	char *to = buf_reserve(out, bound);
	z.next_out = (unsigned char *)to;
	z.avail_out = (unsigned)bound;
	for (size_t i = 0; to && i < n && rc == Z_OK; i++) {
		z.next_in = (unsigned char *)(uintptr_t)p[i].bytes.p;
		z.avail_in = (unsigned)p[i].bytes.n;
		rc = deflate(&z, Z_NO_FLUSH);
		if (rc == Z_BUF_ERROR)
			rc = Z_OK;
	}
	if (rc == Z_OK)
		rc = deflate(&z, Z_FINISH);
	out->n += z.total_out;
	deflateEnd(&z);
	return to && rc == Z_STREAM_END;
}

void reply_pieces(struct rq *rq, int status, const char *content_type, const struct http_header *extra, size_t n_extra,
	struct net_piece *pieces, size_t n)
{
	struct http_header h[64];
	size_t total = 0, n_h = reply_headers(rq, content_type, h, 48);
	struct net_piece one;

	for (size_t i = 0; i < n_extra && n_h < 60; i++)
		h[n_h++] = extra[i];
	for (size_t i = 0; i < n; i++)
		total += pieces[i].bytes.n;
	if (total > GZIP_FROM && !rq->gzip && accepts_gzip(rq)) {
		struct buf z = BUF_INIT;
		h[n_h++] = (struct http_header){ STR("vary"), STR("Accept-Encoding") };
		if (pieces_gzip(rq, pieces, n, total, &z)) {
			h[n_h++] = (struct http_header){ STR("content-encoding"), STR("gzip") };
			one = (struct net_piece){ buf_view(&z), NULL, NULL };
			arena_hold(rq->a, z.p, free);
			pieces = &one;
			n = 1;
		} else {
			buf_fini(&z);
		}
	}
	send_pieces(rq, status, h, n_h, pieces, n);
}

void reply_passed(struct rq *rq, int status, const struct http_header *headers, size_t n_headers,
	struct net_piece *pieces, size_t n)
{
	send_pieces(rq, status, headers, n_headers, pieces, n);
}

void reply_buf(struct rq *rq, int status, const char *content_type, struct buf *take_b)
{
	struct net_piece p = { buf_view(take_b), NULL, NULL };

	if (take_b->p)
		arena_hold(rq->a, take_b->p, free);
	*take_b = BUF_INIT;
	reply_pieces(rq, status, content_type, NULL, 0, &p, 1);
}

/* If-None-Match compares weakly: W/"x" is "x" (RFC 9110, 8.8.3.2 and 13.1.2). */
static struct str tag_of(struct str s)
{
	s = str_trim(s);
	return str_starts(s, STR("W/")) ? str_n(s.p + 2, s.n - 2) : s;
}

bool reply_not_modified(struct rq *rq, const struct http_header *headers, size_t n)
{
	struct str asked = rq_header(rq, "if-none-match"), etag = tag_of(headers[0].value);

	for (struct str one, rest = asked; str_next(&rest, ',', &one);) {
		if (!str_is(str_trim(one), "*") && !str_eq(tag_of(one), etag))
			continue;
		reply_pieces(rq, 304, NULL, headers, n, NULL, 0);
		return true;
	}
	return false;
}

void reply_text(struct rq *rq, int status, const char *content_type, const char *text)
{
	struct net_piece p = { arena_str(rq->a, str_c(text)), NULL, NULL };

	reply_pieces(rq, status, content_type, NULL, 0, &p, 1);
}

static bool pretty_text(struct str in, struct buf *out)
{
	int depth = 0;
	bool in_string = false;

	for (size_t i = 0; i < in.n; i++) {
		char c = in.p[i];
		if (in_string) {
			buf_byte(out, c);
			if (c == '\\' && i + 1 < in.n)
				buf_byte(out, in.p[++i]);
			else if (c == '"')
				in_string = false;
			continue;
		}
		if (c == ' ')
			continue;
		if ((c == '}' || c == ']') && out->n && out->p[out->n - 1] != '{' && out->p[out->n - 1] != '[')
			buf_printf(out, "\n%*s", --depth * 2, "");
		else if (c == '}' || c == ']')
			depth--;
		buf_byte(out, c);
		if (c == '"')
			in_string = true;
		if (c == ':')
			buf_byte(out, ' ');
		if (c == ',' || ((c == '{' || c == '[') && i + 1 < in.n && in.p[i + 1] != '}' && in.p[i + 1] != ']')) {
			depth += c != ',';
			buf_printf(out, "\n%*s", depth * 2, "");
		} else if (c == '{' || c == '[') {
			depth++;
		}
	}
	buf_byte(out, '\n');
	return !out->full;
}

void reply_doc_as(struct rq *rq, int status, struct doc *take_d, const struct schema_type *type)
{
	struct net_piece p = { doc_text(take_d), NULL, NULL };
	struct buf b = BUF_INIT;

	doc_hold(rq->a, take_d);
	if (val_is(doc_get(take_d, "kind"), "Status"))
		type = schema_builtin(STR(""), STR("v1"), STR("Status"));
	if (rq->media == MEDIA_PROTOBUF && type) {
		struct err e;
		err_init(&e);
		if (schema_to_protobuf(type, doc_root(take_d), &b, &e) < 0) {
			buf_fini(&b);
			reply_error(rq, &e);
			return;
		}
		reply_buf(rq, status, media_type(MEDIA_PROTOBUF, false), &b);
		return;
	}
	if (rq->pretty && pretty_text(p.bytes, &b)) {
		reply_buf(rq, status, media_type(rq->media, false), &b);
		return;
	}
	reply_pieces(
		rq, status, media_type(rq->media == MEDIA_PROTOBUF ? MEDIA_JSON : rq->media, false), NULL, 0, &p, 1);
}

void reply_doc(struct rq *rq, int status, struct doc *take_d)
{
	struct buf b = BUF_INIT;
	bool status_kind = val_is(doc_get(take_d, "kind"), "Status");

	if (rq->render == RENDER_TABLE && !status_kind && !rq->sub.n) {
		doc_hold(rq->a, take_d);
		table_head(rq, rq->res, true, doc_revision(take_d), STR_NULL, 0, &b);
		table_row(rq, rq->res, take_d, &b);
		buf_c(&b, "]}");
		reply_buf(rq, status, "application/json", &b);
		return;
	}
	if (rq->render == RENDER_METADATA && !status_kind && !rq->sub.n) {
		doc_hold(rq->a, take_d);
		metadata_object(take_d, true, rq->table_beta, &b);
		if (rq->media == MEDIA_PROTOBUF) {
			struct buf pb = BUF_INIT;
			struct doc *m = NULL;
			struct err e;
			err_init(&e);
			const struct schema_type *t =
				schema_builtin(STR("meta.k8s.io"), STR("v1"), STR("PartialObjectMetadata"));
			if (t && doc_parse(buf_view(&b), &m, &e) == 0 &&
				schema_to_protobuf(t, doc_root(m), &pb, &e) == 0) {
				doc_unref(m);
				buf_fini(&b);
				reply_buf(rq, status, media_type(MEDIA_PROTOBUF, false), &pb);
				return;
			}
			doc_unref(m);
			buf_fini(&pb);
		}
		reply_buf(rq, status, "application/json", &b);
		return;
	}
	reply_doc_as(rq, status, take_d, rq->res ? rq->res->type : NULL);
}
