/* YAML in: libyaml's events become a tree. Plain scalars mean what they mean to Kubernetes' own reader (YAML 1.1
 * booleans, octal with a leading 0); aliases share nodes, and what they expand to is bounded. */
#include "doc/doc_internal.h"
#include <math.h>
#include <stdio.h>
#include <yaml.h>

#define ALIAS_BYTES_MAX ((size_t)8 << 20) /* all aliases together, expanded */
#define NODE_WEIGHT 16                    /* bytes counted for a value beside its text */

struct frame {
	struct node *node;
	struct str key;
	bool has_key, merge_key;
	struct node *merges; /* list of the maps that "<<" named */
	struct str anchor;
	size_t weight;
};

struct anchor {
	struct node *node;
	size_t weight;
};

struct reader {
	struct arena *a;
	yaml_parser_t yaml;
	void (*dup)(void *arg, struct str path);
	void *dup_arg;
	struct frame stack[DOC_DEPTH_MAX];
	size_t depth, aliased;
	struct node *anchor_names; /* name -> index */
	struct anchor *anchors;
	size_t anchors_n, anchors_cap, line;
	struct node *root;
	struct err *e;
};

static int bad(struct reader *r, const char *what)
{
	return err_set(r->e, ERR_BAD_REQUEST, "error converting YAML to JSON: yaml: line %zu: %s", r->line, what);
}

static struct str of_bytes(const yaml_char_t *p, size_t n)
{
	return str_n((const char *)p, n);
}

static struct str of_c(const yaml_char_t *p)
{
	return str_c((const char *)p);
}

/* ---- scalars --------------------------------------------------------------------------------- */

static bool one_of(struct str s, const char *const *words)
{
	for (; *words; words++)
		if (str_is(s, *words))
			return true;
	return false;
}

static bool is_null(struct str s)
{
	static const char *const words[] = { "", "~", "null", "Null", "NULL", NULL };

	return one_of(s, words);
}

static bool is_bool(struct str s, bool *ret)
{
	static const char *const yes[] = { "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON",
		NULL };
	static const char *const no[] = { "n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF",
		NULL };

	*ret = one_of(s, yes);
	return *ret || one_of(s, no);
}

static bool is_not_finite(struct str s)
{
	static const char *const words[] = { ".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN", NULL };

	if (s.n && (s.p[0] == '+' || s.p[0] == '-'))
		s = str_n(s.p + 1, s.n - 1);
	return one_of(s, words);
}

/* Digits of one base up to the end; false: none, others, or more than 64 bits. */
static bool read_digits(const char *p, unsigned base, uint64_t *ret)
{
	uint64_t u = 0;

	if (!*p)
		return false;
	for (; *p; p++) {
		unsigned c = (unsigned char)*p, d = c >= '0' && c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;

		if (d >= base || __builtin_mul_overflow(u, base, &u) || __builtin_add_overflow(u, d, &u))
			return false;
	}
	*ret = u;
	return true;
}

/* 12, 0x1f, 017, 0o17, 0b11. */
static bool read_int(const char *p, bool *ret_negative, uint64_t *ret)
{
	unsigned base = 10;

	*ret_negative = *p == '-';
	p += *p == '-' || *p == '+';
	if (p[0] == '0' && p[1]) {
		char c = (char)(p[1] | 0x20);

		base = c == 'x' ? 16 : c == 'b' ? 2 : 8;
		p += c == 'x' || c == 'b' || c == 'o' ? 2 : 1;
	}
	return read_digits(p, base, ret);
}

static bool read_float(const char *p, double *ret)
{
	const char *from = p;
	size_t digits = 0;

	p += *p == '-' || *p == '+';
	for (; *p >= '0' && *p <= '9'; p++)
		digits++;
	if (*p == '.')
		for (p++; *p >= '0' && *p <= '9'; p++)
			digits++;
	if (!digits)
		return false;
	if ((*p | 0x20) == 'e') {
		p++;
		p += *p == '-' || *p == '+';
		if (*p < '0' || *p > '9')
			return false;
		while (*p >= '0' && *p <= '9')
			p++;
	}
	*ret = strtod(from, NULL);
	return !*p && isfinite(*ret);
}

