#include "base/file.h"
#include "base/test.h"
#include "seal/seal.h"
#include <stdio.h>
#include <unistd.h>

static char dir[] = "/tmp/kogge-seal-XXXXXX", keys[64], recovery_file[64], config[64];

static int make_folder(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	snprintf(keys, sizeof(keys), "%s/keys", dir);
	snprintf(recovery_file, sizeof(recovery_file), "%s/recovery-key", dir);
	snprintf(config, sizeof(config), "%s/config.yaml", dir);
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	unlink(keys);
	unlink(recovery_file);
	unlink(config);
	auto_free char *lock = xasprintf("%s-lock", keys);
	unlink(lock);
	return rmdir(dir);
}

static int forget_keys(void **state)
{
	(void)state;
	unlink(keys);
	unlink(recovery_file);
	return 0;
}

static void must(int r, const struct err *e)
{
	if (r < 0)
		fail_msg("%s", e->message);
}

static struct seal *open_seal(const char *config_file)
{
	struct seal *s = NULL;
	struct err e;

	err_init(&e);
	must(seal_open(keys, config_file, &s, &e), &e);
	return s;
}

static void make_keys(struct buf *recovery)
{
	bool made;
	struct err e;

	err_init(&e);
	must(seal_keys_make(keys, recovery_file, &made, &e), &e);
	assert_true(made);
	must(file_read(recovery_file, recovery, &e), &e);
	recovery->n--; /* the line's end */
}

static void put(struct seal *s, const char *resource, const char *key, struct buf *out)
{
	seal_value(s, str_c(resource), str_c(key), STR("{\"data\":\"canary\"}"), out);
}

static int get(struct seal *s, const char *resource, const char *key, struct buf *stored, bool *stale, struct err *e)
{
	auto_buf struct buf room = BUF_INIT;
	struct str plain;
	int r;

	err_init(e);
	r = seal_open_value(s, str_c(resource), str_c(key), buf_view(stored), &room, &plain, stale, e);
	if (r == 0)
		assert_true(str_is(plain, "{\"data\":\"canary\"}"));
	return r;
}

/* ---- values ---------------------------------------------------------------------------------- */

static void secrets_are_unreadable_and_others_as_they_were(void **state)
{
	auto_buf struct buf recovery = BUF_INIT, secret = BUF_INIT, map = BUF_INIT;
	auto_(seal_free) struct seal *s = NULL;
	bool stale;
	struct err e;

	(void)state;
	make_keys(&recovery);
	s = open_seal(NULL);
	assert_true(seal_covers(s, STR("secrets")));
	assert_false(seal_covers(s, STR("configmaps")));
	put(s, "secrets", "secrets/a/b", &secret);
	put(s, "configmaps", "configmaps/a/b", &map);
	assert_false(str_has(buf_view(&secret), STR("canary")));
	assert_true(str_is(buf_view(&map), "{\"data\":\"canary\"}"));
	assert_int_equal(get(s, "secrets", "secrets/a/b", &secret, &stale, &e), 0);
	assert_false(stale);
	assert_int_equal(get(s, "secrets", "secrets/a/b", &map, &stale, &e), 0); /* plain, from before */
	assert_true(stale);
}

static void a_value_that_moved_or_changed_is_refused(void **state)
{
	auto_buf struct buf recovery = BUF_INIT, secret = BUF_INIT;
	auto_(seal_free) struct seal *s = NULL;
	struct err e;

	(void)state;
	make_keys(&recovery);
	s = open_seal(NULL);
	put(s, "secrets", "secrets/a/b", &secret);
	assert_int_equal(get(s, "secrets", "secrets/a/c", &secret, NULL, &e), -ERR_INTERNAL);
	for (size_t i = 0; i < secret.n; i++) {
		secret.p[i] ^= 1;
		if (i >= sizeof("k8s:enc:") - 1) /* before, it is no longer said to be encrypted */
			assert_int_equal(get(s, "secrets", "secrets/a/b", &secret, NULL, &e), -ERR_INTERNAL);
		secret.p[i] ^= 1;
	}
	assert_int_equal(get(s, "secrets", "secrets/a/b", &secret, NULL, &e), 0);
	for (size_t n = sizeof("k8s:enc:") - 1; n < secret.n; n++) {
		struct buf part = { .p = secret.p, .n = n };

		assert_int_equal(get(s, "secrets", "secrets/a/b", &part, NULL, &e), -ERR_INTERNAL);
	}
}

