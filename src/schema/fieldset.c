/* Sets of field paths: fieldsV1 both ways, and set arithmetic. */
#include "schema/fieldset.h"
#include "base/buf.h"

static int elem_class(struct str text)
{
	switch (text.n ? text.p[0] : 0) {
	case 'f':
		return 0;
	case 'k':
		return 1;
	case 'v':
		return 2;
	default:
		return 3;
	}
}

static int elem_cmp(struct str a, struct str b)
{
	int c = elem_class(a) - elem_class(b);

	return c ? c : str_cmp(a, b);
}

static uint32_t lower_bound(const struct field_set *s, struct str text)
{
	uint32_t lo = 0, hi = s->n;

	if (hi && elem_cmp(s->e[hi - 1].text, text) < 0) /* most sets are built in order */
		return hi;
	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;

		if (elem_cmp(s->e[mid].text, text) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

const struct fs_elem *fs_find(const struct field_set *s, struct str text)
{
	uint32_t i;

	if (!s)
		return NULL;
	i = lower_bound(s, text);
	return i < s->n && str_eq(s->e[i].text, text) ? &s->e[i] : NULL;
}

struct field_set *fs_put(struct arena *a, struct field_set *s, struct fs_elem e)
{
	uint32_t i;

	if (!s)
		s = ARENA_NEW(a, struct field_set);
	if (fs_elem_empty(&e))
		return s;
	i = lower_bound(s, e.text);
	if (i < s->n && str_eq(s->e[i].text, e.text)) {
		s->e[i].member |= e.member;
		s->e[i].sub = fs_union(a, s->e[i].sub, e.sub);
		return s;
	}
	ARENA_GROW(a, s->e, s->n, s->cap, 4);
	memmove(&s->e[i + 1], &s->e[i], (s->n - i) * sizeof(*s->e));
	s->e[i] = e;
	s->n++;
	return s;
}

/* ---- arithmetic ------------------------------------------------------------------------------ */

struct field_set *fs_union(struct arena *a, struct field_set *x, struct field_set *y)
{
	struct field_set *out;
	uint32_t i = 0, k = 0;

	if (fs_empty(x))
		return y;
	if (fs_empty(y))
		return x;
	out = ARENA_NEW(a, struct field_set);
	while (i < x->n || k < y->n) {
		int c = i == x->n ? 1 : k == y->n ? -1 : elem_cmp(x->e[i].text, y->e[k].text);
		struct fs_elem e = c <= 0 ? x->e[i] : y->e[k];

		if (!c) {
			e.member |= y->e[k].member;
			e.sub = fs_union(a, e.sub, y->e[k].sub);
		}
		i += c <= 0;
		k += c >= 0;
		fs_put(a, out, e);
	}
	return out;
}

struct field_set *fs_difference(struct arena *a, struct field_set *x, struct field_set *y)
{
	struct field_set *out;

	if (fs_empty(x) || fs_empty(y))
		return x;
	out = ARENA_NEW(a, struct field_set);
	for (uint32_t i = 0; i < x->n; i++) {
		const struct fs_elem *o = fs_find(y, x->e[i].text);
		struct fs_elem e = x->e[i];

		if (o) {
			e.member = e.member && !o->member;
			e.sub = fs_difference(a, e.sub, o->sub);
		}
		fs_put(a, out, e);
	}
	return out;
}

struct field_set *fs_intersection(struct arena *a, struct field_set *x, struct field_set *y)
{
	struct field_set *out = ARENA_NEW(a, struct field_set);

	for (uint32_t i = 0; !fs_empty(y) && x && i < x->n; i++) {
		const struct fs_elem *o = fs_find(y, x->e[i].text);

		if (o)
			fs_put(a, out,
				(struct fs_elem){ o->text, o->member && x->e[i].member,
					fs_intersection(a, x->e[i].sub, o->sub) });
	}
	return out;
}

struct field_set *fs_without_trees(struct arena *a, struct field_set *x, struct field_set *y)
{
	struct field_set *out;

	if (fs_empty(x) || fs_empty(y))
		return x;
	out = ARENA_NEW(a, struct field_set);
	for (uint32_t i = 0; i < x->n; i++) {
		const struct fs_elem *o = fs_find(y, x->e[i].text);
		struct fs_elem e = x->e[i];

		if (o && o->member)
			continue;
		if (o)
			e.sub = fs_without_trees(a, e.sub, o->sub);
		fs_put(a, out, e);
	}
	return out;
}

bool fs_equal(const struct field_set *x, const struct field_set *y)
{
	if (fs_empty(x) || fs_empty(y))
		return fs_empty(x) && fs_empty(y);
	if (x->n != y->n)
		return false;
	for (uint32_t i = 0; i < x->n; i++)
		if (!str_eq(x->e[i].text, y->e[i].text) || x->e[i].member != y->e[i].member ||
			!fs_equal(x->e[i].sub, y->e[i].sub))
			return false;
	return true;
}

/* ---- fieldsV1 -------------------------------------------------------------------------------- */

static int parse(struct arena *a, struct val v, int depth, struct fs_elem *into, struct err *e)
{
	if (val_kind(v) != VAL_MAP || depth > DOC_DEPTH_MAX)
		return err_set(e, ERR_BAD_REQUEST, "fieldsV1 is not a set of fields: a map was expected");
	if (!val_len(v))
		into->member = true;
	for (struct val_iter it = val_iter(v); val_next(&it);) {
		struct fs_elem child = { .text = arena_str(a, it.key) };
		int r;

		if (str_is(it.key, ".")) {
			into->member = true;
			continue;
		}
		if (it.key.n < 2 || it.key.p[1] != ':' || !strchr("fkvi", it.key.p[0]))
			return err_set(e, ERR_BAD_REQUEST,
				"fieldsV1 is not a set of fields: \"%.*s\" begins with none of f: k: v: i:",
				STR_ARG(it.key));
		r = parse(a, it.val, depth + 1, &child, e);
		if (r)
			return r;
		into->sub = fs_put(a, into->sub, child);
	}
	return 0;
}

int field_set_parse(struct arena *a, struct val fields_v1, struct field_set **ret, struct err *e)
{
	struct fs_elem root = { .sub = ARENA_NEW(a, struct field_set) };
	int r = parse(a, fields_v1, 0, &root, e);

	if (!r)
		*ret = root.sub;
	return r;
}

struct node *field_set_node(struct arena *a, const struct field_set *s)
{
	struct node *n = node_map(a);

	for (uint32_t i = 0; s && i < s->n; i++) {
		struct node *child = node_map(a);

		if (!fs_empty(s->e[i].sub)) {
			struct node *sub = field_set_node(a, s->e[i].sub);

			if (s->e[i].member) { /* "." goes first */
				node_setc(child, ".", node_map(a));
				for (size_t k = 0; k < node_len(sub); k++)
					node_set(child, node_key_at(sub, k), node_at(sub, k));
			} else {
				child = sub;
			}
		}
		node_set(n, s->e[i].text, child);
	}
	return n;
}

/* ---- paths for people ------------------------------------------------------------------------ */

void fs_print(struct buf *b, struct str text)
{
	struct str rest = str_sub(text, 2, text.n);
	struct doc *d = NULL;
	bool first = true;
	struct err e;

	if (text.p[0] == 'f') {
		buf_byte(b, '.');
		buf_str(b, rest);
		return;
	}
	buf_byte(b, '[');
	if (text.p[0] == 'v')
		buf_byte(b, '=');
	err_init(&e);
	if (text.p[0] == 'k' && !doc_parse(rest, &d, &e)) {
		for (struct val_iter it = val_iter(doc_root(d)); val_next(&it); first = false) {
			buf_printf(b, "%s%.*s=", first ? "" : ",", STR_ARG(it.key));
			buf_str(b, val_text(it.val));
		}
		doc_unref(d);
	} else {
		buf_str(b, rest);
	}
	buf_byte(b, ']');
}

static void each_path(const struct field_set *s, struct buf *b, void (*each)(void *arg, const char *path), void *arg)
{
	for (uint32_t i = 0; s && i < s->n; i++) {
		size_t at = b->n;

		fs_print(b, s->e[i].text);
		if (s->e[i].member) {
			buf_byte(b, 0);
			b->n--;
			each(arg, b->p);
		}
		each_path(s->e[i].sub, b, each, arg);
		b->n = at;
	}
}

void fs_each(const struct field_set *s, void (*each)(void *arg, const char *path), void *arg)
{
	auto_buf struct buf b = BUF_INIT;

	each_path(s, &b, each, arg);
}
