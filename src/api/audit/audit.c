/* The audit record: one line for each stage of a request that the policy wants, in the shape of audit.k8s.io/v1. */
#include "api/audit/audit.h"
#include "api/auth/auth.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#define LOG_MODULE "audit"

struct audit {
	struct task_mutex lock;
	char *path;
	int fd;       /* -1: it could not be opened again */
	int64_t lost; /* records since the last that was written */
	int64_t bytes, bytes_max;
	int keep_max, keep_days;     /* old files; 0: all */
	struct audit_policy *policy; /* NULL: everything at level Metadata */
};

static int open_log(struct audit *a)
{
	a->fd = open(a->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	a->bytes = a->fd < 0 ? 0 : (int64_t)lseek(a->fd, 0, SEEK_END);
	return a->fd;
}

struct audit *audit_new(const struct api_opts *o, struct err *e)
{
	struct audit *a = xcalloc(1, sizeof(*a));

	task_mutex_init(&a->lock);
	a->fd = -1;
	a->bytes_max = o->audit_bytes_max;
	a->keep_max = o->audit_keep_max;
	a->keep_days = o->audit_keep_days;
	if (!o->audit_path)
		return a;
	if (o->audit_policy && audit_policy_read(o->audit_policy, &a->policy, e) < 0) {
		audit_free(a);
		return NULL;
	}
	a->path = xstrdup(o->audit_path);
	if (open_log(a) < 0) {
		err_errno(e, errno, "audit log %s", o->audit_path);
		audit_free(a);
		return NULL;
	}
	return a;
}

bool audit_is_on(const struct audit *a)
{
	return a && a->path;
}

void audit_free(struct audit *a)
{
	if (!a)
		return;
	if (a->fd >= 0)
		close(a->fd);
	task_mutex_fini(&a->lock);
	audit_policy_free(a->policy);
	free(a->path);
	free(a);
}

/* ---- old files: "audit.log" becomes "audit-2026-11-25T10-30-00.000.log" ---------------------- */

static struct str folder_of(const char *path, struct str *name)
{
	const char *slash = strrchr(path, '/');

	*name = slash ? str_c(slash + 1) : str_c(path);
	return slash ? str_n(path, (size_t)(slash - path)) : STR(".");
}

/* The name without its extension, and the extension with its dot. */
static void split_name(struct str name, struct str *stem, struct str *ext)
{
	size_t dot = name.n;

	while (dot > 0 && name.p[dot - 1] != '.')
		dot--;
	*stem = dot ? str_sub(name, 0, dot - 1) : name;
	*ext = dot ? str_sub(name, dot - 1, name.n) : STR("");
}

static bool is_old(struct str name, struct str own, struct str *when)
{
	struct str stem, ext;

	split_name(own, &stem, &ext);
	if (name.n != stem.n + ext.n + 24 || !str_starts(name, stem) || !str_ends(name, ext) || name.p[stem.n] != '-')
		return false;
	*when = str_sub(name, stem.n + 1, 23);
	return true;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)b, *(char *const *)a); /* newest first: the time is in the name */
}

static void drop_old(const struct audit *a)
{
	struct str own, folder = folder_of(a->path, &own), when;
	auto_free char *dir_path = str_dup(folder);
	auto_(arena_free) struct arena *arena = arena_new();
	char *names[1024], oldest[TIME_TEXT_MAX];
	size_t n = 0;
	DIR *dir = opendir(dir_path);

	for (struct dirent *d; dir && n < ARRAY_LEN(names) && (d = readdir(dir));)
		if (is_old(str_c(d->d_name), own, &when))
			names[n++] = arena_strdup(arena, d->d_name);
	if (dir)
		closedir(dir);
	qsort(names, n, sizeof(*names), by_text);
	wall_rfc3339((struct wall){ wall_now().ns - (int64_t)a->keep_days * 86400 * 1000000000 }, oldest);
	for (size_t i = 0; i < n; i++) {
		is_old(str_c(names[i]), own, &when);
		bool aged = a->keep_days && strncmp(when.p, oldest, 10) < 0,
		     many = a->keep_max && i >= (size_t)a->keep_max;
		if (aged || many)
			unlink(arena_printf(arena, "%s/%s", dir_path, names[i]));
	}
}

static void rotate(struct audit *a)
{
	struct str own, folder = folder_of(a->path, &own), stem, ext;
	char now[TIME_TEXT_MAX];

	split_name(own, &stem, &ext);
	wall_rfc3339_micro(wall_now(), now);
	for (char *c = now; *c; c++)
		if (*c == ':')
			*c = '-';
	auto_free char *old = xasprintf("%.*s/%.*s-%.23s%.*s", STR_ARG(folder), STR_ARG(stem), now, STR_ARG(ext));
	close(a->fd);
	rename(a->path, old);
	drop_old(a);
	open_log(a);
}

