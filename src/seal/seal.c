/* Which rule covers a resource, and a value there and back. */
#include "seal/seal_internal.h"

#define MARK "k8s:enc:"

/* ---- rules ----------------------------------------------------------------------------------- */

struct rule *seal_rule_add(struct seal *s)
{
	s->rules = xrealloc(s->rules, s->n_rules + 1, sizeof(*s->rules));
	s->rules[s->n_rules] = (struct rule){ 0 };
	return &s->rules[s->n_rules++];
}

struct provider *rule_provider_add(struct rule *r, const struct provider_type *type, struct str name)
{
	struct provider *p;

	r->providers = xrealloc(r->providers, r->n_providers + 1, sizeof(*r->providers));
	p = &r->providers[r->n_providers++];
	*p = (struct provider){ .type = type, .name = name.p ? str_dup(name) : NULL };
	return p;
}

void rule_kogge_add(struct seal *s, struct rule *r)
{
	for (size_t i = 0; i < s->keys.n; i++) {
		struct provider *p = rule_provider_add(r, &provider_kogge, str_c(s->keys.key[i].id));

		memcpy(p->secret, s->keys.key[i].bytes, KEY_BYTES);
		p->secret_n = KEY_BYTES;
	}
}

/* "secrets", or "*.apps" for all of a group, "*." for the core one, "*.*" for everything */
static bool pattern_covers(const char *pattern, struct str resource)
{
	struct str head, group = str_cut(resource, '.', &head), pattern_group = str_cut(str_c(pattern), '.', &head);

	if (!strcmp(pattern, "*.*"))
		return true;
	if (pattern[0] != '*')
		return str_is(resource, pattern);
	return str_eq(group, pattern_group);
}

static const struct rule *rule_for(const struct seal *s, struct str resource)
{
	for (size_t i = 0; i < s->n_rules; i++)
		for (char **pattern = s->rules[i].resources; *pattern; pattern++)
			if (pattern_covers(*pattern, resource))
				return &s->rules[i];
	return NULL;
}

bool seal_covers(const struct seal *s, struct str resource)
{
	const struct rule *r = rule_for(s, resource);

	return r && r->n_providers && r->providers[0].type != &provider_identity;
}

/* ---- values ---------------------------------------------------------------------------------- */

void seal_value(struct seal *s, struct str resource, struct str key, struct str plain, struct buf *out)
{
	const struct rule *r = rule_for(s, resource);
	const struct provider *p = r && r->n_providers ? &r->providers[0] : NULL;

	if (!p || p->type == &provider_identity) {
		buf_str(out, plain);
		return;
	}
	buf_printf(out, MARK "%s:v1:%s:", p->type->name, p->name);
	p->type->seal(s, p, key, plain, out);
}

/* Splits "k8s:enc:TYPE:v1:NAME:rest"; false: plain. Another version is of no type that we know. */
static bool split(struct str stored, struct str *type, struct str *name, struct str *rest)
{
	struct str version;

	if (!str_starts(stored, STR(MARK)))
		return false;
	*rest = str_cut(str_sub(stored, sizeof(MARK) - 1, stored.n), ':', type);
	*rest = str_cut(*rest, ':', &version);
	*rest = str_cut(*rest, ':', name);
	if (!str_is(version, "v1"))
		*type = STR("?");
	return true;
}

struct str seal_key_of(struct str stored)
{
	struct str type, name, rest;

	if (!split(stored, &type, &name, &rest))
		return STR_NULL;
	return str_n(stored.p + sizeof(MARK) - 1, (size_t)(name.p + name.n - stored.p) - (sizeof(MARK) - 1));
}

static const struct provider *find(const struct provider *list, size_t n, struct str type, struct str name)
{
	for (size_t i = 0; i < n; i++)
		if (str_is(type, list[i].type->name) && list[i].name && str_is(name, list[i].name))
			return &list[i];
	return NULL;
}

/* The rule's own providers, then any: a resource that moved from one rule to another stays readable. */
static const struct provider *provider_of(
	const struct seal *s, const struct rule *own, struct str type, struct str name)
{
	const struct provider *p = own ? find(own->providers, own->n_providers, type, name) : NULL;

	for (size_t i = 0; !p && i < s->n_rules; i++)
		p = find(s->rules[i].providers, s->rules[i].n_providers, type, name);
	return p;
}

int seal_open_value(struct seal *s, struct str resource, struct str key, struct str stored, struct buf *room,
	struct str *ret, bool *stale, struct err *e)
{
	const struct rule *r = rule_for(s, resource);
	const struct provider *p;
	struct str type, name, rest;
	size_t before = room->n;

	if (!split(stored, &type, &name, &rest)) {
		*ret = stored;
		if (stale)
			*stale = seal_covers(s, resource);
		return 0;
	}
	p = provider_of(s, r, type, name);
	if (!p)
		return err_set(e, ERR_INTERNAL,
			"it is encrypted by provider %.*s with key \"%.*s\", which is neither in the key file nor in "
			"the encryption configuration",
			STR_ARG(type), STR_ARG(name));
	if (!p->type->open(s, p, key, rest, room)) {
		room->n = before;
		return err_set(e, ERR_INTERNAL, "it cannot be decrypted with key \"%.*s\": it was changed or moved",
			STR_ARG(name));
	}
	*ret = str_n(room->p + before, room->n - before);
	if (stale)
		*stale = !r || p != &r->providers[0];
	return 0;
}

/* ---- opening --------------------------------------------------------------------------------- */

static void add_default_rule(struct seal *s)
{
	struct rule *r = seal_rule_add(s);

	r->resources = xcalloc(2, sizeof(*r->resources));
	r->resources[0] = xstrdup("secrets");
	rule_kogge_add(s, r);
}

int seal_open(const char *keys_file, const char *config_file, struct seal **ret, struct err *e)
{
	auto_(seal_free) struct seal *s = xcalloc(1, sizeof(*s));

	task_mutex_init(&s->lock);
	s->keys_file = xstrdup(keys_file);
	s->data_key_wrapped = BUF_INIT;
	if (keys_read(keys_file, &s->keys, e) < 0)
		return -e->code;
	if (config_file && config_read(s, config_file, e) < 0)
		return err_wrap(e, "%s", config_file);
	if (!config_file)
		add_default_rule(s);
	/* what our own keys wrote stays readable whatever the configuration says now */
	if (config_file) {
		struct rule *r = seal_rule_add(s);

		r->resources = xcalloc(1, sizeof(*r->resources));
		rule_kogge_add(s, r);
	}
	*ret = TAKE(s);
	return 0;
}

void seal_first_key(const struct seal *s, struct buf *out)
{
	buf_printf(out, "kogge:v1:%s", s->keys.key[0].id);
}

static void rule_fini(struct rule *r)
{
	for (char **p = r->resources; p && *p; p++)
		free(*p);
	free(r->resources);
	for (size_t i = 0; i < r->n_providers; i++) {
		wipe(r->providers[i].secret, KEY_BYTES);
		free(r->providers[i].name);
	}
	free(r->providers);
}

struct seal *seal_free(struct seal *s)
{
	if (!s)
		return NULL;
	for (size_t i = 0; i < s->n_rules; i++)
		rule_fini(&s->rules[i]);
	free(s->rules);
	free(s->keys_file);
	map_free(s->data_keys);
	wipe(s->data_key, sizeof(s->data_key));
	buf_fini(&s->data_key_wrapped);
	keys_fini(&s->keys);
	task_mutex_fini(&s->lock);
	free(s);
	return NULL;
}
