/* decide FILE…: what controllers do about a cluster in a given state, told as scripts: the files of decisions/. One
 * line a case.
 *
 *     == ordered: the next one waits until the one before is ready      begins a case, in a cluster of its own
 *     create RESOURCE YAML            YAML may go on in lines that begin with a blank
 *     patch RESOURCE/NAME[:SUB] YAML  a merge patch of all that the name fits; NAME may be a pattern: web-*
 *     delete RESOURCE/NAME [now | Background | Foreground | Orphan]
 *     ready, unready, fail, done NAME pods say so, as their node would
 *     evict NAME                      the pods are asked to go, one after the other
 *     refused create … => TEXT        or patch, delete, evict: the answer is an error that has this text
 *     wait SECONDS
 *     count RESOURCE/NAME N           so many of them are there
 *     said NAME REASON                an Event about something of this name gives this reason; "unsaid": none does
 *     has events REASON TEXT          one with this reason, whose message has the text
 *     is RESOURCE/NAME PATH VALUE     for all of them; PATH as kubectl's jsonpath, and conditions[Ready] finds by type;
 * "-": not there
 *
 * Namespaced things are in the namespace shop; RESOURCE@NAMESPACE means another. There is a scheduler but no node,
 * unless a script makes one: pods run because a script says so. Before each look, a second passes. Virtual time:
 * nothing here waits. */
#include "base/file.h"
#include "base/log.h"
#include "sim.h"
#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>

#define CASE_MS (INT64_C(48) * 3600 * 1000)
#define LOOK_MS 1000

struct script {
	const char *file;
	struct str title, lines; /* borrowed from the file's bytes */
	int line;                /* of the first of them */
	struct world w;
};

/* ---- what a line names ----------------------------------------------------------------------- */

static struct gvr resource(struct world *w, struct str name)
{
#define ROW(id, group, version, resource) { group, version, resource },
	static const struct gvr all[] = { CLIENT_RESOURCES(ROW) };
#undef ROW

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (str_is(name, all[i].resource))
			return all[i];
	fail(w, "no resource %.*s", STR_ARG(name));
	return res_pods;
}

/* RESOURCE or RESOURCE@NAMESPACE. */
static struct gvr place(struct world *w, struct str text, struct str *ret_ns)
{
	static const char *const cluster[] = { "nodes", "namespaces", "persistentvolumes", "storageclasses",
		"priorityclasses", "certificatesigningrequests", "clusterroles" };
	struct str name, ns = str_cut(text, '@', &name);
	struct gvr r = resource(w, name);

	*ret_ns = ns.n ? ns : NS;
	for (size_t i = 0; i < ARRAY_LEN(cluster); i++)
		if (!strcmp(r.resource, cluster[i]))
			*ret_ns = STR_NULL;
	return r;
}

struct found {
	struct arena *a;
	struct gvr r;
	struct str ns;
	char pattern[128];
	struct doc *items[64];
	size_t n;
};

static void take_item(void *arg, struct doc *take)
{
	struct found *f = arg;
	char *name = arena_cstr(f->a, doc_name(take));

	if (fnmatch(f->pattern, name, 0) || f->n == ARRAY_LEN(f->items)) {
		doc_unref(take);
		return;
	}
	f->items[f->n++] = take;
	doc_hold(f->a, take);
}

static struct found find(struct world *w, struct arena *a, struct str target)
{
	struct str kind, pattern = str_cut(target, '/', &kind);
	struct found f = { .a = a };
	char revision[24];
	struct err e;

	err_init(&e);
	f.r = place(w, kind, &f.ns);
	snprintf(f.pattern, sizeof(f.pattern), "%.*s", STR_ARG(pattern));
	if (client_list(w->admin, &(struct client_request){ .verb = VERB_LIST, .res = f.r, .ns = f.ns }, take_item, &f,
		    revision, &e) < 0)
		fail(w, "list %.*s: %s", STR_ARG(kind), e.message);
	return f;
}

/* ---- paths ----------------------------------------------------------------------------------- */

/* The next part of a path, up to a dot that has no backslash before it; backslashes are taken out. */
static struct str part_of(struct arena *a, struct str *path)
{
	char *out = arena_alloc(a, path->n + 1);
	size_t n = 0, i = 0;

	for (; i < path->n && path->p[i] != '.'; i++) {
		if (path->p[i] == '\\' && i + 1 < path->n)
			i++;
		out[n++] = path->p[i];
	}
	*path = str_sub(*path, i + 1, path->n);
	return str_n(out, n);
}

