/* The JSON reader: RFC 8259, one pass, no recursion, straight into the builder.
 *
 * Text comes out compact and with one spelling of each string. Duplicate keys are found when a map closes: small maps
 * compare each pair, large ones go through a hash set. */
#include "doc/doc_internal.h"

struct level {
	uint32_t node, children;
};

struct parser {
	struct build b;
	const char *start, *at, *end;
	const char *key; /* input position of the pending key */
	void (*dup)(void *arg, struct str path);
	void *dup_arg;
	bool lenient, dups, stored;
	uint32_t want; /* second pass: stop at this node, whose key is a duplicate; 0: none */
	uint32_t *set; /* scratch of large maps */
	size_t set_cap;
	uint32_t depth;
	struct level stack[DOC_DEPTH_MAX];
	struct err *e;
};

#define SMALL_MAP 16

static int fail_at(struct parser *p, const char *at, const char *what)
{
	size_t line = 1;
	const char *bol = p->start;

	for (const char *s = p->start; s < at; s++)
		if (*s == '\n') {
			line++;
			bol = s + 1;
		}
	return err_set(
		p->e, ERR_BAD_REQUEST, "invalid JSON at line %zu column %zu: %s", line, (size_t)(at - bol) + 1, what);
}

static int fail(struct parser *p, const char *what)
{
	return fail_at(p, p->at, p->at >= p->end ? "unexpected end of JSON input" : what);
}

static void skip_space(struct parser *p)
{
	while (p->at < p->end && (*p->at == ' ' || *p->at == '\n' || *p->at == '\r' || *p->at == '\t'))
		p->at++;
}

