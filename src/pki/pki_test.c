#include "base/test.h"
#include "pki/pki.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char dir[] = "/tmp/kogge-pki-XXXXXX";

static int make_folder(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_folder(void **state)
{
	static const char *const names[] = { "ca.crt", "ca.key", "server.crt", "server.key", "sa.key", "sa.pub",
		"other.key", "other.pub", "alone.crt", "alone.key" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		auto_free char *path = xasprintf("%s/%s", dir, names[i]);
		unlink(path);
	}
	return rmdir(dir);
}

static void a_leaf_is_kept_while_it_says_what_is_wanted(void **state)
{
	static const char *const team[] = { "team", NULL };
	static const char *const few[] = { "127.0.0.1", "kubernetes", NULL };
	static const char *const more[] = { "127.0.0.1", "kubernetes", "fd00::1", NULL };
	struct pki_leaf leaf = { .name = "server", .cn = "kogge", .sans = few, .server = true };
	bool renewed;
	struct err e;

	(void)state;
	err_init(&e);
	assert_int_equal(pki_ca(dir, "ca", "kogge", &e), 0);
	assert_int_equal(pki_leaf(dir, "ca", &leaf, &renewed, &e), 0);
	assert_true(renewed);
	assert_int_equal(pki_leaf(dir, "ca", &leaf, &renewed, &e), 0);
	assert_false(renewed);
	leaf.sans = more;
	assert_int_equal(pki_leaf(dir, "ca", &leaf, &renewed, &e), 0);
	assert_true(renewed);
	leaf.orgs = team;
	assert_int_equal(pki_leaf(dir, "ca", &leaf, &renewed, &e), 0);
	assert_true(renewed);
	assert_int_equal(pki_leaf(dir, "ca", &leaf, &renewed, &e), 0);
	assert_false(renewed);
}

static void private_keys_are_private(void **state)
{
	auto_free char *path = xasprintf("%s/ca.key", dir);
	struct stat st;

	(void)state;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void half_a_certificate_authority_is_refused(void **state)
{
	auto_free char *path = xasprintf("%s/ca.key", dir), *aside = xasprintf("%s/other.key", dir);
	struct err e;

	(void)state;
	err_init(&e);
	assert_int_equal(rename(path, aside), 0);
	assert_int_equal(pki_ca(dir, "ca", "kogge", &e), -ERR_IO);
	assert_int_equal(rename(aside, path), 0);
}

static void a_key_alone_gets_its_certificate_again(void **state)
{
	auto_free char *path = xasprintf("%s/ca.crt", dir);
	struct pki_leaf leaf = { .name = "alone", .cn = "kogge", .client = true };
	bool renewed;
	struct err e;

	(void)state;
	err_init(&e);
	assert_int_equal(pki_leaf(dir, "ca", &leaf, &renewed, &e), 0);
	assert_true(renewed);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(pki_ca(dir, "ca", "kogge", &e), 0);
	assert_int_equal(pki_leaf(dir, "ca", &leaf, &renewed, &e), 0);
	assert_false(renewed);
}

static struct pki_signer *signer(const char *name)
{
	auto_free char *path = xasprintf("%s/%s.key", dir, name);
	struct pki_signer *s = NULL;
	struct err e;

	err_init(&e);
	assert_int_equal(pki_signing_key(dir, name, &e), 0);
	assert_int_equal(pki_signer_new(path, &s, &e), 0);
	return s;
}

static void a_token_comes_back_and_a_changed_one_does_not(void **state)
{
	auto_(pki_signer_free) struct pki_signer *ours = signer("sa"), *theirs = signer("other");
	auto_free char *token = NULL;
	auto_buf struct buf payload = BUF_INIT;
	struct str claims = STR("{\"sub\":\"system:serviceaccount:default:web\"}");
	struct err e;

	(void)state;
	err_init(&e);
	assert_int_equal(pki_sign_token(ours, claims, &token, &e), 0);
	assert_int_equal(pki_verify_token(ours, str_c(token), &payload, &e), 0);
	assert_true(str_eq(buf_view(&payload), claims));
	assert_int_equal(pki_verify_token(theirs, str_c(token), &payload, &e), -ERR_UNAUTHORIZED);
	for (size_t i = 0; token[i]; i++) {
		char was = token[i];

		token[i] = was == 'A' ? 'B' : 'A';
		assert_int_equal(pki_verify_token(ours, str_c(token), &payload, &e), -ERR_UNAUTHORIZED);
		token[i] = was;
	}
}

/* ---- requests -------------------------------------------------------------------------------- */

/* second_cn: one more common name; its bytes may hold NULs */
static char *request_pem(const char *sans, struct str second_cn)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509_REQ *request = X509_REQ_new();
	X509_NAME *name = X509_REQ_get_subject_name(request);
	STACK_OF(X509_EXTENSION) *extensions = sk_X509_EXTENSION_new_null();
	BIO *bio = BIO_new(BIO_s_mem());
	char *text, *copy;
	long n;

	X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8, (const unsigned char *)"system:nodes", -1, -1, 0);
	X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8, (const unsigned char *)"dock", -1, -1, 0);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)"system:node:a", -1, -1, 0);
	if (second_cn.p)
		X509_NAME_add_entry_by_txt(
			name, "CN", MBSTRING_UTF8, (const unsigned char *)second_cn.p, (int)second_cn.n, -1, 0);
	sk_X509_EXTENSION_push(extensions, X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, sans));
	sk_X509_EXTENSION_push(extensions, X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, "critical,CA:TRUE"));
	X509_REQ_add_extensions(request, extensions);
	X509_REQ_set_pubkey(request, key);
	X509_REQ_sign(request, key, EVP_sha256());
	PEM_write_bio_X509_REQ(bio, request);
	n = BIO_get_mem_data(bio, &text);
	copy = xstrndup(text, (size_t)n);
	BIO_free(bio);
	sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
	X509_REQ_free(request);
	EVP_PKEY_free(key);
	return copy;
}

