/* A node agent on an API that lives in this process: for trying the agent against a real container runtime without a
 * control plane.
 * Commands on stdin, one a line:  apply FILE · delete NS/NAME [GRACE] · get RESOURCE NS/NAME · purge · sleep MS · wait
 * NS/NAME ready|gone · quit. Every status that the agent writes is printed with the milliseconds since the last
 * command. */
#include "node/node_internal.h"
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

struct change {
	int64_t rev;
	int type;
	char *resource;
	struct doc *object;
};

struct api {
	struct task_mutex lock;
	struct task_cond changed;
	struct map *objects; /* "resource ns/name" → doc */
	struct change *log;
	size_t n;
	int64_t rev;
	struct mono mark;
	bool quiet;
};

struct client_stream {
	struct api *s;
	struct client_request rq;
	char *ns, *field;
	const char *resource;
	int64_t after;
	bool interrupted;
};

static char *key_of(const char *resource, struct str ns, struct str name)
{
	return xasprintf("%s %.*s/%.*s", resource, STR_ARG(ns), STR_ARG(name));
}

static void publish(struct api *s, const char *resource, struct node *t, int type) /* locked */
{
	char rev[24];
	struct doc *d;

	(void)snprintf(rev, sizeof(rev), "%lld", (long long)++s->rev);
	auto_(arena_free) struct arena *a = arena_new();
	struct node *copy = node_copy(a, t);
	node_set_path(copy, "metadata.resourceVersion", node_c(a, rev));
	d = node_publish(copy);
	auto_free char *key = key_of(resource, doc_ns(d), doc_name(d));
	if (type == EVENT_DELETED)
		map_del(s->objects, str_c(key));
	else
		map_put(s->objects, str_c(key), doc_ref(d));
	s->log = xrealloc(s->log, s->n + 1, sizeof(*s->log));
	s->log[s->n++] = (struct change){ s->rev, type, xstrdup(resource), d };
	task_broadcast(&s->changed);
}

static long long since(struct api *s)
{
	return (long long)((mono_now().ns - s->mark.ns) / 100000);
}

static void show(struct api *s, const char *what, struct doc *d)
{
	struct val cs = val_at(doc_get(d, "status.containerStatuses"), 0), ready;

	ready = val_find(doc_get(d, "status.conditions"), "type", STR("Ready"));
	if (!s->quiet)
		printf("%6lld.%lld ms  %s %.*s phase=%.*s ready=%.*s ip=%.*s state=%.*s restarts=%lld\n", since(s) / 10,
			since(s) % 10, what, STR_ARG(doc_name(d)), STR_ARG(doc_str(d, "status.phase")),
			STR_ARG(val_str(val_get(ready, "status"))), STR_ARG(doc_str(d, "status.podIP")),
			STR_ARG(val_text(val_get(cs, "state"))), (long long)val_int(val_get(cs, "restartCount"), 0));
	(void)fflush(stdout);
}

static int do_patch(struct api *s, const struct client_request *rq, struct doc *old, struct doc **ret, struct err *e)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct node *t = node_from(a, doc_root(old));

	(void)e;
	patch_merge(a, &t, doc_root(rq->body));
	publish(s, rq->res.resource, t, EVENT_MODIFIED);
	struct doc *now = s->log[s->n - 1].object;
	if (strcmp(rq->res.resource, "pods") == 0)
		show(s, "status", now);
	if (ret)
		*ret = doc_ref(now);
	return 0;
}

static int do_create(struct api *s, const struct client_request *rq, struct doc **ret, struct err *e)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct node *t = node_from(a, doc_root(rq->body));
	struct doc *reply;

	(void)e;
	if (rq->sub && strcmp(rq->sub, "token") == 0) {
		char when[TIME_TEXT_MAX];
		wall_rfc3339((struct wall){ wall_now().ns + 3600 * (int64_t)1000000000 }, when);
		*ret = node_publish(
			node_pack(a, "{kind:'TokenRequest', status:{token:'a.b.c', expirationTimestamp:s}}", when));
		return 0;
	}
	if (strcmp(rq->res.resource, "events") == 0) {
		if (!s->quiet)
			printf("%6lld.%lld ms  event %.*s %.*s\n", since(s) / 10, since(s) % 10,
				STR_ARG(doc_str(rq->body, "reason")), STR_ARG(doc_str(rq->body, "message")));
		(void)fflush(stdout);
	}
	publish(s, rq->res.resource, t, EVENT_ADDED);
	reply = s->log[s->n - 1].object;
	if (ret)
		*ret = doc_ref(reply);
	return 0;
}

