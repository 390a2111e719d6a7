#pragma once
#include "base/file.h"
#include "pki/pki.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <sys/types.h>

AUTO(EVP_PKEY, EVP_PKEY_free)
AUTO(X509, X509_free)
AUTO(X509_REQ, X509_REQ_free)
AUTO(BIO, BIO_free)

/* files.c. Own: free() paths. */
char *pki_path(const char *dir, const char *name, const char *ending);
bool pki_exists(const char *path);

/* key.c. Own: EVP_PKEY_free(), X509_free(). */
EVP_PKEY *pki_key_new(void);
int pki_key_load(const char *path, EVP_PKEY **ret, struct err *e);
int pki_key_save(const char *path, EVP_PKEY *key, struct err *e);
int pki_public_save(const char *path, EVP_PKEY *key, struct err *e);
int pki_cert_load(const char *path, X509 **ret, struct err *e);
int pki_cert_save(const char *path, X509 *cert, struct err *e);
int pki_cert_text(X509 *cert, struct buf *out, struct err *e);
/* request.c. Own: X509_REQ_free(). Its signature has been checked. */
int pki_request_parse(struct str pem, X509_REQ **ret, struct err *e);
/* The alternative names it wants, of the sorts that certificates here have: DNS, address, email, URI. NULL: none. Own:
 * GENERAL_NAMES_free(). */
GENERAL_NAMES *pki_request_names(X509_REQ *request);
/* The newest OpenSSL error as ERR_INTERNAL: "make certificate: …". */
int pki_openssl_err(struct err *e, const char *what);
