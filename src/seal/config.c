/* EncryptionConfiguration (apiserver.config.k8s.io/v1): rules of resources and, for each, providers of which the first
 * writes. */
#include "base/file.h"
#include "doc/doc.h"
#include "seal/seal_internal.h"

#define FILE_BYTES_MAX (1 << 20)

static int read_secret(struct str text, struct provider *p, const char *where, struct err *e)
{
	auto_buf struct buf b = BUF_INIT;

	if (base64_decode(text, &b) < 0 || (b.n != 16 && b.n != 24 && b.n != 32))
		return err_set(e, ERR_INVALID, "%s: secret: expected 16, 24 or 32 bytes in base64", where);
	memcpy(p->secret, b.p, b.n);
	p->secret_n = b.n;
	wipe(b.p, b.n);
	return 0;
}

static int read_keys(
	struct rule *r, const struct provider_type *type, struct val keys, const char *where, struct err *e)
{
	if (!val_len(keys))
		return err_set(e, ERR_INVALID, "%s: keys: at least one is needed", where);
	for (struct val_iter it = val_iter(keys); val_next(&it);) {
		struct str name = val_str(val_get(it.val, "name"));

		if (!name.n || memchr(name.p, ':', name.n))
			return err_set(e, ERR_INVALID, "%s: keys: a name without ':' is needed", where);
		if (read_secret(val_str(val_get(it.val, "secret")), rule_provider_add(r, type, name), where, e) < 0)
			return -e->code;
	}
	return 0;
}

static int read_provider(struct seal *s, struct rule *r, struct val v, const char *where, struct err *e)
{
	struct val_iter it = val_iter(v);
	const struct provider_type *type;

	if (val_kind(v) != VAL_MAP || val_len(v) != 1 || !val_next(&it))
		return err_set(e, ERR_INVALID, "%s: one provider for each list element", where);
	type = provider_type_named(it.key);
	if (!type)
		return err_set(e, ERR_UNSUPPORTED,
			"%s: provider \"%.*s\" is not built; there are kogge, aesgcm, aescbc and identity", where,
			STR_ARG(it.key));
	if (type == &provider_kogge)
		rule_kogge_add(s, r);
	else if (type->takes_keys)
		return read_keys(r, type, val_get(it.val, "keys"), where, e);
	else
		rule_provider_add(r, type, STR_NULL);
	return 0;
}

static int read_rule(struct seal *s, struct val v, size_t number, struct err *e)
{
	struct rule *r = seal_rule_add(s);
	struct val names = val_get(v, "resources");
	auto_free char *where = xasprintf("resources[%zu]", number);
	size_t n = 0;

	r->resources = xcalloc(val_len(names) + 1, sizeof(*r->resources));
	for (struct val_iter it = val_iter(names); val_next(&it);)
		r->resources[n++] = str_dup(val_str(it.val));
	if (!n)
		return err_set(e, ERR_INVALID, "%s: resources: at least one is needed", where);
	for (struct val_iter it = val_iter(val_get(v, "providers")); val_next(&it);)
		if (read_provider(s, r, it.val, where, e) < 0)
			return -e->code;
	return r->n_providers ? 0 : err_set(e, ERR_INVALID, "%s: providers: at least one is needed", where);
}

int config_read(struct seal *s, const char *file, struct err *e)
{
	auto_buf struct buf text = { .max = FILE_BYTES_MAX };
	auto_(doc_unref) struct doc *d = NULL;
	size_t n = 0;

	if (file_read(file, &text, e) < 0 || doc_parse_yaml(buf_view(&text), NULL, NULL, &d, e) < 0)
		return -e->code;
	if (!str_is(doc_str(d, "kind"), "EncryptionConfiguration") ||
		!str_is(doc_str(d, "apiVersion"), "apiserver.config.k8s.io/v1"))
		return err_set(e, ERR_INVALID, "expected kind EncryptionConfiguration of apiserver.config.k8s.io/v1");
	for (struct val_iter it = val_iter(doc_get(d, "resources")); val_next(&it); n++)
		if (read_rule(s, it.val, n, e) < 0)
			return -e->code;
	return n ? 0 : err_set(e, ERR_INVALID, "resources: at least one rule is needed");
}
