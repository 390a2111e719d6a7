/* What is encrypted anew, on a disk that is full when a server begins with a new key. */
#include "api/api_fixture.h"
#include "base/file.h"
#include "store/disk_fixture.h"
#include <stdatomic.h>
#include <unistd.h>

#define SECRETS "/api/v1/namespaces/default/secrets"
#define WAIT_MS 30000

/* ---- a disk ---------------------------------------------------------------------------------- */

static atomic_bool full;

static int on_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
	return full ? SQLITE_FULL : disk_real(f)->xWrite(f, p, n, at);
}

static void fills(sqlite3_io_methods *m)
{
	m->xWrite = on_write;
}

/* ---- a server on it -------------------------------------------------------------------------- */

static char dir[] = "/tmp/kogge-upkeep-XXXXXX", keys[64], recovery[64], db[64];

struct server {
	struct fixture f;
	struct seal *seal;
};

static void begin(struct server *s)
{
	struct api_opts o = { .no_authz = true, .compact_every_s = 1 };
	struct err e;

	*s = (struct server){ 0 };
	err_init(&e);
	if (seal_open(keys, NULL, &s->seal, &e) < 0 ||
		store_open_sqlite(&(struct store_sqlite_opts){ .path = db }, &s->f.store, &e) < 0)
		fail_msg("%s", e.message);
	o.store = s->f.store;
	o.seal = s->seal;
	if (api_new(&o, &s->f.api, &e) < 0)
		fail_msg("%s", e.message);
}

static void end(struct server *s)
{
	answer_free(s->f.last);
	doc_unref(s->f.doc);
	api_stop(s->f.api);
	store_close(s->f.store);
	api_free(s->f.api);
	seal_free(s->seal);
}

static bool take(void *arg, const struct store_kv *kv)
{
	buf_reset(arg);
	buf_str(arg, kv->value);
	return false;
}

static bool recovery_fits(struct server *s)
{
	auto_buf struct buf text = BUF_INIT;

	assert_int_equal(store_range(s->f.store, STR(SEAL_RECOVERY_KEY), STR_NULL, 0, take, &text, NULL, NULL), 0);
	return seal_recovery_fits(s->seal, buf_view(&text));
}

static bool secret_is_new(struct server *s)
{
	auto_buf struct buf value = BUF_INIT, first = BUF_INIT;

	assert_int_equal(store_range(s->f.store, STR("secrets/default/a"), STR_NULL, 0, take, &value, NULL, NULL), 0);
	seal_first_key(s->seal, &first);
	return str_eq(seal_key_of(buf_view(&value)), buf_view(&first));
}

static bool one_key_is_left(struct server *s)
{
	auto_buf struct buf text = BUF_INIT;
	size_t n = 0;

	(void)s;
	assert_int_equal(file_read(keys, &text, NULL), 0);
	for (struct str line, rest = buf_view(&text); str_next(&rest, '\n', &line);)
		n += str_starts(line, STR("key "));
	return n == 1;
}

static void await(struct server *s, bool (*what)(struct server *s))
{
	for (int ms = 0; ms < WAIT_MS && !what(s); ms += 20)
		task_sleep_ms(20);
	assert_true(what(s));
}

/* ---- the test -------------------------------------------------------------------------------- */

static void what_a_full_disk_refused_is_done_later(void **state)
{
	struct server s;
	struct err e;

	(void)state;
	err_init(&e);
	begin(&s);
	expect(&s.f, 201, call(&s.f, "POST", SECRETS, "{\"metadata\":{\"name\":\"a\"}}"));
	await(&s, recovery_fits);
	end(&s);

	if (seal_keys_rotate(keys, &e) < 0)
		fail_msg("%s", e.message);
	full = true;
	begin(&s);
	expect(&s.f, 507, call(&s.f, "POST", SECRETS, "{\"metadata\":{\"name\":\"b\"}}"));
	task_sleep_ms(200); /* it has been tried by now; if not, the test is only easier to pass */
	assert_false(recovery_fits(&s) || secret_is_new(&s));
	full = false;
	await(&s, secret_is_new);
	assert_true(recovery_fits(&s)); /* before the first value is under the new key */
	await(&s, one_key_is_left);
	expect(&s.f, 200, call(&s.f, "GET", SECRETS "/a", NULL));
	end(&s);
}

static int make_folder(void **state)
{
	bool made;
	struct err e;

	(void)state;
	err_init(&e);
	if (!mkdtemp(dir))
		return -1;
	snprintf(keys, sizeof(keys), "%s/keys", dir);
	snprintf(recovery, sizeof(recovery), "%s/recovery", dir);
	snprintf(db, sizeof(db), "%s/state.db", dir);
	disk_begin(fills);
	return seal_keys_make(keys, recovery, &made, &e);
}

static int remove_folder(void **state)
{
	auto_free char *rm = xasprintf("rm -r %s", dir);

	(void)state;
	disk_end();
	return system(rm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_full_disk_refused_is_done_later),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
