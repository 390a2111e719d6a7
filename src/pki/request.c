/* What certificate requests ask for, and when certificates end. */
#include "pki/pki_internal.h"

#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>

AUTO(GENERAL_NAMES, GENERAL_NAMES_free)

/* false: no text, or one with a NUL byte, which authentication (net/tls.c) would not read */
static bool entry_text(struct arena *a, const X509_NAME_ENTRY *entry, struct str *ret)
{
	unsigned char *utf8 = NULL;
	int n = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(entry));
	bool good = n >= 0 && !memchr(utf8, 0, (size_t)n);

	*ret = good ? arena_str(a, str_n((char *)utf8, (size_t)n)) : STR("");
	OPENSSL_free(utf8);
	return good;
}

/* What authentication will read of the certificate must be what was looked at here: two common names are refused. */
static int read_subject(struct arena *a, const X509_NAME *name, struct pki_request *ret, struct err *e)
{
	int n = X509_NAME_entry_count(name);

	ret->orgs = ARENA_ARRAY(a, struct str, (size_t)n + 1);
	for (int i = 0; i < n; i++) {
		const X509_NAME_ENTRY *entry = X509_NAME_get_entry(name, i);
		int nid = OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry));
		struct str text;
		if (nid != NID_commonName && nid != NID_organizationName)
			continue;
		if (!entry_text(a, entry, &text))
			return err_set(e, ERR_INVALID, "the request has a subject that is no text");
		if (nid == NID_organizationName)
			ret->orgs[ret->n_orgs++] = text;
		else if (ret->cn.p)
			return err_set(e, ERR_INVALID, "the request has more than one common name");
		else
			ret->cn = text;
	}
	return 0;
}

GENERAL_NAMES *pki_request_names(X509_REQ *request)
{
	STACK_OF(X509_EXTENSION) *extensions = X509_REQ_get_extensions(request);
	GENERAL_NAMES *names = X509V3_get_d2i(extensions, NID_subject_alt_name, NULL, NULL);

	sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
	for (int i = sk_GENERAL_NAME_num(names) - 1; i >= 0; i--) {
		int type = sk_GENERAL_NAME_value(names, i)->type;
		if (type != GEN_DNS && type != GEN_IPADD && type != GEN_EMAIL && type != GEN_URI)
			GENERAL_NAME_free(sk_GENERAL_NAME_delete(names, i));
	}
	return names;
}

static void count_names(X509_REQ *request, struct pki_request *ret)
{
	auto_(GENERAL_NAMES_free) GENERAL_NAMES *names = pki_request_names(request);

	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		int type = sk_GENERAL_NAME_value(names, i)->type;
		*(type == GEN_DNS                 ? &ret->n_dns :
				type == GEN_IPADD ? &ret->n_ips :
				type == GEN_EMAIL ? &ret->n_emails :
						    &ret->n_uris) += 1;
	}
}

int pki_request_parse(struct str pem, X509_REQ **ret, struct err *e)
{
	auto_(BIO_free) BIO *bio = BIO_new_mem_buf(pem.p ? pem.p : "", (int)MIN(pem.n, (size_t)PKI_REQUEST_MAX));
	auto_(X509_REQ_free) X509_REQ *request = PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL);

	if (!request)
		return err_set(
			e, ERR_INVALID, "PEM block type must be CERTIFICATE REQUEST, with a request that can be read");
	if (!X509_REQ_get0_pubkey(request) || X509_REQ_verify(request, X509_REQ_get0_pubkey(request)) != 1)
		return err_set(e, ERR_INVALID, "the request is not signed by its own key");
	*ret = TAKE(request);
	return 0;
}

int pki_request_read(struct arena *a, struct str pem, struct pki_request *ret, struct err *e)
{
	auto_(X509_REQ_free) X509_REQ *request = NULL;

	*ret = (struct pki_request){ 0 };
	if (pki_request_parse(pem, &request, e) < 0 || read_subject(a, X509_REQ_get_subject_name(request), ret, e) < 0)
		return -e->code;
	count_names(request, ret);
	return 0;
}

int pki_certificate_ends(struct str pem, int64_t *ret_s, struct err *e)
{
	auto_(BIO_free) BIO *bio = BIO_new_mem_buf(pem.p ? pem.p : "", (int)MIN(pem.n, (size_t)PKI_REQUEST_MAX));
	auto_(X509_free) X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	struct tm tm;

	if (!cert || ASN1_TIME_to_tm(X509_get0_notAfter(cert), &tm) != 1)
		return err_set(e, ERR_INVALID, "no PEM block of type CERTIFICATE that can be read");
	*ret_s = timegm(&tm);
	return 0;
}

static int check_block(const char *name, const char *header, const unsigned char *der, long n, struct err *e)
{
	const unsigned char *at = der;

	if (strcmp(name, "CERTIFICATE") != 0)
		return err_set(e, ERR_INVALID, "only CERTIFICATE PEM blocks are allowed, found \"%s\"", name);
	if (header[0])
		return err_set(e, ERR_INVALID, "no PEM block headers are permitted");
	auto_(X509_free) X509 *cert = d2i_X509(NULL, &at, n);
	if (!cert)
		return err_set(e, ERR_INVALID, "x509: malformed certificate");
	return at == der + n ? 0 : err_set(e, ERR_INVALID, "x509: trailing data");
}

int pki_certificates_check(struct str pem, struct err *e)
{
	auto_(BIO_free) BIO *bio = BIO_new_mem_buf(pem.p ? pem.p : "", (int)MIN(pem.n, (size_t)INT_MAX));
	char *name, *header;
	unsigned char *der;
	int blocks = 0, rc = 0;
	long n;

	while (rc >= 0 && PEM_read_bio(bio, &name, &header, &der, &n) == 1) {
		rc = check_block(name, header, der, n, e);
		blocks++;
		OPENSSL_free(name);
		OPENSSL_free(header);
		OPENSSL_free(der);
	}
	ERR_clear_error();
	return rc < 0 || blocks ? rc : err_set(e, ERR_INVALID, "must contain at least one CERTIFICATE PEM block");
}
