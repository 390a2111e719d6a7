/* How fast the store commits and the cache answers. `store_bench [DIR] [WRITERS] [SECONDS]`; DIR should be on the disk
 * in question. */
#include "base/buf.h"
#include "cache/cache.h"
#include "store/store.h"
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define SAMPLES_MAX 400000
#define OBJECTS 10000

struct writer {
	struct store *s;
	struct mono until;
	int id;
	int64_t n, *us;
	struct task *t;
};

static void write_on(void *arg)
{
	struct writer *w = arg;
	char key[64], value[2048];
	struct mono began;
	int64_t rev;

	memset(value, 'v', sizeof(value));
	while (mono_before(began = mono_now(), w->until) && w->n < SAMPLES_MAX) {
		snprintf(key, sizeof(key), "pods/w%d/%05d", w->id, (int)(w->n % 1000));
		struct store_write put = {
			.key = str_c(key), .value = str_n(value, sizeof(value)), .expect_revision = STORE_ANY
		};

		if (store_write(w->s, &put, &rev, NULL) < 0)
			abort();
		w->us[w->n++] = (mono_now().ns - began.ns) / 1000;
	}
}

static int by_size(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

static void bench_writes(struct store *s, int writers, int seconds)
{
	struct writer *w = xcalloc((size_t)writers, sizeof(*w));
	struct store_status before, after;
	int64_t *all, n = 0;

	store_status(s, &before);
	for (int i = 0; i < writers; i++) {
		w[i] = (struct writer){ .s = s, .id = i, .until = mono_add_ms(mono_now(), seconds * 1000) };
		w[i].us = xcalloc(SAMPLES_MAX, sizeof(int64_t));
		w[i].t = task_spawn("writer", write_on, &w[i]);
	}
	for (int i = 0; i < writers; i++) {
		task_join(w[i].t);
		n += w[i].n;
	}
	all = xcalloc((size_t)n, sizeof(*all));
	n = 0;
	for (int i = 0; i < writers; i++) {
		memcpy(all + n, w[i].us, (size_t)w[i].n * sizeof(*all));
		n += w[i].n;
		free(w[i].us);
	}
	qsort(all, (size_t)n, sizeof(*all), by_size);
	store_status(s, &after);
	printf("%3d writers, 2 KiB: %6" PRId64 " writes/s, %.1f a commit; ms: p50 %.2f p99 %.2f most %.2f\n", writers,
		n / seconds, (double)(after.writes - before.writes) / (double)(after.commits - before.commits),
		(double)all[n / 2] / 1e3, (double)all[n * 99 / 100] / 1e3, (double)all[n - 1] / 1e3);
	free(all);
	free(w);
}

static bool count(void *arg, const struct store_kv *kv)
{
	(*(int64_t *)arg)++;
	return true;
}

static struct doc *object(int i)
{
	auto_(arena_free) struct arena *a = arena_new();

	return node_publish(node_pack(a, "{apiVersion:'v1', kind:'Pod', metadata:{name:s, namespace:'default'}}",
		arena_printf(a, "p%05d", i)));
}

static void silent(void *arg)
{
}

static void bench_cache(void)
{
	struct cache_budget *b = cache_budget_new(16 << 20);
	struct cache *c = cache_new("pods", b);
	struct cache_watch *watches[1000];
	char key[32];
	struct mono t;

	for (int i = 0; i < OBJECTS; i++) {
		struct doc *d = object(i);

		snprintf(key, sizeof(key), "default/p%05d", i);
		cache_fill(c, str_c(key), d, i);
		doc_unref(d);
	}
	cache_ready(c, OBJECTS);
	t = mono_now();
	for (int i = 0; i < 1000000; i++) {
		snprintf(key, sizeof(key), "default/p%05d", (int)((uint32_t)i * 7919u % OBJECTS));
		doc_unref(cache_get(c, str_c(key)));
	}
	printf("cache of %d: get %.0f ns (with making the key)", OBJECTS, (double)(mono_now().ns - t.ns) / 1e6);
	t = mono_now();
	for (int i = 0; i < 100; i++) {
		auto_(arena_free) struct arena *a = arena_new();

		cache_list(c, a, STR("default/"), STR(""), 0, NULL);
	}
	printf(", list of all %.0f us", (double)(mono_now().ns - t.ns) / 1e5);
	for (size_t i = 0; i < ARRAY_LEN(watches); i++) {
		struct cache_event ev;

		snprintf(key, sizeof(key), "default/p%05d", (int)i);
		cache_watch(c, OBJECTS, str_c(key), silent, NULL, &watches[i], NULL);
		cache_watch_next(watches[i], &ev, NULL, NULL);
	}
	struct doc *d = object(5000);
	t = mono_now();
	for (int i = 1; i <= 10000; i++)
		cache_apply(c, STR("default/p05000"), d, false, OBJECTS + i);
	printf(", a change under %zu other watches %.1f us\n", ARRAY_LEN(watches),
		(double)(mono_now().ns - t.ns) / 1e7);
	doc_unref(d);
	for (size_t i = 0; i < ARRAY_LEN(watches); i++)
		cache_watch_free(watches[i]);
	cache_free(c);
	cache_budget_free(b);
}

static void show_memory(const char *when)
{
	char line[256];
	FILE *f = fopen("/proc/self/smaps_rollup", "re");

	while (f && fgets(line, sizeof(line), f)) {
		if (!strncmp(line, "Pss:", 4))
			printf("%s: %s", when, line);
	}
	if (f)
		fclose(f);
}

int main(int argc, char **argv)
{
	const char *dir = argc > 1 ? argv[1] : ".";
	int writers = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 32,
	    seconds = argc > 3 ? (int)strtol(argv[3], NULL, 10) : 2;
	static const char *const suffix[] = { "", "-wal", "-shm", "-lock" };
	auto_free char *path = xasprintf("%s/store_bench.db", dir);
	struct store *s;
	int64_t n = 0;
	struct mono t;
	struct err e;

	err_init(&e);
	if (store_open_sqlite(&(struct store_sqlite_opts){ .path = path }, &s, &e) < 0) {
		fprintf(stderr, "%s\n", e.message);
		return 1;
	}
	show_memory("opened");
	bench_writes(s, 1, seconds);
	bench_writes(s, writers, seconds);
	t = mono_now();
	store_range(s, STR("pods/"), STR(""), 0, count, &n, NULL, NULL);
	printf("range of %" PRId64 ": %.1f ms\n", n, (double)(mono_now().ns - t.ns) / 1e6);
	t = mono_now();
	store_compact(s, store_revision(s), NULL);
	bench_writes(s, writers, seconds); /* with compaction in between */
	store_close(s);
	printf("closed after %.1f ms\n", (double)(mono_now().ns - t.ns) / 1e6 - seconds * 1e3);
	for (size_t i = 0; i < ARRAY_LEN(suffix); i++) {
		auto_free char *name = xasprintf("%s%s", path, suffix[i]);

		unlink(name);
	}
	bench_cache();
	return 0;
}
