/* What certificate requests ask for, and when certificates end. */
#include "pki/pki_internal.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>

static struct str entry_text(struct arena *a, const X509_NAME_ENTRY *entry)
{
	const ASN1_STRING *s = X509_NAME_ENTRY_get_data(entry);
	unsigned char *utf8 = NULL;
	int n = ASN1_STRING_to_UTF8(&utf8, s);
	struct str text = n < 0 ? STR("") : arena_str(a, str_n((char *)utf8, (size_t)n));

	OPENSSL_free(utf8);
	return text;
}

static void read_subject(struct arena *a, const X509_NAME *name, struct pki_request *ret)
{
	int n = X509_NAME_entry_count(name);

	ret->orgs = ARENA_ARRAY(a, struct str, (size_t)n + 1);
	for (int i = 0; i < n; i++) {
		const X509_NAME_ENTRY *entry = X509_NAME_get_entry(name, i);
		int nid = OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry));
		if (nid == NID_commonName)
			ret->cn = entry_text(a, entry);
		else if (nid == NID_organizationName)
			ret->orgs[ret->n_orgs++] = entry_text(a, entry);
	}
}

static void count_names(const STACK_OF(X509_EXTENSION) *extensions, struct pki_request *ret)
{
	GENERAL_NAMES *names = X509V3_get_d2i(extensions, NID_subject_alt_name, NULL, NULL);

	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		switch (sk_GENERAL_NAME_value(names, i)->type) {
		case GEN_DNS:
			ret->n_dns++;
			break;
		case GEN_IPADD:
			ret->n_ips++;
			break;
		case GEN_EMAIL:
			ret->n_emails++;
			break;
		case GEN_URI:
			ret->n_uris++;
			break;
		default:
			break;
		}
	}
	GENERAL_NAMES_free(names);
}

int pki_request_parse(struct str pem, X509_REQ **ret, struct err *e)
{
	auto_(BIO_free) BIO *bio = BIO_new_mem_buf(pem.p, (int)MIN(pem.n, (size_t)PKI_REQUEST_MAX));
	auto_(X509_REQ_free) X509_REQ *request = PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL);

	if (!request)
		return err_set(e, ERR_INVALID, "PEM block type must be CERTIFICATE REQUEST, with a request that can be read");
	if (X509_REQ_verify(request, X509_REQ_get0_pubkey(request)) != 1)
		return err_set(e, ERR_INVALID, "the request is not signed by its own key");
	*ret = TAKE(request);
	return 0;
}

int pki_request_read(struct arena *a, struct str pem, struct pki_request *ret, struct err *e)
{
	auto_(X509_REQ_free) X509_REQ *request = NULL;
	STACK_OF(X509_EXTENSION) *extensions;

	*ret = (struct pki_request){ 0 };
	if (pki_request_parse(pem, &request, e) < 0)
		return -e->code;
	read_subject(a, X509_REQ_get_subject_name(request), ret);
	extensions = X509_REQ_get_extensions(request);
	count_names(extensions, ret);
	sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
	return 0;
}

int pki_certificate_ends(struct str pem, int64_t *ret_s, struct err *e)
{
	auto_(BIO_free) BIO *bio = BIO_new_mem_buf(pem.p, (int)MIN(pem.n, (size_t)PKI_REQUEST_MAX));
	auto_(X509_free) X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	struct tm tm;

	if (!cert || ASN1_TIME_to_tm(X509_get0_notAfter(cert), &tm) != 1)
		return err_set(e, ERR_INVALID, "no PEM block of type CERTIFICATE that can be read");
	*ret_s = timegm(&tm);
	return 0;
}
