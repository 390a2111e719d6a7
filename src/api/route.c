/* From a path to what is asked, then authorization, then the right hands. Nothing here blocks. */
#include "api/aggregate/aggregate.h"
#include "api/audit/audit.h"
#include "api/custom/custom.h"
#include "api/relay/relay.h"
#define LOG_MODULE "api"

#define SEGMENTS_MAX 12

struct path {
	struct str seg[SEGMENTS_MAX];
	size_t n;
	struct str rest; /* from the segment after the sub-resource on */
};

/* Decoded as a whole and then cut, so that an encoded slash is one. Empty segments stay, but for the one after a last
 * slash. */
static void path_split(struct rq *rq, struct path *p)
{
	struct str rest = url_decode(rq->a, rq->path, false);

	p->n = 0;
	if (rest.n)
		rest = str_sub(rest, 1, rest.n);
	while (rest.n && p->n < SEGMENTS_MAX) {
		size_t end = 0;
		while (end < rest.n && rest.p[end] != '/')
			end++;
		p->seg[p->n++] = str_sub(rest, 0, end);
		rest = str_sub(rest, end < rest.n ? end + 1 : end, rest.n);
	}
}

static struct str path_after(struct rq *rq, size_t segments)
{
	struct str rest = rq->path;

	while (segments-- && rest.n) {
		while (rest.n && rest.p[0] == '/')
			rest = str_sub(rest, 1, rest.n);
		while (rest.n && rest.p[0] != '/')
			rest = str_sub(rest, 1, rest.n);
	}
	return rest;
}

/* Fills the request's object attributes. false: not a resource path. */
static bool path_resource(struct rq *rq, const struct path *p)
{
	size_t i;

	if (p->n >= 2 && str_is(p->seg[0], "api") && str_is(p->seg[1], "v1")) {
		rq->group = STR("");
		rq->version = p->seg[1];
		i = 2;
	} else if (p->n >= 3 && str_is(p->seg[0], "apis")) {
		rq->group = p->seg[1];
		rq->version = p->seg[2];
		i = 3;
	} else {
		return false;
	}
	bool legacy_watch = p->n > i && str_is(p->seg[i], "watch");
	i += legacy_watch;
	if (p->n <= i)
		return false;
	bool own_sub =
		p->n > i + 2 && !rq->group.n && (str_is(p->seg[i + 2], "status") || str_is(p->seg[i + 2], "finalize"));
	if (str_is(p->seg[i], "namespaces") && p->n > i + 2 && !own_sub) {
		rq->ns = p->seg[i + 1];
		i += 2;
	}
	rq->resource_name = p->seg[i];
	if (p->n > i + 1)
		rq->name = p->seg[i + 1];
	if (p->n > i + 2) {
		rq->sub = p->seg[i + 2];
		rq->too_long = p->n > i + 3;
		rq->sub_path = path_after(rq, i + 3);
	}
	rq->resource_request = true;
	if (legacy_watch)
		rq->verb = V_WATCH;
	return true;
}

static void set_verb(struct rq *rq)
{
	bool named = rq->name.n > 0;

	if (rq->verb == V_WATCH)
		return;
	if (str_is(rq->method, "GET") || str_is(rq->method, "HEAD"))
		rq->verb = named ? V_GET : rq_param_bool(rq, "watch") ? V_WATCH : V_LIST;
	else if (str_is(rq->method, "POST"))
		rq->verb = V_CREATE;
	else if (str_is(rq->method, "PUT"))
		rq->verb = V_UPDATE;
	else if (str_is(rq->method, "PATCH"))
		rq->verb = V_PATCH;
	else if (str_is(rq->method, "DELETE"))
		rq->verb = named ? V_DELETE : V_DELETE_COLLECTION;
}

/* Lists and watches of one name are authorized as that name. A selector that cannot be read is refused later. */
static void name_by_selector(struct rq *rq)
{
	struct filter f = { 0 };
	struct err e;

	err_init(&e);
	if (rq->name.n || (rq->verb != V_LIST && rq->verb != V_WATCH))
		return;
	if (field_selector_parse(rq->a, rq_param(rq, "fieldSelector"), &f.fields, &f.n_fields, &e) == 0)
		rq->name = filter_name(&f);
	rq->by_selector = rq->name.n > 0;
}