static bool is_hex(unsigned char c)
{
	return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

/* True when one of 8 bytes needs a look: below 0x20, '"', '\\' or 0x80 and above. */
static bool any_special(uint64_t w)
{
	const uint64_t ones = 0x0101010101010101u, high = 0x8080808080808080u;
	uint64_t quote = w ^ ones * '"', slash = w ^ ones * '\\';

	return ((w - ones * 0x20) | (quote - ones) | (slash - ones) | w) & high;
}

static int check_escape(struct parser *p)
{
	if (p->end - p->at < 2)
		return fail_at(p, p->end, "unexpected end of JSON input");
	if (p->at[1] == 'u') {
		if (p->end - p->at < 6)
			return fail_at(p, p->end, "unexpected end of JSON input");
		for (int i = 2; i < 6; i++)
			if (!is_hex((unsigned char)p->at[i]))
				return fail(p, "\\u needs four hexadecimal digits");
		p->at += 6;
		return 0;
	}
	if (!strchr("\"\\/bfnrt", p->at[1]) || !p->at[1])
		return fail(p, "unknown escape in a string");
	p->at += 2;
	return 0;
}

/* At the opening quote. ret_raw: the bytes between the quotes. */
static int scan_string(struct parser *p, struct str *ret_raw, bool *ret_escaped)
{
	const char *from = ++p->at;

	*ret_escaped = false;
	for (;;) {
		uint64_t w;
		unsigned char c;

		while (p->end - p->at >= 8 && (memcpy(&w, p->at, 8), !any_special(w)))
			p->at += 8;
		if (p->at >= p->end)
			return fail(p, "");
		c = (unsigned char)*p->at;
		if (c == '"')
			break;
		if (c == '\\') {
			*ret_escaped = true;
			if (check_escape(p) < 0)
				return -ERR_BAD_REQUEST;
		} else if (c < 0x20) {
			return fail(p, "control character in a string");
		} else if (c >= 0x80) {
			size_t n = utf8_step((const unsigned char *)p->at, (const unsigned char *)p->end);

			if (!n)
				return fail(p, "invalid UTF-8 in a string");
			p->at += n;
		} else {
			p->at++;
		}
	}
	*ret_raw = str_n(from, (size_t)(p->at - from));
	p->at++;
	return 0;
}

/* A string or key with escapes. Our own stored text is kept byte for byte. */
static void put_escaped(struct parser *p, struct str raw, bool key)
{
	auto_free char *plain = xmalloc(raw.n);
	struct str s = str_n(plain, json_unescape(raw, plain));
	struct str text = p->stored ? raw : STR_NULL;

	if (key && p->stored)
		build_key_escaped(&p->b, s, text);
	else if (key)
		build_key(&p->b, s);
	else if (p->stored)
		build_str_escaped(&p->b, s, text);
	else
		build_str(&p->b, s);
}

static void put_plain(struct build *b, struct str raw)
{
	char *to;

	build_text_room(b, raw.n + 3);
	to = b->text + b->text_n;
	*to = '"';
	memcpy(to + 1, raw.p, raw.n);
	to[raw.n + 1] = '"';
	b->text_n += raw.n + 2;
}

static int parse_key(struct parser *p)
{
	struct str raw;
	bool escaped;

	if (p->at >= p->end || *p->at != '"')
		return fail(p, "expected a key in double quotes");
	p->key = p->at;
	if (scan_string(p, &raw, &escaped) < 0)
		return -ERR_BAD_REQUEST;
	if (raw.n > DN_KEY_MAX)
		return fail_at(p, p->key, "key is too long");
	if (p->want && p->b.n == p->want)
		return fail_at(p, p->key, "duplicate key");
	if (escaped) {
		put_escaped(p, raw, true);
	} else {
		p->b.key_pos = (uint32_t)p->b.text_n + 1;
		p->b.key_bits = (uint32_t)(raw.n << 8) | DN_HAS_KEY;
		put_plain(&p->b, raw);
		build_byte(&p->b, ':');
	}
	skip_space(p);
	if (p->at >= p->end || *p->at != ':')
		return fail(p, "expected ':' after a key");
	p->at++;
	skip_space(p);
	return 0;
}

/* Our own stored form of metadata.resourceVersion: the string and the blanks after it are DOC_SLOT_MAX bytes. */
static void keep_slot(struct parser *p, uint32_t node)
{
	const struct build *b = &p->b;
	const struct dnode *n = &b->nodes[node];
	size_t blanks;

	if (p->depth != 2 || b->slot || n->len > DOC_SLOT_MAX || !(n->bits & DN_HAS_KEY) ||
		!str_is(dn_key(b->text, b->extra, n), "resourceVersion") ||
		!(b->nodes[p->stack[1].node].bits & DN_HAS_KEY) ||
		!str_is(dn_key(b->text, b->extra, &b->nodes[p->stack[1].node]), "metadata"))
		return;
	blanks = DOC_SLOT_MAX - n->len;
	if ((size_t)(p->end - p->at) < blanks)
		return;
	for (size_t i = 0; i < blanks; i++)
		if (p->at[i] != ' ')
			return;
	build_bytes(&p->b, p->at, blanks);
	p->at += blanks;
	p->b.slot = node;
}

static int parse_string(struct parser *p)
{
	size_t from = p->b.text_n;
	struct str raw;
	bool escaped;

	if (scan_string(p, &raw, &escaped) < 0)
		return -ERR_BAD_REQUEST;
	if (escaped) {
		put_escaped(p, raw, false);
		return 0;
	}
	put_plain(&p->b, raw);
	build_node(&p->b, VAL_STR, from, raw.n + 2);
	if (p->stored)
		keep_slot(p, p->b.n - 1);
	return 0;
}

static size_t digits(struct parser *p)
{
	const char *from = p->at;

	while (p->at < p->end && *p->at >= '0' && *p->at <= '9')
		p->at++;
	return (size_t)(p->at - from);
}

/* An integer beyond int64 is a float; its text stays as it was written. */
static int parse_number(struct parser *p)
{
	const char *from = p->at, *first;
	enum val_kind kind = VAL_INT;
	struct str text;
	int64_t i;

	p->at += *p->at == '-';
	first = p->at;
	if (!digits(p))
		return fail(p, "expected a digit");
	if (*first == '0' && p->at - first > 1)
		return fail_at(p, from, "a number starts with 0");
	if (p->at < p->end && *p->at == '.') {
		p->at++;
		kind = VAL_FLOAT;
		if (!digits(p))
			return fail(p, "expected a digit after the decimal point");
	}
	if (p->at < p->end && (*p->at | 0x20) == 'e') {
		p->at++;
		kind = VAL_FLOAT;
		if (p->at < p->end && (*p->at == '+' || *p->at == '-'))
			p->at++;
		if (!digits(p))
			return fail(p, "expected a digit in the exponent");
	}
	text = str_n(from, (size_t)(p->at - from));
	if (kind == VAL_INT && text.n > 18 && !str_i64(text, &i))
		kind = VAL_FLOAT;
	build_scalar(&p->b, kind, text);
	if (kind == VAL_FLOAT) {
		p->b.text[p->b.text_n] = 0; /* room: text never outgrows input, and build_init() adds some */
		if (__builtin_isinf(strtod(p->b.text + p->b.text_n - text.n, NULL)))
			return fail_at(p, from, "number is out of range");
	}
	return 0;
}

static int parse_word(struct parser *p, struct str word, enum val_kind kind)
{
	if ((size_t)(p->end - p->at) < word.n || memcmp(p->at, word.p, word.n) != 0)
		return fail(p, "expected a value");
	p->at += word.n;
	build_scalar(&p->b, kind, word);
	return 0;
}

/* ---- duplicates ------------------------------------------------------------------------------ */

static struct str key_of(struct parser *p, uint32_t node)
{
	return dn_key(p->b.text, p->b.extra, &p->b.nodes[node]);
}

static void path_of(struct parser *p, uint32_t node, struct buf *out)
{
	for (uint32_t i = 0; i < p->depth; i++) {
		uint32_t child = i + 1 < p->depth ? p->stack[i + 1].node : node;

		if (p->b.nodes[child].bits & DN_HAS_KEY) {
			if (out->n)
				buf_byte(out, '.');
			buf_str(out, key_of(p, child));
		} else {
			buf_printf(out, "[%u]", p->stack[i].children - 1);
		}
	}
}

static int on_duplicate(struct parser *p, uint32_t first, uint32_t second)
{
	auto_buf struct buf path = BUF_INIT;

	if (!p->lenient) {
		p->want = second;
		return -ERR_BAD_REQUEST;
	}
	p->b.nodes[first].bits |= DN_DEAD;
	p->dups = true;
	if (p->dup) {
		path_of(p, second, &path);
		p->dup(p->dup_arg, buf_view(&path));
	}
	return 0;
}

static uint32_t child_end(struct parser *p, uint32_t i)
{
	const struct dnode *n = &p->b.nodes[i];

	return i + dn_skip(n);
}

static int check_small(struct parser *p, uint32_t map)
{
	uint32_t seen[SMALL_MAP], n = 0;

	for (uint32_t i = map + 1; i < p->b.n; i = child_end(p, i)) {
		struct str k = key_of(p, i);

		for (uint32_t j = 0; j < n; j++) {
			if (p->b.nodes[seen[j]].bits >> 8 != k.n || !str_eq(key_of(p, seen[j]), k))
				continue;
			if (on_duplicate(p, seen[j], i) < 0)
				return -ERR_BAD_REQUEST;
			seen[j] = i;
			goto next;
		}
		seen[n++] = i;
	next:;
	}
	return 0;
}

static int check_large(struct parser *p, uint32_t map, uint32_t children)
{
	size_t cap = 64, at;

	while (cap < (size_t)children * 2)
		cap *= 2;
	if (p->set_cap < cap) {
		p->set = xrealloc(p->set, cap, sizeof(*p->set));
		p->set_cap = cap;
	}
	memset(p->set, 0, cap * sizeof(*p->set));
	for (uint32_t i = map + 1; i < p->b.n; i = child_end(p, i)) {
		struct str k = key_of(p, i);

		for (at = key_hash(k) & (cap - 1); p->set[at]; at = (at + 1) & (cap - 1))
			if (str_eq(key_of(p, p->set[at]), k))
				break;
		if (p->set[at] && on_duplicate(p, p->set[at], i) < 0)
			return -ERR_BAD_REQUEST;
		p->set[at] = i;
	}
	return 0;
}

/* ---- structure ------------------------------------------------------------------------------- */

static int check_keys(struct parser *p, const struct level *top)
{
	if (dn_kind(&p->b.nodes[top->node]) != VAL_MAP || top->children < 2)
		return 0;
	return top->children <= SMALL_MAP ? check_small(p, top->node) : check_large(p, top->node, top->children);
}

static int close_top(struct parser *p)
{
	struct level *top = &p->stack[p->depth - 1];

	p->at++;
	if (check_keys(p, top) < 0)
		return -ERR_BAD_REQUEST;
	build_close(&p->b, top->node, top->children);
	p->depth--;
	return 0;
}

static int open_level(struct parser *p)
{
	if (p->depth == DOC_DEPTH_MAX)
		return fail(p, "nesting is too deep");
	p->stack[p->depth].node = build_open(&p->b, *p->at == '{' ? VAL_MAP : VAL_LIST);
	p->stack[p->depth++].children = 0;
	p->at++;
	return 0;
}

static int parse_scalar(struct parser *p)
{
	switch (p->at < p->end ? *p->at : 0) {
	case '"':
		return parse_string(p);
	case 't':
		return parse_word(p, STR("true"), VAL_BOOL);
	case 'f':
		return parse_word(p, STR("false"), VAL_BOOL);
	case 'n':
		return parse_word(p, STR("null"), VAL_NULL);
	case '-':
	case '0' ... '9':
		return parse_number(p);
	default:
		return fail(p, "expected a value");
	}
}

/* After a value: closes what ends here. Returns 1 when another entry follows, 0 when the root is complete. */
static int after_value(struct parser *p)
{
	while (p->depth) {
		bool map = dn_kind(&p->b.nodes[p->stack[p->depth - 1].node]) == VAL_MAP;

		skip_space(p);
		if (p->at < p->end && *p->at == ',') {
			p->at++;
			build_byte(&p->b, ',');
			return 1;
		}
		if (p->at >= p->end || *p->at != (map ? '}' : ']'))
			return fail(p, map ? "expected ',' or '}'" : "expected ',' or ']'");
		if (close_top(p) < 0)
			return -ERR_BAD_REQUEST;
	}
	return 0;
}

static int parse_all(struct parser *p)
{
	int r;

	do {
		skip_space(p);
		if (p->depth) {
			struct level *top = &p->stack[p->depth - 1];

			top->children++;
			if (dn_kind(&p->b.nodes[top->node]) == VAL_MAP && parse_key(p) < 0)
				return -ERR_BAD_REQUEST;
		}
		while (p->at < p->end && (*p->at == '{' || *p->at == '[')) {
			bool map = *p->at == '{';

			if (open_level(p) < 0)
				return -ERR_BAD_REQUEST;
			skip_space(p);
			if (p->at < p->end && *p->at == (map ? '}' : ']'))
				goto after;
			p->stack[p->depth - 1].children++;
			if (map && parse_key(p) < 0)
				return -ERR_BAD_REQUEST;
		}
		if (parse_scalar(p) < 0)
			return -ERR_BAD_REQUEST;
	after:
		r = after_value(p);
	} while (r > 0);
	if (r < 0)
		return r;
	skip_space(p);
	return p->at < p->end ? fail(p, "text after the value") : 0;
}

/* Says where a duplicate key is: a second pass that stops at its node. */
static int locate_duplicate(struct parser *p)
{
	auto_buf struct buf path = BUF_INIT;
	uint32_t want = p->want;
	struct err where, *e;

	/* the first pass stopped in the map that closes; the stack still leads there */
	path_of(p, want, &path);
	buf_byte(&path, 0);
	build_fini(&p->b);
	build_init(&p->b, (size_t)(p->end - p->start));
	p->at = p->start;
	p->depth = 0;
	p->lenient = true; /* earlier duplicates cannot be: the first one ended the first pass */
	p->dup = NULL;
	e = p->e;
	err_init(&where);
	p->e = &where;
	parse_all(p);
	return err_set(e, ERR_BAD_REQUEST, "%s: duplicate field \"%s\"", where.message, path.p);
}

/* The doc of a text with duplicates still has them, marked: this writes it anew without. */
static struct doc *without_dead(struct doc *d)
{
	struct build b;
	struct doc *clean;

	build_init(&b, d->text_n);
	build_val_live(&b, d, 0);
	doc_unref(d);
	clean = build_finish(&b);
	return clean;
}

static int parse(struct parser *p, struct str json, struct doc **ret)
{
	struct doc *d;
	int r;

	if (json.n > DOC_TEXT_MAX)
		return err_set(p->e, ERR_TOO_LARGE, "JSON text of %zu bytes is larger than %zu", json.n, DOC_TEXT_MAX);
	p->start = p->at = json.p ? json.p : "";
	p->end = p->start + json.n;
	build_init(&p->b, json.n);
	r = parse_all(p);
	if (r < 0 && p->want)
		r = locate_duplicate(p);
	if (r == 0) {
		d = build_finish(&p->b);
		*ret = p->dups ? without_dead(d) : d;
	}
	build_fini(&p->b);
	free(p->set);
	return r;
}

int doc_parse(struct str json, struct doc **ret, struct err *e)
{
	struct parser p = { .e = e };

	return parse(&p, json, ret);
}

int doc_parse_lenient(
	struct str json, void (*dup)(void *arg, struct str path), void *arg, struct doc **ret, struct err *e)
{
	struct parser p = { .e = e, .lenient = true, .dup = dup, .dup_arg = arg };

	return parse(&p, json, ret);
}

int doc_parse_stored(struct str json, struct doc **ret, struct err *e)
{
	struct parser p = { .e = e, .stored = true };

	return parse(&p, json, ret);
}