static int api_call(void *self, const struct client_request *rq, struct doc **ret, struct err *e)
{
	struct api *s = self;
	auto_free char *key = key_of(rq->res.resource, rq->ns, rq->name);
	struct doc *old;
	int r = 0;

	task_lock(&s->lock);
	old = map_get(s->objects, str_c(key));
	if (rq->verb == VERB_CREATE) {
		r = do_create(s, rq, ret, e);
	} else if (!old) {
		r = err_set(e, ERR_NOT_FOUND, "%s not found", key);
	} else if (rq->verb == VERB_GET) {
		*ret = doc_ref(old);
	} else if (rq->verb == VERB_PATCH) {
		r = do_patch(s, rq, old, ret, e);
	} else if (rq->verb == VERB_DELETE) {
		auto_(arena_free) struct arena *a = arena_new();
		show(s, "deleted", old);
		publish(s, rq->res.resource, node_from(a, doc_root(old)), EVENT_DELETED);
	}
	task_unlock(&s->lock);
	return r;
}

static bool matches(const char *key, const char *resource, struct str ns, struct str field, struct doc *d)
{
	size_t n = strlen(resource);

	if (strncmp(key, resource, n) != 0 || key[n] != ' ')
		return false;
	if (!str_empty(ns) && !str_eq(ns, doc_ns(d)))
		return false;
	if (str_starts(field, STR("metadata.name=")))
		return str_eq(str_sub(field, 14, field.n), doc_name(d));
	return true;
}

static int api_list(void *self, const struct client_request *rq, void (*each)(void *arg, struct doc *take), void *arg,
	char ret_rev[24], struct err *e)
{
	struct api *s = self;
	struct str key;
	void *value;

	(void)e;
	task_lock(&s->lock);
	for (size_t i = 0; map_next(s->objects, &i, &key, &value);) {
		auto_free char *k = str_dup(key);
		if (matches(k, rq->res.resource, rq->ns, rq->field_selector, value))
			each(arg, doc_ref(value));
	}
	(void)snprintf(ret_rev, 24, "%lld", (long long)s->rev);
	task_unlock(&s->lock);
	return 0;
}

static int api_watch(void *self, const struct client_request *rq, struct client_stream **ret, struct err *e)
{
	struct client_stream *w = xcalloc(1, sizeof(*w));
	int64_t rev = 0;

	(void)e;
	(void)str_i64(rq->resource_version, &rev);
	w->s = self;
	w->resource = rq->res.resource;
	w->ns = str_dup(rq->ns);
	w->field = str_dup(rq->field_selector);
	w->after = rev;
	*ret = w;
	return 0;
}

static int api_next(struct client_stream *w, int64_t timeout_ms, struct client_event *ret, struct err *e)
{
	struct mono until = mono_add_ms(mono_now(), timeout_ms);
	struct api *s = w->s;
	int r = 1;

	task_lock(&s->lock);
	while (r == 1) {
		for (size_t i = 0; r == 1 && i < s->n; i++) {
			struct change *c = &s->log[i];
			if (c->rev <= w->after)
				continue;
			w->after = c->rev;
			auto_free char *key = key_of(c->resource, doc_ns(c->object), doc_name(c->object));
			if (!matches(key, w->resource, str_c(w->ns), str_c(w->field), c->object))
				continue;
			ret->type = c->type;
			ret->object = doc_ref(c->object);
			r = 0;
		}
		if (r == 1 && w->interrupted)
			r = err_set(e, ERR_CANCELED, "interrupted");
		else if (r == 1 && !task_wait_until(&s->changed, &s->lock, until))
			r = err_set(e, ERR_TIMEOUT, "nothing happened");
	}
	task_unlock(&s->lock);
	return r;
}

