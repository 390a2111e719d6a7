/* What containerd tells: ends and out-of-memory of tasks wake the pod they belong to, an image that came those that wait
 * for it. A slow look at everything is the safety net. */
#include "node/node_internal.h"
#include <stdio.h>

#define LOG_MODULE "node"
#define RELIST_MS 60000
#define RELIST_BLIND_MS 1000 /* no event stream */
#define READ_MS 30000

static void wake_owner(struct node_agent *n, const char *container, bool ended)
{
	char *uid;
	struct pod *p;

	task_lock(&n->lock);
	uid = map_get(n->by_container, str_c(container));
	p = uid ? map_get(n->pods, str_c(uid)) : NULL;
	if (p && ended) {
		free(p->exit_seen);
		p->exit_seen = xstrdup(container);
	}
	if (p) {
		p->recheck_ms = 0; /* its lists show an end some ms after the task is deleted */
		queue_add(n->wake, str_c(p->uid));
	}
	task_unlock(&n->lock);
}

static void wake_all(struct node_agent *n)
{
	struct str key;
	void *value;

	task_lock(&n->lock);
	for (size_t i = 0; map_next(n->pods, &i, &key, &value);)
		queue_add(n->wake, key);
	task_unlock(&n->lock);
}

static void handle(struct node_agent *n, struct str message)
{
	Ctd__Envelope *env = ctd__envelope__unpack(NULL, message.n, (const uint8_t *)message.p);

	if (!env)
		return;
	if (env->event && strcmp(env->topic, "/tasks/exit") == 0) {
		Ctd__TaskExit *x = ctd__task_exit__unpack(NULL, env->event->value.len, env->event->value.data);
		if (x && strcmp(x->container_id, x->id) == 0)
			wake_owner(n, x->container_id, true);
		else if (x)
			exec_ended(n, x->id);
		if (x)
			ctd__task_exit__free_unpacked(x, NULL);
	} else if (env->event && (strcmp(env->topic, "/tasks/delete") == 0 || strcmp(env->topic, "/tasks/oom") == 0)) {
		Ctd__TaskOom *x = ctd__task_oom__unpack(
			NULL, env->event->value.len, env->event->value.data); /* both begin with the id */
		if (x)
			wake_owner(n, x->container_id, false);
		if (x)
			ctd__task_oom__free_unpacked(x, NULL);
	} else if (env->event && str_starts(str_c(env->topic), STR("/images/"))) {
		Ctd__ImageEvent *x = ctd__image_event__unpack(NULL, env->event->value.len, env->event->value.data);
		if (x)
			images_came(n, x->name);
		if (x)
			ctd__image_event__free_unpacked(x, NULL);
	}
	ctd__envelope__free_unpacked(env, NULL);
}

static struct grpc_stream *subscribe(struct node_agent *n, struct err *e)
{
	Ctd__SubscribeRequest rq = CTD__SUBSCRIBE_REQUEST__INIT;
	char *filters[] = { (char *)"namespace==k8s.io,topic==\"/tasks/exit\"",
		(char *)"namespace==k8s.io,topic==\"/tasks/delete\"", (char *)"namespace==k8s.io,topic==\"/tasks/oom\"",
		(char *)"namespace==k8s.io,topic==\"/images/create\"",
		(char *)"namespace==k8s.io,topic==\"/images/update\"" };
	struct grpc_stream *s = NULL;
	uint8_t bytes[512];
	size_t len;

	rq.filters = filters;
	rq.n_filters = ARRAY_LEN(filters);
	len = ctd__subscribe_request__get_packed_size(&rq);
	if (len > sizeof(bytes))
		return NULL;
	ctd__subscribe_request__pack(&rq, bytes);
	if (grpc_open(n->cri.grpc, "/containerd.services.events.v1.Events/Subscribe", &n->cri.ns, 1, &s, e) < 0)
		return NULL;
	if (grpc_send(s, str_n((char *)bytes, len), true, e) < 0)
		return grpc_stream_free(s);
	return s;
}

static void publish_stream(struct node_agent *n, struct grpc_stream *s)
{
	task_lock(&n->lock);
	n->event_stream = s;
	task_unlock(&n->lock);
}

static void runtime_seen(struct node_agent *n, bool ok, const char *why)
{
	bool was;

	task_lock(&n->lock);
	was = n->runtime_ok;
	n->runtime_ok = ok;
	free(n->runtime_why);
	n->runtime_why = why ? xstrdup(why) : NULL;
	task_unlock(&n->lock);
	if (was && !ok)
		log_warn("the container runtime is lost: %s", why);
	if (!was && ok)
		log_info("the container runtime is there");
}

/* Reads until the stream breaks. */
static void read_events(struct node_agent *n, struct grpc_stream *s)
{
	auto_buf struct buf message = BUF_INIT;
	struct mono relist = mono_add_ms(mono_now(), RELIST_MS);
	struct err e;

	while (!stop_raised(n->stop)) {
		err_init(&e);
		int r = grpc_read(s, &message, READ_MS, &e);
		if (r == 1)
			handle(n, buf_view(&message));
		else if (r != -ERR_TIMEOUT) {
			log_debug("the container runtime's events ended: %s", r < 0 ? e.message : "closed");
			return;
		}
		if (mono_before(relist, mono_now())) {
			relist = mono_add_ms(mono_now(), RELIST_MS);
			wake_all(n);
			leftovers_look(n);
		}
	}
}

void events_run(void *node)
{
	struct node_agent *n = node;
	struct err e;

	while (!stop_raised(n->stop)) {
		auto_reply Cri__VersionResponse *v = NULL;
		struct grpc_stream *s;

		err_init(&e);
		if (cri_version(&n->cri, &v, &e) < 0) {
			runtime_seen(n, false, e.message);
			if (!stop_sleep_ms(n->stop, 300))
				break;
			continue;
		}
		runtime_seen(n, true, NULL);
		s = subscribe(n, &e);
		wake_all(n); /* whatever happened while nobody listened */
		leftovers_look(n);
		if (!s) {
			log_debug("no events from the container runtime: %s", e.message);
			if (!stop_sleep_ms(n->stop, RELIST_BLIND_MS))
				break;
			continue;
		}
		struct mono began = mono_now();
		publish_stream(n, s);
		read_events(n, s);
		publish_stream(n, NULL);
		exec_release_all(n); /* nobody would tell of their end */
		grpc_stream_free(s);
		/* refused at once: this runtime has no such service */
		if (!stop_sleep_ms(
			    n->stop, mono_ms_between(began, mono_now()) < RELIST_BLIND_MS ? RELIST_BLIND_MS : 50))
			break;
	}
	node_task_end(n);
}

void node_event(struct pod *p, struct str container, const char *type, const char *reason, const char *fmt, ...)
{
	auto_(doc_unref) struct doc *d = pod_doc(p);
	char text[1024], field[300];
	va_list ap;

	if (!d || !p->n->events)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (str_empty(container)) {
		recorder_event(p->n->events, d, type, reason, "%s", text);
		return;
	}
	struct container *c = pod_container(p, container);
	(void)snprintf(
		field, sizeof(field), "%s{%.*s}", container_list(c ? c->kind : KIND_MAIN, false), STR_ARG(container));
	recorder_event_field(p->n->events, d, field, type, reason, "%s", text);
}