/* NULL: not a number. */
static struct node *number(struct arena *a, struct str s)
{
	char text[512]; /* without underscores; longer is no number */
	size_t n = 0;
	bool negative;
	uint64_t u;
	double f;

	if (!s.n || s.n >= sizeof(text) || !strchr("+-.0123456789", s.p[0]))
		return NULL;
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] != '_')
			text[n++] = s.p[i];
	text[n] = 0;
	if (strlen(text) != n)
		return NULL;
	if (read_int(text, &negative, &u)) {
		if (u <= INT64_MAX)
			return node_int(a, negative ? -(int64_t)u : (int64_t)u);
		if (negative && u == (uint64_t)INT64_MAX + 1)
			return node_int(a, INT64_MIN);
		return node_float(a, negative ? -(double)u : (double)u);
	}
	return read_float(text, &f) ? node_float(a, f) : NULL;
}

/* Year, month and day: other readers make a time of it. */
static bool is_like_date(struct str s)
{
	size_t n = 0;

	while (n < s.n && s.p[n] >= '0' && s.p[n] <= '9')
		n++;
	return n == 4 && n < s.n && s.p[n] == '-';
}

bool yaml_plain_is_text(struct arena *a, struct str s)
{
	bool b;

	return !is_null(s) && !is_bool(s, &b) && !is_not_finite(s) && !number(a, s) && !is_like_date(s) &&
		!str_is(s, "<<");
}

static int plain(struct reader *r, struct str s, struct node **ret)
{
	struct node *n;
	bool b;

	if (is_null(s))
		n = node_null(r->a);
	else if (is_bool(s, &b))
		n = node_bool(r->a, b);
	else if (is_not_finite(s))
		return bad(r, "infinite and not-a-number have no JSON value");
	else
		n = number(r->a, s);
	*ret = n ? n : node_str(r->a, s);
	return 0;
}

static int scalar(struct reader *r, const yaml_event_t *ev, struct node **ret)
{
	struct str s = of_bytes(ev->data.scalar.value, ev->data.scalar.length), tag = of_c(ev->data.scalar.tag);
	auto_buf struct buf bytes = BUF_INIT;

	if (str_is(tag, YAML_STR_TAG) || str_is(tag, "!") ||
		(str_empty(tag) && ev->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)) {
		*ret = node_str(r->a, s);
		return 0;
	}
	if (str_is(tag, "tag:yaml.org,2002:binary")) {
		if (base64_decode(s, &bytes) < 0)
			return bad(r, "!!binary value contains invalid base64 data");
		*ret = node_str(r->a, buf_view(&bytes));
		return 0;
	}
	return plain(r, s, ret);
}

/* ---- structure ------------------------------------------------------------------------------- */

static void path_of(struct reader *r, struct buf *out)
{
	for (size_t i = 0; i < r->depth; i++) {
		const struct frame *f = &r->stack[i];

		if (node_kind(f->node) == VAL_LIST) {
			buf_printf(out, "[%zu]", node_len(f->node));
			continue;
		}
		if (out->n)
			buf_byte(out, '.');
		buf_str(out, f->key);
	}
}

