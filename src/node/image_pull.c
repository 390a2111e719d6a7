/* Pulling images: once for all containers that wait for the same one, with the credentials that fit, and with words
 * about what went wrong that tell what to do. */
#include "node/node_internal.h"
#include <stdio.h>

#define LOG_MODULE "node"
#define BACK_OFF_SHOWN_MS 1000 /* so long a status says ErrImagePull before it says ImagePullBackOff */

void image_failed(struct pod *p, struct container *c, const char *reason, const char *message)
{
	int64_t wait_ms;

	task_lock(&p->n->lock);
	c->image = IMAGE_FAILED;
	c->image_reason = reason;
	free(c->image_error);
	c->image_error = xstrdup(message);
	if (c->image_came) {
		wait_ms = (int64_t)IMAGE_KNOWN_AFTER_MS << (IMAGE_CAME_TRIES - c->image_came);
		c->image_came--;
	} else {
		wait_ms = c->image_backoff_ms = pod_backoff_next(c->image_backoff_ms, 0);
	}
	c->image_retry = mono_add_ms(mono_now(), wait_ms);
	c->image_told = mono_add_ms(mono_now(), BACK_OFF_SHOWN_MS);
	task_unlock(&p->n->lock);
}

void image_ready(struct pod *p, struct container *c, const char *id)
{
	task_lock(&p->n->lock);
	c->image = IMAGE_READY;
	c->image_backoff_ms = 0;
	c->image_came = 0;
	free(c->image_id);
	c->image_id = xstrdup(id);
	task_unlock(&p->n->lock);
}

/* A failed pull is shown as such for a moment, then as the wait that follows it. */
struct mono image_back_off(struct pod *p, struct doc *d, struct container *c)
{
	struct str image = val_str(val_get(pod_container_spec(d, str_c(c->name)), "image"));
	struct mono next = MONO_NEVER;
	bool now = false;

	task_lock(&p->n->lock);
	if (c->image == IMAGE_FAILED && c->image_reason && strcmp(c->image_reason, "ErrImagePull") == 0) {
		now = !mono_before(mono_now(), c->image_told);
		next = c->image_told;
	}
	if (now) {
		auto_free char *cause = TAKE(c->image_error);
		c->image_reason = "ImagePullBackOff";
		c->image_error = xasprintf("Back-off pulling image \"%.*s\": ErrImagePull: %s", STR_ARG(image), cause);
	}
	task_unlock(&p->n->lock);
	if (now) {
		node_event(p, str_c(c->name), "Normal", "BackOff", "Back-off pulling image \"%.*s\"", STR_ARG(image));
		node_event(p, str_c(c->name), "Warning", "Failed", "Error: ImagePullBackOff");
		return MONO_NEVER;
	}
	return next;
}

/* ---- what went wrong, and what helps --------------------------------------------------------- */

#define WITHOUT_REGISTRY                                                                                             \
	"To run it without a registry: `kogge image import ARCHIVE` on this node, and imagePullPolicy IfNotPresent " \
	"(a tag \":latest\" means Always)"

static const struct hint {
	const char *needle, *text;
} hints[] = {
	{ "no such host", "cannot be reached: its name is unknown here. " WITHOUT_REGISTRY },
	{ "server misbehaving", "cannot be reached: its name cannot be resolved here. " WITHOUT_REGISTRY },
	{ "connection refused", "cannot be reached: nothing listens there. " WITHOUT_REGISTRY },
	{ "i/o timeout", "does not answer. " WITHOUT_REGISTRY },
	{ "deadline exceeded", "does not answer. " WITHOUT_REGISTRY },
	{ "is unreachable", "cannot be reached: there is no route to it. " WITHOUT_REGISTRY },
	{ "no route to host", "cannot be reached: there is no route to it. " WITHOUT_REGISTRY },
	{ "x509:",
		"shows a certificate that this node does not trust. Name its CA in registries.yaml (configs: tls: "
		"ca_file)" },
	{ "server gave HTTP response to HTTPS client",
		"speaks plain HTTP. Name it as a mirror \"http://…\" in registries.yaml" },
	{ "401 Unauthorized", "refuses the credentials. Give the pod an imagePullSecret that is right for it" },
	{ "failed to authorize", "refuses the credentials. Give the pod an imagePullSecret that is right for it" },
	{ "authorization failed", "refuses the credentials. Give the pod an imagePullSecret that is right for it" },
	{ "no basic auth credentials", "wants credentials. Give the pod an imagePullSecret" },
	{ "403 Forbidden", "does not allow these credentials to read the image" },
	{ "not found", "has no such image" },
};

/* Own. */
char *image_explain(struct str ref, const char *why)
{
	struct str host = image_host(ref);

	for (size_t i = 0; i < ARRAY_LEN(hints); i++)
		if (strstr(why, hints[i].needle))
			return xasprintf("registry %.*s %s. Cause: %s", STR_ARG(host), hints[i].text, why);
	return xasprintf("registry %.*s: %s", STR_ARG(host), why);
}

