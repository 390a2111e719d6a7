/* The cluster's own keys and certificates: one CA, leaf certificates below it, and token signatures.
 *
 * Keys are ECDSA P-256, private files 0600 and written whole or not at all. Certificates begin an hour in the past
 * (clocks differ); leaves live a year and are made anew at start when less than a third of their time is left or when
 * they no longer cover a wanted name. The CA lives ten years.
 * Sources: RFC 5280 (X.509), RFC 7515 and 7518 (JWS, ES256).
 * Thread: any; nothing here waits. */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

/* A leaf that ought to exist as DIR/NAME.crt and DIR/NAME.key. */
struct pki_leaf {
	const char *dir;         /* NULL: the CA's */
	const char *name;        /* file name without ending */
	const char *cn;          /* for a client: its user */
	const char *const *orgs; /* for a client: its groups; NULL-terminated or NULL */
	const char *const *sans; /* DNS names and IP addresses; NULL-terminated or NULL */
	bool server, client;     /* extended key usage */
};

/* Makes DIR (0700), CA_NAME.crt and CA_NAME.key there when missing. An existing pair is kept; a key
 * alone gets another certificate, which holds for all that the key has signed.
 * Fails with what is wrong with which file. */
int pki_ca(const char *dir, const char *ca_name, const char *common_name, struct err *e);
/* Makes or renews one leaf under the CA in ca_dir. renewed may be NULL. */
int pki_leaf(const char *ca_dir, const char *ca_name, const struct pki_leaf *leaf, bool *renewed, struct err *e);
/* Makes DIR/NAME.key and DIR/NAME.pub (signing key of ServiceAccount tokens) when missing. */
int pki_signing_key(const char *dir, const char *name, struct err *e);

#define PKI_REQUEST_MAX (1 << 20) /* bytes of PEM that are looked at */
/* What a PEM certificate request asks for; strings are in the arena. */
struct pki_request {
	struct str cn, *orgs;
	size_t n_orgs, n_dns, n_ips, n_emails, n_uris;
};
/* Fails when it cannot be read, is not signed by its own key, or its subject could be read in two ways. */
int pki_request_read(struct arena *a, struct str pem, struct pki_request *ret, struct err *e);

enum pki_usage { PKI_DIGITAL_SIGNATURE = 1, PKI_KEY_ENCIPHERMENT = 2, PKI_SERVER_AUTH = 4, PKI_CLIENT_AUTH = 8 };
/* Signs a PEM certificate request for that long, or until the CA ends: subject, public key and alternative names are
 * the request's, usages a sum of enum pki_usage. Own: free() *ret_pem. */
int pki_sign_request(const char *dir, const char *ca_name, struct str csr_pem, int64_t seconds, unsigned usages,
	char **ret_pem, struct err *e);
/* When the first certificate of a PEM text ends, in seconds since 1970. */
int pki_certificate_ends(struct str pem, int64_t *ret_s, struct err *e);
/* Whether all blocks of a PEM text are certificates, and there is one. Fails: ERR_INVALID, in words for who sent it. */
int pki_certificates_check(struct str pem, struct err *e);

/* Compact JWS signatures (ES256) over payloads that the caller writes and reads as JSON. */
struct pki_signer;
int pki_signer_new(const char *key_file, struct pki_signer **ret, struct err *e);
struct pki_signer *pki_signer_free(struct pki_signer *s);
AUTO(struct pki_signer, pki_signer_free)
/* Own: free() *ret. header is {"alg":"ES256","kid":…}. */
int pki_sign_token(const struct pki_signer *s, struct str payload_json, char **ret, struct err *e);
/* Checks the signature and appends the payload's JSON. ERR_UNAUTHORIZED for anything that is not ours. */
int pki_verify_token(const struct pki_signer *s, struct str token, struct buf *payload, struct err *e);
/* The public half as a JSON Web Key Set. */
void pki_jwks(const struct pki_signer *s, struct buf *out);
