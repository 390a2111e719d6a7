/* Informers and the recorder against a small server that breaks on cue. Each case runs on threads and in the simulator.
 */
#include "base/buf.h"
#include "base/fiber.h"
#include "base/map.h"
#include "base/test.h"
#include "client/informer.h"
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>

/* ---- the server ------------------------------------------------------------------------------ */

struct logged {
	int64_t rev;
	int type;
	struct doc *object;
};

struct server {
	struct task_mutex lock;
	struct task_cond changed;
	int64_t rev, compacted;
	struct map *objects; /* name → doc */
	struct logged *log;
	size_t log_n;
	int fail_lists;    /* this many answer 503 */
	int break_streams; /* this many streams end where they are */
	int lists, watches, calls;
	struct buf said; /* calls, for the recorder */
	bool hold;       /* the next call has no answer until server_answer() */
	struct fiber *held;
	struct client_stream *streams;
};

struct client_stream {
	struct server *s;
	struct client_stream *next;
	int64_t after;
	bool interrupted;
	void (*ready)(void *arg); /* client_notify() */
	void *arg;
};

/* Under the lock: something is to be seen, or heard of. */
static void tell_all(struct server *s)
{
	task_broadcast(&s->changed);
	for (struct client_stream *st = s->streams; st; st = st->next)
		if (st->ready)
			st->ready(st->arg);
}

static struct doc *make(const char *name, const char *uid, int64_t rev, const char *node)
{
	struct arena *a = arena_new();
	struct doc *d = node_publish(node_pack(a,
		"{apiVersion:'v1', kind:'Pod', metadata:{name:s, namespace:'ns', uid:s, resourceVersion:s}, "
		"spec:{nodeName:s}}",
		name, uid, arena_printf(a, "%" PRId64, rev), node));

	arena_free(a);
	return d;
}

/* Under the lock. */
static void log_change(struct server *s, int type, struct doc *take)
{
	s->log = xrealloc(s->log, s->log_n + 1, sizeof(*s->log));
	s->log[s->log_n++] = (struct logged){ s->rev, type, take };
	tell_all(s);
}

static void server_put(struct server *s, const char *name, const char *uid, const char *node)
{
	struct doc *d;

	task_lock(&s->lock);
	d = make(name, uid, ++s->rev, node);
	log_change(s, map_get(s->objects, str_c(name)) ? EVENT_MODIFIED : EVENT_ADDED, doc_ref(d));
	map_put(s->objects, str_c(name), d);
	task_unlock(&s->lock);
}

static void server_del(struct server *s, const char *name)
{
	struct doc *d;

	task_lock(&s->lock);
	d = map_take(s->objects, str_c(name));
	if (d) {
		auto_free char *uid = str_dup(doc_uid(d));

		log_change(s, EVENT_DELETED, make(name, uid, ++s->rev, NULL));
	}
	doc_unref(d);
	task_unlock(&s->lock);
}

static void server_forget(struct server *s) /* the next old watch gets 410 */
{
	task_lock(&s->lock);
	s->compacted = s->rev;
	task_unlock(&s->lock);
}

/* The caller is parked, where callers are fibers. */
static void note_held(void *arg)
{
	struct server *s = arg;

	task_lock(&s->lock);
	s->hold = false;
	task_broadcast(&s->changed);
	task_unlock(&s->lock);
}

static void hold(struct server *s)
{
	s->held = fiber_current();
	if (s->held)
		fiber_park(note_held, s);
}

static void server_answer(struct server *s)
{
	task_lock(&s->lock);
	while (s->hold)
		task_wait(&s->changed, &s->lock);
	task_unlock(&s->lock);
	if (s->held)
		fiber_wake(s->held);
}

