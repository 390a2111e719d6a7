/* Events: what happened to an object, for people. Callers only queue; one task writes, many events at a time.
 *
 *   recorder_event() ──► queue (RECORDER_MAX) ──► task: rate limit per object ──► same as before? count it up : create
 *
 * Occurrences of the same event are written one after the other.
 * As in upstream, more than 10 different messages of one kind within 10 minutes become one event that says so. */
#include "base/crew.h"
#include "base/log.h"
#include "base/map.h"
#include "client/informer.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define LOG_MODULE "events"
#define ENTRY_BYTES 512   /* of one that waits, as a rule */
#define WRITES_MAX 128    /* at a time: what fits into the next commit */
#define KNOWN_MAX 4096    /* entries of each table below; the oldest go */
#define BURST 25          /* events of one object at once, then … */
#define REFILL_MS 300000  /* … one each 5 minutes */
#define SIMILAR_MAX 10    /* messages of one kind before they are combined */
#define SIMILAR_MS 600000 /* within this time */
#define TRIES 3
#define CLOSING_MS 1000
#define MESSAGE_MAX 1024 /* upstream's limit */

/* One occurrence. All strings in one arena: it goes as a whole. */
struct entry {
	struct arena *a;
	struct str kind, api_version, ns, name, uid, revision, field_path, type, reason, message;
	struct str key; /* what makes two occurrences the same event; after combine() */
	struct wall at;
	int64_t serial;     /* its time in ns, no two of a recorder alike: names in the order of what happened */
	struct entry *next; /* the same again, while this one is written */
};

/* An event that is on the server. */
struct known {
	char *ns, *name;
	char first[TIME_TEXT_MAX];
	int64_t count;
};

struct bucket { /* of tokens */
	int64_t tokens;
	struct mono at;
};

struct similar {
	uint64_t messages[SIMILAR_MAX]; /* their hashes */
	size_t n;
	struct mono since;
};

struct recorder {
	struct client *client;
	char *component, *host;
	struct stop *stop;
	struct crew *crew; /* of one task */

	struct task_mutex lock;
	int64_t waiting, dropped; /* dropped: since nothing waited */
	int64_t last_serial;

	/* The task only; a fiber that writes finds them changed afterwards. */
	struct map *known, *buckets, *similar;
	struct map *writing; /* entry.key → the first of them */
};

/* ---- memory of what was said ----------------------------------------------------------------- */

static void known_end(void *p)
{
	struct known *k = p;

	free(k->ns);
	free(k->name);
	free(k);
}

/* Thousands of these are kept: 16 bytes instead of a long text. Two that meet would be counted as one, and never
 * are. */
static struct str digest(struct arena *a, struct str key)
{
	uint64_t h[2] = { str_hash(key), 0 };

	h[1] = str_hash(ARENA_JOIN(a, str_n((char *)h, sizeof(h[0])), key));
	return arena_str(a, str_n((char *)h, sizeof(h)));
}

static void bound(struct map *m)
{
	struct str key;
	size_t i = 0;
	void *v;

	if (map_len(m) >= KNOWN_MAX && map_next(m, &i, &key, &v))
		map_del(m, key);
}

/* One token for this object, or not. */
static bool allowed(struct recorder *r, const struct entry *ev)
{
	struct bucket *b = map_get(r->buckets, ev->uid);
	struct mono now = mono_now();
	int64_t more;

	if (!b) {
		bound(r->buckets);
		b = xcalloc(1, sizeof(*b));
		*b = (struct bucket){ BURST, now };
		map_put(r->buckets, ev->uid, b);
	}
	more = mono_ms_between(b->at, now) / REFILL_MS;
	if (more > 0) {
		b->tokens = MIN(b->tokens + more, BURST);
		b->at = mono_add_ms(b->at, more * REFILL_MS);
	}
	if (b->tokens == 0)
		return false;
	b->tokens--;
	return true;
}