static void field(struct buf *b, const char *key, struct str value)
{
	if (!value.n)
		return;
	buf_printf(b, ",\"%s\":", key);
	buf_json(b, value);
}

static void identity_json(const char *key, struct rq *rq, const struct identity *id, struct buf *b)
{
	buf_printf(b, ",\"%s\":", key);
	node_write(identity_node_tree(rq->a, id), b);
}

static void user_json(struct rq *rq, struct buf *b)
{
	identity_json("user", rq, rq->id.real ? rq->id.real : &rq->id, b);
	if (rq->id.real)
		identity_json("impersonatedUser", rq, &rq->id, b);
}

static bool is_address(struct str s)
{
	unsigned char bytes[16];
	char text[64];

	snprintf(text, sizeof(text), "%.*s", STR_ARG(s));
	return s.n < sizeof(text) && (inet_pton(AF_INET, text, bytes) == 1 || inet_pton(AF_INET6, text, bytes) == 1);
}

static bool has_text(struct node *list, struct str s)
{
	for (size_t i = 0; i < node_len(list); i++)
		if (str_eq(node_text_str(node_at(list, i)), s))
			return true;
	return false;
}

/* Anybody may say for whom he asks; the last is the one that we see. */
static void sources_json(struct rq *rq, struct buf *b)
{
	struct node *list = node_list(rq->a);

	for (struct str part, rest = rq->forwarded; str_next(&rest, ',', &part);)
		if (is_address(str_trim(part)))
			node_add(list, node_str(rq->a, str_trim(part)));
	if (is_address(rq->real_ip) && !has_text(list, rq->real_ip))
		node_add(list, node_str(rq->a, rq->real_ip));
	if (rq->source.n && (!node_len(list) || !str_eq(node_text_str(node_at(list, node_len(list) - 1)), rq->source)))
		node_add(list, node_str(rq->a, rq->source));
	if (!node_len(list))
		return;
	buf_c(b, ",\"sourceIPs\":");
	node_write(list, b);
}

static void outcome_json(struct rq *rq, int status, struct buf *b)
{
	auto_(doc_unref) struct doc *failure = NULL;
	struct node *said;
	struct err e;

	err_init(&e);
	if (!rq->failure.n || doc_parse(rq->failure, &failure, &e) < 0) {
		buf_printf(b, ",\"responseStatus\":{\"metadata\":{},\"code\":%d}", status);
		return;
	}
	said = node_from(rq->a, doc_root(failure));
	node_delc(said, "kind");
	node_delc(said, "apiVersion");
	buf_c(b, ",\"responseStatus\":");
	node_write(said, b);
}

static void object_json(const struct rq *rq, struct buf *b)
{
	if (!rq->resource_request)
		return;
	buf_c(b, ",\"objectRef\":{\"resource\":");
	buf_json(b, rq->resource_name);
	field(b, "namespace", rq->ns);
	field(b, "name", rq->name);
	field(b, "apiGroup", rq->group);
	field(b, "apiVersion", rq->version);
	field(b, "subresource", rq->sub);
	buf_byte(b, '}');
}

/* ---- bodies ---------------------------------------------------------------------------------- */

static void without_managed(struct node *n)
{
	struct node *items = node_getc(n, "items");

	if (node_getc(n, "metadata"))
		node_delc(node_getc(n, "metadata"), "managedFields");
	for (size_t i = 0; i < node_len(items); i++)
		if (node_getc(node_at(items, i), "metadata"))
			node_delc(node_getc(node_at(items, i), "metadata"), "managedFields");
}

static void body_json(const char *key, struct doc *d, bool omit_managed, struct buf *b)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct node *n = node_from(a, doc_root(d));

	if (omit_managed && node_kind(n) == VAL_MAP)
		without_managed(n);
	buf_printf(b, ",\"%s\":", key);
	node_write(n, b);
}

/* What was sent, as JSON; also a patch. NULL: nothing, or nothing that can be read. Own. */
static struct doc *sent(const struct rq *rq)
{
	struct doc *d = NULL;
	struct node *n;
	struct err e;

	err_init(&e);
	if (rq->body_doc)
		return doc_ref(rq->body_doc);
	if (!rq->body.n)
		return NULL;
	if (!str_has(rq->content_type, STR("protobuf")))
		return doc_parse_yaml(rq->body, NULL, NULL, &d, &e) < 0 ? NULL : d;
	auto_(arena_free) struct arena *a = arena_new();
	return schema_from_protobuf(a, rq->body, &n, &e) < 0 ? NULL : node_publish(n);
}