static int fake_call(void *self, const struct client_request *rq, struct doc **ret, struct err *e)
{
	struct server *s = self;

	task_lock(&s->lock);
	s->calls++;
	buf_printf(&s->said, "%d %s %.*s: %.*s\n", rq->verb, rq->field_manager, STR_ARG(rq->ns),
		STR_ARG(doc_text(rq->body)));
	task_broadcast(&s->changed);
	bool held = s->hold && s->calls == 1;
	if (held && !fiber_current())
		s->hold = false; /* in a simulation who waits has the task for itself anyway */
	task_unlock(&s->lock);
	if (held)
		hold(s);
	return 0;
}

static int fake_list(void *self, const struct client_request *rq, void (*each)(void *arg, struct doc *take), void *arg,
	char ret_rev[24], struct err *e)
{
	struct server *s = self;
	struct str key;
	void *d;
	int r = 0;

	task_lock(&s->lock);
	s->lists++;
	if (s->fail_lists > 0) {
		s->fail_lists--;
		r = err_set(e, ERR_UNAVAILABLE, "not now");
	}
	for (size_t i = 0; r == 0 && map_next(s->objects, &i, &key, &d);)
		each(arg, doc_ref(d));
	snprintf(ret_rev, 24, "%" PRId64, s->rev);
	task_unlock(&s->lock);
	return r;
}

static int fake_watch(void *self, const struct client_request *rq, struct client_stream **ret, struct err *e)
{
	struct server *s = self;
	int64_t after;
	int r = 0;

	task_lock(&s->lock);
	s->watches++;
	assert_true(str_i64(rq->resource_version, &after));
	if (after < s->compacted)
		r = err_set(e, ERR_EXPIRED, "too old");
	task_unlock(&s->lock);
	if (r < 0)
		return r;
	*ret = xcalloc(1, sizeof(**ret));
	task_lock(&s->lock);
	**ret = (struct client_stream){ .s = s, .after = after, .next = s->streams };
	s->streams = *ret;
	task_unlock(&s->lock);
	return 0;
}

static const struct logged *after(struct server *s, int64_t rev)
{
	for (size_t i = 0; i < s->log_n; i++) {
		if (s->log[i].rev > rev)
			return &s->log[i];
	}
	return NULL;
}

/* Under the lock; 1: nothing yet. */
static int look(struct client_stream *st, struct client_event *ret, struct err *e)
{
	struct server *s = st->s;
	const struct logged *l = after(s, st->after);

	if (st->interrupted)
		return err_set(e, ERR_CANCELED, "interrupted");
	if (s->break_streams > 0) {
		s->break_streams--;
		return err_set(e, ERR_UNAVAILABLE, "the stream broke");
	}
	if (st->after < s->compacted && l && l->rev <= s->compacted) {
		struct arena *a = arena_new();

		*ret = (struct client_event){ EVENT_ERROR,
			node_publish(node_pack(a, "{kind:'Status', code:410, reason:'Expired', message:'too old'}")) };
		arena_free(a);
		return 0;
	}
	if (!l)
		return 1;
	st->after = l->rev;
	ret->type = (__typeof__(ret->type))l->type;
	ret->object = doc_ref(l->object);
	return 0;
}

static int fake_next(struct client_stream *st, int64_t timeout_ms, struct client_event *ret, struct err *e)
{
	struct mono until = mono_add_ms(mono_now(), timeout_ms);
	bool in_time = true;
	int r;

	task_lock(&st->s->lock);
	while ((r = look(st, ret, e)) == 1 && in_time)
		in_time = task_wait_until(&st->s->changed, &st->s->lock, until);
	task_unlock(&st->s->lock);
	return r == 1 ? err_set(e, ERR_TIMEOUT, "nothing came") : r;
}

static void fake_interrupt(struct client_stream *st)
{
	task_lock(&st->s->lock);
	st->interrupted = true;
	task_broadcast(&st->s->changed);
	task_unlock(&st->s->lock);
}

static void fake_close(struct client_stream *st)
{
	struct server *s = st->s;
	struct client_stream **at = &s->streams;

	task_lock(&s->lock);
	while (*at != st)
		at = &(*at)->next;
	*at = st->next;
	task_unlock(&s->lock);
	free(st);
}

