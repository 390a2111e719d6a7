/* Many threads at one API: writers that meet each other, readers, listers and watchers. Meant for ThreadSanitizer
 * (tools/test.sh tsan); on its own it checks that every acknowledged write is told to every watcher and that versions
 * only grow. */
#include "api/api.h"
#include "base/test.h"
#include <stdatomic.h>
#include <stdio.h>

#define WRITERS 4
#define READERS 2
#define WATCHERS 3
#define ROUNDS 60
#define NAMES 8

struct crowd {
	struct api *api;
	struct client *client;
	struct stop *stop;
	atomic_int acknowledged; /* writes that changed something */
	_Atomic int64_t newest;  /* their highest version */
	atomic_int failures;
};
struct member {
	struct crowd *c;
	int id;
	struct task *t;
	int64_t seen;
};

static void acknowledged(struct crowd *c, struct doc *take)
{
	int64_t v = doc_revision(take), was = atomic_load(&c->newest);

	while (v > was && !atomic_compare_exchange_weak(&c->newest, &was, v))
		;
	atomic_fetch_add(&c->acknowledged, 1);
	doc_unref(take);
}

static void write_one(struct crowd *c, struct arena *a, int who, int round)
{
	auto_free char *name = xasprintf("c%d", (who + round) % NAMES);
	auto_free char *value = xasprintf("%d-%d", who, round);
	auto_(doc_unref) struct doc *body =
		node_publish(node_pack(a, "{metadata:{name:S}, data:{k:S}}", str_c(name), str_c(value)));
	struct doc *d;
	struct err e;
	int r;

	err_init(&e);
	r = client_create(c->client, res_configmaps, STR("default"), body, &d, &e);
	if (r == -ERR_EXISTS && round % 5 == 4)
		r = client_delete(c->client, res_configmaps, STR("default"), str_c(name),
			(struct client_delete){ .grace_s = -1 }, &e);
	else if (r == -ERR_EXISTS) {
		r = client_patch(
			c->client, res_configmaps, STR("default"), str_c(name), NULL, PATCH_MERGE, body, &d, &e);
		if (r == 0)
			acknowledged(c, d);
	} else if (r == 0)
		acknowledged(c, d);
	if (r < 0 && r != -ERR_NOT_FOUND && r != -ERR_CONFLICT)
		atomic_fetch_add(&c->failures, 1);
}

static void write_on(void *arg)
{
	struct member *m = arg;

	for (int i = 0; i < ROUNDS; i++) {
		struct arena *a = arena_new();

		write_one(m->c, a, m->id, i);
		arena_free(a);
	}
}

static void count_item(void *arg, struct doc *take)
{
	++*(int *)arg;
	doc_unref(take);
}

static void read_on(void *arg)
{
	struct member *m = arg;
	struct client_request rq = { .verb = VERB_LIST, .res = res_configmaps, .ns = STR("default") };
	struct doc *d;
	char rev[24];
	struct err e;
	int n;

	while (!stop_raised(m->c->stop)) {
		err_init(&e);
		if (client_get(m->c->client, res_configmaps, STR("default"), STR("c1"), &d, &e) == 0)
			doc_unref(d);
		n = 0;
		if (client_list(m->c->client, &rq, count_item, &n, rev, &e) < 0 || n > NAMES + 1)
			atomic_fetch_add(&m->c->failures, 1);
	}
}

/* Until it has seen the newest acknowledged write and the writers are done. */
static void watch_on(void *arg)
{
	struct member *m = arg;
	struct crowd *c = m->c;
	struct client_request rq = { .verb = VERB_WATCH, .res = res_configmaps, .ns = STR("default") };
	struct client_stream *s;
	struct client_event ev;
	struct err e;

	err_init(&e);
	if (client_watch(c->client, &rq, &s, &e) < 0) {
		atomic_fetch_add(&c->failures, 1);
		return;
	}
	while (!stop_raised(c->stop) || m->seen < atomic_load(&c->newest)) {
		int r = client_next(c->client, s, 20, &ev, &e);

		if (r == -ERR_TIMEOUT)
			continue;
		if (r < 0) {
			atomic_fetch_add(&c->failures, 1);
			break;
		}
		m->seen = MAX(m->seen, doc_revision(ev.object));
		doc_unref(ev.object);
	}
	client_close(c->client, s);
}

static void spawn(struct crowd *c, struct member *m, int n, const char *name, void (*run)(void *arg))
{
	for (int i = 0; i < n; i++) {
		m[i] = (struct member){ .c = c, .id = i };
		m[i].t = task_spawn(name, run, &m[i]);
	}
}

static void join(struct member *m, int n)
{
	for (int i = 0; i < n; i++)
		task_join(m[i].t);
}

static void everybody_at_once(void **state)
{
	struct crowd c = { .stop = stop_new() };
	struct member writers[WRITERS], readers[READERS], watchers[WATCHERS];
	struct api_opts o = { .ring_bytes = 1 << 20 };
	struct store *store;
	struct err e;

	err_init(&e);
	assert_int_equal(store_open_memory(&store, &e), 0);
	o.store = store;
	assert_int_equal(api_new(&o, &c.api, &e), 0);
	c.client = api_local_client(c.api, "crowd", (const char *const[]){ "system:masters", NULL }, "crowd");
	spawn(&c, watchers, WATCHERS, "watcher", watch_on);
	spawn(&c, readers, READERS, "reader", read_on);
	spawn(&c, writers, WRITERS, "writer", write_on);
	join(writers, WRITERS);
	stop_raise(c.stop);
	join(readers, READERS);
	join(watchers, WATCHERS);
	assert_int_equal(atomic_load(&c.failures), 0);
	assert_true(atomic_load(&c.acknowledged) > ROUNDS);
	for (int i = 0; i < WATCHERS; i++)
		assert_true(watchers[i].seen >= atomic_load(&c.newest));
	client_free(c.client);
	api_stop(c.api);
	store_close(store);
	api_free(c.api);
	stop_free(c.stop);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(everybody_at_once) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
