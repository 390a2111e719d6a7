/* Keys and certificates to and from PEM. */
#include "pki/pki_internal.h"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>

int pki_openssl_err(struct err *e, const char *what)
{
	char text[160];

	ERR_error_string_n(ERR_get_error(), text, sizeof(text));
	ERR_clear_error();
	return err_set(e, ERR_INTERNAL, "%s: %s", what, text);
}

EVP_PKEY *pki_key_new(void)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");

	if (!key)
		PANIC("OpenSSL cannot make a P-256 key");
	return key;
}

static BIO *bio_of_file(const char *path, struct buf *bytes, struct err *e)
{
	if (file_read(path, bytes, e) < 0)
		return NULL;
	return BIO_new_mem_buf(bytes->p, (int)bytes->n);
}

int pki_key_load(const char *path, EVP_PKEY **ret, struct err *e)
{
	auto_buf struct buf bytes = BUF_INIT;
	auto_(BIO_free) BIO *bio = bio_of_file(path, &bytes, e);
	EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;

	if (!bio)
		return -e->code;
	OPENSSL_cleanse(bytes.p, bytes.n);
	if (!key) {
		ERR_clear_error();
		return err_set(e, ERR_IO,
			"%s holds no private key: restore it from a backup, or remove it to get a new one", path);
	}
	*ret = key;
	return 0;
}

static int save(const char *path, BIO *bio, bool written, mode_t mode, struct err *e)
{
	char *p;
	long n = BIO_get_mem_data(bio, &p);

	if (!written)
		return pki_openssl_err(e, path);
	return file_write(path, str_n(p, (size_t)n), mode, e);
}

int pki_key_save(const char *path, EVP_PKEY *key, struct err *e)
{
	auto_(BIO_free) BIO *bio = BIO_new(BIO_s_mem());

	return save(path, bio, PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), 0600, e);
}

int pki_public_save(const char *path, EVP_PKEY *key, struct err *e)
{
	auto_(BIO_free) BIO *bio = BIO_new(BIO_s_mem());

	return save(path, bio, PEM_write_bio_PUBKEY(bio, key), 0644, e);
}

int pki_cert_load(const char *path, X509 **ret, struct err *e)
{
	auto_buf struct buf bytes = BUF_INIT;
	auto_(BIO_free) BIO *bio = bio_of_file(path, &bytes, e);
	X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;

	if (!bio)
		return -e->code;
	if (!cert) {
		ERR_clear_error();
		return err_set(e, ERR_IO,
			"%s holds no certificate: restore it from a backup, or remove it to get a new one", path);
	}
	*ret = cert;
	return 0;
}

int pki_cert_save(const char *path, X509 *cert, struct err *e)
{
	auto_(BIO_free) BIO *bio = BIO_new(BIO_s_mem());

	return save(path, bio, PEM_write_bio_X509(bio, cert), 0644, e);
}

int pki_cert_text(X509 *cert, struct buf *out, struct err *e)
{
	auto_(BIO_free) BIO *bio = BIO_new(BIO_s_mem());
	char *p;
	long n;

	if (!PEM_write_bio_X509(bio, cert))
		return pki_openssl_err(e, "write certificate");
	n = BIO_get_mem_data(bio, &p);
	buf_add(out, p, (size_t)n);
	return 0;
}