/* Many messages that differ ("failed after 1.2 s", "failed after 1.3 s") become one. */
static void combine(struct recorder *r, struct entry *ev)
{
	struct str key = digest(
		ev->a, ARENA_JOIN(ev->a, ev->uid, STR("|"), ev->field_path, STR("|"), ev->type, STR("|"), ev->reason));
	uint64_t message = str_hash(ev->message);
	struct similar *s = map_get(r->similar, key);
	struct mono now = mono_now();

	if (s && mono_ms_between(s->since, now) > SIMILAR_MS) {
		map_del(r->similar, key);
		s = NULL;
	}
	if (!s) {
		bound(r->similar);
		s = xcalloc(1, sizeof(*s));
		*s = (struct similar){ .since = now };
		map_put(r->similar, key, s);
	}
	for (size_t i = 0; i < s->n; i++)
		if (s->messages[i] == message)
			return;
	if (s->n < SIMILAR_MAX)
		s->messages[s->n++] = message;
	else
		ev->message = arena_strf(ev->a, "(combined from similar events): %.*s", STR_ARG(ev->message));
}

/* What makes two occurrences the same event. A combined one is the same whatever it says. */
static struct str same_key(struct entry *ev)
{
	bool combined = str_starts(ev->message, STR("(combined"));

	return digest(ev->a,
		ARENA_JOIN(ev->a, ev->uid, STR("|"), ev->field_path, STR("|"), ev->type, STR("|"), ev->reason, STR("|"),
			combined ? STR("combined") : ev->message));
}

/* ---- writing --------------------------------------------------------------------------------- */

static struct str given(struct str s) /* an empty field is left out */
{
	return s.n ? s : STR_NULL;
}

static int create(struct recorder *r, struct entry *ev, struct err *e)
{
	struct str ns = ev->ns.n ? ev->ns : STR("default");
	struct known *k;
	char now[TIME_TEXT_MAX];
	auto_(doc_unref) struct doc *d = NULL;
	struct node *n;
	int code;

	wall_rfc3339(ev->at, now);
	char *name = arena_printf(ev->a, "%.*s.%" PRIx64, STR_ARG(ev->name), ev->serial);
	n = node_pack(ev->a,
		"{apiVersion:'v1', kind:'Event', metadata:{name:s, namespace:S},"
		" involvedObject:{kind:S, namespace:S, name:S, uid:S, apiVersion:S, resourceVersion:S, fieldPath:S},"
		" reason:S, message:S, source:{component:s, host:s}, firstTimestamp:s, lastTimestamp:s, count:1, "
		"type:S,"
		" eventTime:null, reportingComponent:s, reportingInstance:s}",
		name, ns, given(ev->kind), given(ev->ns), given(ev->name), given(ev->uid), given(ev->api_version),
		given(ev->revision), given(ev->field_path), ev->reason, ev->message, r->component, r->host, now, now,
		ev->type, r->component, r->host ? r->host : "");
	d = node_publish(n);
	code = client_create(r->client, res_events, ns, d, NULL, e);
	if (code == -ERR_EXISTS) /* of another recorder, in the same moment */
		ev->serial++;
	if (code < 0)
		return code;
	k = xcalloc(1, sizeof(*k));
	*k = (struct known){ .ns = str_dup(ns), .name = xstrdup(name), .count = 1 };
	bound(r->known);
	map_put(r->known, ev->key, k);
	return 0;
}

static int count_up(struct recorder *r, struct entry *ev, struct known *k, struct err *e)
{
	auto_(doc_unref) struct doc *patch = NULL;
	char now[TIME_TEXT_MAX];
	struct str ns, name;
	int code;

	wall_rfc3339(ev->at, now);
	ns = arena_str(ev->a, str_c(k->ns));
	name = arena_str(ev->a, str_c(k->name));
	patch = node_publish(node_pack(ev->a, "{count:I, lastTimestamp:s, message:S}", k->count + 1, now, ev->message));
	code = client_patch(r->client, res_events, ns, name, NULL, PATCH_MERGE, patch, NULL, e);
	k = map_get(r->known, ev->key);
	if (code == 0 && k)
		k->count++;
	return code;
}

