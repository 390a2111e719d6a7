/* node_pack(): trees from a picture. */
#include "doc/doc_internal.h"
#include <stdarg.h>

struct pack {
	struct arena *a;
	const char *picture, *at;
	va_list ap;
};

static _Noreturn void bad(struct pack *p, const char *what)
{
	PANIC("node_pack(\"%s\"): %s at \"%s\"", p->picture, what, p->at);
}

static char peek(struct pack *p)
{
	while (*p->at == ' ' || *p->at == '\n' || *p->at == '\t')
		p->at++;
	return *p->at;
}

static void expect(struct pack *p, char c)
{
	if (peek(p) != c)
		bad(p, "unexpected character");
	p->at++;
}

static bool is_word(char c)
{
	static const bool ends[256] = { [0] = true,
		[' '] = true,
		['\n'] = true,
		['\t'] = true,
		[':'] = true,
		[','] = true,
		['{'] = true,
		['}'] = true,
		['['] = true,
		[']'] = true,
		['\''] = true };

	return !ends[(unsigned char)c];
}

static struct str word(struct pack *p)
{
	const char *from = p->at;

	while (is_word(*p->at))
		p->at++;
	if (p->at == from)
		bad(p, "expected a word");
	return str_n(from, (size_t)(p->at - from));
}

static struct str quoted(struct pack *p)
{
	const char *from = p->at + 1, *end = strchr(from, '\'');

	if (!end)
		bad(p, "quote is open");
	p->at = end + 1;
	return str_n(from, (size_t)(end - from));
}

static struct node *optional_str(struct pack *p, struct str s)
{
	return s.p ? node_str(p->a, s) : NULL;
}

static struct node *argument(struct pack *p, char kind)
{
	switch (kind) {
	case 's':
		return optional_str(p, str_c(va_arg(p->ap, const char *)));
	case 'S':
		return optional_str(p, va_arg(p->ap, struct str));
	case 'i':
		return node_int(p->a, va_arg(p->ap, int));
	case 'I':
		return node_int(p->a, va_arg(p->ap, int64_t));
	case 'b':
		return node_bool(p->a, va_arg(p->ap, int));
	case 'f':
		return node_float(p->a, va_arg(p->ap, double));
	case 'n':
		return node_null(p->a);
	case 'v':
		return node_from(p->a, va_arg(p->ap, struct val));
	case 'o':
		return va_arg(p->ap, struct node *);
	default:
		bad(p, "unknown letter");
	}
}

static struct node *bare(struct pack *p)
{
	struct str w = word(p);
	int64_t i;
	char *end;
	double f;

	if (str_is(w, "true") || str_is(w, "false"))
		return node_bool(p->a, w.p[0] == 't');
	if (str_is(w, "null"))
		return node_null(p->a);
	if (str_i64(w, &i))
		return node_int(p->a, i);
	if (w.n == 1)
		return argument(p, w.p[0]);
	f = strtod(w.p, &end);
	if (end != w.p + w.n)
		bad(p, "unknown word");
	return node_float(p->a, f);
}

/* NULL: left out. The picture is ours, so its depth is too. */
static struct node *value(struct pack *p)
{
	struct node *n, *child;
	char c = peek(p), close = c == '{' ? '}' : ']';

	if (c == '\'')
		return node_str(p->a, quoted(p));
	if (c != '{' && c != '[')
		return bare(p);
	n = c == '{' ? node_map(p->a) : node_list(p->a);
	p->at++;
	while (peek(p) != close) {
		struct str key = STR_NULL;

		if (c == '{') {
			key = *p->at == '\'' ? quoted(p) : word(p);
			expect(p, ':');
		}
		child = value(p);
		if (child && c == '{')
			node_set(n, key, child);
		else if (child)
			node_add(n, child);
		if (peek(p) != close)
			expect(p, ',');
	}
	p->at++;
	return n;
}

struct node *node_pack(struct arena *a, const char *picture, ...)
{
	struct pack p = { .a = a, .picture = picture, .at = picture };
	struct node *n;

	va_start(p.ap, picture);
	n = value(&p);
	va_end(p.ap);
	if (peek(&p))
		bad(&p, "text after the value");
	return n;
}