static int forbid(struct rq *rq, struct err *e)
{
	struct buf b = BUF_INIT;

	if (!rq->resource_request) {
		status_about(rq, NULL, NULL, STR_NULL);
		err_set(e, ERR_FORBIDDEN, "forbidden: User \"%.*s\" cannot %.*s path \"%.*s\"", STR_ARG(rq->id.user),
			STR_ARG(rq->verb_text), STR_ARG(rq->path));
		return -ERR_FORBIDDEN;
	}
	buf_str(&b, rq->resource_name);
	if (rq->group.n)
		buf_printf(&b, ".%.*s", STR_ARG(rq->group));
	if (rq->name.n)
		buf_printf(&b, " \"%.*s\"", STR_ARG(rq->name));
	buf_printf(&b, " is forbidden: User \"%.*s\" cannot %.*s resource \"%.*s%s%.*s\" in API group \"%.*s\"",
		STR_ARG(rq->id.user), STR_ARG(rq->verb_text), STR_ARG(rq->resource_name), rq->sub.n ? "/" : "",
		STR_ARG(rq->sub), STR_ARG(rq->group));
	if (rq->ns.n)
		buf_printf(&b, " in the namespace \"%.*s\"", STR_ARG(rq->ns));
	else
		buf_c(&b, " at the cluster scope");
	err_set(e, ERR_FORBIDDEN, "%.*s", (int)b.n, b.p);
	buf_fini(&b);
	status_about(rq, arena_cstr(rq->a, rq->group), arena_cstr(rq->a, rq->resource_name), rq->name);
	return -ERR_FORBIDDEN;
}

int route_authorize(struct rq *rq, struct err *e)
{
	char reason[256] = "";
	struct authz_attrs at = {
		.verb = rq->verb_text,
		.resource_request = rq->resource_request,
		.group = rq->group,
		.version = rq->version,
		.resource = rq->resource_name,
		.sub = rq->sub,
		.ns = rq->ns,
		.name = rq->name,
		.path = rq->path,
		.field_selector = rq_param(rq, "fieldSelector"),
		.label_selector = rq_param(rq, "labelSelector"),
	};
	bool is_ns = !rq->group.n && str_is(rq->resource_name, "namespaces") && !rq->ns.n;

	if (is_ns && !rq->by_selector) /* a list of namespaces is in none of them */
		at.ns = rq->name;
	bool allowed = rq->api->opts.no_authz || authz_allowed(rq->api, &rq->id, &at, reason, sizeof(reason));

	rq->decision = allowed ? "allow" : "forbid";
	if (reason[0] && audit_is_on(rq->api->audit))
		rq->reason = arena_strdup(rq->a, reason);
	return allowed ? 0 : forbid(rq, e);
}

static void dry_run_option(struct rq *rq, struct err *e)
{
	auto_buf struct buf all = BUF_INIT;
	bool bad = false;

	for (size_t i = 0; i < rq->n_params; i++) {
		if (!str_is(rq->params[i].key, "dryRun"))
			continue;
		bad |= !str_is(rq->params[i].value, "All");
		buf_c(&all, all.n ? "," : "[");
		buf_json(&all, rq->params[i].value);
	}
	rq->dry_run = all.n > 0;
	if (bad)
		err_cause(e, "FieldValueNotSupported", "dryRun", "Unsupported value: %.*s]: supported values: \"All\"",
			(int)all.n, all.p);
}

/* Printable and not too long. */
static void check_manager(struct str name, struct err *e)
{
	if (name.n > 128)
		v_too_long(e, "fieldManager", 128);
	for (size_t i = 0; i < name.n; i++) {
		unsigned char c = (unsigned char)name.p[i];
		if (c >= 0x20 && c != 0x7f)
			continue;
		char *why = xasprintf("invalid character U+%04X (at position %zu)", c, i);
		v_invalid_str(e, "fieldManager", name, why);
		free(why);
		return;
	}
}

int route_write_options(struct rq *rq, struct err *e)
{
	static const char *const kinds[] = {
		[V_CREATE] = "CreateOptions", [V_UPDATE] = "UpdateOptions", [V_PATCH] = "PatchOptions"
	};
	const char *kind = rq->verb < ARRAY_LEN(kinds) && kinds[rq->verb] ? kinds[rq->verb] : "DeleteOptions";
	struct str v;

	dry_run_option(rq, e);
	rq->force = rq_param_bool(rq, "force");
	rq->field_manager = rq_param(rq, "fieldManager");
	check_manager(rq->field_manager, e);
	v = rq_param(rq, "fieldValidation");
	if (str_is(v, "Strict"))
		rq->field_validation = VALIDATE_STRICT;
	else if (str_is(v, "Ignore"))
		rq->field_validation = VALIDATE_IGNORE;
	else if (v.n && !str_is(v, "Warn"))
		err_cause(e, "FieldValueNotSupported", "fieldValidation",
			"Unsupported value: \"%.*s\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"",
			STR_ARG(v));
	return validate_options(rq, kind, e);
}

