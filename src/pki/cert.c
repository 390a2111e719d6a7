/* The CA and the leaves below it. */
#include "pki/pki_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#define HOUR_S 3600L
#define DAY_S (24 * HOUR_S)
#define CA_S (3650 * DAY_S)
#define LEAF_S (365 * DAY_S)

static bool add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *ext;
	bool added;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	added = ext && X509_add_ext(cert, ext, -1);
	X509_EXTENSION_free(ext);
	return added;
}

/* version, serial, validity: what every certificate of ours has */
static bool begin(X509 *cert, int64_t seconds)
{
	unsigned char serial[16];
	BIGNUM *number;
	bool ok;

	RAND_bytes(serial, sizeof(serial));
	serial[0] &= 0x7f;
	number = BN_bin2bn(serial, sizeof(serial), NULL);
	ok = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert)) &&
		X509_set_version(cert, X509_VERSION_3) && X509_gmtime_adj(X509_getm_notBefore(cert), -HOUR_S) &&
		X509_gmtime_adj(X509_getm_notAfter(cert), seconds);
	BN_free(number);
	return ok;
}

static bool add_name(X509_NAME *name, const char *field, const char *value)
{
	return X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8, (const unsigned char *)value, -1, -1, 0);
}

static bool is_address(const char *s)
{
	unsigned char bytes[16];

	return inet_pton(AF_INET, s, bytes) == 1 || inet_pton(AF_INET6, s, bytes) == 1;
}

static bool add_sans(X509 *cert, const char *const *sans)
{
	auto_buf struct buf text = BUF_INIT;

	for (size_t i = 0; sans && sans[i]; i++)
		buf_printf(&text, "%s%s:%s", i ? "," : "", is_address(sans[i]) ? "IP" : "DNS", sans[i]);
	if (!text.n)
		return true;
	buf_byte(&text, 0);
	return add_extension(cert, NULL, NID_subject_alt_name, text.p);
}

static int make_dir(const char *dir, struct err *e)
{
	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return err_errno(e, errno, "make folder %s", dir);
	return 0;
}

/* The key is on the disk before there is a certificate of it. Who was interrupted in between left the key alone. */
static int ca_key(const char *path, EVP_PKEY **ret, struct err *e)
{
	EVP_PKEY *key;

	if (pki_exists(path))
		return pki_key_load(path, ret, e);
	key = pki_key_new();
	if (pki_key_save(path, key, e) < 0 || file_sync_name(path, e) < 0) {
		EVP_PKEY_free(key);
		return -e->code;
	}
	*ret = key;
	return 0;
}

