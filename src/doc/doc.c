/* Published documents: references and reading. Nothing here allocates or fails. */
#include "doc/doc_internal.h"
#include <math.h>

struct doc *doc_ref(struct doc *d)
{
	if (d)
		atomic_fetch_add_explicit(&d->refs, 1, memory_order_relaxed);
	return d;
}

struct doc *doc_unref(struct doc *d)
{
	if (d && atomic_fetch_sub_explicit(&d->refs, 1, memory_order_acq_rel) == 1)
		free(d);
	return NULL;
}

void doc_end(void *doc)
{
	doc_unref(doc);
}

void doc_hold(struct arena *a, struct doc *take)
{
	arena_hold(a, take, doc_end);
}

struct val doc_root(const struct doc *d)
{
	return (struct val){ d, 0 };
}

struct str doc_text(const struct doc *d)
{
	return str_n(d->text, d->text_n);
}

size_t doc_bytes(const struct doc *d)
{
	return (size_t)(d->text - (const char *)d) + d->text_n + 1;
}

static inline struct dnode node_of(struct val v)
{
	return dn_at(v.d, v.at);
}

enum val_kind val_kind(struct val v)
{
	struct dnode n;

	if (!v.d)
		return VAL_MISSING;
	n = node_of(v);
	return dn_kind(&n);
}

struct val val_get_str(struct val map, struct str key)
{
	uint32_t end, want = (uint32_t)(key.n << 8);
	struct dnode n;

	if (val_kind(map) != VAL_MAP || key.n > DN_KEY_MAX)
		return VAL_NONE;
	end = map.at + node_of(map).aux;
	for (uint32_t i = map.at + 1; i < end; i += dn_skip(&n)) {
		n = dn_at(map.d, i);
		if ((n.bits & ~0xffu) != want)
			continue;
		const char *p = dn_key(map.d->text, map.d->extra, &n).p;
		if (!key.n || (*p == *key.p && !memcmp(p, key.p, key.n))) /* most differ in the first byte */
			return (struct val){ map.d, i };
	}
	return VAL_NONE;
}

struct val val_path(struct val v, const char *path)
{
	while (*path && v.d) {
		const char *dot = strchrnul(path, '.');

		v = val_get_str(v, str_n(path, (size_t)(dot - path)));
		path = *dot ? dot + 1 : dot;
	}
	return v;
}

struct val val_at(struct val list, size_t i)
{
	struct dnode n;
	uint32_t at, end;

	if (val_kind(list) < VAL_LIST)
		return VAL_NONE;
	n = node_of(list);
	end = list.at + n.aux;
	if (n.bits & DN_FLAT)
		return i < n.aux - 1 ? (struct val){ list.d, list.at + 1 + (uint32_t)i } : VAL_NONE;
	for (at = list.at + 1; at < end && i; i--)
		at += dn_skip_at(list.d, at);
	return at < end ? (struct val){ list.d, at } : VAL_NONE;
}

size_t val_len(struct val v)
{
	struct dnode n;
	uint32_t end;
	size_t count = 0;

	if (val_kind(v) < VAL_LIST)
		return 0;
	n = node_of(v);
	if (n.bits & DN_FLAT)
		return n.aux - 1;
	end = v.at + n.aux;
	for (uint32_t i = v.at + 1; i < end; i += dn_skip_at(v.d, i))
		count++;
	return count;
}

struct str val_text(struct val v)
{
	struct dnode n;

	if (!v.d)
		return STR_NULL;
	n = node_of(v);
	return str_n(v.d->text + dn_value_at(v.d->extra, &n), n.len);
}

struct str val_str(struct val v)
{
	struct dnode n;

	if (val_kind(v) != VAL_STR)
		return STR_NULL;
	n = node_of(v);
	return dn_str(v.d->text, v.d->extra, &n);
}

/* The text of a number is followed by a byte that ends it, the NUL at the latest. */
double val_float(struct val v, double otherwise)
{
	enum val_kind k = val_kind(v);

	if (k != VAL_INT && k != VAL_FLOAT)
		return otherwise;
	return strtod(val_text(v).p, NULL);
}

