/* Compact JWS with ES256: base64url(header).base64url(payload).base64url(r || s). */
#include "pki/pki_internal.h"

#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/sha.h>
#include <stdio.h>

#define COORDINATE 32 /* bytes of r, s, x, y on P-256 */
#define TOKEN_MAX ((size_t)64 << 10)

AUTO(EVP_MD_CTX, EVP_MD_CTX_free)
AUTO(ECDSA_SIG, ECDSA_SIG_free)

struct pki_signer {
	EVP_PKEY *key;
	char kid[44]; /* base64url of SHA-256 over the public key */
	unsigned char x[COORDINATE], y[COORDINATE];
};

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void base64url(struct buf *out, const void *bytes, size_t n)
{
	const unsigned char *p = bytes;

	for (size_t i = 0; i < n; i += 3) {
		uint32_t group =
			(uint32_t)p[i] << 16 | (i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0) | (i + 2 < n ? p[i + 2] : 0);
		size_t digits = MIN(n - i, (size_t)3) + 1;

		for (size_t d = 0; d < digits; d++)
			buf_byte(out, alphabet[group >> (18 - 6 * d) & 63]);
	}
}

static bool base64url_read(struct str s, struct buf *out)
{
	uint32_t bits = 0;
	int have = 0;

	if (s.n % 4 == 1)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		const char *at = s.p[i] ? strchr(alphabet, s.p[i]) : NULL;

		if (!at)
			return false;
		bits = bits << 6 | (uint32_t)(at - alphabet);
		have += 6;
		if (have >= 8) {
			have -= 8;
			buf_byte(out, (char)(bits >> have & 255));
		}
	}
	return (bits & ((1u << have) - 1)) == 0; /* no stray bits: one text per signature */
}

static bool coordinate(EVP_PKEY *key, const char *name, unsigned char out[COORDINATE])
{
	BIGNUM *number = NULL;
	bool ok = EVP_PKEY_get_bn_param(key, name, &number) && BN_bn2binpad(number, out, COORDINATE) == COORDINATE;

	BN_free(number);
	return ok;
}

int pki_signer_new(const char *key_file, struct pki_signer **ret, struct err *e)
{
	auto_(EVP_PKEY_free) EVP_PKEY *key = NULL;
	unsigned char digest[SHA256_DIGEST_LENGTH], *der = NULL;
	auto_buf struct buf kid = BUF_INIT;
	struct pki_signer *s;
	int n;

	if (pki_key_load(key_file, &key, e) < 0)
		return -e->code;
	if (!EVP_PKEY_is_a(key, "EC"))
		return err_set(e, ERR_INVALID, "%s: signing keys are ECDSA P-256", key_file);
	n = i2d_PUBKEY(key, &der);
	if (n <= 0)
		return pki_openssl_err(e, key_file);
	SHA256(der, (size_t)n, digest);
	OPENSSL_free(der);
	base64url(&kid, digest, sizeof(digest));
	s = xcalloc(1, sizeof(*s));
	memcpy(s->kid, kid.p, MIN(kid.n, sizeof(s->kid) - 1));
	if (!coordinate(key, OSSL_PKEY_PARAM_EC_PUB_X, s->x) || !coordinate(key, OSSL_PKEY_PARAM_EC_PUB_Y, s->y)) {
		free(s);
		return err_set(e, ERR_INVALID, "%s: signing keys are ECDSA P-256", key_file);
	}
	s->key = TAKE(key);
	*ret = s;
	return 0;
}

struct pki_signer *pki_signer_free(struct pki_signer *s)
{
	if (s)
		EVP_PKEY_free(s->key);
	free(s);
	return NULL;
}

