/* The audit record: one line a request, in the shape of audit.k8s.io/v1 at level Metadata. */
#include "api/api_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#define LOG_MODULE "audit"

struct audit {
	struct task_mutex lock;
	char *path;
	int fd; /* -1: off */
	int64_t bytes, bytes_max;
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
	if (!o->audit_path)
		return a;
	a->path = xstrdup(o->audit_path);
	if (open_log(a) < 0) {
		err_errno(e, errno, "audit log %s", o->audit_path);
		audit_free(a);
		return NULL;
	}
	return a;
}

void audit_free(struct audit *a)
{
	if (!a)
		return;
	if (a->fd >= 0)
		close(a->fd);
	task_mutex_fini(&a->lock);
	free(a->path);
	free(a);
}

static void rotate(struct audit *a)
{
	auto_free char *old = xasprintf("%s.1", a->path);

	close(a->fd);
	rename(a->path, old);
	if (open_log(a) < 0)
		log_error("audit log %s cannot be opened again: requests are not recorded", a->path);
}

static void field(struct buf *b, const char *key, struct str value)
{
	if (!value.n)
		return;
	buf_printf(b, ",\"%s\":", key);
	buf_json(b, value);
}

static void user_json(const struct rq *rq, struct buf *b)
{
	buf_c(b, ",\"user\":{\"username\":");
	buf_json(b, rq->id.impersonated ? rq->id.real_user : rq->id.user);
	if (!rq->id.impersonated) {
		field(b, "uid", rq->id.uid);
		buf_c(b, ",\"groups\":[");
		for (size_t i = 0; i < rq->id.n_groups; i++) {
			if (i)
				buf_byte(b, ',');
			buf_json(b, rq->id.groups[i]);
		}
		buf_byte(b, ']');
	}
	buf_byte(b, '}');
	if (!rq->id.impersonated)
		return;
	buf_c(b, ",\"impersonatedUser\":{\"username\":");
	buf_json(b, rq->id.user);
	buf_byte(b, '}');
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

void audit_record(struct audit *a, const struct rq *rq, int status)
{
	auto_buf struct buf b = BUF_INIT;
	char received[TIME_TEXT_MAX], now[TIME_TEXT_MAX];
	struct wall w;

	if (!a || a->fd < 0)
		return;
	w = wall_now();
	wall_rfc3339_micro(w, now);
	w.ns -= mono_now().ns - rq->began.ns;
	wall_rfc3339_micro(w, received);
	buf_printf(&b, "{\"kind\":\"Event\",\"apiVersion\":\"audit.k8s.io/v1\",\"level\":\"Metadata\",\"auditID\":\"%s\",\"stage\":\"ResponseComplete\"",
		rq->audit_id);
	/* Parameters may carry what users type: the path alone is recorded. */
	field(&b, "requestURI", rq->path);
	field(&b, "verb", rq->verb_text);
	user_json(rq, &b);
	if (rq->source.n) {
		buf_c(&b, ",\"sourceIPs\":[");
		buf_json(&b, rq->source);
		buf_byte(&b, ']');
	}
	field(&b, "userAgent", rq->user_agent);
	object_json(rq, &b);
	buf_printf(&b, ",\"responseStatus\":{\"metadata\":{},\"code\":%d},\"requestReceivedTimestamp\":\"%s\",\"stageTimestamp\":\"%s\"", status,
		received, now);
	buf_printf(&b, ",\"annotations\":{\"authorization.k8s.io/decision\":\"%s\",\"authorization.k8s.io/reason\":",
		rq->decision ? rq->decision : "");
	buf_json(&b, str_c(rq->reason ? rq->reason : ""));
	for (size_t i = 0; i < rq->n_notes; i++) {
		buf_byte(&b, ',');
		buf_json(&b, rq->notes[i].key);
		buf_byte(&b, ':');
		buf_json(&b, rq->notes[i].value);
	}
	buf_c(&b, "}}\n");
	task_lock(&a->lock);
	if (a->fd >= 0) {
		ssize_t n = write(a->fd, b.p, b.n);
		a->bytes += n > 0 ? n : 0;
		if (a->bytes > a->bytes_max)
			rotate(a);
	}
	task_unlock(&a->lock);
}