static int set_key(struct reader *r, struct frame *f, struct node *key, bool merge)
{
	auto_buf struct buf path = BUF_INIT, text = BUF_INIT;

	f->has_key = true;
	f->merge_key = merge;
	if (merge)
		return 0;
	if (node_kind(key) == VAL_STR) {
		f->key = node_text_str(key);
	} else if (node_kind(key) == VAL_NULL || node_kind(key) >= VAL_LIST) {
		return bad(r, "a key has to be a string, number or boolean");
	} else {
		node_write(key, &text);
		f->key = arena_str(r->a, buf_view(&text));
	}
	if (f->key.n > DN_KEY_MAX)
		return bad(r, "key is too long");
	if (!node_get(f->node, f->key))
		return 0;
	path_of(r, &path);
	if (r->dup) {
		r->dup(r->dup_arg, buf_view(&path));
		return 0;
	}
	buf_byte(&path, 0);
	return err_set(r->e, ERR_BAD_REQUEST,
		"error converting YAML to JSON: yaml: line %zu: key \"%.*s\" already set in map: "
		"duplicate field \"%s\"",
		r->line, STR_ARG(f->key), path.p);
}

static int put_merge(struct reader *r, struct frame *f, struct node *value)
{
	if (!f->merges)
		f->merges = node_list(r->a);
	if (node_kind(value) == VAL_MAP) {
		node_add(f->merges, value);
		return 0;
	}
	for (size_t i = 0; i < node_len(value); i++) {
		if (node_kind(node_at(value, i)) != VAL_MAP)
			return bad(r, "map merge requires map or sequence of maps as the value");
		node_add(f->merges, node_at(value, i));
	}
	return node_kind(value) == VAL_LIST ? 0 : bad(r, "map merge requires map or sequence of maps as the value");
}

static void name_anchor(struct reader *r, struct str name, struct node *node, size_t weight)
{
	ARENA_GROW(r->a, r->anchors, r->anchors_n, r->anchors_cap, 8);
	node_set(r->anchor_names, name, node_int(r->a, (int64_t)r->anchors_n));
	r->anchors[r->anchors_n++] = (struct anchor){ node, weight };
}

/* A finished value goes to the container it is in, as key or as value. */
static int put(struct reader *r, struct node *n, size_t weight, struct str anchor, bool merge)
{
	struct frame *f;

	if (anchor.n)
		name_anchor(r, anchor, n, weight);
	if (!r->depth) {
		r->root = n;
		return 0;
	}
	f = &r->stack[r->depth - 1];
	f->weight += weight;
	if (node_kind(f->node) == VAL_LIST) {
		node_add(f->node, n);
		return 0;
	}
	if (!f->has_key)
		return set_key(r, f, n, merge);
	f->has_key = false;
	if (f->merge_key)
		return put_merge(r, f, n);
	node_set(f->node, f->key, n);
	return 0;
}

static int put_scalar(struct reader *r, const yaml_event_t *ev)
{
	struct str text = of_bytes(ev->data.scalar.value, ev->data.scalar.length);
	bool merge = str_is(text, "<<") && !ev->data.scalar.tag && ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	struct node *n = NULL;

	if (scalar(r, ev, &n) < 0)
		return -ERR_BAD_REQUEST;
	return put(r, n, text.n + NODE_WEIGHT, arena_str(r->a, of_c(ev->data.scalar.anchor)), merge);
}

static int put_alias(struct reader *r, struct str name)
{
	struct anchor *at;
	size_t looked_at = 0; /* bounded by the aliased bytes */
	int64_t i = node_int_of(node_get(r->anchor_names, name), -1);

	if (i < 0)
		return err_set(r->e, ERR_BAD_REQUEST,
			"error converting YAML to JSON: yaml: unknown anchor '%.*s' referenced", STR_ARG(name));
	at = &r->anchors[i];
	r->aliased += at->weight;
	if (r->aliased > ALIAS_BYTES_MAX)
		return bad(r, "document contains excessive aliasing");
	if (r->depth + node_depth(at->node, &looked_at) > DOC_DEPTH_MAX)
		return bad(r, "nesting is too deep");
	return put(r, at->node, at->weight, STR_NULL, false);
}