static bool sign(const struct pki_signer *s, struct str text, unsigned char out[2 * COORDINATE])
{
	auto_(EVP_MD_CTX_free) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	unsigned char der[128];
	const unsigned char *p = der;
	size_t n = sizeof(der);
	auto_(ECDSA_SIG_free) ECDSA_SIG *sig = NULL;

	if (EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, s->key) != 1 ||
		EVP_DigestSign(ctx, der, &n, (const unsigned char *)text.p, text.n) != 1)
		return false;
	sig = d2i_ECDSA_SIG(NULL, &p, (long)n);
	return sig && BN_bn2binpad(ECDSA_SIG_get0_r(sig), out, COORDINATE) == COORDINATE &&
		BN_bn2binpad(ECDSA_SIG_get0_s(sig), out + COORDINATE, COORDINATE) == COORDINATE;
}

int pki_sign_token(const struct pki_signer *s, struct str payload_json, char **ret, struct err *e)
{
	auto_buf struct buf out = BUF_INIT;
	unsigned char signature[2 * COORDINATE];
	char header[96];
	int n = snprintf(header, sizeof(header), "{\"alg\":\"ES256\",\"kid\":\"%s\"}", s->kid);

	base64url(&out, header, (size_t)n);
	buf_byte(&out, '.');
	base64url(&out, payload_json.p, payload_json.n);
	if (!sign(s, buf_view(&out), signature))
		return pki_openssl_err(e, "sign a token");
	buf_byte(&out, '.');
	base64url(&out, signature, sizeof(signature));
	*ret = buf_take(&out, NULL);
	return 0;
}

static bool verify(const struct pki_signer *s, struct str text, struct str signature)
{
	auto_(EVP_MD_CTX_free) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	auto_(ECDSA_SIG_free) ECDSA_SIG *sig = ECDSA_SIG_new();
	const unsigned char *raw = (const unsigned char *)signature.p;
	unsigned char *der = NULL;
	int n;
	bool good;

	if (signature.n != 2 * COORDINATE)
		return false;
	ECDSA_SIG_set0(sig, BN_bin2bn(raw, COORDINATE, NULL), BN_bin2bn(raw + COORDINATE, COORDINATE, NULL));
	n = i2d_ECDSA_SIG(sig, &der);
	good = n > 0 && EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, s->key) == 1 &&
		EVP_DigestVerify(ctx, der, (size_t)n, (const unsigned char *)text.p, text.n) == 1;
	OPENSSL_free(der);
	return good;
}

int pki_verify_token(const struct pki_signer *s, struct str token, struct buf *payload, struct err *e)
{
	auto_buf struct buf raw_header = BUF_INIT, raw_signature = BUF_INIT;
	struct str header, body, signature, signed_text, rest = token;

	if (token.n > TOKEN_MAX)
		return err_set(e, ERR_UNAUTHORIZED, "the token is too long");
	rest = str_cut(rest, '.', &header);
	signature = str_cut(rest, '.', &body);
	if (!signature.p || memchr(signature.p, '.', signature.n) || !base64url_read(header, &raw_header) ||
		!base64url_read(signature, &raw_signature))
		return err_set(e, ERR_UNAUTHORIZED, "the token is not a signed one");
	/* the only header that we write: anything else (alg none, another key) is not ours */
	if (!str_has(buf_view(&raw_header), STR("\"alg\":\"ES256\"")) || !str_has(buf_view(&raw_header), str_c(s->kid)))
		return err_set(e, ERR_UNAUTHORIZED, "the token is signed with another key");
	signed_text = str_n(token.p, header.n + 1 + body.n);
	if (!verify(s, signed_text, buf_view(&raw_signature)) || !base64url_read(body, payload))
		return err_set(e, ERR_UNAUTHORIZED, "the token's signature is wrong");
	return 0;
}

void pki_jwks(const struct pki_signer *s, struct buf *out)
{
	buf_printf(out,
		"{\"keys\":[{\"use\":\"sig\",\"kty\":\"EC\",\"kid\":\"%s\",\"crv\":\"P-256\",\"alg\":\"ES256\",\"x\":\"",
		s->kid);
	base64url(out, s->x, COORDINATE);
	buf_c(out, "\",\"y\":\"");
	base64url(out, s->y, COORDINATE);
	buf_c(out, "\"}]}");
}
