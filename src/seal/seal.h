/* Encryption at rest: what a value looks like between the API and the store.
 *
 *     key-encryption keys   KEYS_FILE, 0600, never in the store nor in a snapshot; the first one writes, all read
 *          │ wrap
 *     data key              random, one a process, at most 2^30 values; travels, wrapped, in front of every value
 *          │ AES-256-GCM, the store key is authenticated with it
 *     value                 k8s:enc:kogge:v1:KEYID: wrapped data key, nonce, ciphertext, tag
 *
 * So a value needs nothing but the key-encryption key, and rotating that key is rewriting values under a new one.
 * A value without "k8s:enc:" in front is plain. Secrets are encrypted by default; an EncryptionConfiguration file
 * (apiserver.config.k8s.io/v1) replaces that rule: providers kogge, aesgcm, aescbc and identity; secretbox and kms are
 * refused.
 *
 * Recovery: every key-encryption key also exists wrapped for an X25519 public key whose private half, the recovery key,
 * only the administrator has. That text is kept in the store (SEAL_RECOVERY_KEY), so a snapshot plus the recovery key
 * is enough.
 *
 * Sources: NIST SP 800-38D (GCM), RFC 7748 (X25519), RFC 5869 (HKDF); prefixes as upstream's API server writes them.
 * Thread: any. Changes of the key file by several processes take turns. */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

/* Key in the store of what seal_recovery_text() gives. No resource begins like this. */
#define SEAL_RECOVERY_KEY "!seal/recovery"

/* ---- values ---------------------------------------------------------------------------------- */

struct seal;
/* config_file may be NULL. Fails with file, line or field, and what is wrong there. Own: seal_free(). */
int seal_open(const char *keys_file, const char *config_file, struct seal **ret, struct err *e);
struct seal *seal_free(struct seal *s);
AUTO(struct seal, seal_free)
/* "secrets", "deployments.apps": its values are encrypted. */
bool seal_covers(const struct seal *s, struct str resource);
/* Appends what to store for a value: itself where the resource is not covered. */
void seal_value(struct seal *s, struct str resource, struct str key, struct str plain, struct buf *out);
/* The plain text of a stored value: *ret is the value itself, or was appended to room. *stale (may be NULL): it would
 * be written another way today. ERR_INTERNAL: no such key, or not what was written. */
int seal_open_value(struct seal *s, struct str resource, struct str key, struct str stored, struct buf *room,
	struct str *ret, bool *stale, struct err *e);
/* Under which key a stored value is: "kogge:v1:1a2b3c4d", "aesgcm:v1:key1"; plain: STR_NULL. */
struct str seal_key_of(struct str stored);

/* ---- the key file ---------------------------------------------------------------------------- */

/* Makes the file with a first key when it is missing, and before it recovery_file with the recovery key: one that is there
 * stays the administrator's. *ret_made: the recovery key is new. */
int seal_keys_make(const char *keys_file, const char *recovery_file, bool *ret_made, struct err *e);
/* A new first key; the old ones go on reading. ERR_FULL: there are so many that one of them would have to go. */
int seal_keys_rotate(const char *keys_file, struct err *e);
/* Drops from s's key file what s only reads with: nothing is left that those keys wrote. Keys that came meanwhile stay.
 */
int seal_keys_retire(const struct seal *s, struct err *e);
/* "kogge:v1:1a2b3c4d": what seal_key_of() says of values that are written now by the key file. */
void seal_first_key(const struct seal *s, struct buf *out);

/* ---- recovery -------------------------------------------------------------------------------- */

/* All keys, wrapped for the recovery key. Different each time; seal_recovery_fits() says whether an old text still
 * does. */
void seal_recovery_text(const struct seal *s, struct buf *out);
bool seal_recovery_fits(const struct seal *s, struct str text);
/* Adds the keys in text that the file lacks, making the file when there is none. recovery_key as it was shown, blanks
 * and dashes do not matter. ERR_FORBIDDEN: it is not the key. *ret_added counts. With an empty recovery_key it only
 * looks: ERR_UNAUTHORIZED when it would be needed. */
int seal_recover(const char *keys_file, struct str text, struct str recovery_key, size_t *ret_added, struct err *e);
