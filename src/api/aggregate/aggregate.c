/* Which group versions other servers serve, and whether they answer: one task that follows the APIServices.
 *
 *     APIService changed, or its time has come ─► visit: asks its server ─ ─► answer, or ANSWER_MS over ─► visit: the verdict
 *
 * It asks many at the same time and waits for none of them: who is silent keeps nobody else waiting. */
#include "api/aggregate/aggregate.h"
#include "base/queue.h"
#include <stdio.h>

#define LOG_MODULE "aggregate"
#define GROUP "apiregistration.k8s.io"
#define RESOURCE "apiservices"
#define LOOK_MS 30000 /* at those that answer */
#define WAIT_MS 1000  /* at those that do not */
#define ANSWER_MS 5000
#define ANSWER_MAX ((size_t)1 << 20)
#define LOOKS_MAX 64  /* at a time */
#define LOCAL STR("") /* in the queue: the APIServices of this server's own kinds */

struct entry {
	struct arena *a;
	struct aggregate is;
};
/* At one that was asked and has not answered yet. */
struct look {
	struct aggregates *g;
	struct str name;
	struct doc *of;   /* own: the APIService as it was then */
	struct entry *is; /* own: what it will be */
	struct outgoing_link *link;
	struct http_asked *asked;
	struct mono until;
};
struct aggregates {
	struct api *api;
	struct task_mutex lock;
	struct queue *due;   /* names to look at */
	struct map *looks;   /* name → struct look; the task's own */
	struct map *entries; /* name → struct entry; replaced as a whole */
	struct task *task;
	const char *cert_file, *key_file;
	size_t n; /* atomic: entries, so that most requests need no lock */
};

static void entry_end(void *value)
{
	struct entry *x = value;

	if (x)
		arena_free(x->a);
}

static void look_end(void *value)
{
	struct look *l = value;

	http_asked_free(l->asked);
	outgoing_release(l->g->api, l->link);
	entry_end(l->is);
	doc_unref(l->of);
	free(l);
}

void aggregates_changed(struct aggregates *g, struct str name)
{
	queue_add(g->due, name);
}

void aggregates_served(struct aggregates *g)
{
	queue_add(g->due, LOCAL);
}

/* ---- for others ------------------------------------------------------------------------------ */

static struct str keep(struct arena *a, struct str s)
{
	return s.n ? arena_str(a, s) : STR_NULL;
}

static struct aggregate copy_of(struct arena *a, const struct aggregate *x)
{
	struct aggregate out = *x;

	out.group = arena_strdup(a, x->group);
	out.version = arena_strdup(a, x->version);
	out.target.ns = keep(a, x->target.ns);
	out.target.name = keep(a, x->target.name);
	out.target.ca_pem = keep(a, x->target.ca_pem);
	if (x->list) {
		out.list = doc_ref(x->list);
		doc_hold(a, out.list);
	}
	return out;
}

struct aggregate *aggregates_list(struct api *api, struct arena *a, size_t *ret_n)
{
	struct aggregates *g = api->aggregates;
	struct aggregate *out;
	struct str key;
	void *value;
	size_t n = 0;

	*ret_n = 0;
	if (!g || !__atomic_load_n(&g->n, __ATOMIC_ACQUIRE))
		return NULL;
	task_lock(&g->lock);
	out = ARENA_ARRAY(a, struct aggregate, map_len(g->entries) + 1);
	for (size_t i = 0; map_next(g->entries, &i, &key, &value);)
		out[n++] = copy_of(a, &((struct entry *)value)->is);
	task_unlock(&g->lock);
	*ret_n = n;
	return out;
}

bool aggregates_find(struct api *api, struct arena *a, struct str group, struct str version, struct aggregate *ret)
{
	struct aggregates *g = api->aggregates;
	char name[400];
	struct entry *x;

	if (!g || !__atomic_load_n(&g->n, __ATOMIC_ACQUIRE) || group.n + version.n > 300)
		return false;
	int n = snprintf(name, sizeof(name), "%.*s.%.*s", STR_ARG(version), STR_ARG(group));
	task_lock(&g->lock);
	x = map_get(g->entries, str_n(name, (size_t)n));
	if (x)
		*ret = copy_of(a, &x->is);
	task_unlock(&g->lock);
	return x != NULL;
}