int64_t val_int(struct val v, int64_t otherwise)
{
	int64_t i;
	double f;

	switch (val_kind(v)) {
	case VAL_INT:
		return str_i64(val_text(v), &i) ? i : otherwise;
	case VAL_FLOAT:
		f = val_float(v, 0);
		return f == floor(f) && f >= -0x1p63 && f < 0x1p63 ? (int64_t)f : otherwise;
	default:
		return otherwise;
	}
}

bool val_bool(struct val v, bool otherwise)
{
	return val_kind(v) == VAL_BOOL ? val_text(v).p[0] == 't' : otherwise;
}

bool val_is(struct val v, const char *s)
{
	return val_kind(v) == VAL_STR && str_is(val_str(v), s);
}

struct val doc_get(const struct doc *d, const char *path)
{
	return d ? val_path(doc_root(d), path) : VAL_NONE;
}

struct str doc_str(const struct doc *d, const char *path)
{
	return val_str(doc_get(d, path));
}

int64_t doc_int(const struct doc *d, const char *path, int64_t otherwise)
{
	return val_int(doc_get(d, path), otherwise);
}

bool doc_bool(const struct doc *d, const char *path, bool otherwise)
{
	return val_bool(doc_get(d, path), otherwise);
}

struct val_iter val_iter(struct val v)
{
	struct val_iter it = { .in = VAL_NONE };

	if (val_kind(v) >= VAL_LIST) {
		it.in = v;
		it.next = v.at + 1;
		it.i = (size_t)-1;
	}
	return it;
}

bool val_next(struct val_iter *it)
{
	const struct doc *d = it->in.d;
	struct dnode n;

	if (!d || it->next >= it->in.at + node_of(it->in).aux)
		return false;
	n = dn_at(d, it->next);
	it->val = (struct val){ d, it->next };
	it->key = n.bits & DN_HAS_KEY ? dn_key(d->text, d->extra, &n) : STR_NULL;
	it->i++;
	it->next += dn_skip(&n);
	return true;
}

struct val val_find(struct val list, const char *key, struct str want)
{
	struct str k = str_c(key);

	if (val_kind(list) != VAL_LIST)
		return VAL_NONE;
	for (struct val_iter it = val_iter(list); val_next(&it);) {
		struct val v = val_get_str(it.val, k);

		if (val_kind(v) == VAL_STR && str_eq(val_str(v), want))
			return it.val;
	}
	return VAL_NONE;
}

/* ---- identity -------------------------------------------------------------------------------- */

static struct str meta_str(const struct doc *d, struct str key)
{
	return d && d->meta ? val_str(val_get_str((struct val){ d, d->meta }, key)) : STR_NULL;
}

struct str doc_name(const struct doc *d)
{
	return meta_str(d, STR("name"));
}

struct str doc_ns(const struct doc *d)
{
	return meta_str(d, STR("namespace"));
}

struct str doc_uid(const struct doc *d)
{
	return meta_str(d, STR("uid"));
}

int64_t doc_revision(const struct doc *d)
{
	return d ? d->revision : 0;
}

void doc_stamp(struct doc *d, int64_t revision)
{
	char digits[FLOAT_TEXT_MAX], *at;
	struct str s = int_text(revision, digits);
	struct dnode n;

	PRE(d->slot && s.n <= DOC_SLOT_MAX - 2);
	n = dn_at(d, d->slot);
	at = d->text + dn_value_at(d->extra, &n);
	memset(at, ' ', DOC_SLOT_MAX);
	at[0] = '"';
	memcpy(at + 1, s.p, s.n);
	at[s.n + 1] = '"';
	n.len = (uint32_t)s.n + 2;
	dn_put(d, d->slot, &n);
	d->revision = revision;
}

struct str doc_item_text(const struct doc *d)
{
	return str_n(d->text + d->item, d->text_n - d->item);
}