static void a_request_says_what_it_asks_for(void **state)
{
	auto_free char *pem = request_pem("DNS:a.dock,DNS:b.dock,IP:10.0.0.1,email:a@b.c,URI:spiffe://x", STR_NULL);
	auto_(arena_free) struct arena *a = arena_new();
	struct pki_request r;
	struct err e;
	char *changed;

	(void)state;
	err_init(&e);
	assert_int_equal(pki_request_read(a, str_c(pem), &r, &e), 0);
	assert_true(str_is(r.cn, "system:node:a"));
	assert_int_equal(r.n_orgs, 2);
	assert_true(str_is(r.orgs[1], "dock"));
	assert_int_equal(r.n_dns, 2);
	assert_int_equal(r.n_ips, 1);
	assert_int_equal(r.n_emails, 1);
	assert_int_equal(r.n_uris, 1);
	assert_int_equal(pki_request_read(a, STR("-----BEGIN CERTIFICATE-----"), &r, &e), -ERR_INVALID);
	changed = strstr(pem, "\n") + 30; /* in its subject */
	*changed = *changed == 'A' ? 'B' : 'A';
	assert_int_equal(pki_request_read(a, str_c(pem), &r, &e), -ERR_INVALID);
}

/* Authentication would read one name, and the approver another. */
static void a_subject_with_two_readings_is_refused(void **state)
{
	auto_free char *two = request_pem("DNS:a", STR("system:kube-controller-manager")),
		       *nul = request_pem("DNS:a", STR("x\0y"));
	auto_(arena_free) struct arena *a = arena_new();
	struct pki_request r;
	struct err e;

	(void)state;
	err_init(&e);
	assert_int_equal(pki_request_read(a, str_c(two), &r, &e), -ERR_INVALID);
	assert_non_null(strstr(e.message, "more than one common name"));
	assert_int_equal(pki_request_read(a, str_c(nul), &r, &e), -ERR_INVALID);
	assert_non_null(strstr(e.message, "no text"));
}

static void a_signed_request_has_its_names_and_usages_and_is_no_authority(void **state)
{
	auto_free char *pem = request_pem("DNS:a.dock", STR_NULL), *signed_pem = NULL;
	struct err e;
	int64_t ends;
	X509 *cert;
	BIO *bio;

	(void)state;
	err_init(&e);
	assert_int_equal(pki_ca(dir, "ca", "kogge", &e), 0);
	assert_int_equal(
		pki_sign_request(dir, "ca", str_c(pem), 7200, PKI_DIGITAL_SIGNATURE | PKI_SERVER_AUTH, &signed_pem, &e),
		0);
	assert_int_equal(pki_certificate_ends(str_c(signed_pem), &ends, &e), 0);
	assert_in_range(ends - time(NULL), 7100, 7200);
	bio = BIO_new_mem_buf(signed_pem, -1);
	cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	assert_int_equal(X509_check_host(cert, "a.dock", 0, 0, NULL), 1);
	assert_int_equal(X509_check_ca(cert), 0);
	assert_int_equal(X509_get_extended_key_usage(cert), XKU_SSL_SERVER);
	assert_int_equal(X509_get_key_usage(cert), KU_DIGITAL_SIGNATURE);
	X509_free(cert);
	BIO_free(bio);
	free(TAKE(signed_pem));
	/* longer than the authority itself */
	assert_int_equal(
		pki_sign_request(dir, "ca", str_c(pem), INT64_C(86400) * 36500, PKI_CLIENT_AUTH, &signed_pem, &e), 0);
	assert_int_equal(pki_certificate_ends(str_c(signed_pem), &ends, &e), 0);
	assert_true(ends - time(NULL) <= 86400 * 3650);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_leaf_is_kept_while_it_says_what_is_wanted),
		cmocka_unit_test(private_keys_are_private),
		cmocka_unit_test(half_a_certificate_authority_is_refused),
		cmocka_unit_test(a_key_alone_gets_its_certificate_again),
		cmocka_unit_test(a_request_says_what_it_asks_for),
		cmocka_unit_test(a_subject_with_two_readings_is_refused),
		cmocka_unit_test(a_signed_request_has_its_names_and_usages_and_is_no_authority),
		cmocka_unit_test(a_token_comes_back_and_a_changed_one_does_not),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