static int write_once(struct recorder *r, struct entry *ev, struct err *e)
{
	struct known *k = map_get(r->known, ev->key);
	int code;

	if (!k)
		return create(r, ev, e);
	code = count_up(r, ev, k, e);
	if (code != -ERR_NOT_FOUND)
		return code;
	map_del(r->known, ev->key); /* its time to live was over */
	err_init(e);
	return create(r, ev, e);
}

static void write_event(struct recorder *r, struct entry *ev)
{
	struct err e;
	int code;

	for (int i = 0; i < TRIES; i++) {
		err_init(&e);
		code = write_once(r, ev, &e);
		if (code == -ERR_EXISTS)
			continue;
		if (code != -ERR_UNAVAILABLE && code != -ERR_TIMEOUT && code != -ERR_TOO_MANY && code != -ERR_IO)
			break;
		if (!stop_sleep_ms(r->stop, 1000 << i))
			break;
	}
	/* A namespace that goes away takes no events: nothing to tell anybody. */
	if (code < 0 && code != -ERR_FORBIDDEN && code != -ERR_NOT_FOUND)
		log_debug("event %.*s about %.*s/%.*s was not written: %s", STR_ARG(ev->reason), STR_ARG(ev->ns),
			STR_ARG(ev->name), e.message);
}

static void done(struct recorder *r, struct entry *ev)
{
	int64_t dropped = 0;

	task_lock(&r->lock);
	if (--r->waiting == 0) {
		dropped = r->dropped;
		r->dropped = 0;
	}
	task_unlock(&r->lock);
	if (dropped)
		log_warn("%lld events of %s were not written: too many at once", (long long)dropped, r->component);
	arena_free(ev->a);
}

/* Writes it, and then what came to the same meanwhile. */
static void write_in_turn(struct recorder *r, struct entry *ev)
{
	struct str key = ev->key;
	struct entry *first = map_get(r->writing, key), *next;

	if (first) {
		while (first->next)
			first = first->next;
		first->next = ev;
		return;
	}
	for (; ev; ev = next) {
		map_put(r->writing, key, ev);
		write_event(r, ev);
		next = ev->next;
		key = next ? next->key : key;
		if (!next)
			map_del(r->writing, key);
		done(r, ev);
	}
}

static void work(void *arg, void *job)
{
	struct recorder *r = arg;
	struct entry *ev = job;

	if (!allowed(r, ev)) {
		done(r, ev);
		return;
	}
	combine(r, ev);
	ev->key = same_key(ev);
	write_in_turn(r, ev);
}

static void drop(void *arg, void *job)
{
	done(arg, job);
}

/* ---- callers --------------------------------------------------------------------------------- */

struct recorder *recorder_new(struct client *c, const char *component, const char *host)
{
	struct recorder *r = xcalloc(1, sizeof(*r));

	r->client = c;
	r->component = xstrdup(component);
	r->host = host ? xstrdup(host) : NULL;
	r->crew = crew_new(&(struct crew_opts){
		.name = "events", .work = work, .drop = drop, .arg = r, .tasks_max = 1, .jobs_max = WRITES_MAX });
	r->known = map_new(known_end);
	r->buckets = map_new(free);
	r->similar = map_new(free);
	r->writing = map_new(NULL);
	r->stop = stop_new();
	task_mutex_init(&r->lock);
	return r;
}

struct recorder *recorder_free(struct recorder *r)
{
	if (!r)
		return NULL;
	stop_raise(r->stop); /* retries end */
	crew_stop(r->crew, mono_add_ms(mono_now(), CLOSING_MS));
	crew_free(r->crew);
	map_free(r->known);
	map_free(r->buckets);
	map_free(r->similar);
	map_free(r->writing);
	stop_free(r->stop);
	task_mutex_fini(&r->lock);
	free(r->component);
	free(r->host);
	free(r);
	return NULL;
}