static void fake_notify(struct client_stream *st, void (*ready)(void *arg), void *arg)
{
	task_lock(&st->s->lock);
	st->ready = ready;
	st->arg = arg;
	task_unlock(&st->s->lock);
	ready(arg);
}

static const struct client_ops fake_ops = { fake_call, fake_list, fake_watch, fake_next, fake_interrupt, fake_close,
	NULL, fake_notify };

static void server_init(struct server *s)
{
	*s = (struct server){ .rev = 10, .objects = map_new(doc_end), .said = BUF_INIT };
	task_mutex_init(&s->lock);
	task_cond_init(&s->changed);
}

static void server_fini(struct server *s)
{
	for (size_t i = 0; i < s->log_n; i++)
		doc_unref(s->log[i].object);
	free(s->log);
	map_free(s->objects);
	buf_fini(&s->said);
	task_cond_fini(&s->changed);
	task_mutex_fini(&s->lock);
}

/* ---- what handlers saw ----------------------------------------------------------------------- */

struct seen {
	struct buf text;
	struct map *state; /* name → doc: as told by handlers */
	struct task_mutex lock;
	_Atomic int n;
};

/* What a handler is told continues from what it was told before: nothing is left out, nothing comes twice. */
static void on_change(void *arg, struct doc *before, struct doc *now)
{
	struct seen *n = arg;
	struct str name = doc_name(now ? now : before);
	struct doc *had;

	task_lock(&n->lock);
	had = map_get(n->state, name);
	assert_true(had == before);
	if (now && now != before) /* the same at a resync */
		map_put(n->state, name, doc_ref(now));
	if (!now)
		map_del(n->state, name);
	buf_printf(&n->text, "%s%.*s@%" PRId64 " ",
		before && now ? "~" :
			now   ? "+" :
				"-",
		STR_ARG(name), doc_revision(now ? now : before));
	n->n++;
	task_unlock(&n->lock);
}

static void seen_init(struct seen *n)
{
	*n = (struct seen){ .text = BUF_INIT, .state = map_new(doc_end) };
	task_mutex_init(&n->lock);
}

static void seen_fini(struct seen *n)
{
	buf_fini(&n->text);
	map_free(n->state);
	task_mutex_fini(&n->lock);
}

static void wait_revision(struct informer *i, int64_t rev)
{
	for (int ms = 0; informer_revision(i) < rev; ms++) {
		assert_true(ms < 60000);
		task_sleep_ms(1);
	}
}

static void assert_seen(struct seen *n, const char *want)
{
	task_lock(&n->lock);
	buf_byte(&n->text, 0);
	assert_string_equal(n->text.p, want);
	buf_reset(&n->text);
	task_unlock(&n->lock);
}

/* ---- cases ----------------------------------------------------------------------------------- */

static void follows_a_resource(void *arg)
{
	struct server s;
	struct seen n;
	auto_(arena_free) struct arena *a = arena_new();
	struct informer_list l;
	struct doc *d;

	server_init(&s);
	seen_init(&n);
	server_put(&s, "b", "1", "n1");
	server_put(&s, "a", "2", "n1");
	s.fail_lists = 1;
	struct client *c = client_new(&fake_ops, &s, "test");
	struct informer *i = informer_new(c, (struct informer_opts){ .res = res_pods });
	informer_on(i, on_change, &n);
	informer_index(i, "node", informer_index_node_name);
	informer_start(i);
	assert_true(informer_wait_synced(i, 60000));
	assert_int_equal(informer_len(i), 2);
	wait_revision(i, 12);
	assert_seen(&n, "+b@11 +a@12 ");
	server_put(&s, "c", "3", "n2");
	server_put(&s, "a", "2", "n2");
	server_del(&s, "b");
	wait_revision(i, 15);
	assert_seen(&n, "+c@13 ~a@14 -b@11 ");
	assert_null(informer_get(i, STR("ns"), STR("b")));
	assert_null(informer_get(i, STR("other"), STR("a")));
	d = informer_get(i, STR("ns"), STR("a"));
	assert_int_equal(doc_revision(d), 14);
	doc_unref(d);
	assert_int_equal(informer_list(i, a, "node", STR("n1")).n, 0);
	l = informer_list(i, a, "node", STR("n2"));
	assert_int_equal(l.n, 2);
	assert_true(str_is(doc_name(l.items[0]), "a"));
	assert_true(str_is(doc_name(l.items[1]), "c"));
	assert_int_equal(informer_list(i, a, NULL, STR_NULL).n, 2);
	informer_free(i);
	client_free(c);
	seen_fini(&n);
	server_fini(&s);
}