static void not_found_page(struct rq *rq)
{
	reply_text(rq, 404, "text/plain; charset=utf-8", "404 page not found\n");
}

static void answer_err(struct rq *rq, struct err *e)
{
	reply_error(rq, e);
}

static bool group_is_builtin(struct rq *rq, struct str group)
{
	struct resource **rows;
	size_t n;

	rows = api_resources(rq->api, rq->a, &n);
	for (size_t i = 0; i < n; i++)
		if (!rows[i]->custom && str_is(group, rows[i]->def.group))
			return true;
	return false;
}

/* Below the core API and the builtin groups a Status, below other groups a page, and elsewhere the index. */
static void unknown_path(struct rq *rq)
{
	struct path p;
	struct err e;

	err_init(&e);
	path_split(rq, &p);
	bool core = p.n && str_is(p.seg[0], "api"), group = p.n && str_is(p.seg[0], "apis");
	if (core || (group && p.n > 2 && group_is_builtin(rq, p.seg[1]))) {
		status_no_such(rq, &e);
		answer_err(rq, &e);
	} else if (group) {
		not_found_page(rq);
	} else {
		discovery_index(rq, 404);
	}
}

static struct str verb_of_method(struct str method)
{
	static const char *const verbs[][2] = { { "GET", "get" }, { "HEAD", "head" }, { "POST", "post" },
		{ "PUT", "put" }, { "DELETE", "delete" }, { "PATCH", "patch" }, { "OPTIONS", "options" } };

	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		if (str_is(method, verbs[i][0]))
			return str_c(verbs[i][1]);
	return method;
}

/* What is asked for, and how, in the words of authorization and audit. */
static void read_attributes(struct rq *rq)
{
	struct path p;

	rq_parse_query(rq);
	path_split(rq, &p);
	if (!path_resource(rq, &p)) {
		rq->verb_text = verb_of_method(rq->method);
		return;
	}
	set_verb(rq);
	rq->verb_text = str_c(verb_name(rq->verb));
	name_by_selector(rq);
}

void route_refuse(struct rq *rq, const struct authz_attrs *refused, const struct err *e)
{
	read_attributes(rq);
	if (rq->resource_request)
		rq->res = api_resource(rq->api, rq->group, rq->version, rq->resource_name);
	resource_hold(rq->res);
	if (refused->resource.n)
		status_about(
			rq, arena_cstr(rq->a, refused->group), arena_cstr(rq->a, refused->resource), refused->name);
	reply_error(rq, e);
}

static void route_other(struct rq *rq)
{
	struct err e;

	err_init(&e);
	if (aggregate_answer(rq))
		return;
	if (!str_is(rq->method, "GET") && !str_is(rq->method, "HEAD")) {
		status_not_allowed(rq, &e);
		answer_err(rq, &e);
		return;
	}
	if (health_answer(rq) || discovery_answer(rq) || openapi_answer(rq))
		return;
	unknown_path(rq);
}

static bool is_connect(const struct rq *rq)
{
	return rq->subres && (rq->subres->verbs & VERB_BIT(V_CONNECT));
}

/* A review has no table and no metadata of its own to show. */
static int check_render(struct rq *rq, struct err *e)
{
	if (!rq->res->def.create || rq->render == RENDER_OBJECT)
		return 0;
	return err_set(e, ERR_NOT_ACCEPTABLE,
		"only the following media types are accepted: application/json, application/yaml, "
		"application/vnd.kubernetes.protobuf");
}

/* A name that cannot be one segment of a path. */
static int check_name(struct rq *rq, struct err *e)
{
	struct str n = rq->name;
	const char *why = str_is(n, ".") ? "may not be '.'" : str_is(n, "..") ? "may not be '..'" : NULL;

	if (str_has(n, STR("%")))
		why = "may not contain '%'";
	if (!why || rq->verb == V_LIST || rq->verb == V_WATCH)
		return 0;
	return err_set(e, ERR_BAD_REQUEST, "Name parameter invalid: \"%.*s\": %s", STR_ARG(n), why);
}

/* A connection is a right of its own only by the methods that upstream routes: who may watch or delete pods/exec must not
 * get one. */
