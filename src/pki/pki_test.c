#include "pki/pki.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[] = "/tmp/kogge-pki-XXXXXX";

static int make_folder(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_folder(void **state)
{
	static const char *const names[] = { "ca.crt", "ca.key", "server.crt", "server.key", "sa.key", "sa.pub", "other.key", "other.pub" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		auto_free char *path = xasprintf("%s/%s", dir, names[i]);
		unlink(path);
	}
	return rmdir(dir);
}

static void a_leaf_is_kept_until_it_misses_a_name(void **state)
{
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_leaf_is_kept_until_it_misses_a_name),
		cmocka_unit_test(private_keys_are_private),
		cmocka_unit_test(half_a_certificate_authority_is_refused),
		cmocka_unit_test(a_token_comes_back_and_a_changed_one_does_not),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
