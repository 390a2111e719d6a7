/* Answers: common headers, bodies that point into shared documents, compression. */
#include "api/audit/audit.h"
#include <openssl/evp.h>
#include <stdio.h>
#include <time.h>
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

static struct str in_a_year(struct rq *rq)
{
	time_t then = (time_t)wall_s(wall_now()) + 365 * 86400;
	char text[40];
	struct tm tm;

	gmtime_r(&then, &tm);
	strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm);
	return arena_str(rq->a, str_c(text));
}

size_t reply_headers(struct rq *rq, const char *content_type, struct http_header *h, size_t max)
{
	size_t n = 0;

	h[n++] = (struct http_header){ STR("audit-id"), str_c(rq_audit_id(rq)) };
	h[n++] = (struct http_header){ STR("cache-control"),
		rq->immutable ? STR("public, immutable") : STR("no-cache, private") };
	if (rq->immutable)
		h[n++] = (struct http_header){ STR("expires"), in_a_year(rq) };
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

static void keep_answer(struct rq *rq, struct str body)
{
	auto_buf struct buf plain = BUF_INIT;

	plain.max = AUDIT_ANSWER_MAX;
	if (body.n > AUDIT_ANSWER_MAX)
		return;
	bool packed = body.n > 2 && (unsigned char)body.p[0] == 0x1f && (unsigned char)body.p[1] == 0x8b;
	if (packed && !gunzip_bytes(body, &plain))
		return;
	rq->audit_answer = arena_str(rq->a, packed ? buf_view(&plain) : body);
}

/* Its body lives in rq, or in what rq's arena holds: so that is its owner. */
static void send_body(struct rq *rq, int status, const struct http_header *h, size_t n_h, struct str body)
{
	struct net_piece p = { body, rq, rq_end };

	if (audit_wants_answer(rq->api->audit, rq))
		keep_answer(rq, body);
	rq_done(rq, status);
	if (rq->http)
		http_reply(rq->http, status, h, n_h, &p, 1);
	else
		rq->sink->reply(rq->sink_arg, status, h, n_h, &p, 1);
}

static bool gzip_source(const struct net_source *from, struct buf *out, int level)
{
	z_stream z = { 0 };
	int rc = Z_OK;

	if (deflateInit2(&z, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		return false;
	size_t bound = deflateBound(&z, from->n);
	char *to = buf_reserve(out, bound);
	z.next_out = (unsigned char *)to;
	z.avail_out = (unsigned)bound;
	for (size_t left = from->n; to && left && rc == Z_OK;) {
		struct str piece = from->next(from->owner);

		left -= piece.n;
		z.next_in = (unsigned char *)(uintptr_t)piece.p;
		z.avail_in = (unsigned)piece.n;
		rc = deflate(&z, Z_NO_FLUSH);
	}
	if (rc == Z_OK)
		rc = deflate(&z, Z_FINISH);
	out->n += z.total_out;
	deflateEnd(&z);
	return to && rc == Z_STREAM_END;
}

static struct str all_at_once(void *owner)
{
	return *(struct str *)owner;
}

bool gzip_bytes(struct str in, struct buf *out, int level)
{
	return gzip_source(&(struct net_source){ .n = in.n, .next = all_at_once, .owner = &in }, out, level);
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

static bool to_be_packed(struct rq *rq, size_t n)
{
	return n > GZIP_FROM && !rq->gzip && str_has(rq_header(rq, "accept-encoding"), STR("gzip"));
}

static void send_packed(struct rq *rq, int status, struct http_header *h, size_t n, struct buf *take_b)
{
	h[n++] = (struct http_header){ STR("vary"), STR("Accept-Encoding") };
	h[n++] = (struct http_header){ STR("content-encoding"), STR("gzip") };
	arena_hold(rq->a, take_b->p, free);
	send_body(rq, status, h, n, buf_view(take_b));
}

void reply_bytes(struct rq *rq, int status, const char *content_type, const struct http_header *extra, size_t n_extra,
	struct str body)
{
	struct http_header h[64];
	struct buf b = BUF_INIT;
	size_t n = reply_headers(rq, content_type, h, 48);

	for (size_t i = 0; i < n_extra && n < 60; i++)
		h[n++] = extra[i];
	if (to_be_packed(rq, body.n) && gzip_bytes(body, &b, 1))
		send_packed(rq, status, h, n, &b);
	else
		send_body(rq, status, h, n, body);
}

void reply_source(struct rq *rq, const char *content_type, const struct http_header *extra, size_t n_extra,
	const struct net_source *take)
{
	struct http_header h[64];
	struct buf b = BUF_INIT;
	size_t n = reply_headers(rq, content_type, h, 48);

	for (size_t i = 0; i < n_extra && n < 60; i++)
		h[n++] = extra[i];
	if (to_be_packed(rq, take->n) && gzip_source(take, &b, 1)) {
		send_packed(rq, 200, h, n, &b);
		return;
	}
	if (rq->http && !audit_wants_answer(rq->api->audit, rq)) {
		rq_done(rq, 200);
		http_reply_source(rq->http, 200, h, n, take);
		return;
	}
	while (b.n < take->n)
		buf_str(&b, take->next(take->owner));
	arena_hold(rq->a, b.p, free);
	send_body(rq, 200, h, n, buf_view(&b));
}

void reply_passed(struct rq *rq, int status, const struct http_header *headers, size_t n_headers, struct str body)
{
	send_body(rq, status, headers, n_headers, body);
}

static void make_pretty(struct buf *b)
{
	struct pretty p = { 0 };
	struct buf out = BUF_INIT;

	pretty_text(&p, buf_view(b), &out);
	buf_byte(&out, '\n');
	if (out.full) { /* too large: as it is */
		buf_fini(&out);
		return;
	}
	buf_fini(b);
	*b = out;
}

/* For who wants to read YAML. What is too large for a document stays JSON. Returns what it is then. */
static const char *make_yaml(struct buf *json)
{
	auto_(doc_unref) struct doc *d = NULL;
	struct buf yaml = BUF_INIT;
	struct err e;

	err_init(&e);
	if (doc_parse(buf_view(json), &d, &e) < 0 || !val_write_yaml(doc_root(d), &yaml)) {
		buf_fini(&yaml);
		return media_type(MEDIA_JSON, false);
	}
	buf_fini(json);
	*json = yaml;
	return media_type(MEDIA_YAML, false);
}

void reply_buf(struct rq *rq, int status, const char *content_type, struct buf *take_b)
{
	bool json = strcmp(content_type, media_type(MEDIA_JSON, false)) == 0;

	if (json && rq->media == MEDIA_YAML)
		content_type = make_yaml(take_b);
	else if (json && rq->pretty)
		make_pretty(take_b);
	struct str body = buf_view(take_b);

	if (take_b->p)
		arena_hold(rq->a, take_b->p, free);
	*take_b = BUF_INIT;
	reply_bytes(rq, status, content_type, NULL, 0, body);
}

/* If-None-Match compares weakly: W/"x" is "x" (RFC 9110, 8.8.3.2 and 13.1.2). */
static struct str tag_of(struct str s)
{
	s = str_trim(s);
	return str_starts(s, STR("W/")) ? str_n(s.p + 2, s.n - 2) : s;
}

struct str reply_etag(struct rq *rq, struct str body)
{
	unsigned char sum[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	char *text = arena_alloc(rq->a, 2 * EVP_MAX_MD_SIZE + 3), *p = text;

	EVP_Digest(body.p, body.n, sum, &n, EVP_sha512(), NULL);
	*p++ = '"';
	for (unsigned i = 0; i < n; i++)
		p += snprintf(p, 3, "%02X", sum[i]);
	*p++ = '"';
	return str_n(text, (size_t)(p - text));
}

bool reply_not_modified(struct rq *rq, const struct http_header *headers, size_t n)
{
	struct str asked = rq_header(rq, "if-none-match"), etag = tag_of(headers[0].value);

	for (struct str one, rest = asked; str_next(&rest, ',', &one);) {
		if (!str_is(str_trim(one), "*") && !str_eq(tag_of(one), etag))
			continue;
		reply_bytes(rq, 304, NULL, headers, n, STR_NULL);
		return true;
	}
	return false;
}

void reply_text(struct rq *rq, int status, const char *content_type, const char *text)
{
	reply_bytes(rq, status, content_type, NULL, 0, arena_str(rq->a, str_c(text)));
}

const char *reply_media(const struct rq *rq, const struct schema_type *t, struct buf *json)
{
	auto_(doc_unref) struct doc *d = NULL;
	struct buf pb = BUF_INIT;
	struct err e;

	err_init(&e);
	if (rq->media == MEDIA_YAML)
		return make_yaml(json);
	if (rq->media != MEDIA_PROTOBUF || doc_parse(buf_view(json), &d, &e) < 0 ||
		schema_to_protobuf(t, doc_root(d), &pb, &e) < 0) {
		buf_fini(&pb);
		return media_type(MEDIA_JSON, false);
	}
	buf_fini(json);
	*json = pb;
	return media_type(MEDIA_PROTOBUF, false);
}

static void reply_as_object(struct rq *rq, int status, const struct doc *d, const struct schema_type *type)
{
	struct str text = doc_text(d);
	struct buf b = BUF_INIT;

	if (val_is(doc_get(d, "kind"), "Status"))
		type = schema_builtin(STR(""), STR("v1"), STR("Status"));
	if (rq->media == MEDIA_PROTOBUF && type) {
		struct err e;
		err_init(&e);
		if (schema_to_protobuf(type, doc_root(d), &b, &e) < 0) {
			buf_fini(&b);
			reply_error(rq, &e);
			return;
		}
		reply_buf(rq, status, media_type(MEDIA_PROTOBUF, false), &b);
		return;
	}
	if (rq->pretty || rq->media == MEDIA_YAML) {
		buf_str(&b, text);
		reply_buf(rq, status, media_type(MEDIA_JSON, false), &b);
		return;
	}
	reply_bytes(rq, status, media_type(MEDIA_JSON, false), NULL, 0, text);
}

static void reply_as_table(struct rq *rq, int status, const struct doc *d, const struct resource *row)
{
	struct buf b = BUF_INIT;

	table_head(rq, row, true, doc_revision(d), STR_NULL, 0, &b);
	table_row(rq, row, d, &b);
	buf_c(&b, "]}");
	reply_buf(rq, status, "application/json", &b);
}

static void reply_as_metadata(struct rq *rq, int status, const struct doc *d)
{
	const struct schema_type *t = schema_builtin(STR("meta.k8s.io"), STR("v1"), STR("PartialObjectMetadata"));
	struct buf b = BUF_INIT;

	metadata_object(d, true, rq->table_beta, &b);
	const char *type = reply_media(rq, t, &b);
	reply_buf(rq, status, type, &b);
}

/* Whose columns a table of it has; NULL: it is shown as it is. */
static const struct resource *row_of(struct rq *rq, const struct doc *d)
{
	if (val_is(doc_get(d, "kind"), "Status"))
		return NULL;
	if (rq->subres && rq->subres->kind)
		return strcmp(rq->subres->kind, "Scale") ? NULL : &scale_row;
	return !rq->sub.n || str_is(rq->sub, "status") ? rq->res : NULL;
}

void reply_doc_as(struct rq *rq, int status, struct doc *take_d, const struct schema_type *type)
{
	const struct resource *row = rq->render == RENDER_OBJECT ? NULL : row_of(rq, take_d);

	doc_hold(rq->a, take_d);
	if (row && rq->render == RENDER_TABLE)
		reply_as_table(rq, status, take_d, row);
	else if (row && rq->render == RENDER_METADATA)
		reply_as_metadata(rq, status, take_d);
	else
		reply_as_object(rq, status, take_d, type);
}

void reply_doc(struct rq *rq, int status, struct doc *take_d)
{
	reply_doc_as(rq, status, take_d, rq->res ? rq->res->type : NULL);
}
