/* Keys wrapped for the administrator: a line a key, "ID BASE64(ephemeral public key, nonce, wrapped key, tag)". */
#include "doc/doc.h"
#include "seal/seal_internal.h"
#include <ctype.h>
#include <unistd.h>

#define WRAPPED_BYTES (KEY_BYTES + NONCE_BYTES + KEY_BYTES + TAG_BYTES)
#define INFO "kogge recovery v1"

static void wrap(const uint8_t recovery[KEY_BYTES], const uint8_t key[KEY_BYTES], const char *id, struct buf *out)
{
	uint8_t once[KEY_BYTES], once_public[KEY_BYTES], shared[KEY_BYTES];
	auto_buf struct buf b = BUF_INIT;
	auto_free char *text = NULL;

	rand_bytes(once, KEY_BYTES);
	x25519_public(once, once_public);
	PRE(x25519_shared(once, recovery, STR(INFO), shared));
	buf_add(&b, once_public, KEY_BYTES);
	gcm_seal(shared, KEY_BYTES, str_c(id), str_n((const char *)key, KEY_BYTES), &b);
	text = base64_encode(buf_view(&b));
	buf_printf(out, "%s %s\n", id, text);
	wipe(once, sizeof(once));
	wipe(shared, sizeof(shared));
}

void seal_recovery_text(const struct seal *s, struct buf *out)
{
	for (size_t i = 0; s->keys.has_recovery && i < s->keys.n; i++)
		wrap(s->keys.recovery, s->keys.key[i].bytes, s->keys.key[i].id, out);
}

static bool names_key(struct str text, const char *id)
{
	for (struct str line, rest = text; str_next(&rest, '\n', &line);) {
		struct str head;

		str_cut(line, ' ', &head);
		if (str_is(head, id))
			return true;
	}
	return false;
}

bool seal_recovery_fits(const struct seal *s, struct str text)
{
	size_t lines = 0;

	for (struct str line, rest = text; str_next(&rest, '\n', &line);)
		lines += line.n > 0;
	for (size_t i = 0; i < s->keys.n; i++)
		if (!names_key(text, s->keys.key[i].id))
			return !s->keys.has_recovery;
	return lines == s->keys.n;
}

bool recovery_key_read(struct str text, uint8_t ret[KEY_BYTES])
{
	uint32_t bits = 0;
	size_t have = 0, n = 0;

	for (size_t i = 0; i < text.n; i++) {
		int c = toupper((unsigned char)text.p[i]);

		if (c == '-' || isspace(c))
			continue;
		if (!(c >= 'A' && c <= 'Z') && !(c >= '2' && c <= '7'))
			return false;
		bits = bits << 5 | (uint32_t)(c >= 'A' ? c - 'A' : c - '2' + 26);
		have += 5;
		if (have >= 8) {
			if (n == KEY_BYTES)
				return false;
			have -= 8;
			ret[n++] = (uint8_t)(bits >> have);
		}
	}
	return n == KEY_BYTES;
}

static bool unwrap(const uint8_t private_key[KEY_BYTES], struct str line, struct keys *into)
{
	struct str id, text = str_cut(line, ' ', &id);
	auto_buf struct buf b = BUF_INIT, plain = BUF_INIT;
	uint8_t shared[KEY_BYTES];
	bool ok = base64_decode(str_trim(text), &b) == 0 && b.n == WRAPPED_BYTES &&
		x25519_shared(private_key, (const uint8_t *)b.p, STR(INFO), shared) &&
		gcm_open(shared, KEY_BYTES, id, str_sub(buf_view(&b), KEY_BYTES, b.n), &plain) && plain.n == KEY_BYTES;

	if (ok) {
		memcpy(into->key[into->n].bytes, plain.p, KEY_BYTES);
		key_id(into->key[into->n].bytes, into->key[into->n].id);
		into->n++;
		wipe(plain.p, plain.n);
	}
	wipe(shared, sizeof(shared));
	return ok;
}

static bool has_key(const struct keys *k, struct str id)
{
	for (size_t i = 0; i < k->n; i++)
		if (str_is(id, k->key[i].id))
			return true;
	return false;
}

/* Adds what is missing to k; the number of keys added, or an error. */
static int add_missing(struct keys *k, struct str text, struct str recovery_key, size_t *ret_added, struct err *e)
{
	uint8_t private_key[KEY_BYTES];
	size_t added = 0;

	for (struct str line, rest = text; str_next(&rest, '\n', &line);) {
		struct str id;

		str_cut(line, ' ', &id);
		if (!id.n || has_key(k, id))
			continue;
		if (!recovery_key.n)
			return err_set(e, ERR_UNAUTHORIZED,
				"its Secrets are encrypted with key %.*s, which this machine does not have: the "
				"recovery key is needed",
				STR_ARG(id));
		if (!recovery_key_read(recovery_key, private_key))
			return err_set(e, ERR_FORBIDDEN, "a recovery key has 52 letters and digits, in groups of four");
		if (k->n == KEYS_MAX)
			return err_set(
				e, ERR_FULL, "there is no room for key %.*s beside %d others", STR_ARG(id), KEYS_MAX);
		if (!unwrap(private_key, line, k))
			return err_set(e, ERR_FORBIDDEN, "this is not the recovery key of key %.*s", STR_ARG(id));
		added++;
	}
	if (added && !k->has_recovery) {
		x25519_public(private_key, k->recovery);
		k->has_recovery = true;
	}
	wipe(private_key, sizeof(private_key));
	*ret_added = added;
	return 0;
}

int seal_recover(const char *keys_file, struct str text, struct str recovery_key, size_t *ret_added, struct err *e)
{
	struct keys k = { 0 };
	int r = access(keys_file, F_OK) == 0 ? keys_read(keys_file, &k, e) : 0;

	if (r == 0)
		r = add_missing(&k, text, recovery_key, ret_added, e);
	if (r == 0 && *ret_added)
		r = keys_write(keys_file, &k, e);
	keys_fini(&k);
	return r;
}