/* ---- looking --------------------------------------------------------------------------------- */

static void put_entry(struct aggregates *g, struct str name, struct entry *take)
{
	task_lock(&g->lock);
	struct entry *was = map_get(g->entries, name);
	if (take && was && was->is.list &&
		(!take->is.list ||
			str_eq(doc_text(take->is.list), doc_text(was->is.list)))) { /* what it had said last */
		take->is.list = doc_ref(was->is.list);
		doc_hold(take->a, take->is.list);
	}
	bool changed = !was != !take ||
		(was && take && (was->is.available != take->is.available || was->is.list != take->is.list));
	if (take)
		map_put(g->entries, name, take);
	else
		map_del(g->entries, name);
	__atomic_store_n(&g->n, map_len(g->entries), __ATOMIC_RELEASE);
	task_unlock(&g->lock);
	if (!changed)
		return;
	__atomic_add_fetch(&g->api->table_version, 1, __ATOMIC_RELEASE);
	aggregate_openapi_stir(g->api->aggregate_openapi);
}

static int entry_of(struct aggregates *g, struct doc *d, struct entry **ret, struct err *e)
{
	struct arena *a = arena_new();
	struct entry *x = ARENA_NEW(a, struct entry);

	x->a = a;
	x->is.group = arena_cstr(a, doc_str(d, "spec.group"));
	x->is.version = arena_cstr(a, doc_str(d, "spec.version"));
	if (outgoing_target_of(a, doc_get(d, "spec"), &x->is.target, e) < 0) {
		arena_free(a);
		return -e->code;
	}
	x->is.target.insecure = doc_bool(d, "spec.insecureSkipTLSVerify", false);
	x->is.target.cert_file = g->cert_file;
	x->is.target.key_file = g->key_file;
	*ret = x;
	return 0;
}

/* Takes x. */
static void settle(struct aggregates *g, struct str name, struct doc *d, struct entry *x, struct verdict v)
{
	auto_(arena_free) struct arena *a = arena_new();

	x->is.available = !strcmp(v.value, "True");
	queue_add_after(g->due, name, x->is.available ? LOOK_MS : WAIT_MS);
	/* First whom requests go to, then the word that they may come. The verdict's text is the entry's. */
	v.message = arena_strdup(a, v.message);
	put_entry(g, name, x);
	aggregate_tell(g->api, d, v);
}

static void news(void *arg)
{
	struct look *l = arg;

	queue_add(l->g->due, l->name);
}

/* Asks for the list of its resources; that is all a server must have. Takes x, when it does. */
static int ask(struct aggregates *g, struct str name, struct doc *d, struct entry *x, struct err *e)
{
	const struct http_header h[] = { { STR("accept"), STR("application/json") },
		{ STR("x-remote-user"), STR("system:kube-aggregator") },
		{ STR("x-remote-group"), STR("system:masters") } };
	struct outgoing_link *link;
	struct look *l;

	if (outgoing_acquire(g->api, &x->is.target, &link, e) < 0)
		return -e->code;
	l = xmalloc(sizeof(*l));
	*l = (struct look){ .g = g,
		.name = arena_str(x->a, name),
		.of = doc_ref(d),
		.is = x,
		.link = link,
		.until = mono_add_ms(mono_now(), ANSWER_MS) };
	l->asked = http_ask(outgoing_client(link), "GET", arena_strf(x->a, "/apis/%s/%s", x->is.group, x->is.version),
		h, ARRAY_LEN(h), STR_NULL, ANSWER_MAX, news, l);
	map_put(g->looks, name, l);
	queue_add_after(g->due, name, ANSWER_MS);
	return 0;
}

static void begin(struct aggregates *g, struct str name, struct doc *d)
{
	struct verdict v;
	struct entry *x = NULL;
	struct err e;

	err_init(&e);
	if (entry_of(g, d, &x, &e) < 0) {
		put_entry(g, name, NULL);
		aggregate_tell(g->api, d, (struct verdict){ "False", "FailedDiscoveryCheck", e.message });
		return;
	}
	if (!aggregate_is_there(g->api, x->a, &x->is, &v))
		settle(g, name, d, x, v);
	else if (ask(g, name, d, x, &e) < 0)
		settle(g, name, d, x, aggregate_failed(x->a, &x->is, e.message));
}

