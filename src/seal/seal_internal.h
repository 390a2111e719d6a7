/* What the files of src/seal share.
 *
 *     seal.c      which rule covers a resource; a value there and back
 *     provider.c  one way of encrypting each: kogge, aesgcm, aescbc, identity
 *     keys.c      the key file
 *     config.c    EncryptionConfiguration
 *     recovery.c  keys wrapped for the administrator
 *     crypt.c     OpenSSL, nothing else */
#pragma once
#include "base/map.h"
#include "base/task.h"
#include "seal/seal.h"

#define KEY_BYTES 32
#define NONCE_BYTES 12
#define TAG_BYTES 16
#define KEY_ID_MAX 9 /* 8 hexadecimal digits and a NUL */

/* ---- crypt.c: fixed sizes, no failure but "not authentic" ------------------------------------ */
/* Appends nonce, ciphertext, tag. key_n: 16, 24 or 32. */
void gcm_seal(const uint8_t *key, size_t key_n, struct str aad, struct str plain, struct buf *out);
bool gcm_open(const uint8_t *key, size_t key_n, struct str aad, struct str sealed, struct buf *out);
/* Appends IV, ciphertext (PKCS#7). */
void cbc_seal(const uint8_t *key, size_t key_n, struct str plain, struct buf *out);
bool cbc_open(const uint8_t *key, size_t key_n, struct str sealed, struct buf *out);
void key_id(const uint8_t key[KEY_BYTES], char ret[KEY_ID_MAX]);
void wipe(void *p, size_t n);
void x25519_public(const uint8_t private_key[KEY_BYTES], uint8_t ret[KEY_BYTES]);
/* The key that both sides of an exchange derive; false: a public key that nobody has. */
bool x25519_shared(
	const uint8_t private_key[KEY_BYTES], const uint8_t peer[KEY_BYTES], struct str info, uint8_t ret[KEY_BYTES]);

/* ---- keys.c ---------------------------------------------------------------------------------- */

#define KEYS_MAX 16
struct keys {
	uint8_t recovery[KEY_BYTES]; /* public */
	bool has_recovery;
	size_t n;
	struct {
		uint8_t bytes[KEY_BYTES];
		char id[KEY_ID_MAX];
	} key[KEYS_MAX]; /* the first one writes */
};
int keys_read(const char *file, struct keys *ret, struct err *e);
int keys_write(const char *file, const struct keys *k, struct err *e);
void keys_fini(struct keys *k);

/* ---- recovery.c ------------------------------------------------------------------------------ */

/* Base32 in groups; false: not 32 bytes. */
bool recovery_key_read(struct str text, uint8_t ret[KEY_BYTES]);

/* ---- provider.c ------------------------------------------------------------------------------ */

struct provider;
struct provider_type {
	const char *name; /* in EncryptionConfiguration, and in the prefix of its values */
	bool takes_keys;
	void (*seal)(struct seal *s, const struct provider *p, struct str key, struct str plain, struct buf *out);
	bool (*open)(struct seal *s, const struct provider *p, struct str key, struct str sealed, struct buf *out);
};
extern const struct provider_type provider_kogge, provider_aesgcm, provider_aescbc, provider_identity;
const struct provider_type *provider_type_named(struct str name);

struct provider { /* a type with one key; a configured provider with three keys is three of these */
	const struct provider_type *type;
	char *name; /* of the key; NULL for identity */
	uint8_t secret[KEY_BYTES];
	size_t secret_n;
};

/* ---- seal.c, config.c ------------------------------------------------------------------------ */

struct rule {
	char **resources; /* "secrets", "*.apps", "*.", "*.*"; NULL-terminated, own */
	struct provider *providers;
	size_t n_providers;
};
struct seal {
	char *keys_file;
	struct keys keys;
	struct rule *rules;
	size_t n_rules;
	struct task_mutex lock;
	/* under lock: the data key that writes, wrapped and plain; those met when reading */
	uint8_t data_key[KEY_BYTES];
	struct buf data_key_wrapped;
	int64_t data_key_uses;
	struct map *data_keys; /* wrapped → 32 bytes */
};
struct rule *seal_rule_add(struct seal *s);
struct provider *rule_provider_add(struct rule *r, const struct provider_type *type, struct str name);
void rule_kogge_add(struct seal *s, struct rule *r); /* a provider for each key of the key file */
int config_read(struct seal *s, const char *file, struct err *e);