int pki_ca(const char *dir, const char *ca_name, const char *common_name, struct err *e)
{
	auto_free char *crt = pki_path(dir, ca_name, ".crt"), *key_path = pki_path(dir, ca_name, ".key");
	auto_(EVP_PKEY_free) EVP_PKEY *key = NULL;
	auto_(X509_free) X509 *cert = NULL;

	if (make_dir(dir, e) < 0)
		return -e->code;
	if (pki_exists(crt))
		return pki_exists(key_path) ?
			0 :
			err_set(e, ERR_IO, "%s is there without %s: restore the key from a backup", crt, key_path);
	if (ca_key(key_path, &key, e) < 0)
		return -e->code;
	cert = X509_new();
	if (!begin(cert, CA_S) || !add_name(X509_get_subject_name(cert), "CN", common_name) ||
		!X509_set_issuer_name(cert, X509_get_subject_name(cert)) || !X509_set_pubkey(cert, key) ||
		!add_extension(cert, cert, NID_basic_constraints, "critical,CA:TRUE") ||
		!add_extension(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign,digitalSignature") ||
		!add_extension(cert, cert, NID_subject_key_identifier, "hash") || !X509_sign(cert, key, EVP_sha256()))
		return pki_openssl_err(e, "make the certificate authority");
	return pki_cert_save(crt, cert, e);
}

static bool covers(X509 *cert, const char *const *sans)
{
	for (size_t i = 0; sans && sans[i]; i++) {
		bool found = is_address(sans[i]) ? X509_check_ip_asc(cert, sans[i], 0) == 1 :
						   X509_check_host(cert, sans[i], 0, 0, NULL) == 1;
		if (!found)
			return false;
	}
	return true;
}

static bool add_subject(X509 *cert, const struct pki_leaf *leaf)
{
	X509_NAME *name = X509_get_subject_name(cert);

	for (size_t i = 0; leaf->orgs && leaf->orgs[i]; i++)
		if (!add_name(name, "O", leaf->orgs[i]))
			return false;
	return add_name(name, "CN", leaf->cn);
}

static bool has_subject(X509 *cert, const struct pki_leaf *leaf)
{
	auto_(X509_free) X509 *wanted = X509_new();

	return add_subject(wanted, leaf) &&
		X509_NAME_cmp(X509_get_subject_name(cert), X509_get_subject_name(wanted)) == 0;
}

/* true: the certificate on disk will do for a while, is of this CA, says who it is for and covers every wanted name */
static bool still_good(const char *crt, const char *key_path, X509 *ca, const struct pki_leaf *leaf)
{
	auto_(X509_free) X509 *cert = NULL;
	auto_(EVP_PKEY_free) EVP_PKEY *key = NULL;
	struct err ignored;
	time_t later = time(NULL) + LEAF_S / 3;

	err_init(&ignored);
	if (!pki_exists(crt) || !pki_exists(key_path))
		return false;
	if (pki_cert_load(crt, &cert, &ignored) < 0 || pki_key_load(key_path, &key, &ignored) < 0)
		return false;
	return X509_verify(cert, X509_get0_pubkey(ca)) == 1 && X509_check_private_key(cert, key) == 1 &&
		X509_cmp_time(X509_get0_notAfter(cert), &later) > 0 &&
		X509_cmp_time(X509_get0_notBefore(cert), NULL) < 0 && has_subject(cert, leaf) &&
		covers(cert, leaf->sans);
}

/* The words of OpenSSL's configuration for some usages, of one extension; "" for none. */
static const char *usage_words(unsigned usages, char *room, size_t max, bool extended)
{
	static const struct {
		enum pki_usage usage;
		bool extended;
		const char *word;
	} words[] = {
		{ PKI_DIGITAL_SIGNATURE, false, "digitalSignature" },
		{ PKI_KEY_ENCIPHERMENT, false, "keyEncipherment" },
		{ PKI_SERVER_AUTH, true, "serverAuth" },
		{ PKI_CLIENT_AUTH, true, "clientAuth" },
	};
	size_t n = 0;

	room[0] = 0;
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if ((usages & words[i].usage) && words[i].extended == extended)
			n += (size_t)snprintf(room + n, max - n, "%s%s",
				n                ? "," :
					extended ? "" :
						   "critical,",
				words[i].word);
	return room;
}

static bool add_usages(X509 *cert, X509 *ca, unsigned usages)
{
	char key[80], extended[80];

	usage_words(usages, key, sizeof(key), false);
	usage_words(usages, extended, sizeof(extended), true);
	return (!key[0] || add_extension(cert, ca, NID_key_usage, key)) &&
		(!extended[0] || add_extension(cert, ca, NID_ext_key_usage, extended));
}

static bool finish(X509 *cert, X509 *ca, EVP_PKEY *ca_key, unsigned usages)
{
	return X509_set_issuer_name(cert, X509_get_subject_name(ca)) &&
		add_extension(cert, ca, NID_basic_constraints, "critical,CA:FALSE") && add_usages(cert, ca, usages) &&
		add_extension(cert, ca, NID_authority_key_identifier, "keyid") && X509_sign(cert, ca_key, EVP_sha256());
}

static int load_ca(const char *dir, const char *ca_name, X509 **ret_cert, EVP_PKEY **ret_key, struct err *e)
{
	auto_free char *crt = pki_path(dir, ca_name, ".crt"), *key = pki_path(dir, ca_name, ".key");

	if (pki_cert_load(crt, ret_cert, e) < 0)
		return -e->code;
	return pki_key_load(key, ret_key, e);
}

int pki_leaf(const char *ca_dir, const char *ca_name, const struct pki_leaf *leaf, bool *renewed, struct err *e)
{
	const char *dir = leaf->dir ? leaf->dir : ca_dir;
	auto_free char *crt = pki_path(dir, leaf->name, ".crt"), *key_path = pki_path(dir, leaf->name, ".key");
	auto_(X509_free) X509 *ca = NULL, *cert = NULL;
	auto_(EVP_PKEY_free) EVP_PKEY *ca_key = NULL, *key = NULL;

	if (make_dir(dir, e) < 0 || load_ca(ca_dir, ca_name, &ca, &ca_key, e) < 0)
		return err_wrap(e, "certificate %s", leaf->name);
	if (renewed)
		*renewed = false;
	if (still_good(crt, key_path, ca, leaf))
		return 0;
	key = pki_key_new();
	cert = X509_new();
	if (!begin(cert, LEAF_S) || !add_subject(cert, leaf) || !X509_set_pubkey(cert, key) ||
		!add_sans(cert, leaf->sans) ||
		!finish(cert, ca, ca_key,
			PKI_DIGITAL_SIGNATURE | (leaf->server ? PKI_SERVER_AUTH : 0) |
				(leaf->client ? PKI_CLIENT_AUTH : 0)))
		return pki_openssl_err(e, "make a certificate");
	if (pki_key_save(key_path, key, e) < 0 || pki_cert_save(crt, cert, e) < 0)
		return -e->code;
	if (renewed)
		*renewed = true;
	return 0;
}

int pki_signing_key(const char *dir, const char *name, struct err *e)
{
	auto_free char *private_path = pki_path(dir, name, ".key"), *public_path = pki_path(dir, name, ".pub");
	auto_(EVP_PKEY_free) EVP_PKEY *key = NULL;

	if (make_dir(dir, e) < 0)
		return -e->code;
	if (pki_exists(private_path) && pki_exists(public_path))
		return 0;
	if (pki_exists(private_path)) {
		if (pki_key_load(private_path, &key, e) < 0)
			return -e->code;
	} else {
		key = pki_key_new();
		if (pki_key_save(private_path, key, e) < 0)
			return -e->code;
	}
	return pki_public_save(public_path, key, e);
}

/* The names a request asks for are taken over; nothing else of its extensions is. */
static bool copy_names(X509 *cert, X509_REQ *request)
{
	GENERAL_NAMES *names = pki_request_names(request);
	bool ok = sk_GENERAL_NAME_num(names) <= 0 || X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, 0) == 1;

	GENERAL_NAMES_free(names);
	return ok;
}