static int check_connect(struct rq *rq, struct err *e)
{
	static const char *const streams[] = { "GET", "POST", NULL },
				 *const proxies[] = { "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS",
					 NULL };

	if (rq->verb == V_WATCH || !rq->name.n || rq->by_selector || rq->res->def.namespaced != (rq->ns.n > 0))
		return status_no_such(rq, e);
	return is_one_of(str_is(rq->sub, "proxy") ? proxies : streams, rq->method) ? 0 : status_not_allowed(rq, e);
}

/* Whether the row serves what is asked. */
static int check_served(struct rq *rq, struct err *e)
{
	const struct resource *r = rq->res;
	unsigned verbs = r->def.verbs;

	if (rq->sub.n) {
		rq->subres = resource_sub(r, rq->sub);
		if (!rq->subres || (rq->too_long && !rq->subres->relay))
			return status_no_such(rq, e);
		verbs = rq->subres->verbs;
	}
	if (is_connect(rq))
		return check_connect(rq, e);
	if (r->def.namespaced && !rq->ns.n && (rq->name.n || rq->verb == V_CREATE || rq->verb == V_DELETE_COLLECTION) &&
		!rq->by_selector)
		return rq->name.n ? status_no_such(rq, e) : status_not_allowed(rq, e);
	if (!r->def.namespaced && rq->ns.n)
		return status_no_such(rq, e);
	bool needs_name =
		rq->verb == V_GET || rq->verb == V_UPDATE || rq->verb == V_PATCH || rq->verb == V_DELETE || rq->sub.n;
	if (rq->verb == V_NONE || !(verbs & VERB_BIT(rq->verb)) || (needs_name && !rq->name.n) ||
		(rq->verb == V_CREATE && rq->name.n && !rq->sub.n) ||
		(rq->verb == V_WATCH && !str_is(rq->method, "GET")))
		return status_not_allowed(rq, e);
	return check_name(rq, e);
}

static void later_or_now(struct rq *rq, bool later, void (*run)(struct rq *rq))
{
	if (!later) {
		run(rq);
		return;
	}
	rq->lane = lanes_choose(rq);
	rq->run = run;
	lanes_submit(rq->api->lanes, rq);
}

static void dispatch(struct rq *rq)
{
	struct err e;

	err_init(&e);
	metrics_began(rq->api->metrics, rq);
	if (rq->subres && rq->subres->relay) {
		if (webhook_on_connect(rq)) {
			rq->lane = lanes_choose(rq);
			rq->run = webhook_connect;
			lanes_submit(rq->api->lanes, rq);
		} else {
			relay_start(rq);
		}
		return;
	}
	if (rq->res->def.compute && (rq->verb == V_GET || rq->verb == V_LIST)) {
		computed_read(rq);
		return;
	}
	/* What a webhook makes on the way may wait, and nobody waits on a loop. */
	bool waits = rq->res->custom && rq->res->custom->webhook;
	switch (rq->verb) {
	case V_GET:
		later_or_now(rq, waits, read_get);
		return;
	case V_LIST:
		later_or_now(rq, waits, read_list);
		return;
	case V_WATCH:
		read_watch(rq);
		return;
	default:
		break;
	}
	if (route_write_options(rq, &e) < 0) {
		answer_err(rq, &e);
		return;
	}
	if (rq_stopping(rq->api)) {
		err_set(&e, ERR_UNAVAILABLE, "the server is shutting down");
		e.retry_after_s = 1;
		answer_err(rq, &e);
		return;
	}
	rq->lane = lanes_choose(rq);
	rq->run = write_on_lane;
	lanes_submit(rq->api->lanes, rq);
}

void route(struct rq *rq)
{
	struct err e;

	err_init(&e);
	read_attributes(rq);
	audit_received(rq->api->audit, rq);
	if (route_authorize(rq, &e) < 0) {
		answer_err(rq, &e);
		return;
	}
	if (aggregate_answer(rq))
		return;
	if (!rq->resource_request) {
		route_other(rq);
		return;
	}
	rq->res = api_resource(rq->api, rq->group, rq->version, rq->resource_name);
	if (!rq->res) {
		unknown_path(rq);
		return;
	}
	resource_hold(rq->res);
	if (rq->res->def.deprecated)
		rq_warn(rq, "%s", rq->res->def.deprecated);
	if (check_served(rq, &e) < 0 || (!(rq->subres && rq->subres->relay) && negotiate(rq, false, &e) < 0) ||
		check_render(rq, &e) < 0) {
		answer_err(rq, &e);
		return;
	}
	dispatch(rq);
}