static void bodies_json(const struct rq *rq, const struct audit_decision *how, enum audit_stage stage, struct buf *b)
{
	struct doc *answer = NULL;
	struct err e;

	if (how->level < AUDIT_REQUEST || !rq->resource_request || stage == STAGE_RECEIVED)
		return;
	struct doc *body = sent(rq);
	if (body)
		body_json("requestObject", body, how->omit_managed, b);
	doc_unref(body);
	err_init(&e);
	if (how->level < AUDIT_RESPONSE || stage != STAGE_COMPLETE || !rq->audit_answer.n)
		return;
	if (doc_parse(rq->audit_answer, &answer, &e) >= 0)
		body_json("responseObject", answer, how->omit_managed, b);
	doc_unref(answer);
}

bool audit_wants_answer(struct audit *a, const struct rq *rq)
{
	return audit_is_on(a) && a->policy && rq->resource_request &&
		audit_decide(a->policy, rq).level == AUDIT_RESPONSE;
}

/* ---- the record ------------------------------------------------------------------------------ */

/* A record is whole or not there: the next would stand on its line. */
static bool put(struct audit *a, const struct buf *b)
{
	ssize_t n;

	if (a->fd < 0 && open_log(a) < 0)
		return false;
	n = write(a->fd, b->p, b->n);
	if (n == (ssize_t)b->n) {
		a->bytes += n;
		return true;
	}
	if (n > 0 && ftruncate(a->fd, lseek(a->fd, 0, SEEK_END) - n) == 0)
		errno = ENOSPC;
	return false;
}

static void write_line(struct audit *a, const struct buf *b)
{
	task_lock(&a->lock);
	if (!put(a, b)) {
		if (!a->lost++)
			log_error("audit log %s: %s: requests are not recorded until it can be written", a->path,
				strerror(errno));
	} else if (a->lost) {
		log_warn("audit log %s is written again, without %lld records", a->path, (long long)a->lost);
		a->lost = 0;
	}
	if (a->fd >= 0 && a->bytes > a->bytes_max)
		rotate(a);
	task_unlock(&a->lock);
}

static void annotations_json(const struct rq *rq, struct buf *b)
{
	if (!rq->decision) /* it was not asked for */
		return;
	buf_printf(b, ",\"annotations\":{\"authorization.k8s.io/decision\":\"%s\",\"authorization.k8s.io/reason\":",
		rq->decision);
	buf_json(b, str_c(rq->reason ? rq->reason : ""));
	for (size_t i = 0; i < rq->n_notes; i++) {
		buf_byte(b, ',');
		buf_json(b, rq->notes[i].key);
		buf_byte(b, ':');
		buf_json(b, rq->notes[i].value);
	}
	buf_byte(b, '}');
}

static void stage_record(struct audit *a, struct rq *rq, enum audit_stage stage, int status)
{
	auto_buf struct buf b = BUF_INIT;
	char received[TIME_TEXT_MAX], now[TIME_TEXT_MAX];
	struct audit_decision how;
	struct wall w;

	if (!audit_is_on(a))
		return;
	how = audit_decide(a->policy, rq);
	if (how.level == AUDIT_NONE || how.omit & 1u << stage)
		return;
	w = wall_now();
	wall_rfc3339_micro(w, now);
	w.ns -= mono_now().ns - rq->began.ns;
	wall_rfc3339_micro(w, received);
	buf_printf(&b,
		"{\"kind\":\"Event\",\"apiVersion\":\"audit.k8s.io/"
		"v1\",\"level\":\"%s\",\"auditID\":\"%s\",\"stage\":\"%s\"",
		audit_levels[how.level], rq_audit_id(rq), audit_stages[stage]);
	buf_c(&b, ",\"requestURI\":");
	auto_free char *uri = xasprintf("%.*s%s%.*s", STR_ARG(rq->path), rq->query.n ? "?" : "", STR_ARG(rq->query));
	buf_json(&b, str_c(uri));
	field(&b, "verb", rq->verb_text);
	user_json(rq, &b);
	sources_json(rq, &b);
	field(&b, "userAgent", rq->user_agent);
	object_json(rq, &b);
	if (stage != STAGE_RECEIVED)
		outcome_json(rq, status, &b);
	bodies_json(rq, &how, stage, &b);
	buf_printf(&b, ",\"requestReceivedTimestamp\":\"%s\",\"stageTimestamp\":\"%s\"", received, now);
	if (stage != STAGE_RECEIVED)
		annotations_json(rq, &b);
	buf_c(&b, "}\n");
	write_line(a, &b);
}

void audit_received(struct audit *a, struct rq *rq)
{
	if (a && a->policy)
		stage_record(a, rq, STAGE_RECEIVED, 0);
}

void audit_started(struct audit *a, struct rq *rq)
{
	if (a && a->policy)
		stage_record(a, rq, STAGE_STARTED, 200);
}

void audit_record(struct audit *a, struct rq *rq, int status)
{
	stage_record(a, rq, STAGE_COMPLETE, status);
}
