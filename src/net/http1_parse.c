/* HTTP/1.1 syntax (RFC 9112), strict: where two readers could disagree about where a message ends, it is an error.
 * Refused: a line end that is not CR LF, folded lines, blanks before ':', Transfer-Encoding beside Content-Length, a
 * second Content-Length, codings other than chunked, a missing or second Host. */
#include "net/net_internal.h"

static bool is_token(unsigned char c)
{
	return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_value(unsigned char c)
{
	return (c >= 0x20 && c != 0x7f) || c == '\t';
}

long http1_find_end(const char *p, size_t n, size_t *scanned)
{
	size_t i = *scanned;

	for (;;) {
		const char *lf = i < n ? memchr(p + i, '\n', n - i) : NULL;

		if (!lf) {
			*scanned = n;
			return 0;
		}
		size_t at = (size_t)(lf - p);
		if (at == 0 || p[at - 1] != '\r')
			return -400;
		if (at == 1)
			return -400; /* an empty first line */
		if (at >= 3 && p[at - 2] == '\n')
			return (long)at + 1;
		i = at + 1;
	}
}

/* The next line without its CR LF; the head is known to end in an empty one. */
static struct str next_line(char **p, char *end)
{
	char *from = *p, *lf = memchr(from, '\n', (size_t)(end - from));

	if (!lf) { /* not reached: the head ends with one */
		*p = end;
		return str_n(from, 0);
	}
	*p = lf + 1;
	return str_n(from, (size_t)(lf - 1 - from));
}

static int parse_version(struct str s, int *minor)
{
	if (s.n != 8 || memcmp(s.p, "HTTP/", 5) != 0 || s.p[6] != '.' || s.p[5] < '0' || s.p[5] > '9' || s.p[7] < '0' ||
		s.p[7] > '9')
		return -400;
	if (s.p[5] != '1')
		return -505;
	*minor = s.p[7] == '0' ? 0 : 1;
	return 0;
}

static int parse_request_line(struct str line, struct http1_head *h)
{
	struct str rest = str_cut(line, ' ', &h->method);
	struct str version = str_cut(rest, ' ', &h->target);

	if (!h->method.n || h->method.n > 32 || !h->target.n)
		return -400;
	for (size_t i = 0; i < h->method.n; i++)
		if (!is_token((unsigned char)h->method.p[i]))
			return -400;
	for (size_t i = 0; i < h->target.n; i++)
		if ((unsigned char)h->target.p[i] <= 0x20 || h->target.p[i] == 0x7f || h->target.p[i] == '#')
			return -400;
	return parse_version(version, &h->minor);
}

static int parse_status_line(struct str line, struct http1_head *h)
{
	struct str version, code;
	struct str rest = str_cut(line, ' ', &version);
	uint64_t status;

	str_cut(rest, ' ', &code);
	if (code.n != 3 || !str_u64(code, &status) || status < 100 || status > 999)
		return -400;
	h->status = (int)status;
	return parse_version(version, &h->minor);
}

static int parse_field(char *p, size_t n, struct http_header *ret)
{
	char *colon = memchr(p, ':', n);

	if (!colon || colon == p)
		return -400;
	for (char *c = p; c < colon; c++) {
		if (!is_token((unsigned char)*c))
			return -400; /* also a fold and a blank before ':' */
		if (*c >= 'A' && *c <= 'Z')
			*c = (char)(*c | 32);
	}
	for (char *c = colon + 1; c < p + n; c++)
		if (!is_value((unsigned char)*c))
			return -400;
	ret->name = str_n(p, (size_t)(colon - p));
	ret->value = str_trim(str_n(colon + 1, (size_t)(p + n - colon - 1)));
	return 0;
}

/* 1*DIGIT, nothing else: no sign, no list, no blank. */
static bool parse_length(struct str s, uint64_t *ret)
{
	if (!s.n || s.n > 18)
		return false;
	*ret = 0;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		*ret = *ret * 10 + (uint64_t)(s.p[i] - '0');
	}
	return true;
}

static void see_connection(struct http1_head *h, struct str value)
{
	for (struct str part, rest = value; str_next(&rest, ',', &part);) {
		part = str_trim(part);
		if (str_eq_nocase(part, STR("close")))
			h->close = true;
		else if (str_eq_nocase(part, STR("keep-alive")))
			h->keep_alive = true;
		else if (str_eq_nocase(part, STR("upgrade")))
			h->upgrade = true;
	}
}

struct framing {
	int hosts, lengths, codings;
	bool has_upgrade;
};

static int see_field(struct http1_head *h, const struct http_header *f, struct framing *fr)
{
	if (str_is(f->name, "host"))
		fr->hosts++;
	else if (str_is(f->name, "connection"))
		see_connection(h, f->value);
	else if (str_is(f->name, "upgrade"))
		fr->has_upgrade = true;
	else if (str_is(f->name, "expect"))
		h->expect_continue = str_eq_nocase(f->value, STR("100-continue"));
	else if (str_is(f->name, "content-length")) {
		if (fr->lengths++ || !parse_length(f->value, &h->length))
			return -400;
		h->has_length = true;
	} else if (str_is(f->name, "transfer-encoding")) {
		if (fr->codings++)
			return -400;
		if (!str_eq_nocase(f->value, STR("chunked")))
			return -501;
		h->chunked = true;
	}
	return 0;
}