/* "items[2]", "conditions[Ready]" */
static struct val element(struct val v, struct str part)
{
	struct str name, index = str_cut(part, '[', &name);
	struct val list = val_get_str(v, name);
	uint64_t n;

	if (!index.n)
		return list;
	index = str_sub(index, 0, index.n - 1);
	if (str_u64(index, &n))
		return val_at(list, n);
	v = val_find(list, "type", index);
	return val_has(v) ? v : val_find(list, "name", index);
}

static struct str value_at(struct arena *a, const struct doc *d, struct str path)
{
	struct val v = doc_root(d);
	struct str text;

	while (path.n && val_has(v))
		v = element(v, part_of(a, &path));
	if (!val_has(v))
		return STR("-");
	text = val_str(v);
	return text.n ? text : val_text(v);
}

/* ---- the lines ------------------------------------------------------------------------------- */

static struct doc *yaml_of(struct world *w, struct str text)
{
	struct doc *d = NULL;
	struct err e;

	err_init(&e);
	if (doc_parse_yaml(text, NULL, NULL, &d, &e) < 0)
		fail(w, "%s", e.message);
	return d;
}

static void do_create(struct world *w, struct arena *a, struct str rest)
{
	struct str ns, kind, text = str_cut(rest, ' ', &kind);
	struct gvr r = place(w, kind, &ns);
	auto_(doc_unref) struct doc *body = yaml_of(w, text);
	struct err e;

	(void)a;
	err_init(&e);
	if (body && client_create(w->admin, r, ns, body, NULL, &e) < 0)
		fail(w, "%s", e.message);
}

static void do_patch(struct world *w, struct arena *a, struct str rest)
{
	struct str target, text = str_cut(rest, ' ', &target), name, sub = str_cut(target, ':', &name);
	auto_(doc_unref) struct doc *body = yaml_of(w, text);
	struct found f = find(w, a, name);
	struct err e;

	err_init(&e);
	if (!f.n)
		fail(w, "%.*s: not there", STR_ARG(name));
	for (size_t i = 0; body && i < f.n; i++)
		if (client_patch(w->admin, f.r, f.ns, doc_name(f.items[i]), sub.n ? arena_cstr(a, sub) : NULL,
			    PATCH_MERGE, body, NULL, &e) < 0)
			fail(w, "%s", e.message);
}

static void do_delete(struct world *w, struct arena *a, struct str rest)
{
	struct str target, how = str_cut(rest, ' ', &target);
	struct found f = find(w, a, target);
	struct client_delete o = { .grace_s = str_is(how, "now") ? 0 : -1 };
	struct err e;

	err_init(&e);
	if (how.n && o.grace_s)
		o.propagation = arena_cstr(a, how);
	if (!f.n)
		fail(w, "%.*s: not there", STR_ARG(target));
	for (size_t i = 0; i < f.n; i++)
		if (client_delete(w->admin, f.r, f.ns, doc_name(f.items[i]), o, &e) < 0)
			fail(w, "%s", e.message);
}

static void do_evict(struct world *w, struct arena *a, struct str rest)
{
	struct found f = find(w, a, arena_strf(a, "pods/%.*s", STR_ARG(rest)));
	struct err e;

	err_init(&e);
	for (size_t i = 0; i < f.n; i++) {
		auto_(doc_unref) struct doc *body = node_publish(node_pack(
			a, "{apiVersion:'policy/v1', kind:'Eviction', metadata:{name:S}}", doc_name(f.items[i])));
		struct client_request rq = { .verb = VERB_CREATE,
			.res = res_pods,
			.ns = NS,
			.name = doc_name(f.items[i]),
			.sub = "eviction",
			.body = body };

		if (client_call(w->admin, &rq, NULL, &e) < 0)
			fail(w, "%s", e.message);
	}
}

static void say(struct world *w, struct arena *a, struct str names, const char *phase, bool ready)
{
	struct found f = find(w, a, arena_strf(a, "pods/%.*s", STR_ARG(names)));
	char now[TIME_TEXT_MAX];
	struct err e;

	err_init(&e);
	wall_rfc3339(wall_now(), now);
	if (!f.n)
		fail(w, "pods/%.*s: not there", STR_ARG(names));
	for (size_t i = 0; i < f.n; i++) {
		auto_(doc_unref) struct doc *body = node_publish(node_pack(a,
			"{status:{phase:s, podIP:o, podIPs:[{ip:o}], conditions:[{type:'Ready', status:s, "
			"lastTransitionTime:s}]}}",
			phase, node_strf(a, "10.0.0.%zu", i + 1), node_strf(a, "10.0.0.%zu", i + 1),
			ready ? "True" : "False", now));

		if (client_patch(w->admin, res_pods, NS, doc_name(f.items[i]), "status", PATCH_MERGE, body, NULL, &e) <
				0 &&
			e.code != ERR_NOT_FOUND) /* one may go because another has become ready */
			fail(w, "%s", e.message);
		err_init(&e);
	}
}