static void api_interrupt(struct client_stream *w)
{
	task_lock(&w->s->lock);
	w->interrupted = true;
	task_broadcast(&w->s->changed);
	task_unlock(&w->s->lock);
}

static void api_close(struct client_stream *w)
{
	free(w->ns);
	free(w->field);
	free(w);
}

static const struct client_ops ops = { api_call, api_list, api_watch, api_next, api_interrupt, api_close, NULL };

/* ---- commands -------------------------------------------------------------------------------- */

static const char *resource_of(struct doc *d)
{
	static const char *const names[][2] = { { "Pod", "pods" }, { "ConfigMap", "configmaps" },
		{ "Secret", "secrets" }, { "Service", "services" } };

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (str_is(doc_str(d, "kind"), names[i][0]))
			return names[i][1];
	return "things";
}

static void apply(struct api *s, const char *file)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_(doc_unref) struct doc *d = NULL;
	static char text[1 << 20];
	char uid[UUID_TEXT_MAX];
	FILE *f = fopen(file, "re");
	struct err e;

	err_init(&e);
	if (!f) {
		printf("cannot read %s\n", file);
		return;
	}
	size_t n = fread(text, 1, sizeof(text), f);
	(void)fclose(f);
	if (doc_parse_yaml(str_n(text, n), NULL, NULL, &d, &e) < 0) {
		printf("%s: %s\n", file, e.message);
		return;
	}
	struct node *t = node_from(a, doc_root(d));
	auto_free char *key = key_of(resource_of(d), str_empty(doc_ns(d)) ? STR("default") : doc_ns(d), doc_name(d));
	task_lock(&s->lock);
	struct doc *old = map_get(s->objects, str_c(key));
	if (str_empty(doc_ns(d)))
		node_set_path(t, "metadata.namespace", node_c(a, "default"));
	rand_uuid(uid);
	if (str_empty(doc_uid(d)))
		node_set_path(t, "metadata.uid", old ? node_str(a, doc_uid(old)) : node_c(a, uid));
	s->mark = mono_now();
	publish(s, resource_of(d), t, old ? EVENT_MODIFIED : EVENT_ADDED);
	task_unlock(&s->lock);
}

static void delete_pod(struct api *s, const char *name, long grace)
{
	auto_free char *key = xasprintf("pods %s", name);
	auto_(arena_free) struct arena *a = arena_new();
	char now[TIME_TEXT_MAX];

	task_lock(&s->lock);
	struct doc *d = map_get(s->objects, str_c(key));
	if (d) {
		struct node *t = node_from(a, doc_root(d));
		int64_t own = doc_int(d, "spec.terminationGracePeriodSeconds", 30);
		wall_rfc3339(wall_now(), now);
		node_set_path(t, "metadata.deletionTimestamp", node_c(a, now));
		node_set_path(t, "metadata.deletionGracePeriodSeconds", node_int(a, grace < 0 ? own : grace));
		s->mark = mono_now();
		publish(s, "pods", t, EVENT_MODIFIED);
	}
	task_unlock(&s->lock);
}

static bool is_ready(struct doc *d)
{
	return val_is(val_get(val_find(doc_get(d, "status.conditions"), "type", STR("Ready")), "status"), "True");
}

static void wait_for(struct api *s, const char *name, const char *what)
{
	auto_free char *key = xasprintf("pods %s", name);
	struct mono until = mono_add_ms(mono_now(), 60000);
	bool ok = false, more = true;

	task_lock(&s->lock);
	while (!ok && more) {
		struct doc *d = map_get(s->objects, str_c(key));
		ok = strcmp(what, "gone") == 0     ? !d :
			strcmp(what, "ready") == 0 ? d && is_ready(d) :
						     d && str_is(doc_str(d, "status.phase"), what);
		if (!ok)
			more = task_wait_until(&s->changed, &s->lock, until);
	}
	printf("%6lld.%lld ms  %s is %s%s\n", since(s) / 10, since(s) % 10, name, ok ? "" : "NOT ", what);
	(void)fflush(stdout);
	task_unlock(&s->lock);
}