static void relists_when_it_is_too_old(void *arg)
{
	struct server s;
	struct seen n;

	server_init(&s);
	seen_init(&n);
	server_put(&s, "gone", "1", NULL);
	server_put(&s, "kept", "2", NULL);
	server_put(&s, "reborn", "3", NULL);
	struct client *c = client_new(&fake_ops, &s, "test");
	struct informer *i = informer_new(c, (struct informer_opts){ .res = res_pods });
	informer_on(i, on_change, &n);
	informer_start(i);
	wait_revision(i, 13);
	assert_seen(&n, "+gone@11 +kept@12 +reborn@13 ");
	task_lock(&s.lock);
	s.break_streams = 1;
	task_broadcast(&s.changed);
	task_unlock(&s.lock);
	/* While it backs off, the world changes and history is dropped. */
	server_del(&s, "gone");
	server_del(&s, "reborn");
	server_put(&s, "reborn", "4", NULL);
	server_forget(&s);
	wait_revision(i, 16);
	task_lock(&n.lock);
	assert_int_equal(map_len(n.state), 2);
	assert_int_equal(doc_revision(map_get(n.state, STR("reborn"))), 16);
	task_unlock(&n.lock);
	assert_int_equal(informer_len(i), 2);
	informer_free(i);
	client_free(c);
	seen_fini(&n);
	server_fini(&s);
}

static void random_change(struct server *s)
{
	char name[16], uid[16];

	snprintf(name, sizeof(name), "p%d", (int)rand_below(20));
	snprintf(uid, sizeof(uid), "%d", (int)rand_below(1000));
	switch (rand_below(20)) {
	case 0:
		server_forget(s);
		break;
	case 1:
		task_lock(&s->lock);
		s->break_streams++;
		tell_all(s);
		task_unlock(&s->lock);
		break;
	case 2:
		task_lock(&s->lock);
		s->fail_lists++;
		task_unlock(&s->lock);
		break;
	case 3:
	case 4:
	case 5:
		server_del(s, name);
		break;
	default:
		server_put(s, name, uid, uid);
	}
}

static void loses_nothing_in_a_bad_week(void *arg)
{
	struct server s;
	struct seen n;
	struct str name;
	size_t at = 0;
	void *d;

	server_init(&s);
	seen_init(&n);
	struct client *c = client_new(&fake_ops, &s, "test");
	struct informer *i = informer_new(c, (struct informer_opts){ .res = res_pods });
	informer_on(i, on_change, &n);
	informer_index(i, "node", informer_index_node_name);
	informer_index(i, "ns", informer_index_ns);
	informer_start(i);
	for (int k = 0; k < 400; k++) {
		random_change(&s);
		if (rand_below(8) == 0)
			task_sleep_ms(task_sim_active() ? (int64_t)rand_below(20000) : 1);
	}
	task_lock(&s.lock);
	s.fail_lists = s.break_streams = 0;
	task_unlock(&s.lock);
	server_put(&s, "last", "1", NULL);
	wait_revision(i, s.rev);
	assert_int_equal(map_len(n.state), map_len(s.objects));
	assert_int_equal(informer_len(i), map_len(s.objects));
	while (map_next(s.objects, &at, &name, &d)) {
		auto_(arena_free) struct arena *a = arena_new();
		struct doc *got = informer_get(i, STR("ns"), name);
		struct informer_list l = informer_list(i, a, "node", doc_str(d, "spec.nodeName"));
		bool found = !doc_str(d, "spec.nodeName").n;

		assert_int_equal(doc_revision(got), doc_revision(d));
		for (size_t k = 0; k < l.n; k++)
			found |= l.items[k] == got;
		assert_true(found);
		doc_unref(got);
	}
	informer_free(i);
	client_free(c);
	seen_fini(&n);
	server_fini(&s);
}

