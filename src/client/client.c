/* Calls by name over a backend. Nothing here knows how a request travels. */
#include "client/client.h"

struct client {
	const struct client_ops *ops;
	void *self;
	char *name;
};

#define CLIENT_DEFINE(id, g, v, r) const struct gvr res_##id = { g, v, r };
CLIENT_RESOURCES(CLIENT_DEFINE)

bool gvr_eq(struct gvr a, struct gvr b)
{
	return !strcmp(a.resource, b.resource) && !strcmp(a.group, b.group) && !strcmp(a.version, b.version);
}

struct client *client_new(const struct client_ops *ops, void *take_self, const char *name)
{
	struct client *c = xcalloc(1, sizeof(*c));

	PRE(ops->call && ops->list && ops->watch && ops->next && ops->interrupt && ops->close);
	c->ops = ops;
	c->self = take_self;
	c->name = xstrdup(name);
	return c;
}

struct client *client_free(struct client *c)
{
	if (!c)
		return NULL;
	if (c->ops->free)
		c->ops->free(c->self);
	free(c->name);
	free(c);
	return NULL;
}

/* The name of what a request is about, for messages. */
static int describe(int r, const struct client_request *rq, struct err *e)
{
	static const char *const verbs[] = { "get", "list", "create", "update", "patch", "delete", "delete", "watch" };
	const char *slash = rq->sub ? "/" : "", *sub = rq->sub ? rq->sub : "";

	/* The server's own sentences name the object; those of the way to it do not. */
	if (r != -ERR_UNAVAILABLE && r != -ERR_TIMEOUT && r != -ERR_IO)
		return r;
	err_wrap(e, "%s %s%s%s%s%.*s%s%.*s", verbs[rq->verb], rq->res.resource, slash, sub,
		rq->ns.n || rq->name.n ? " " : "", STR_ARG(rq->ns), rq->ns.n && rq->name.n ? "/" : "",
		STR_ARG(rq->name));
	return r;
}

int client_call(struct client *c, const struct client_request *rq, struct doc **ret, struct err *e)
{
	struct client_request with = *rq;
	struct doc *answer = NULL;
	int r;

	if (!with.field_manager && with.verb >= VERB_CREATE && with.verb <= VERB_PATCH)
		with.field_manager = c->name;
	r = c->ops->call(c->self, &with, &answer, e);
	if (r < 0)
		return describe(r, rq, e);
	if (ret)
		*ret = answer;
	else
		doc_unref(answer);
	return 0;
}

int client_get(struct client *c, struct gvr r, struct str ns, struct str name, struct doc **ret, struct err *e)
{
	return client_call(c, &(struct client_request){ .verb = VERB_GET, .res = r, .ns = ns, .name = name }, ret, e);
}

int client_discover(struct client *c, const char *group, const char *version, struct doc **ret, struct err *e)
{
	struct client_request rq = { .verb = VERB_GET, .res = { group, version, "" } };

	return client_call(c, &rq, ret, e);
}

int client_create(struct client *c, struct gvr r, struct str ns, struct doc *body, struct doc **ret, struct err *e)
{
	return client_call(
		c, &(struct client_request){ .verb = VERB_CREATE, .res = r, .ns = ns, .body = body }, ret, e);
}

int client_update_sub(
	struct client *c, struct gvr r, const char *sub, struct doc *body, struct doc **ret, struct err *e)
{
	return client_call(c,
		&(struct client_request){ .verb = VERB_UPDATE,
			.res = r,
			.ns = doc_ns(body),
			.name = doc_name(body),
			.sub = sub,
			.body = body },
		ret, e);
}

int client_update(struct client *c, struct gvr r, struct doc *body, struct doc **ret, struct err *e)
{
	return client_update_sub(c, r, NULL, body, ret, e);
}

int client_patch(struct client *c, struct gvr r, struct str ns, struct str name, const char *sub, enum patch_type t,
	struct doc *patch, struct doc **ret, struct err *e)
{
	return client_call(c,
		&(struct client_request){
			.verb = VERB_PATCH, .res = r, .ns = ns, .name = name, .sub = sub, .body = patch, .patch = t },
		ret, e);
}

static struct doc *delete_options(struct client_delete o)
{
	struct arena *a = arena_new();
	struct node *root = node_pack(a, "{kind:'DeleteOptions', apiVersion:'v1', propagationPolicy:s}", o.propagation);
	struct doc *d;

	if (o.grace_s >= 0)
		node_setc(root, "gracePeriodSeconds", node_int(a, o.grace_s));
	if (o.uid.n)
		node_set_path(root, "preconditions.uid", node_str(a, o.uid));
	if (o.resource_version.n)
		node_set_path(root, "preconditions.resourceVersion", node_str(a, o.resource_version));
	d = node_publish(root);
	arena_free(a);
	return d;
}

int client_delete(struct client *c, struct gvr r, struct str ns, struct str name, struct client_delete o, struct err *e)
{
	auto_(doc_unref) struct doc *body = delete_options(o);

	return client_call(c,
		&(struct client_request){ .verb = VERB_DELETE, .res = r, .ns = ns, .name = name, .body = body }, NULL,
		e);
}

int client_list(struct client *c, const struct client_request *rq, void (*each)(void *arg, struct doc *take), void *arg,
	char ret_rev[24], struct err *e)
{
	struct client_request with = *rq;

	with.verb = VERB_LIST;
	return describe(c->ops->list(c->self, &with, each, arg, ret_rev, e), &with, e);
}

int client_watch(struct client *c, const struct client_request *rq, struct client_stream **ret, struct err *e)
{
	struct client_request with = *rq;

	with.verb = VERB_WATCH;
	return describe(c->ops->watch(c->self, &with, ret, e), &with, e);
}

int client_next(struct client *c, struct client_stream *s, int64_t timeout_ms, struct client_event *ret, struct err *e)
{
	return c->ops->next(s, timeout_ms, ret, e);
}

int client_notify(struct client *c, struct client_stream *s, void (*ready)(void *arg), void *arg, struct err *e)
{
	if (!c->ops->notify)
		return err_set(e, ERR_UNSUPPORTED, "this client can only wait");
	c->ops->notify(s, ready, arg);
	return 0;
}

void client_interrupt(struct client *c, struct client_stream *s)
{
	c->ops->interrupt(s);
}

void client_close(struct client *c, struct client_stream *s)
{
	if (s)
		c->ops->close(s);
}