static int parse_fields(char *p, char *end, struct http1_head *h, struct framing *fr)
{
	h->n_headers = 0;
	for (;;) {
		struct str line = next_line(&p, end);

		if (!line.n)
			break;
		if (h->n_headers == HTTP1_HEADERS_MAX)
			return -431;
		struct http_header *f = &h->headers[h->n_headers++];
		int r = parse_field((char *)line.p, line.n, f);
		if (r == 0)
			r = see_field(h, f, fr);
		if (r < 0)
			return r;
	}
	if (fr->lengths && fr->codings)
		return -400;
	if (h->chunked && h->minor == 0)
		return -400;
	h->upgrade = h->upgrade && fr->has_upgrade;
	if (h->minor == 0 && !h->keep_alive)
		h->close = true;
	return 0;
}

static void head_clear(struct http1_head *h)
{
	h->method = h->target = STR_NULL;
	h->status = h->minor = 0;
	h->n_headers = 0;
	h->chunked = h->has_length = h->close = h->keep_alive = h->expect_continue = h->upgrade = false;
	h->length = 0;
}

int http1_request_head(char *p, size_t n, struct http1_head *h)
{
	struct framing fr = { 0 };
	char *at = p;

	head_clear(h);
	int r = parse_request_line(next_line(&at, p + n), h);
	if (r == 0)
		r = parse_fields(at, p + n, h, &fr);
	if (r < 0)
		return r;
	if (fr.hosts > 1 || (fr.hosts == 0 && h->minor))
		return -400;
	return 0;
}

int http1_reply_head(char *p, size_t n, struct http1_head *h)
{
	struct framing fr = { 0 };
	char *at = p;

	head_clear(h);
	int r = parse_status_line(next_line(&at, p + n), h);
	return r == 0 ? parse_fields(at, p + n, h, &fr) : r;
}

/* ---- chunked --------------------------------------------------------------------------------- */

enum {
	CHUNK_SIZE, /* digits */
	CHUNK_EXT,
	CHUNK_SIZE_LF,
	CHUNK_DATA,
	CHUNK_CR,
	CHUNK_LF,
	TRAILER_START,
	TRAILER_LINE,
	TRAILER_LINE_LF,
	TRAILER_LF,
	CHUNK_END,
};
#define CHUNK_EXTRA_MAX 8192

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 32);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int chunk_size_byte(struct http1_chunks *c, char b)
{
	int d = hex_digit(b);

	if (d >= 0) {
		if (++c->digits > 15)
			return -400;
		c->left = c->left * 16 + (uint64_t)d;
		return 0;
	}
	if (!c->digits)
		return -400;
	if (b == '\r')
		c->state = CHUNK_SIZE_LF;
	else if (b == ';')
		c->state = CHUNK_EXT;
	else
		return -400;
	return 0;
}

static int chunk_expect(struct http1_chunks *c, char b, char want, int next)
{
	if (b != want)
		return -400;
	c->state = next;
	return 0;
}

static int chunk_line_byte(struct http1_chunks *c, char b, int after_cr)
{
	if (++c->extra > CHUNK_EXTRA_MAX)
		return -431;
	if (b == '\r')
		c->state = after_cr;
	else if (!is_value((unsigned char)b))
		return -400;
	return 0;
}

static int chunk_byte(struct http1_chunks *c, char b)
{
	int r;

	switch (c->state) {
	case CHUNK_SIZE:
		return chunk_size_byte(c, b);
	case CHUNK_EXT:
		return chunk_line_byte(c, b, CHUNK_SIZE_LF);
	case CHUNK_SIZE_LF:
		return chunk_expect(c, b, '\n', c->left ? CHUNK_DATA : TRAILER_START);
	case CHUNK_CR:
		return chunk_expect(c, b, '\r', CHUNK_LF);
	case CHUNK_LF:
		r = chunk_expect(c, b, '\n', CHUNK_SIZE);
		c->digits = 0;
		return r;
	case TRAILER_START:
		if (b == '\r') {
			c->state = TRAILER_LF;
			return 0;
		}
		c->state = TRAILER_LINE;
		return is_token((unsigned char)b) ? chunk_line_byte(c, b, TRAILER_LINE_LF) : -400;
	case TRAILER_LINE:
		return chunk_line_byte(c, b, TRAILER_LINE_LF);
	case TRAILER_LINE_LF:
		return chunk_expect(c, b, '\n', TRAILER_START);
	case TRAILER_LF:
		return chunk_expect(c, b, '\n', CHUNK_END);
	default:
		return -400;
	}
}

long http1_chunk(struct http1_chunks *c, struct str in, struct str *data, bool *ended)
{
	size_t i = 0;

	*data = STR_NULL;
	*ended = c->state == CHUNK_END;
	while (i < in.n && c->state != CHUNK_END) {
		if (c->state == CHUNK_DATA) {
			*data = str_n(in.p + i, MIN((size_t)c->left, in.n - i));
			c->left -= data->n;
			if (!c->left)
				c->state = CHUNK_CR;
			return (long)(i + data->n);
		}
		int r = chunk_byte(c, in.p[i++]);
		if (r < 0)
			return r;
	}
	*ended = c->state == CHUNK_END;
	return (long)i;
}