static void resyncs(void *arg)
{
	struct server s;
	struct seen n;

	server_init(&s);
	seen_init(&n);
	server_put(&s, "a", "1", NULL);
	struct client *c = client_new(&fake_ops, &s, "test");
	struct informer *i = informer_new(c, (struct informer_opts){ .res = res_pods, .resync_ms = 20 });
	informer_on(i, on_change, &n);
	informer_start(i);
	while (atomic_load(&n.n) < 4)
		task_sleep_ms(5);
	assert_int_equal(s.lists, 1);
	assert_int_equal(s.watches, 1);
	informer_free(i);
	client_free(c);
	seen_fini(&n);
	server_fini(&s);
}

/* Several servers, one informer each, all in the task of one loop. */
struct member {
	struct server s;
	struct seen n;
	struct client *c;
	struct informer *i;
};

static void member_begin(struct member *m, struct informer_loop *l)
{
	server_init(&m->s);
	seen_init(&m->n);
	server_put(&m->s, "first", "1", NULL);
	m->c = client_new(&fake_ops, &m->s, "test");
	m->i = informer_new(m->c, (struct informer_opts){ .res = res_pods, .loop = l });
	informer_on(m->i, on_change, &m->n);
	informer_start(m->i);
}

static void member_end(struct member *m)
{
	informer_free(m->i);
	client_free(m->c);
	seen_fini(&m->n);
	server_fini(&m->s);
}

static void many_share_a_task(void *arg)
{
	struct informer_loop *l = informer_loop_new();
	struct member m[5];

	for (size_t k = 0; k < ARRAY_LEN(m); k++)
		member_begin(&m[k], l);
	for (size_t k = 0; k < ARRAY_LEN(m); k++)
		assert_true(informer_wait_synced(m[k].i, 60000));
	for (int round = 0; round < 100; round++) {
		random_change(&m[rand_below(ARRAY_LEN(m))].s);
		if (rand_below(4) == 0)
			task_sleep_ms(task_sim_active() ? (int64_t)rand_below(20000) : 1);
		if (round == 50) { /* one leaves in the middle, another joins */
			member_end(&m[2]);
			member_begin(&m[2], l);
		}
	}
	for (size_t k = 0; k < ARRAY_LEN(m); k++) {
		task_lock(&m[k].s.lock);
		m[k].s.fail_lists = m[k].s.break_streams = 0;
		task_unlock(&m[k].s.lock);
		server_put(&m[k].s, "last", "1", NULL);
		wait_revision(m[k].i, m[k].s.rev);
		assert_int_equal(map_len(m[k].n.state), map_len(m[k].s.objects));
		assert_int_equal(informer_len(m[k].i), map_len(m[k].s.objects));
		member_end(&m[k]);
	}
	informer_loop_free(l);
}

