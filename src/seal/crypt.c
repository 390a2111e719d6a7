/* The four pieces of cryptography that sealing needs, from OpenSSL. */
#include "seal/seal_internal.h"
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/sha.h>
#include <stdio.h>

AUTO(EVP_PKEY, EVP_PKEY_free)
AUTO(EVP_PKEY_CTX, EVP_PKEY_CTX_free)
AUTO(EVP_KDF, EVP_KDF_free)
AUTO(EVP_KDF_CTX, EVP_KDF_CTX_free)
AUTO(EVP_CIPHER_CTX, EVP_CIPHER_CTX_free)

#define IV_BYTES 16
/* With right arguments these fail only without memory or without OpenSSL's default provider. */
#define MUST(call) PRE((call) > 0)

void wipe(void *p, size_t n)
{
	OPENSSL_cleanse(p, n);
}

static const EVP_CIPHER *gcm(size_t key_n)
{
	return key_n == 16 ? EVP_aes_128_gcm() : key_n == 24 ? EVP_aes_192_gcm() : EVP_aes_256_gcm();
}

static const EVP_CIPHER *cbc(size_t key_n)
{
	return key_n == 16 ? EVP_aes_128_cbc() : key_n == 24 ? EVP_aes_192_cbc() : EVP_aes_256_cbc();
}

static uint8_t *room_for(struct buf *out, size_t n)
{
	void *p = buf_reserve(out, n);

	PRE(p); /* values are far below a buffer's ceiling */
	return p;
}

void gcm_seal(const uint8_t *key, size_t key_n, struct str aad, struct str plain, struct buf *out)
{
	auto_(EVP_CIPHER_CTX_free) EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	uint8_t *nonce = room_for(out, NONCE_BYTES + plain.n + TAG_BYTES), *body = nonce + NONCE_BYTES;
	int n = 0;

	rand_bytes(nonce, NONCE_BYTES);
	MUST(EVP_EncryptInit_ex(c, gcm(key_n), NULL, key, nonce));
	MUST(EVP_EncryptUpdate(c, NULL, &n, (const uint8_t *)aad.p, (int)aad.n));
	MUST(EVP_EncryptUpdate(c, body, &n, (const uint8_t *)plain.p, (int)plain.n));
	MUST(EVP_EncryptFinal_ex(c, body + n, &n));
	MUST(EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, TAG_BYTES, body + plain.n));
	out->n += NONCE_BYTES + plain.n + TAG_BYTES;
}

bool gcm_open(const uint8_t *key, size_t key_n, struct str aad, struct str sealed, struct buf *out)
{
	auto_(EVP_CIPHER_CTX_free) EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	const uint8_t *nonce = (const uint8_t *)sealed.p, *body = nonce + NONCE_BYTES;
	size_t body_n = sealed.n - NONCE_BYTES - TAG_BYTES;
	uint8_t *to;
	int n = 0;

	if (sealed.n < NONCE_BYTES + TAG_BYTES)
		return false;
	to = room_for(out, body_n + 1);
	MUST(EVP_DecryptInit_ex(c, gcm(key_n), NULL, key, nonce));
	MUST(EVP_DecryptUpdate(c, NULL, &n, (const uint8_t *)aad.p, (int)aad.n));
	MUST(EVP_DecryptUpdate(c, to, &n, body, (int)body_n));
	MUST(EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, TAG_BYTES, (void *)(uintptr_t)(body + body_n)));
	if (EVP_DecryptFinal_ex(c, to + n, &n) <= 0)
		return false;
	out->n += body_n;
	return true;
}

void cbc_seal(const uint8_t *key, size_t key_n, struct str plain, struct buf *out)
{
	auto_(EVP_CIPHER_CTX_free) EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	uint8_t *iv = room_for(out, IV_BYTES + plain.n + IV_BYTES), *body = iv + IV_BYTES;
	int n = 0, rest = 0;

	rand_bytes(iv, IV_BYTES);
	MUST(EVP_EncryptInit_ex(c, cbc(key_n), NULL, key, iv));
	MUST(EVP_EncryptUpdate(c, body, &n, (const uint8_t *)plain.p, (int)plain.n));
	MUST(EVP_EncryptFinal_ex(c, body + n, &rest));
	out->n += IV_BYTES + (size_t)n + (size_t)rest;
}

bool cbc_open(const uint8_t *key, size_t key_n, struct str sealed, struct buf *out)
{
	auto_(EVP_CIPHER_CTX_free) EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	const uint8_t *iv = (const uint8_t *)sealed.p;
	uint8_t *to;
	int n = 0, rest = 0;

	if (sealed.n < (size_t)2 * IV_BYTES || sealed.n % IV_BYTES)
		return false;
	to = room_for(out, sealed.n);
	MUST(EVP_DecryptInit_ex(c, cbc(key_n), NULL, key, iv));
	if (EVP_DecryptUpdate(c, to, &n, iv + IV_BYTES, (int)(sealed.n - IV_BYTES)) <= 0 ||
		EVP_DecryptFinal_ex(c, to + n, &rest) <= 0)
		return false;
	out->n += (size_t)n + (size_t)rest;
	return true;
}

void key_id(const uint8_t key[KEY_BYTES], char ret[KEY_ID_MAX])
{
	uint8_t sum[SHA256_DIGEST_LENGTH];

	SHA256(key, KEY_BYTES, sum);
	snprintf(ret, KEY_ID_MAX, "%02x%02x%02x%02x", sum[0], sum[1], sum[2], sum[3]);
}

void x25519_public(const uint8_t private_key[KEY_BYTES], uint8_t ret[KEY_BYTES])
{
	auto_(EVP_PKEY_free) EVP_PKEY *key =
		EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, private_key, KEY_BYTES);
	size_t n = KEY_BYTES;

	PRE(key);
	MUST(EVP_PKEY_get_raw_public_key(key, ret, &n));
}

static void hkdf(const uint8_t secret[KEY_BYTES], struct str info, uint8_t ret[KEY_BYTES])
{
	auto_(EVP_KDF_free) EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	auto_(EVP_KDF_CTX_free) EVP_KDF_CTX *c = EVP_KDF_CTX_new(kdf);
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char[]){ "SHA256" }, 0),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)secret, KEY_BYTES),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)(uintptr_t)info.p, info.n),
		OSSL_PARAM_construct_end(),
	};

	MUST(EVP_KDF_derive(c, ret, KEY_BYTES, params));
}

bool x25519_shared(
	const uint8_t private_key[KEY_BYTES], const uint8_t peer[KEY_BYTES], struct str info, uint8_t ret[KEY_BYTES])
{
	auto_(EVP_PKEY_free) EVP_PKEY *mine =
		EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, private_key, KEY_BYTES);
	auto_(EVP_PKEY_free) EVP_PKEY *theirs = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, peer, KEY_BYTES);
	auto_(EVP_PKEY_CTX_free) EVP_PKEY_CTX *c = EVP_PKEY_CTX_new(mine, NULL);
	uint8_t secret[KEY_BYTES];
	size_t n = KEY_BYTES;

	PRE(mine && theirs && c);
	if (EVP_PKEY_derive_init(c) <= 0 || EVP_PKEY_derive_set_peer(c, theirs) <= 0 ||
		EVP_PKEY_derive(c, secret, &n) <= 0)
		return false;
	hkdf(secret, info, ret);
	wipe(secret, sizeof(secret));
	return true;
}