static void get(struct api *s, const char *resource, const char *name)
{
	auto_free char *key = xasprintf("%s %s", resource, name);

	task_lock(&s->lock);
	struct doc *d = map_get(s->objects, str_c(key));
	printf("%.*s\n", STR_ARG(d ? doc_text(d) : STR("nothing")));
	(void)fflush(stdout);
	task_unlock(&s->lock);
}

static void runner(void *arg)
{
	struct err e;

	err_init(&e);
	if (node_run(arg, &e) < 0)
		printf("node: %s\n", e.message);
}

static void command(struct api *s, char *line)
{
	char word[3][256] = { "", "", "" };
	int n = sscanf(line, "%255s %255s %255s", word[0], word[1], word[2]);

	if (strcmp(word[0], "apply") == 0)
		apply(s, word[1]);
	else if (strcmp(word[0], "delete") == 0)
		delete_pod(s, word[1], n > 2 ? strtol(word[2], NULL, 10) : -1);
	else if (strcmp(word[0], "get") == 0)
		get(s, word[1], word[2]);
	else if (strcmp(word[0], "wait") == 0)
		wait_for(s, word[1], word[2]);
	else if (strcmp(word[0], "sleep") == 0)
		task_sleep_ms(strtol(word[1], NULL, 10));
	else if (strcmp(word[0], "quiet") == 0)
		s->quiet = true;
}

int main(int argc, char **argv)
{
	struct api s = { .objects = map_new(doc_end), .mark = mono_now() };
	static const char *const ips[] = { "127.0.0.1" }, *const dns[] = { "10.96.0.10" };
	auto_(client_free) struct client *c = NULL;
	struct node_agent *n = NULL;
	char line[1024];
	struct err e;

	if (argc < 3) {
		(void)fprintf(stderr, "usage: node_trial CONTAINERD-SOCKET DATA-DIR [CERT KEY CA]\n");
		return 2;
	}
	err_init(&e);
	log_setup("node", LOG_DEBUG, false);
	task_mutex_init(&s.lock);
	task_cond_init(&s.changed);
	c = client_new(&ops, &s, "trial");
	auto_free char *logs = xasprintf("%s/logs", argv[2]), *images = xasprintf("%s/images", argv[2]);
	auto_(informer_free) struct informer *pods = informer_new(c,
						     (struct informer_opts){ .res = res_pods,
							     .field_selector = STR("spec.nodeName=trial") }),
					     *services = informer_new(c, (struct informer_opts){ .res = res_services });
	struct node_opts o = { .client = c,
		.pods = pods,
		.services = services,
		.node_name = "trial",
		.node_ips = ips,
		.n_node_ips = 1,
		.data_dir = argv[2],
		.cri_socket = argv[1],
		.log_dir = logs,
		.container_log_dir = "",
		.cgroup_root = "/kogge-trial",
		.cluster_dns = dns,
		.n_cluster_dns = 1,
		.images_dir = images,
		.address = "127.0.0.1",
		.port = 12251 };
	if (argc > 5) {
		o.tls_cert_file = argv[3];
		o.tls_key_file = argv[4];
		o.tls_ca_file = argv[5];
	}
	if (node_new(&o, &n, &e) < 0) {
		printf("%s\n", e.message);
		return 1;
	}
	informer_start(services);
	informer_start(pods);
	struct task *t = task_spawn("node", runner, n);
	bool purge = false;
	while (fgets(line, sizeof(line), stdin) && strncmp(line, "quit", 4) != 0) {
		purge |= strncmp(line, "purge", 5) == 0;
		command(&s, line);
	}
	node_stop(n);
	task_join(t);
	informer_stop(pods);
	informer_stop(services);
	(void)node_free(n);
	if (purge && node_purge(&o, &e) < 0)
		printf("purge: %s\n", e.message);
	return 0;
}