/* A broken stream is noticed without an event, and a list that fails holds nobody else up. */
static void a_loop_goes_on_after_failures(void *arg)
{
	struct informer_loop *l = informer_loop_new();
	struct member ill, well;

	member_begin(&ill, l);
	member_begin(&well, l);
	wait_revision(ill.i, 11);
	wait_revision(well.i, 11);
	task_lock(&ill.s.lock);
	ill.s.break_streams = 1;
	ill.s.compacted = ill.s.rev + 1; /* and then it has to list, which fails */
	ill.s.fail_lists = 2;
	ill.s.rev++;
	tell_all(&ill.s);
	task_unlock(&ill.s.lock);
	server_put(&well.s, "more", "2", NULL);
	wait_revision(well.i, 12);
	assert_seen(&well.n, "+first@11 +more@12 ");
	wait_revision(ill.i, 12);
	assert_int_equal(ill.s.lists, 4);
	assert_int_equal(well.s.lists, 1);
	assert_int_equal(well.s.watches, 1);
	member_end(&ill);
	member_end(&well);
	informer_loop_free(l);
}

static void is_shared(void *arg)
{
	struct server s;

	server_init(&s);
	server_put(&s, "a", "1", NULL);
	struct client *c = client_new(&fake_ops, &s, "test");
	struct informers *all = informers_new(c);
	struct informer *i = informers_need(all, res_pods);
	assert_true(i == informers_need(all, (struct gvr){ "", "v1", "pods" }));
	assert_true(i != informers_need(all, res_nodes));
	informers_start(all);
	assert_true(informers_wait_synced(all, 60000));
	assert_int_equal(informer_len(i), 1);
	informers_free(all);
	client_free(c);
	server_fini(&s);
}

/* ---- events ---------------------------------------------------------------------------------- */

static void wait_calls(struct server *s, int n)
{
	task_lock(&s->lock);
	while (s->calls < n)
		task_wait(&s->changed, &s->lock);
	task_unlock(&s->lock);
}

static int occurrences(struct server *s, const char *what)
{
	int n = 0;

	buf_byte(&s->said, 0);
	s->said.n--;
	for (const char *p = s->said.p; (p = strstr(p, what)); p++)
		n++;
	return n;
}

static void records_events(void *arg)
{
	struct server s;
	auto_(doc_unref) struct doc *pod = make("web", "u1", 7, NULL), *other = make("db", "u2", 8, NULL);

	server_init(&s);
	struct client *c = client_new(&fake_ops, &s, "kubelet");
	struct recorder *r = recorder_new(c, "kubelet", "node1");
	recorder_event_field(r, pod, "spec.containers{web}", "Warning", "BackOff", "restarting \xff%s", "it");
	wait_calls(&s, 1);
	assert_int_equal(occurrences(&s, "\"message\":\"restarting ?it\""), 1);
	assert_int_equal(occurrences(&s, "\"fieldPath\":\"spec.containers{web}\""), 1);
	assert_int_equal(occurrences(&s, "\"resourceVersion\":\"7\""), 1);
	assert_int_equal(occurrences(&s, "\"source\":{\"component\":\"kubelet\",\"host\":\"node1\"}"), 1);
	assert_int_equal(occurrences(&s, "2 kubelet ns: "), 1);
	recorder_event_field(r, pod, "spec.containers{web}", "Warning", "BackOff", "restarting \xff%s", "it");
	wait_calls(&s, 2);
	assert_int_equal(occurrences(&s, "4 kubelet ns: {\"count\":2,"), 1);
	for (int i = 0; i < 100; i++)
		recorder_event(r, other, "Normal", "Probe", "took %d ms", i);
	recorder_event(r, pod, "Normal", "Done", "bye");
	wait_calls(&s, 2 + 25 + 1);
	recorder_free(r);
	assert_int_equal(s.calls, 2 + 25 + 1); /* the flood of one object stops at its burst; others are heard */
	assert_int_equal(occurrences(&s, "\"message\":\"took "), 10);
	assert_int_equal(occurrences(&s, "(combined from similar events): took "), 15);
	assert_int_equal(occurrences(&s, "\"message\":\"bye\""), 1);
	client_free(c);
	server_fini(&s);
}

