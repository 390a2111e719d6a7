/* Finding types, kinds and fields. */
#include "schema/schema_internal.h"
#include <stdio.h>

const struct schema_kind_entry *schema_builtin_kinds(size_t *ret_n)
{
	*ret_n = schema_tables.n_kinds;
	return schema_tables.kinds;
}

static int cmp_c(struct str s, const char *c)
{
	return str_cmp(s, str_c(c));
}

static const struct schema_type *find_kind(struct str group, struct str version, struct str kind)
{
	size_t lo = 0, hi = schema_tables.n_kinds;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		const struct schema_kind_entry *k = &schema_tables.kinds[mid];
		int c = cmp_c(group, k->group);

		c = c ? c : cmp_c(version, k->version);
		c = c ? c : cmp_c(kind, k->kind);
		if (!c)
			return k->type;
		if (c < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return NULL;
}

/* Kinds of meta/v1 that clients send under the group version they talk to. */
static const char *const shared_kinds[] = { "CreateOptions", "DeleteOptions", "GetOptions", "ListOptions",
	"PatchOptions", "UpdateOptions", "WatchEvent" };
/* And those that live in v1 for historical reasons. */
static const char *const v1_kinds[] = { "APIGroup", "APIGroupList", "APIResourceList", "APIVersions", "List",
	"Status" };

static bool among(struct str s, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (str_is(s, list[i]))
			return true;
	return false;
}

const struct schema_type *schema_builtin(struct str group, struct str version, struct str kind)
{
	const struct schema_type *t = find_kind(group, version, kind);

	if (t)
		return t;
	if (among(kind, shared_kinds, ARRAY_LEN(shared_kinds)) ||
		(!group.n && among(kind, v1_kinds, ARRAY_LEN(v1_kinds))))
		return find_kind(STR("meta.k8s.io"), STR("v1"), kind);
	return NULL;
}

const struct schema_type *schema_builtin_by_name(const char *name)
{
	struct str want = str_c(name);
	size_t lo = 0, hi = schema_tables.n_named;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		int c = cmp_c(want, schema_tables.types[mid].name);

		if (!c)
			return &schema_tables.types[mid];
		if (c < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return NULL;
}

/* As cmp_c(): most names differ in the first letters, where a call of memcmp() costs more than the comparison. */
static int cmp_short(struct str s, const char *c)
{
	for (size_t i = 0; i < s.n; i++)
		if (!c[i] || s.p[i] != c[i])
			return c[i] ? (unsigned char)s.p[i] - (unsigned char)c[i] : 1;
	return c[s.n] ? -1 : 0;
}

static const struct schema_field *search(const struct schema_type *t, struct str name)
{
	size_t lo = 0, hi = t->n_fields;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		const struct schema_field *f = &t->fields[t->by_name[mid]];
		int c = cmp_short(name, f->name);

		if (!c)
			return f;
		if (c < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return NULL;
}

/* By its address alone: the types of a custom kind go, and what was found in them stays behind in `recent`. */
static bool is_field_of(const struct schema_type *t, const struct schema_field *f)
{
	uintptr_t at = (uintptr_t)f - (uintptr_t)t->fields;

	return at < t->n_fields * sizeof(*f) && at % sizeof(*f) == 0;
}

#define RECENT 64 /* a power of two */

/* Objects of one kind ask for the same few names again and again: those found last are looked at first. */
const struct schema_field *schema_field(const struct schema_type *t, struct str name)
{
	static _Thread_local const struct schema_field *recent[RECENT];
	const struct schema_field **last;

	if (!t || t->kind != SCHEMA_OBJECT)
		return NULL;
	if (!name.n) /* a custom kind may have a field of no name */
		return search(t, name);
	last = &recent[(name.n + 7 * (unsigned char)name.p[0] + 13 * (unsigned char)name.p[name.n - 1]) % RECENT];
	if (is_field_of(t, *last) && !cmp_short(name, (*last)->name))
		return *last;
	const struct schema_field *f = search(t, name);
	if (f)
		*last = f;
	return f;
}

/* ---- names in messages ----------------------------------------------------------------------- */

const char *schema_short_name(const struct schema_type *t)
{
	const char *dot = t->name ? strrchr(t->name, '.') : NULL;

	return dot ? dot + 1 : "";
}

static const char *go_scalar(enum schema_kind k)
{
	switch (k) {
	case SCHEMA_STRING:
		return "string";
	case SCHEMA_BOOL:
		return "bool";
	case SCHEMA_INT32:
		return "int32";
	case SCHEMA_INT64:
		return "int64";
	case SCHEMA_UINT32:
		return "uint32";
	case SCHEMA_DOUBLE:
		return "float64";
	case SCHEMA_BYTES:
		return "[]uint8";
	default:
		return "interface {}";
	}
}

void schema_go_type(const struct schema_type *t, char *ret, size_t cap)
{
	char inner[128];
	const char *dot, *p;

	if (t->kind == SCHEMA_LIST && !t->name) {
		schema_go_type(t->element, inner, sizeof(inner));
		snprintf(ret, cap, "[]%s", inner);
		return;
	}
	if (t->kind == SCHEMA_MAP && !t->name) {
		schema_go_type(t->element, inner, sizeof(inner));
		snprintf(ret, cap, "map[string]%s", inner);
		return;
	}
	dot = t->name ? strrchr(t->name, '.') : NULL;
	if (!dot) {
		snprintf(ret, cap, "%s", go_scalar((enum schema_kind)t->kind));
		return;
	}
	for (p = dot; p > t->name && p[-1] != '.';)
		p--;
	snprintf(ret, cap, "%s", !strcmp(dot, ".UID") ? "types.UID" : p);
}