static void do_ready(struct world *w, struct arena *a, struct str rest)
{
	say(w, a, rest, "Running", true);
}

static void do_unready(struct world *w, struct arena *a, struct str rest)
{
	say(w, a, rest, "Running", false);
}

static void do_fail(struct world *w, struct arena *a, struct str rest)
{
	say(w, a, rest, "Failed", false);
}

static void do_done(struct world *w, struct arena *a, struct str rest)
{
	say(w, a, rest, "Succeeded", false);
}

static void do_wait(struct world *w, struct arena *a, struct str rest)
{
	int64_t s = 0;

	(void)a;
	if (!str_i64(rest, &s))
		fail(w, "wait: %.*s is no number", STR_ARG(rest));
	task_sleep_ms(s * 1000);
}

static void do_count(struct world *w, struct arena *a, struct str rest)
{
	struct str target, number = str_cut(rest, ' ', &target);
	struct found f;
	char names[300];
	int64_t n = -1, at = 0;

	task_sleep_ms(LOOK_MS);
	f = find(w, a, target);
	names[0] = 0;
	for (size_t i = 0; i < f.n && at < 200; i++)
		at += snprintf(
			names + at, sizeof(names) - (size_t)at, " %.*s", STR_ARG(str_sub(doc_name(f.items[i]), 0, 60)));
	if (!str_i64(number, &n) || f.n != (size_t)n)
		fail(w, "%zu are there:%s", f.n, names);
}

static void do_is(struct world *w, struct arena *a, struct str rest)
{
	struct str target, path, value = str_cut(str_cut(rest, ' ', &target), ' ', &path);
	struct found f;

	task_sleep_ms(LOOK_MS);
	f = find(w, a, target);
	if (!f.n)
		fail(w, "not there");
	for (size_t i = 0; i < f.n; i++) {
		struct str has = value_at(a, f.items[i], path);

		if (!str_eq(has, str_trim(value)))
			fail(w, "%.*s: it is %.*s", STR_ARG(doc_name(f.items[i])), STR_ARG(has));
	}
}

/* Events are written a moment later, in the background. */
static bool is_said(struct world *w, struct arena *a, struct str rest)
{
	struct str name, reason = str_cut(rest, ' ', &name);
	struct found f;

	task_sleep_ms(LOOK_MS);
	f = find(w, a, arena_strf(a, "events/%.*s.*", STR_ARG(name)));
	for (size_t i = 0; i < f.n; i++)
		if (str_eq(doc_str(f.items[i], "reason"), str_trim(reason)))
			return true;
	return false;
}

static void do_said(struct world *w, struct arena *a, struct str rest)
{
	if (!is_said(w, a, rest))
		fail(w, "no Event gives this reason");
}

static void do_unsaid(struct world *w, struct arena *a, struct str rest)
{
	if (is_said(w, a, rest))
		fail(w, "an Event gives this reason");
}

static void do_has(struct world *w, struct arena *a, struct str rest)
{
	struct str kind, reason, text = str_cut(str_cut(rest, ' ', &kind), ' ', &reason);
	struct found f = find(w, a, arena_strf(a, "%.*s/*", STR_ARG(kind)));

	for (size_t i = 0; i < f.n; i++)
		if (str_eq(doc_str(f.items[i], "reason"), reason) && str_has(doc_str(f.items[i], "message"), text))
			return;
	fail(w, "none of %zu has it", f.n);
}

static void run_line(struct world *w, struct arena *a, struct str line);

static void do_refused(struct world *w, struct arena *a, struct str rest)
{
	char *line = arena_cstr(a, rest), *text = strstr(line, " => "), answer[sizeof(w->failure)];

	if (!text) {
		fail(w, "without => TEXT");
		return;
	}
	run_line(w, a, str_n(line, (size_t)(text - line)));
	snprintf(answer, sizeof(answer), "%s", w->failure);
	w->failure[0] = 0;
	if (!answer[0])
		fail(w, "it was accepted");
	else if (!strstr(answer, text + 4))
		fail(w, "%.700s", answer);
}