/* Lists are in the order of names, and describe shows those of one second so: what happened first comes first. */
static void names_events_in_their_order(void *arg)
{
	struct server s;
	auto_(doc_unref) struct doc *pod = make("web", "u1", 7, NULL);
	unsigned long long last = 0;
	int n = 0;

	server_init(&s);
	struct client *c = client_new(&fake_ops, &s, "kubelet");
	struct recorder *r = recorder_new(c, "kubelet", "node1");
	for (int i = 0; i < 8; i++)
		recorder_event(r, pod, "Normal", "Step", "step %d", i);
	wait_calls(&s, 8);
	recorder_free(r);
	buf_byte(&s.said, 0);
	for (int i = 0; i < 8; i++) {
		char what[64];
		snprintf(what, sizeof(what), "\"message\":\"step %d\"", i);
		char *at = strstr(s.said.p, what), *name = NULL;
		for (char *p = s.said.p; at && (p = strstr(p, "\"name\":\"web.")) && p < at; p++)
			name = p;
		assert_non_null(name);
		unsigned long long serial = strtoull(name + strlen("\"name\":\"web."), NULL, 16);
		assert_true(serial > last);
		last = serial;
		n++;
	}
	assert_int_equal(n, 8);
	client_free(c);
	server_fini(&s);
}

/* One that comes again while its first is on the way is no other event: it is counted once that one is there. */
static void counts_what_comes_meanwhile(void *arg)
{
	struct server s;
	auto_(doc_unref) struct doc *pod = make("web", "u1", 7, NULL);

	server_init(&s);
	s.hold = true;
	struct client *c = client_new(&fake_ops, &s, "kubelet");
	struct recorder *r = recorder_new(c, "kubelet", "node1");
	for (int i = 0; i < 3; i++)
		recorder_event(r, pod, "Warning", "BackOff", "again");
	recorder_event(r, pod, "Normal", "Done", "bye");
	wait_calls(&s, 2); /* it and "bye": what came between them has been looked at */
	if (!task_sim_active())
		assert_int_equal(s.calls, 2);
	server_answer(&s);
	wait_calls(&s, 4);
	recorder_free(r);
	assert_int_equal(s.calls, 4);
	assert_int_equal(occurrences(&s, "2 kubelet ns: "), 2);
	assert_int_equal(occurrences(&s, "4 kubelet ns: {\"count\":2,"), 1);
	assert_int_equal(occurrences(&s, "4 kubelet ns: {\"count\":3,"), 1);
	client_free(c);
	server_fini(&s);
}

/* ---- both backends --------------------------------------------------------------------------- */

static void both(void (*test)(void *arg))
{
	test(NULL);
	for (uint64_t seed = 1; seed <= 20; seed++)
		assert_true(task_sim_run(seed, INT64_C(1) << 40, test, NULL) ==
			task_sim_run(seed, INT64_C(1) << 40, test, NULL));
}

#define BOTH(test)                               \
	static void test##_on_both(void **state) \
	{                                        \
		both(test);                      \
	}
BOTH(follows_a_resource)
BOTH(relists_when_it_is_too_old)
BOTH(loses_nothing_in_a_bad_week)
BOTH(resyncs)
BOTH(many_share_a_task)
BOTH(a_loop_goes_on_after_failures)
BOTH(is_shared)
BOTH(records_events)
BOTH(names_events_in_their_order)
BOTH(counts_what_comes_meanwhile)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(follows_a_resource_on_both),
		cmocka_unit_test(relists_when_it_is_too_old_on_both),
		cmocka_unit_test(loses_nothing_in_a_bad_week_on_both),
		cmocka_unit_test(resyncs_on_both),
		cmocka_unit_test(many_share_a_task_on_both),
		cmocka_unit_test(a_loop_goes_on_after_failures_on_both),
		cmocka_unit_test(is_shared_on_both),
		cmocka_unit_test(records_events_on_both),
		cmocka_unit_test(names_events_in_their_order_on_both),
		cmocka_unit_test(counts_what_comes_meanwhile_on_both),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
