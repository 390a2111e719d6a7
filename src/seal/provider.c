/* One way of encrypting each. A provider's value begins "k8s:enc:TYPE:v1:KEYNAME:". */
#include "seal/seal_internal.h"

#define WRAPPED_BYTES (NONCE_BYTES + KEY_BYTES + TAG_BYTES)
#define DATA_KEY_USES_MAX (INT64_C(1) << 30) /* random nonces under one key: far below 2^32 */
#define DATA_KEYS_MAX 1024

/* ---- kogge: an envelope ---------------------------------------------------------------------- */

/* Under lock: the data key that writes, made anew when it is worn or the first of this process. */
static void need_data_key(struct seal *s, const struct provider *p)
{
	if (s->data_key_wrapped.n && s->data_key_uses < DATA_KEY_USES_MAX)
		return;
	rand_bytes(s->data_key, KEY_BYTES);
	buf_reset(&s->data_key_wrapped);
	gcm_seal(p->secret, p->secret_n, STR("data key"), str_n((const char *)s->data_key, KEY_BYTES),
		&s->data_key_wrapped);
	s->data_key_uses = 0;
}

static void kogge_seal(struct seal *s, const struct provider *p, struct str key, struct str plain, struct buf *out)
{
	uint8_t data_key[KEY_BYTES];

	task_lock(&s->lock);
	need_data_key(s, p);
	s->data_key_uses++;
	memcpy(data_key, s->data_key, KEY_BYTES);
	buf_str(out, buf_view(&s->data_key_wrapped));
	task_unlock(&s->lock);
	gcm_seal(data_key, KEY_BYTES, key, plain, out);
	wipe(data_key, sizeof(data_key));
}

static void end_key(void *key)
{
	wipe(key, KEY_BYTES);
	free(key);
}

/* Unwrapping is as dear as a small value: keep what was met. */
static bool data_key_of(struct seal *s, const struct provider *p, struct str wrapped, uint8_t ret[KEY_BYTES])
{
	auto_buf struct buf plain = BUF_INIT;
	uint8_t *known;
	bool ok = true;

	task_lock(&s->lock);
	if (!s->data_keys)
		s->data_keys = map_new(end_key);
	known = map_get(s->data_keys, wrapped);
	if (!known) {
		ok = gcm_open(p->secret, p->secret_n, STR("data key"), wrapped, &plain) && plain.n == KEY_BYTES;
		if (ok) {
			if (map_len(s->data_keys) >= DATA_KEYS_MAX)
				map_clear(s->data_keys);
			known = xmalloc(KEY_BYTES);
			memcpy(known, plain.p, KEY_BYTES);
			map_put(s->data_keys, wrapped, known);
			wipe(plain.p, plain.n);
		}
	}
	if (ok)
		memcpy(ret, known, KEY_BYTES);
	task_unlock(&s->lock);
	return ok;
}

static bool kogge_open(struct seal *s, const struct provider *p, struct str key, struct str sealed, struct buf *out)
{
	uint8_t data_key[KEY_BYTES];
	bool ok;

	if (sealed.n < WRAPPED_BYTES || !data_key_of(s, p, str_n(sealed.p, WRAPPED_BYTES), data_key))
		return false;
	ok = gcm_open(data_key, KEY_BYTES, key, str_sub(sealed, WRAPPED_BYTES, sealed.n), out);
	wipe(data_key, sizeof(data_key));
	return ok;
}

const struct provider_type provider_kogge = { .name = "kogge", .seal = kogge_seal, .open = kogge_open };

/* ---- upstream's ------------------------------------------------------------------------------ */

static void aesgcm_seal(struct seal *s, const struct provider *p, struct str key, struct str plain, struct buf *out)
{
	gcm_seal(p->secret, p->secret_n, key, plain, out);
}

static bool aesgcm_open(struct seal *s, const struct provider *p, struct str key, struct str sealed, struct buf *out)
{
	return gcm_open(p->secret, p->secret_n, key, sealed, out);
}

const struct provider_type provider_aesgcm = {
	.name = "aesgcm", .takes_keys = true, .seal = aesgcm_seal, .open = aesgcm_open
};

static void aescbc_seal(struct seal *s, const struct provider *p, struct str key, struct str plain, struct buf *out)
{
	cbc_seal(p->secret, p->secret_n, plain, out);
}

static bool aescbc_open(struct seal *s, const struct provider *p, struct str key, struct str sealed, struct buf *out)
{
	return cbc_open(p->secret, p->secret_n, sealed, out);
}

const struct provider_type provider_aescbc = {
	.name = "aescbc", .takes_keys = true, .seal = aescbc_seal, .open = aescbc_open
};

const struct provider_type provider_identity = { .name = "identity" }; /* plain: never asked */

const struct provider_type *provider_type_named(struct str name)
{
	static const struct provider_type *const all[] = { &provider_kogge, &provider_aesgcm, &provider_aescbc,
		&provider_identity };

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (str_is(name, all[i]->name))
			return all[i];
	return NULL;
}