static const struct verb {
	const char *name;
	void (*run)(struct world *w, struct arena *a, struct str rest);
} verbs[] = {
	{ "create", do_create },
	{ "patch", do_patch },
	{ "delete", do_delete },
	{ "evict", do_evict },
	{ "ready", do_ready },
	{ "unready", do_unready },
	{ "fail", do_fail },
	{ "done", do_done },
	{ "wait", do_wait },
	{ "refused", do_refused },
	{ "count", do_count },
	{ "has", do_has },
	{ "is", do_is },
	{ "said", do_said },
	{ "unsaid", do_unsaid },
};

static void run_line(struct world *w, struct arena *a, struct str line)
{
	struct str name, rest = str_cut(line, ' ', &name);

	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		if (!str_is(name, verbs[i].name))
			continue;
		task_trace("%.*s", STR_ARG(line));
		verbs[i].run(w, a, str_trim(rest));
		return;
	}
	fail(w, "no such verb");
}

/* A line and those after it that begin with a blank. */
static struct str next_line(struct str *rest, int *n_lines)
{
	const char *begin = rest->p;
	struct str line;

	*n_lines = 0;
	while (str_next(rest, '\n', &line)) {
		++*n_lines;
		if (!rest->n || (rest->p[0] != ' ' && rest->p[0] != '\t'))
			break;
	}
	return *n_lines ? str_n(begin, (size_t)(line.p + line.n - begin)) : STR_NULL;
}

static void play(void *arg)
{
	struct script *s = arg;
	auto_(arena_free) struct arena *a = arena_new();
	struct str rest = s->lines, line;
	char why[sizeof(s->w.failure)];
	int at = s->line, n;

	cluster_start(&s->w);
	run_line(&s->w, a, STR("create namespaces {apiVersion: v1, kind: Namespace, metadata: {name: shop}}"));
	task_sleep_ms(LOOK_MS); /* its ServiceAccount */
	for (; !failed(&s->w) && rest.n; at += n) {
		line = next_line(&rest, &n);
		if (!str_trim(line).n || line.p[0] == '#')
			continue;
		run_line(&s->w, a, line);
		if (!failed(&s->w))
			continue;
		snprintf(why, sizeof(why), "%s", s->w.failure);
		snprintf(s->w.failure, sizeof(s->w.failure), "%s:%d: %.*s: %.700s", s->file, at,
			STR_ARG(str_sub(line, 0, 120)), why);
	}
	cluster_stop(&s->w);
}

/* ---- files ----------------------------------------------------------------------------------- */

/* From one "== title" to the next. */
static bool next_case(struct str *rest, int *line, struct script *ret)
{
	struct str text;
	bool found = false;

	for (; rest->n && !(found && str_starts(*rest, STR("== "))); ++*line) {
		if (!str_next(rest, '\n', &text))
			break;
		if (!found && str_starts(text, STR("== "))) {
			found = true;
			*ret = (struct script){
				.file = ret->file, .title = str_sub(text, 3, text.n), .lines = *rest, .line = *line + 1
			};
		}
	}
	if (found)
		ret->lines.n -= rest->n;
	return found;
}

static bool run_file(const char *path, const char *only)
{
	auto_buf struct buf bytes = BUF_INIT;
	struct script s = { .file = strrchr(path, '/') ? strrchr(path, '/') + 1 : path };
	struct str rest;
	struct err e;
	bool ok = true;
	int line = 1;

	err_init(&e);
	if (file_read(path, &bytes, &e) < 0) {
		fprintf(stderr, "%s\n", e.message);
		return false;
	}
	rest = buf_view(&bytes);
	while (next_case(&rest, &line, &s)) {
		if (only && !str_has(s.title, str_c(only)))
			continue;
		task_sim_run(1, CASE_MS, play, &s);
		printf("%s %s: %.*s%s%s\n", failed(&s.w) ? "FAIL" : "ok", s.file, STR_ARG(s.title),
			failed(&s.w) ? "\n     " : "", s.w.failure);
		fflush(stdout);
		ok &= !failed(&s.w);
	}
	return ok;
}

int main(int argc, char **argv)
{
	bool ok = argc > 1;

	log_setup("decide", getenv("KOGGE_SIM_LOG") ? LOG_DEBUG : LOG_ERROR, false);
	for (int i = 1; i < argc; i++)
		ok &= run_file(argv[i], getenv("CASE"));
	return ok ? 0 : 1;
}