static struct entry *entry_new(
	struct doc *about, const char *field_path, const char *type, const char *reason, const char *message)
{
	struct arena *a = arena_new_of(ENTRY_BYTES);
	struct entry *ev = ARENA_NEW(a, struct entry);

	*ev = (struct entry){
		.a = a,
		.kind = arena_str(a, doc_str(about, "kind")),
		.api_version = arena_str(a, doc_str(about, "apiVersion")),
		.ns = arena_str(a, doc_ns(about)),
		.name = arena_str(a, doc_name(about)),
		.uid = arena_str(a, doc_uid(about)),
		.revision = arena_str(a, doc_str(about, "metadata.resourceVersion")),
		.field_path = field_path ? arena_str(a, str_c(field_path)) : STR_NULL,
		.type = arena_str(a, str_c(type)),
		.reason = arena_str(a, str_c(reason)),
		.message = arena_str(a, str_c(message)),
	};
	return ev;
}

/* Bytes of the sequence at p when it is well-formed UTF-8, else 0. */
static size_t utf8_len(const unsigned char *p)
{
	static const struct {
		unsigned char mask, lead, len;
		uint32_t least;
	} forms[] = { { 0x80, 0, 1, 0 }, { 0xe0, 0xc0, 2, 0x80 }, { 0xf0, 0xe0, 3, 0x800 },
		{ 0xf8, 0xf0, 4, 0x10000 } };
	uint32_t c;

	for (size_t f = 0; f < ARRAY_LEN(forms); f++) {
		if ((p[0] & forms[f].mask) != forms[f].lead)
			continue;
		c = p[0] & (unsigned char)~forms[f].mask;
		for (size_t i = 1; i < forms[f].len; i++) {
			if ((p[i] & 0xc0) != 0x80)
				return 0;
			c = c << 6 | (p[i] & 0x3f);
		}
		return c >= forms[f].least && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff) ? forms[f].len : 0;
	}
	return 0;
}

/* Messages quote what programs print: whatever is no text, and a character that the limit cut, becomes '?'. */
static void make_text(char *s)
{
	for (unsigned char *p = (unsigned char *)s; *p;) {
		size_t n = utf8_len(p);

		if (n == 0)
			*p = '?';
		p += n ? n : 1;
	}
}

static void record(struct recorder *r, struct doc *about, const char *field_path, const char *type, const char *reason,
	const char *fmt, va_list ap)
{
	char message[MESSAGE_MAX];
	struct wall at = wall_now();
	int64_t serial;
	bool room;

	if (!r)
		return;
	vsnprintf(message, sizeof(message), fmt, ap);
	make_text(message);
	task_lock(&r->lock);
	room = r->waiting < RECORDER_MAX;
	r->waiting += room;
	r->dropped += !room;
	serial = r->last_serial = MAX(at.ns, r->last_serial + 1);
	task_unlock(&r->lock);
	if (!room)
		return;
	struct entry *ev = entry_new(about, field_path, type, reason, message);
	ev->at = at;
	ev->serial = serial;
	crew_add(r->crew, ev);
}

size_t recorder_waiting(struct recorder *r)
{
	size_t n;

	task_lock(&r->lock);
	n = (size_t)r->waiting;
	task_unlock(&r->lock);
	return n;
}

void recorder_event(struct recorder *r, struct doc *about, const char *type, const char *reason, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	record(r, about, NULL, type, reason, fmt, ap);
	va_end(ap);
}

void recorder_event_field(struct recorder *r, struct doc *about, const char *field_path, const char *type,
	const char *reason, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	record(r, about, field_path, type, reason, fmt, ap);
	va_end(ap);
}
