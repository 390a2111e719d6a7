/* Small rules that several controllers share. */
#include "doc/doc_internal.h"

bool int_or_percent(struct val v, int64_t total, bool round_up, int64_t *ret)
{
	struct str s = val_str(v);
	int64_t percent;
	__int128 part;

	if (val_kind(v) == VAL_INT) {
		*ret = val_int(v, 0);
		return true;
	}
	if (s.n < 2 || s.p[s.n - 1] != '%' || !str_i64(str_n(s.p, s.n - 1), &percent))
		return false;
	part = (__int128)percent * total;
	part = part / 100 + (round_up && part % 100 > 0) - (!round_up && part % 100 < 0);
	*ret = part > INT64_MAX ? INT64_MAX : part < INT64_MIN ? INT64_MIN : (int64_t)part;
	return true;
}

uint32_t fnv32a(struct str s)
{
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < s.n; i++)
		h = (h ^ (unsigned char)s.p[i]) * 16777619u;
	return h;
}

/* The decimal digits, each replaced by the letter its character code selects: no vowels, so no words. */
void safe_encode(uint64_t n, char ret[24])
{
	static const char letters[] = "bcdfghjklmnpqrstvwxz2456789";
	char digits[24], *p = digits + sizeof(digits) - 1;
	size_t len;

	*p = 0;
	do
		*--p = letters[(unsigned)('0' + n % 10) % (sizeof(letters) - 1)];
	while (n /= 10);
	len = (size_t)(digits + sizeof(digits) - p);
	memcpy(ret, p, len);
}

static const char base64_letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *base64_encode(struct str s)
{
	char *text = xmalloc((s.n + 2) / 3 * 4 + 1), *to = text;

	for (size_t i = 0; i < s.n; i += 3) {
		size_t left = MIN(s.n - i, (size_t)3);
		uint32_t w = (uint32_t)(unsigned char)s.p[i] << 16;

		if (left > 1)
			w |= (uint32_t)(unsigned char)s.p[i + 1] << 8;
		if (left > 2)
			w |= (unsigned char)s.p[i + 2];
		*to++ = base64_letters[w >> 18];
		*to++ = base64_letters[w >> 12 & 63];
		*to++ = left > 1 ? base64_letters[w >> 6 & 63] : '=';
		*to++ = left > 2 ? base64_letters[w & 63] : '=';
	}
	*to = 0;
	return text;
}

static int base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int base64_decode(struct str s, struct buf *out)
{
	uint32_t w = 0;
	int have = 0, pad = 0;

	for (size_t i = 0; i < s.n; i++) {
		int v = base64_value(s.p[i]);

		if (s.p[i] == '\n' || s.p[i] == '\r')
			continue;
		if (s.p[i] == '=') {
			if (have < 2 || have + ++pad > 4)
				return -ERR_BAD_REQUEST;
			continue;
		}
		if (v < 0 || pad)
			return -ERR_BAD_REQUEST;
		w = w << 6 | (uint32_t)v;
		if (++have == 4) {
			buf_add(out, (char[]){ (char)(w >> 16), (char)(w >> 8), (char)w }, 3);
			have = 0;
			w = 0;
		}
	}
	if (have == 0)
		return pad ? -ERR_BAD_REQUEST : 0;
	if (have + pad != 4)
		return -ERR_BAD_REQUEST;
	w <<= 6 * pad;
	buf_add(out, (char[]){ (char)(w >> 16), (char)(w >> 8) }, (size_t)(3 - pad));
	return 0;
}

/* ---- nodes and pods -------------------------------------------------------------------------- */

static bool is_one_of(struct val values, struct val v)
{
	for (struct val_iter it = val_iter(values); val_next(&it);)
		if (str_eq(val_str(it.val), val_str(v)))
			return true;
	return false;
}

/* have: the label's value, or missing. */
static bool requirement_met(struct val requirement, struct val have)
{
	struct str op = val_str(val_get(requirement, "operator"));
	struct val values = val_get(requirement, "values");
	int64_t x, y;

	if (str_is(op, "In"))
		return val_has(have) && is_one_of(values, have);
	if (str_is(op, "NotIn"))
		return !val_has(have) || !is_one_of(values, have);
	if (str_is(op, "Exists"))
		return val_has(have);
	if (str_is(op, "DoesNotExist"))
		return !val_has(have);
	if (!val_has(have) || !str_i64(val_str(have), &x) || !str_i64(val_str(val_at(values, 0)), &y))
		return false;
	return str_is(op, "Gt") ? x > y : str_is(op, "Lt") && x < y;
}

/* matchFields knows metadata.name alone, with In and NotIn. */
static bool field_met(struct val requirement, struct str name)
{
	bool found = false;

	if (!val_is(val_get(requirement, "key"), "metadata.name"))
		return false;
	for (struct val_iter it = val_iter(val_get(requirement, "values")); val_next(&it);)
		found |= str_eq(val_str(it.val), name);
	return val_is(val_get(requirement, "operator"), "NotIn") ? !found : found;
}

bool affinity_term_met(struct val term, struct val labels, struct str name)
{
	struct val expressions = val_get(term, "matchExpressions"), fields = val_get(term, "matchFields");

	if (!val_len(expressions) && !val_len(fields))
		return false; /* an empty term selects nothing */
	for (struct val_iter it = val_iter(expressions); val_next(&it);)
		if (!requirement_met(it.val, val_get_str(labels, val_str(val_get(it.val, "key")))))
			return false;
	for (struct val_iter it = val_iter(fields); val_next(&it);)
		if (!field_met(it.val, name))
			return false;
	return true;
}

bool affinity_required_met(struct val spec, struct val labels, struct str name)
{
	struct val required = val_path(spec, "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution");

	for (struct val_iter it = val_iter(val_get(spec, "nodeSelector")); val_next(&it);) {
		struct val have = val_get_str(labels, it.key);

		if (!val_has(have) || !str_eq(val_str(have), val_str(it.val)))
			return false;
	}
	if (val_kind(required) != VAL_MAP)
		return true;
	for (struct val_iter it = val_iter(val_get(required, "nodeSelectorTerms")); val_next(&it);)
		if (affinity_term_met(it.val, labels, name))
			return true;
	return false;
}

bool toleration_covers(struct val toleration, struct str key, struct str value, struct str effect)
{
	struct str its_key = val_str(val_get(toleration, "key")), its_effect = val_str(val_get(toleration, "effect"));

	if (its_effect.n && !str_eq(its_effect, effect))
		return false;
	if (its_key.n && !str_eq(its_key, key))
		return false;
	if (val_is(val_get(toleration, "operator"), "Exists"))
		return true;
	return its_key.n && str_eq(val_str(val_get(toleration, "value")), value);
}