/* ---- one pull, for all who wait -------------------------------------------------------------- */

struct pull_wait {
	struct pull_wait *next;
	struct pod *p;
	struct container *c;
	char *image; /* as the pod names it */
};

struct pull {
	struct node_agent *n;
	char *key; /* reference and credentials */
	char *ref;
	struct arena *a;
	struct image_auth *auth; /* in a; NULL: none */
	size_t n_auth;
	struct pull_wait *waits; /* under n->lock */
};

static void wait_free(struct pull_wait *w)
{
	pod_unref(w->p);
	free(w->image);
	free(w);
}

static void pull_free(struct pull *l)
{
	arena_free(l->a);
	free(l->key);
	free(l->ref);
	free(l);
}

static void tell(struct pull_wait *w, const char *ref, const char *id, const char *why, int64_t ms)
{
	struct str name = str_c(w->c->name);

	if (id) {
		node_event(w->p, name, "Normal", "Pulled", "Successfully pulled image \"%s\" in %lld.%03llds", w->image,
			(long long)ms / 1000, (long long)ms % 1000);
		image_ready(w->p, w->c, id);
	} else {
		auto_free char *text = image_explain(str_c(ref), why);
		node_event(w->p, name, "Warning", "Failed", "Failed to pull image \"%s\": %s", w->image, text);
		node_event(w->p, name, "Warning", "Failed", "Error: ErrImagePull");
		image_failed(w->p, w->c, "ErrImagePull", text);
	}
	node_wake_pod(w->p);
	wait_free(w);
}

/* With each of the fitting credentials, until one is accepted. */
static int pull_any(struct pull *l, char **ret_id, struct err *e)
{
	int r = l->n_auth ? 0 : cri_pull_image(&l->n->cri, l->ref, NULL, ret_id, e);

	for (size_t i = 0; i < l->n_auth; i++) {
		Cri__AuthConfig auth = CRI__AUTH_CONFIG__INIT;
		auth.username = l->auth[i].username;
		auth.password = l->auth[i].password;
		auth.auth = l->auth[i].auth;
		auth.identity_token = l->auth[i].identity_token;
		err_init(e);
		r = cri_pull_image(&l->n->cri, l->ref, &auth, ret_id, e);
		if (r == 0)
			return 0;
	}
	return r;
}

static void pull_task(void *arg)
{
	struct pull *l = arg;
	struct node_agent *n = l->n;
	struct mono began = mono_now();
	auto_free char *id = NULL;
	struct pull_wait *w, *next;
	struct err e;

	err_init(&e);
	if (pull_any(l, &id, &e) < 0)
		log_warn("image %s is not pulled: %s", l->ref, e.message);
	task_lock(&n->lock);
	(void)map_take(n->pulls, str_c(l->key));
	w = TAKE(l->waits);
	task_unlock(&n->lock);
	for (; w; w = next) {
		next = w->next;
		tell(w, l->ref, id, e.message, mono_ms_between(began, mono_now()));
	}
	pull_free(l);
	node_task_end(n);
}

static struct pull *pull_new(struct pod *p, struct doc *d, const char *ref)
{
	struct pull *l = xcalloc(1, sizeof(*l));
	auto_buf struct buf key = BUF_INIT;

	l->n = p->n;
	l->ref = xstrdup(ref);
	l->a = arena_new();
	l->n_auth = image_credentials(p, d, str_c(ref), l->a, &l->auth);
	buf_c(&key, ref);
	for (size_t i = 0; i < l->n_auth; i++)
		buf_printf(&key, "\n%s %s %s %s", l->auth[i].username, l->auth[i].password, l->auth[i].auth,
			l->auth[i].identity_token);
	l->key = str_dup(buf_view(&key));
	return l;
}

void image_pull(struct pod *p, struct doc *d, struct container *c, struct val spec, const char *ref)
{
	struct pull *l = pull_new(p, d, ref), *running;
	struct pull_wait *w = xcalloc(1, sizeof(*w));
	struct node_agent *n = p->n;

	*w = (struct pull_wait){ .p = pod_ref(p), .c = c, .image = str_dup(val_str(val_get(spec, "image"))) };
	node_event(p, str_c(c->name), "Normal", "Pulling", "Pulling image \"%s\"", w->image);
	task_lock(&n->lock);
	c->image = IMAGE_BUSY;
	running = map_get(n->pulls, str_c(l->key));
	if (!running)
		map_put(n->pulls, str_c(l->key), l);
	w->next = running ? running->waits : l->waits;
	(running ? running : l)->waits = w;
	task_unlock(&n->lock);
	if (running) {
		pull_free(l);
	} else if (!node_task(n, "pull", pull_task, l)) {
		task_lock(&n->lock); /* stopping: nobody waits any more */
		(void)map_take(n->pulls, str_c(l->key));
		w = TAKE(l->waits);
		task_unlock(&n->lock);
		while (w) {
			struct pull_wait *next = w->next;
			wait_free(w);
			w = next;
		}
		pull_free(l);
	}
}
