/* Equality of values. Recursion is as deep as a doc, DOC_DEPTH_MAX. */
#include "doc/doc_internal.h"

#define SMALL_MAP 16

static bool maps_equal(struct val a, struct val b);

static bool numbers_equal(struct val a, struct val b)
{
	if (val_kind(a) == VAL_INT && val_kind(b) == VAL_INT)
		return val_int(a, 0) == val_int(b, 0);
	return val_float(a, 0) == val_float(b, 0);
}

static bool is_number(enum val_kind k)
{
	return k == VAL_INT || k == VAL_FLOAT;
}

bool val_equal(struct val a, struct val b)
{
	enum val_kind ka = val_kind(a), kb = val_kind(b);
	struct val_iter ia, ib;

	if (a.d == b.d && a.at == b.at)
		return true;
	if (is_number(ka) && is_number(kb))
		return numbers_equal(a, b);
	if (ka != kb)
		return false;
	if (ka == VAL_STR)
		return str_eq(val_str(a), val_str(b));
	if (ka == VAL_MISSING || str_eq(val_text(a), val_text(b)))
		return true;
	if (ka < VAL_LIST)
		return false;
	if (ka == VAL_MAP)
		return maps_equal(a, b);
	if (val_len(a) != val_len(b))
		return false;
	ia = val_iter(a);
	ib = val_iter(b);
	while (val_next(&ia) && val_next(&ib))
		if (!val_equal(ia.val, ib.val))
			return false;
	return true;
}

static uint64_t number_hash(double f)
{
	f += 0.0; /* no minus zero */
	return key_hash(str_n((const char *)&f, sizeof(f)));
}

uint64_t val_hash(struct val v)
{
	enum val_kind k = val_kind(v);
	uint64_t h = 0;

	if (is_number(k))
		return number_hash(val_float(v, 0));
	if (k == VAL_STR)
		return key_hash(val_str(v));
	if (k < VAL_LIST)
		return key_hash(k == VAL_MISSING ? STR("") : val_text(v)) + 1;
	for (struct val_iter it = val_iter(v); val_next(&it);)
		h = k == VAL_LIST ? h * 31 + val_hash(it.val) : h + (key_hash(it.key) | 1) * val_hash(it.val);
	return h + (uint64_t)k;
}

static struct str key_at(const struct doc *d, uint32_t at)
{
	struct dnode n = dn_at(d, at);

	return dn_key(d->text, d->extra, &n);
}

/* A hash set of b's keys for maps where comparing each pair would take too long. */
static bool large_maps_equal(struct val a, struct val b, size_t len)
{
	size_t cap = 64, at;
	auto_free uint32_t *set = NULL;

	while (cap < len * 2)
		cap *= 2;
	set = xcalloc(cap, sizeof(*set));
	for (struct val_iter it = val_iter(b); val_next(&it);) {
		for (at = key_hash(it.key) & (cap - 1); set[at]; at = (at + 1) & (cap - 1))
			;
		set[at] = it.val.at;
	}
	for (struct val_iter it = val_iter(a); val_next(&it);) {
		for (at = key_hash(it.key) & (cap - 1); set[at]; at = (at + 1) & (cap - 1))
			if (str_eq(key_at(b.d, set[at]), it.key))
				break;
		if (!set[at] || !val_equal(it.val, (struct val){ b.d, set[at] }))
			return false;
	}
	return true;
}

/* Keys are unique, so equal counts and one direction are enough. Mostly both have the same order. */
static bool maps_equal(struct val a, struct val b)
{
	size_t len = val_len(a);
	struct val_iter ia = val_iter(a), ib = val_iter(b);

	if (len != val_len(b))
		return false;
	while (val_next(&ia) && val_next(&ib)) {
		struct val other = ib.val;

		if (!str_eq(ia.key, ib.key)) {
			if (len > SMALL_MAP)
				return large_maps_equal(a, b, len);
			other = val_get_str(b, ia.key);
		}
		if (!other.d || !val_equal(ia.val, other))
			return false;
	}
	return true;
}