/* False: its answer may still come. */
static bool go_on(struct aggregates *g, struct str name, struct doc *d, struct look *l)
{
	struct aggregate *x = &l->is->is;
	struct http_reply r = { 0 };
	struct verdict v;
	struct err e;

	err_init(&e);
	int rc = http_asked_take(l->asked, &r, &e);
	if (rc == -ERR_TIMEOUT && mono_before(mono_now(), l->until)) {
		queue_add_after(g->due, name, MAX(1, mono_ms_between(mono_now(), l->until)));
		return false;
	}
	v = rc < 0 ? aggregate_failed(l->is->a, x, e.message) : aggregate_answered(l->is->a, x, &r);
	http_reply_fini(&r);
	if (!rq_stopping(g->api)) /* or that is why it did not answer, not because it is ill */
		settle(g, name, d, TAKE(l->is), v);
	return true;
}

static void look_at(struct aggregates *g, struct str name)
{
	auto_(doc_unref) struct doc *d = api_get(g->api, GROUP, RESOURCE, STR_NULL, name);
	struct look *l = map_get(g->looks, name);

	if (l && d && val_equal(doc_get(d, "spec"), doc_get(l->of, "spec"))) {
		if (go_on(g, name, d, l))
			map_del(g->looks, name);
		return;
	}
	map_del(g->looks, name); /* whom it was to tell of is another now, or gone */
	if (d && val_has(doc_get(d, "spec.service"))) {
		if (map_len(g->looks) < LOOKS_MAX)
			begin(g, name, d);
		else
			queue_add_after(g->due, name, WAIT_MS);
		return;
	}
	put_entry(g, name, NULL);
	if (d)
		aggregate_tell(g->api, d, (struct verdict){ "True", "Local", LOCAL_IS_AVAILABLE });
	else /* perhaps that of a kind of our own, which has to be there */
		aggregates_served(g);
}

/* ---- the task -------------------------------------------------------------------------------- */

static void visit(void *arg, struct str name)
{
	struct aggregates *g = arg;

	if (str_eq(name, LOCAL))
		aggregates_mend_local(g->api);
	else
		look_at(g, name);
}

static void run(void *arg)
{
	struct aggregates *g = arg;

	queue_work(g->due, visit, g);
}

struct aggregates *aggregates_new(struct api *api)
{
	struct aggregates *g = xcalloc(1, sizeof(*g));

	g->api = api;
	task_mutex_init(&g->lock);
	g->due = queue_new((struct queue_opts){ 0 });
	g->looks = map_new(look_end);
	g->entries = map_new(entry_end);
	if (api->opts.pki_dir) {
		g->cert_file = arena_printf(api->arena, "%s/front-client.crt", api->opts.pki_dir);
		g->key_file = arena_printf(api->arena, "%s/front-client.key", api->opts.pki_dir);
	}
	return g;
}

void aggregates_start(struct aggregates *g)
{
	auto_(arena_free) struct arena *a = arena_new();
	int64_t rev;
	struct cache_list all = cache_list(api_cache(g->api, GROUP, RESOURCE), a, STR_NULL, STR_NULL, 0, &rev);

	api_controller_present(g->api, GROUP, RESOURCE);
	for (size_t i = 0; i < all.n; i++)
		aggregates_changed(g, doc_name(all.items[i].doc));
	aggregates_served(g);
	aggregate_openapi_start(g->api->aggregate_openapi);
	g->task = task_spawn("api-aggregate", run, g);
}

void aggregates_stop(struct aggregates *g)
{
	queue_stop(g->due);
	g->task = task_join(g->task);
	map_clear(g->looks);
}

void aggregates_free(struct aggregates *g)
{
	if (!g)
		return;
	aggregates_stop(g);
	queue_free(g->due);
	map_free(g->looks);
	map_free(g->entries);
	task_mutex_fini(&g->lock);
	free(g);
}