/* A certificate that outlives its issuer is not believed after that anyway. */
static bool end_with(X509 *cert, X509 *ca)
{
	return ASN1_TIME_compare(X509_get0_notAfter(cert), X509_get0_notAfter(ca)) <= 0 ||
		X509_set1_notAfter(cert, X509_get0_notAfter(ca));
}

int pki_sign_request(const char *dir, const char *ca_name, struct str csr_pem, int64_t seconds, unsigned usages,
	char **ret_pem, struct err *e)
{
	auto_(X509_REQ_free) X509_REQ *request = NULL;
	auto_(X509_free) X509 *ca = NULL, *cert = NULL;
	auto_(EVP_PKEY_free) EVP_PKEY *ca_key = NULL;
	auto_buf struct buf text = BUF_INIT;

	if (pki_request_parse(csr_pem, &request, e) < 0 || load_ca(dir, ca_name, &ca, &ca_key, e) < 0)
		return -e->code;
	cert = X509_new();
	if (!begin(cert, seconds) || !end_with(cert, ca) ||
		!X509_set_subject_name(cert, X509_REQ_get_subject_name(request)) ||
		!X509_set_pubkey(cert, X509_REQ_get0_pubkey(request)) || !copy_names(cert, request) ||
		!finish(cert, ca, ca_key, usages))
		return pki_openssl_err(e, "sign the certificate request");
	if (pki_cert_text(cert, &text, e) < 0)
		return -e->code;
	*ret_pem = buf_take(&text, NULL);
	return 0;
}