static int open_frame(struct reader *r, struct node *n, const yaml_char_t *anchor)
{
	if (r->depth == DOC_DEPTH_MAX)
		return bad(r, "nesting is too deep");
	r->stack[r->depth++] = (struct frame){
		.node = n,
		.anchor = arena_str(r->a, of_c(anchor)),
		.weight = NODE_WEIGHT,
	};
	return 0;
}

/* Own keys first, then those of the merged maps, the first of which wins. */
static int close_frame(struct reader *r)
{
	struct frame f = r->stack[--r->depth];

	for (size_t i = 0; i < node_len(f.merges); i++) {
		struct node *from = node_at(f.merges, i);

		for (size_t k = 0; k < node_len(from); k++)
			if (!node_get(f.node, node_key_at(from, k)))
				node_set(f.node, node_key_at(from, k), node_at(from, k));
	}
	return put(r, f.node, f.weight, f.anchor, false);
}

static int on_event(struct reader *r, const yaml_event_t *ev, bool *ret_done)
{
	r->line = ev->start_mark.line + 1;
	switch (ev->type) {
	case YAML_SCALAR_EVENT:
		return put_scalar(r, ev);
	case YAML_ALIAS_EVENT:
		return put_alias(r, of_c(ev->data.alias.anchor));
	case YAML_MAPPING_START_EVENT:
		return open_frame(r, node_map(r->a), ev->data.mapping_start.anchor);
	case YAML_SEQUENCE_START_EVENT:
		return open_frame(r, node_list(r->a), ev->data.sequence_start.anchor);
	case YAML_MAPPING_END_EVENT:
	case YAML_SEQUENCE_END_EVENT:
		return close_frame(r);
	case YAML_DOCUMENT_START_EVENT:
		return r->root ? bad(r, "more than one document") : 0;
	case YAML_STREAM_END_EVENT:
		*ret_done = true;
		return 0;
	default:
		return 0;
	}
}

static int syntax_error(struct reader *r)
{
	if (r->yaml.error == YAML_MEMORY_ERROR)
		PANIC("out of memory");
	r->line = r->yaml.problem_mark.line + 1;
	return bad(r, r->yaml.problem ? r->yaml.problem : "not YAML");
}

static int read_all(struct reader *r)
{
	bool done = false;
	yaml_event_t ev;
	int rc = 0;

	while (!done && rc == 0) {
		if (!yaml_parser_parse(&r->yaml, &ev))
			return syntax_error(r);
		rc = on_event(r, &ev, &done);
		yaml_event_delete(&ev);
	}
	return rc;
}

/* JSON is read as JSON: its escapes are not all YAML's. What fails is tried as YAML ("{a: 1}"). */
static bool try_json(struct str text, struct doc **ret)
{
	struct str s = str_trim(text);

	return s.n && (s.p[0] == '{' || s.p[0] == '[') && doc_parse(text, ret, NULL) == 0;
}

int doc_parse_yaml(struct str yaml, void (*dup)(void *arg, struct str path), void *arg, struct doc **ret, struct err *e)
{
	auto_(arena_free) struct arena *a = NULL;
	struct reader *r;
	int rc;

	if (yaml.n > DOC_TEXT_MAX)
		return err_set(e, ERR_TOO_LARGE, "YAML text of %zu bytes is larger than %zu", yaml.n, DOC_TEXT_MAX);
	if (try_json(yaml, ret))
		return 0;
	a = arena_new();
	r = ARENA_NEW(a, struct reader);
	r->a = a;
	r->dup = dup;
	r->dup_arg = arg;
	r->e = e;
	r->anchor_names = node_map(a);
	if (!yaml_parser_initialize(&r->yaml))
		PANIC("out of memory");
	yaml_parser_set_encoding(&r->yaml, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&r->yaml, (const unsigned char *)(yaml.p ? yaml.p : ""), yaml.n);
	rc = read_all(r);
	yaml_parser_delete(&r->yaml);
	if (rc == 0)
		*ret = node_publish(r->root ? r->root : node_null(a));
	return rc;
}