static void a_new_key_writes_and_the_old_one_reads(void **state)
{
	auto_buf struct buf recovery = BUF_INIT, old = BUF_INIT, new = BUF_INIT, first = BUF_INIT;
	auto_(seal_free) struct seal *before = NULL, *after = NULL, *last = NULL;
	bool stale;
	struct err e;

	(void)state;
	make_keys(&recovery);
	before = open_seal(NULL);
	put(before, "secrets", "k", &old);
	must(seal_keys_rotate(keys, &e), &e);
	after = open_seal(NULL);
	assert_int_equal(get(after, "secrets", "k", &old, &stale, &e), 0);
	assert_true(stale);
	put(after, "secrets", "k", &new);
	seal_first_key(after, &first);
	assert_true(str_eq(seal_key_of(buf_view(&new)), buf_view(&first)));
	assert_false(str_eq(seal_key_of(buf_view(&old)), buf_view(&first)));
	must(seal_keys_rotate(keys, &e), &e); /* a third key that `after` does not know: it stays */
	must(seal_keys_retire(after, &e), &e);
	last = open_seal(NULL);
	assert_int_equal(get(last, "secrets", "k", &new, &stale, &e), 0);
	assert_true(stale);
	assert_int_equal(get(last, "secrets", "k", &old, &stale, &e), -ERR_INTERNAL);
	assert_non_null(strstr(e.message, "key file"));
}

/* What the oldest key wrote may still be there. */
static void no_key_goes_for_a_new_one(void **state)
{
	auto_buf struct buf recovery = BUF_INIT, old = BUF_INIT;
	auto_(seal_free) struct seal *before = NULL, *after = NULL;
	int n = 1;
	struct err e;

	(void)state;
	err_init(&e);
	make_keys(&recovery);
	before = open_seal(NULL);
	put(before, "secrets", "k", &old);
	while (n < 40 && seal_keys_rotate(keys, &e) == 0)
		n++;
	assert_int_equal(n, 16);
	assert_int_equal(e.code, ERR_FULL);
	after = open_seal(NULL);
	assert_int_equal(get(after, "secrets", "k", &old, NULL, &e), 0);
}

/* ---- recovery -------------------------------------------------------------------------------- */

static void no_key_is_made_without_its_recovery_key(void **state)
{
	struct err e;
	bool made = true;

	(void)state;
	err_init(&e);
	auto_free char *nowhere = xasprintf("%s/none/recovery-key", dir);
	assert_int_equal(seal_keys_make(keys, nowhere, &made, &e), -ERR_NOT_FOUND);
	assert_false(made);
	assert_int_equal(access(keys, F_OK), -1);
}

/* Of a cluster whose key file is gone: the administrator has it, and its snapshots want it. */
static void a_recovery_key_that_is_there_stays(void **state)
{
	auto_buf struct buf recovery = BUF_INIT, old = BUF_INIT, text = BUF_INIT, now = BUF_INIT;
	auto_(seal_free) struct seal *first = NULL, *second = NULL;
	size_t added;
	bool made = true;
	struct err e;

	(void)state;
	err_init(&e);
	make_keys(&recovery);
	first = open_seal(NULL);
	put(first, "secrets", "k", &old);
	seal_recovery_text(first, &text);
	unlink(keys);
	must(seal_keys_make(keys, recovery_file, &made, &e), &e);
	assert_false(made);
	must(file_read(recovery_file, &now, &e), &e);
	assert_true(str_starts(buf_view(&now), buf_view(&recovery)));
	must(seal_recover(keys, buf_view(&text), buf_view(&now), &added, &e), &e);
	assert_int_equal(added, 1);
	second = open_seal(NULL);
	assert_int_equal(get(second, "secrets", "k", &old, NULL, &e), 0);
}

static void a_wrong_recovery_key_makes_nothing(void **state)
{
	auto_buf struct buf recovery = BUF_INIT, old = BUF_INIT, new = BUF_INIT, text = BUF_INIT;
	auto_(seal_free) struct seal *first = NULL, *second = NULL;
	size_t added = 0;
	struct err e;

	(void)state;
	err_init(&e);
	make_keys(&recovery);
	assert_int_equal(recovery.n, 52 + 12); /* 13 groups of four */
	first = open_seal(NULL);
	put(first, "secrets", "k", &old);
	must(seal_keys_rotate(keys, &e), &e);
	second = open_seal(NULL);
	put(second, "secrets", "k", &new);
	seal_recovery_text(second, &text);
	assert_true(seal_recovery_fits(second, buf_view(&text)));
	assert_false(seal_recovery_fits(first, buf_view(&text)));

	unlink(keys);
	assert_int_equal(seal_recover(keys, buf_view(&text), STR(""), &added, &e), -ERR_UNAUTHORIZED);
	recovery.p[0] = recovery.p[0] == 'A' ? 'B' : 'A';
	assert_int_equal(seal_recover(keys, buf_view(&text), buf_view(&recovery), &added, &e), -ERR_FORBIDDEN);
	assert_int_equal(access(keys, F_OK), -1); /* a refusal makes nothing */
}

static void recovery_with_the_right_key(void **state)
{
	auto_buf struct buf recovery = BUF_INIT, old = BUF_INIT, new = BUF_INIT, text = BUF_INIT;
	auto_(seal_free) struct seal *first = NULL, *second = NULL, *restored = NULL;
	size_t added = 0;
	bool stale;
	struct err e;

	(void)state;
	err_init(&e);
	make_keys(&recovery);
	first = open_seal(NULL);
	put(first, "secrets", "k", &old);
	must(seal_keys_rotate(keys, &e), &e);
	second = open_seal(NULL);
	put(second, "secrets", "k", &new);
	seal_recovery_text(second, &text);
	unlink(keys);
	for (size_t i = 0; i < recovery.n; i++) /* as people type it */
		recovery.p[i] = recovery.p[i] == '-' ? ' ' : (char)(recovery.p[i] | (recovery.p[i] >= 'A' ? 0x20 : 0));
	must(seal_recover(keys, buf_view(&text), buf_view(&recovery), &added, &e), &e);
	assert_int_equal(added, 2);
	restored = open_seal(NULL);
	assert_int_equal(get(restored, "secrets", "k", &new, &stale, &e), 0);
	assert_false(stale);
	assert_int_equal(get(restored, "secrets", "k", &old, NULL, &e), 0);
	must(seal_recover(keys, buf_view(&text), STR(""), &added, &e), &e); /* nothing is missing: no key needed */
	assert_int_equal(added, 0);
}

/* ---- files ----------------------------------------------------------------------------------- */

static void configured_providers(void **state)
{
	static const char text[] =
		"apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n"
		"- resources: [secrets, '*.apps']\n  providers:\n"
		"  - aesgcm: {keys: [{name: new, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}]}\n"
		"  - aescbc: {keys: [{name: old, secret: MDEyMzQ1Njc4OWFiY2RlZg==}]}\n  - identity: {}\n"
		"- resources: [configmaps]\n  providers:\n"
		"  - aescbc: {keys: [{name: old, secret: MDEyMzQ1Njc4OWFiY2RlZg==}]}\n";
	auto_buf struct buf recovery = BUF_INIT, own = BUF_INIT, with_cbc = BUF_INIT, with_gcm = BUF_INIT;
	auto_(seal_free) struct seal *plain = NULL, *s = NULL;
	bool stale;
	struct err e;

	(void)state;
	err_init(&e);
	make_keys(&recovery);
	plain = open_seal(NULL);
	put(plain, "secrets", "k", &own);
	must(file_write(config, str_c(text), 0600, &e), &e);
	s = open_seal(config);
	assert_true(seal_covers(s, STR("deployments.apps")));
	assert_false(seal_covers(s, STR("jobs.batch")));
	put(s, "secrets", "k", &with_gcm);
	put(s, "configmaps", "k", &with_cbc);
	assert_true(str_is(seal_key_of(buf_view(&with_gcm)), "aesgcm:v1:new"));
	assert_true(str_is(seal_key_of(buf_view(&with_cbc)), "aescbc:v1:old"));
	assert_int_equal(get(s, "secrets", "k", &with_gcm, &stale, &e), 0);
	assert_false(stale);
	assert_int_equal(get(s, "secrets", "k", &with_cbc, &stale, &e), 0); /* its second provider */
	assert_true(stale);
	assert_int_equal(get(s, "secrets", "k", &own, &stale, &e), 0); /* from before there was a configuration */
	assert_true(stale);
}

static void wrong_files_are_named(void **state)
{
	static const struct {
		const char *text, *says;
	} configs[] = {
		{ "kind: Pod\n", "EncryptionConfiguration" },
		{ "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n", "at least one rule" },
		{ "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources: [{resources: "
		  "[secrets], providers: [{secretbox: {}}]}]\n",
			"secretbox" },
		{ "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources: [{resources: "
		  "[secrets], providers: [{aesgcm: {keys: [{name: a, secret: MDEy}]}}]}]\n",
			"16, 24 or 32" },
	};
	auto_buf struct buf recovery = BUF_INIT;
	struct seal *s = NULL;
	struct err e;

	(void)state;
	err_init(&e);
	make_keys(&recovery);
	for (size_t i = 0; i < ARRAY_LEN(configs); i++) {
		must(file_write(config, str_c(configs[i].text), 0600, &e), &e);
		assert_true(seal_open(keys, config, &s, &e) < 0);
		assert_non_null(strstr(e.message, configs[i].says));
	}
	must(file_write(keys, STR("# ours\nkey dG9vIHNob3J0\n"), 0600, &e), &e);
	assert_true(seal_open(keys, NULL, &s, &e) < 0);
	assert_non_null(strstr(e.message, "line 2"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(secrets_are_unreadable_and_others_as_they_were, forget_keys),
		cmocka_unit_test_setup(a_value_that_moved_or_changed_is_refused, forget_keys),
		cmocka_unit_test_setup(a_new_key_writes_and_the_old_one_reads, forget_keys),
		cmocka_unit_test_setup(no_key_goes_for_a_new_one, forget_keys),
		cmocka_unit_test_setup(no_key_is_made_without_its_recovery_key, forget_keys),
		cmocka_unit_test_setup(a_recovery_key_that_is_there_stays, forget_keys),
		cmocka_unit_test_setup(a_wrong_recovery_key_makes_nothing, forget_keys),
		cmocka_unit_test_setup(recovery_with_the_right_key, forget_keys),
		cmocka_unit_test_setup(configured_providers, forget_keys),
		cmocka_unit_test_setup(wrong_files_are_named, forget_keys),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
