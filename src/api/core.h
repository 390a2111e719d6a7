/* Second half of api_internal.h: what the core's own files call of each other, one block a file. */
#pragma once

/* ---- core.c ---------------------------------------------------------------------------------- */
/* The server serves other kinds than before: tells who wants to know. Never waits. */
void api_kinds_changed(struct api *api);

/* ---- rq.c: making, ending, parameters -------------------------------------------------------- */
struct rq *rq_new(struct api *api);
const char *rq_audit_id(struct rq *rq);
void rq_free(struct rq *rq);
void rq_parse_query(struct rq *rq);
struct str url_decode(struct arena *a, struct str s, bool plus_is_space);
bool rq_param_bool(const struct rq *rq, const char *key); /* present and neither false, in any case, nor 0 */
bool rq_stopping(struct api *api);
void buf_json(struct buf *b, struct str s);                        /* appends a quoted JSON string */
char *rq_lower(struct rq *rq, struct str s);                       /* arena text */
char *rq_f(struct rq *rq, const char *fmt, ...) PRINTF(2, 3);      /* arena text */
struct val rq_val(struct rq *rq, struct node *n);                  /* as it is now. Lives as long as the request. */
void rq_annotate(struct rq *rq, struct str key, struct str value); /* for the audit record */
void wall_text(struct rq *rq, struct wall t, char ret[TIME_TEXT_MAX]);

/* ---- route.c --------------------------------------------------------------------------------- */
/* Takes rq: parses, authorizes, answers or hands it to a lane. Never blocks. */
void route(struct rq *rq);
/* Takes rq, of one who may not come in: parses, for metrics and the audit record, and answers. refused: what he lacked the
 * right to, or nothing. */
void route_refuse(struct rq *rq, const struct authz_attrs *refused, const struct err *e);
int route_authorize(struct rq *rq, struct err *e);
/* Options shared by all writes, from the parameters. */
int route_write_options(struct rq *rq, struct err *e);

/* ---- negotiate.c: Accept and Content-Type ---------------------------------------------------- */
int negotiate(struct rq *rq, bool discovery, struct err *e);
/* Whether the client takes that type: "application/json". */
bool accepts(struct rq *rq, const char *type);
int media_of_body(struct rq *rq, enum media *ret, struct err *e);

/* ---- status.c, reply.c: answers. Each takes rq and ends it. ---------------------------------- */
void status_json(const struct rq *rq, const struct err *e, struct buf *out);
/* The error is about another object than the one asked for; kind NULL: about none. */
void status_about(struct rq *rq, const char *group, const char *kind, struct str name);
int status_no_such(struct rq *rq, struct err *e);     /* 404 of what no part of the server knows */
int status_not_allowed(struct rq *rq, struct err *e); /* 405 */
struct doc *status_success(struct rq *rq, struct str name, struct str uid); /* own */
void reply_error(struct rq *rq, const struct err *e);
void reply_doc(
	struct rq *rq, int status, struct doc *take_d); /* rendered as negotiated; of type rq->res or a subresource */
void reply_doc_as(struct rq *rq, int status, struct doc *take_d, const struct schema_type *type);
void reply_buf(struct rq *rq, int status, const char *content_type,
	struct buf *take_b); /* JSON: as YAML or indented for who wants that */
/* Compact JSON of a whole or of its pieces, in their order; begins as { 0 }. */
struct pretty {
	int depth;
	bool in_string, escaped, opened; /* opened: the last was a bracket, its end may be next */
};
void pretty_text(struct pretty *p, struct str in, struct buf *out);
void reply_text(struct rq *rq, int status, const char *content_type, const char *text);
/* body: lives as long as rq. extra: further headers. */
void reply_bytes(struct rq *rq, int status, const char *content_type, const struct http_header *extra, size_t n_extra,
	struct str body);
/* 200 with a body that is made while it is sent; its end() frees rq, and is not called when it had to be made at once. */
void reply_source(struct rq *rq, const char *content_type, const struct http_header *extra, size_t n_extra,
	const struct net_source *take);
/* An ETag of that body, in the arena: its hash in quotes. */
struct str reply_etag(struct rq *rq, struct str body);
/* The client has this already (If-None-Match): answers 304 with these headers, the ETag first. */
bool reply_not_modified(struct rq *rq, const struct http_header *headers, size_t n);
/* What another server answered: with exactly these headers, and never compressed. */
void reply_passed(struct rq *rq, int status, const struct http_header *headers, size_t n_headers, struct str body);
/* Common headers of every answer into h (room for 16 + warnings). */
size_t reply_headers(struct rq *rq, const char *content_type, struct http_header *h, size_t max);
const char *media_type(enum media m, bool watch);
/* JSON of that type becomes protobuf or YAML where the client reads that first. Returns what it is then. */
const char *reply_media(const struct rq *rq, const struct schema_type *t, struct buf *json);
/* Audit record and metrics. Called once an answer was given (for streams: when they end). */
void rq_done(struct rq *rq, int status);
void rq_started(struct rq *rq); /* the headers of a stream are sent: for the audit record */
bool gzip_bytes(struct str in, struct buf *out, int level);
bool gunzip_bytes(struct str in, struct buf *out);

/* ---- read.c, list.c, watch.c ----------------------------------------------------------------- */
void read_get(struct rq *rq);
/* Those of a list or watch that contradict each other: all are told. */
int check_list_options(struct rq *rq, bool watch, struct err *e);
int query_number(struct rq *rq, const char *name, int64_t *ret, struct err *e); /* 0 where it is not given */
void read_list(struct rq *rq);
void list_reply(struct rq *rq, struct doc **docs,
	size_t n);                 /* the answer to a LIST: these, as negotiated; borrowed until rq ends */
void computed_read(struct rq *rq); /* computed.c: GET and LIST of a row with compute() */
/* f NULL: all. The documents live as long as rq->a. */
struct filter;
int computed_collect(
	struct rq *rq, struct str name, const struct filter *f, struct doc ***ret, size_t *ret_n, struct err *e);
int usage_nodes(
	struct rq *rq, struct str name, struct doc ***ret, size_t *ret_n, struct err *e); /* usage.c: metrics.k8s.io */
int health_components(struct rq *rq, struct str name, struct doc ***ret, size_t *ret_n, struct err *e); /* health.c */
int usage_pods(struct rq *rq, struct str name, struct doc ***ret, size_t *ret_n, struct err *e);
void read_watch(struct rq *rq);
/* The object as rq asks for it (other served form): own. d is taken. */
struct doc *doc_as_served(struct arena *a, const struct resource *res, struct doc *take_d);
/* The same, and says why a conversion failed; then d has ended. */
int doc_served(struct rq *rq, struct doc *take_d, struct doc **ret, struct err *e);
/* n, in the form of row `from`, in that of row `to` of the same resource: a copy in rq->a, or n itself where there is nothing
 * to do. Nothing is taken away from it. Fails: what a conversion webhook failed with. */
int node_served(struct rq *rq, struct node *n, const struct resource *from, const struct resource *to,
	struct node **ret, struct err *e);
struct str cache_key(struct arena *a, const struct resource *r, struct str ns, struct str name);
int check_revision(struct rq *rq, struct str rv, int64_t *ret, struct err *e);

struct filter {                        /* what a list or watch selects */
	const struct selector *labels; /* NULL: all */
	struct field_term *fields;
	size_t n_fields;
	const struct resource *res;
};
int filter_parse(
	struct rq *rq, struct str label_selector, struct str field_selector, struct filter *ret, struct err *e);
bool filter_matches(const struct filter *f, const struct doc *d);
static inline bool filter_is_all(const struct filter *f)
{
	return !f->labels && !f->n_fields;
}
/* Name set by fieldSelector=metadata.name=x; p NULL: none. */
struct str filter_name(const struct filter *f);

int list_collect(
	struct rq *rq, const struct filter *f, struct doc ***ret, size_t *ret_n, int64_t *ret_rev, struct err *e);
/* What the request's own parameters ask for, limit and continue among them. *ret_token: where it goes on; n 0: nowhere. */
int list_asked(struct rq *rq, struct doc ***ret, size_t *ret_n, int64_t *ret_rev, struct str *ret_token, struct err *e);

/* ---- upkeep.c: what nobody asks for ---------------------------------------------------------- */
struct upkeep *upkeep_start(struct api *api);
struct upkeep *upkeep_free(struct upkeep *u);

struct watches *watches_new(struct api *api);
void watches_stop(struct watches *w);
void watches_end_of(struct watches *w, const struct resource *r); /* ends the streams of a row that was removed */
void watches_free(struct watches *w);
size_t watches_len(struct watches *w);
/* slow.c: the same of kinds that a webhook converts. Thread: any. */
struct slow_watches *slow_watches_new(struct api *api);
struct watches *slow_watches_of(
	struct slow_watches *s, const struct resource *r); /* borrow: until slow_watches_free() */
void slow_watches_end_of(struct slow_watches *s, const struct resource *r);
void slow_watches_stop(struct slow_watches *s);
void slow_watches_free(struct slow_watches *s);

/* ---- table.c, kinds/cells_*.c ---------------------------------------------------------------- */
void table_head(struct rq *rq, const struct resource *res, bool with_columns, int64_t rev, struct str cont,
	int64_t remaining, struct buf *out);
void table_row(struct rq *rq, const struct resource *res, const struct doc *d, struct buf *out);
void metadata_object(const struct doc *d, bool with_kind, bool beta, struct buf *out);
struct cells {
	struct buf *out;
	size_t n;
	struct arena *a;
	struct val object; /* root */
	int64_t now_s;
	bool owns;
};
void cell_str(struct cells *c, struct str s);
void cell_c(struct cells *c, const char *s);
void cell_f(struct cells *c, const char *fmt, ...) PRINTF(2, 3);
void cell_int(struct cells *c, int64_t i);
void cell_val(struct cells *c, struct val v); /* string, number or bool as text; <none> when missing */
void cell_age(struct cells *c, struct val time);
void cell_created(struct cells *c); /* age of the object */

/* ---- lanes.c --------------------------------------------------------------------------------- */
struct lanes *lanes_new(struct api *api);
void lanes_stop(struct lanes *l); /* waits for what runs */
void lanes_free(struct lanes *l);
/* By who asks, and for what: nobody else's lease is more than another object. */
enum lane lanes_choose(const struct rq *rq);
/* Takes rq; rq->run(rq) happens on a lane's thread. Full: answers 429. */
void lanes_submit(struct lanes *l, struct rq *rq);
/* Around a wait for another server (outgoing.h does it): the request's thread gives its place in the lane away. rq may
 * be NULL or not on a lane. ERR_TOO_MANY: so many wait already. */
int lanes_leave(struct rq *rq, struct err *e);
void lanes_return(struct rq *rq);

/* ---- write.c and its verbs: on a lane or the local caller's task ----------------------------- */
struct outcome {
	int status;
	struct doc *doc;                /* own; in the served form, or a Status */
	const struct schema_type *type; /* NULL: the resource's own */
};
int write_run(struct rq *rq, struct outcome *out, struct err *e);
void write_on_lane(struct rq *rq); /* for rq->run */
int write_create(struct rq *rq, struct outcome *out, struct err *e);
int write_update(struct rq *rq, struct outcome *out, struct err *e);
int write_patch(struct rq *rq, struct outcome *out, struct err *e);
int write_delete(struct rq *rq, struct outcome *out, struct err *e);
int write_delete_collection(struct rq *rq, struct outcome *out, struct err *e);
extern const struct resource scale_row; /* how tables show a Scale: its columns, and nothing else */
int scale_get(struct rq *rq, struct doc **ret, struct err *e);
int scale_write(struct rq *rq, struct outcome *out, struct err *e);
struct scale_change {
	struct str sub;         /* "scale": rq->sub says that the object itself is written */
	bool replicas;          /* the object says how many, and not 0, which a Scale leaves out */
	struct node *now, *old; /* what admission sees: the Scale */
	struct node *config;    /* of an apply: what it says of the object; else NULL */
};
int scale_admit(struct rq *rq, const struct scale_change *c, struct err *e); /* what validating webhooks say of it */
/* decode.c: the body as a tree of type; checks apiVersion and kind. */
int decode_body(struct rq *rq, const struct schema_type *type, const char *api_version, const char *kind,
	struct node **ret, struct err *e);
/* A tree made by a patch; report: field validation applies. */
int decode_node(struct rq *rq, const struct schema_type *type, struct node *n, bool report, struct err *e);
int decode_applied(struct rq *rq, const struct schema_type *type, struct node *n, struct err *e); /* nulls stay */
int decode_any(struct rq *rq, struct doc **ret, struct err *e); /* own: parsed JSON or YAML without a type */
/* The live object in the stored form: own; -ERR_NOT_FOUND in upstream's words. */
int write_live(struct rq *rq, struct doc **ret, struct err *e);
int write_not_found(struct rq *rq, struct str name, struct err *e);
/* store_events.c: one object to the store. live NULL: create. The doc is stamped. */
int write_put(struct rq *rq, struct str ns, struct str name, struct doc *d, int64_t expect, struct err *e);
int write_del(struct rq *rq, struct str ns, struct str name, struct node *last_state, int64_t expect, struct doc **ret,
	struct err *e);
int write_exists(struct rq *rq, struct str name, struct err *e); /* ERR_EXISTS in upstream's words */
/* The second half of update and patch: object is decoded, in the stored form. create: live is NULL. sub: "" or "status"
 * … apply: managedFields are in it already. */
struct write_job {
	struct node *object;
	struct doc *live;                 /* borrow; NULL: create */
	bool applied;                     /* managedFields are done */
	struct val sent;                  /* what is applied, as it came; or VAL_NONE */
	const struct scale_change *scale; /* borrow; NULL: what is written is the object itself */
	struct str version, uid, deleted; /* of an update: what its writer named; write.c's own */
	struct node *grace;
};
/* managers.c. What is the same of managedFields in each write of this request's kind; borrows the request. */
struct managed_write write_managed(struct rq *rq);
/* An object that is about to be written gets its managedFields; live: what it was, tracked so far. */
int write_track(struct rq *rq, struct write_job *j, struct val live, struct err *e);
/* managedFields that were sent to say that managers are to be forgotten stay so. */
void write_keep_reset(struct rq *rq, struct node *meta);
/* Name and namespace in meta are those of the request, and there. Fails: ERR_BAD_REQUEST. */
int write_check_place(struct rq *rq, struct node *meta, struct err *e);
int write_nameless(struct rq *rq, struct err *e); /* ERR_BAD_REQUEST: an update's object has no name */
/* ERR_CONFLICT: object names the uid of another. live NULL: there is none. */
int write_check_uid(struct rq *rq, struct node *object, struct doc *live, struct err *e);
int write_object_create(struct rq *rq, struct write_job *j, struct outcome *out, struct err *e);
int write_object_update(struct rq *rq, struct write_job *j, struct outcome *out, struct err *e);
/* patch.c: which patch it is, and whether its options go together; of an apply, whether the configuration is one, before
 * it is decoded, and the object that it makes of the live one. */
int patch_kind(struct rq *rq, struct err *e);
int patch_options(struct rq *rq, struct err *e);
/* *target as the patch makes it, decoded as what it has to be then. */
struct patch_form {
	const struct schema_type *type;
	const char *api_version, *kind;
};
int patch_object(struct rq *rq, const struct patch_form *form, struct node **target, struct doc *patch, bool report,
	struct err *e);
int apply_check(struct rq *rq, const struct schema_type *type, const char *api_version, const char *kind,
	struct node *config, struct err *e);
int apply_merge(struct rq *rq, struct str sub, struct val live, struct val config, struct write_job *j, struct err *e);
bool write_removable(struct rq *rq, struct node *object); /* being deleted, and nothing holds it any more */

/* store_events.c: from the store to the caches */
/* A stored value, decrypted where it is, as a document that carries its revision. Own. stale (may be NULL): see
 * seal.h. */
int stored_doc(struct api *api, const struct resource *r, const struct store_kv *kv, bool *stale, struct doc **ret,
	struct err *e);
/* How d goes to the store: stamped when its revision is known, encrypted in room where its resource is. */
struct store_write store_write_of(
	struct api *api, const struct resource *r, struct str key, struct doc *d, int64_t expect, struct buf *room);
int events_load(struct api *api, struct resource *r, struct err *e);
/* As events_load() while the store's events already come in: r->loading is set before r is found by its prefix. */
int events_load_live(struct api *api, struct resource *r, struct err *e);
void events_held_free(struct resource *r);
void events_on(void *arg, const struct store_event *ev);

/* ---- causes.c: what is wrong with which field -------------------------------------------------- */
void buf_go_quoted(struct buf *b, struct str s); /* in quotes, escaped as Go's %q does */
void v_required(struct err *e, const char *path, const char *detail);
void v_invalid(struct err *e, const char *path, struct val v, const char *detail);
void v_invalid_str(struct err *e, const char *path, struct str value, const char *detail);
void v_unsupported(struct err *e, const char *path, struct str value, const char *const *known);
void v_unsupported_val(struct err *e, const char *path, struct val v, const char *const *known);
void v_forbidden(struct err *e, const char *path, const char *detail);
void v_duplicate(struct err *e, const char *path, struct str value);
void v_not_found(struct err *e, const char *path, struct str value);
void v_too_long(struct err *e, const char *path, size_t max);
void v_too_many(struct err *e, const char *path, size_t n, size_t max);
void causes_add(struct err *e, const struct err *from); /* appends the causes of another error */
/* Puts what the schema declares between what the strategy found: in the order of the fields of t. */
void causes_merge(const struct schema_type *t, const struct err *declared, struct err *e);

/* ---- discovery.c, openapi.c, health.c, metrics.c --------------------------------------------- */
void discovery_index(struct rq *rq, int status); /* the paths that are served */
bool discovery_answer(struct rq *rq);            /* /api, /apis … ; true: taken */
bool openapi_answer(struct rq *rq);
void openapi_free(struct openapi_cache *o);
bool health_answer(struct rq *rq);
struct health *health_new(struct api *api);
void health_free(struct health *h);
struct metrics *metrics_new(void);
void metrics_free(struct metrics *m);
enum metric {
	METRIC_REQUESTS,
	METRIC_REQUEST_SECONDS,
	METRIC_WEBHOOK_SECONDS,
	METRIC_WEBHOOK_REJECTIONS,
	METRIC_WEBHOOK_FAIL_OPEN,
	METRICS_N
};
void metrics_count(struct metrics *m, enum metric family, const char *labels); /* a="b",c="d" */
void metrics_observe(struct metrics *m, enum metric family, const char *labels, double seconds);
void metrics_began(struct metrics *m, struct rq *rq); /* its verb is known */
void metrics_ended(struct metrics *m, const struct rq *rq);
void metrics_record(struct metrics *m, const struct rq *rq, int status);
void metrics_answer(struct rq *rq);

/* ---- resource.c, kinds/resources_builtin.c --------------------------------------------------- */
extern const struct resource_def builtin_resources[];
extern const size_t builtin_resources_n;
struct resource *resource_by_prefix(struct api *api, struct str prefix);
void resource_reap(struct api *api); /* ends rows that are gone and that nobody uses any more */
int resource_table_fill(struct api *api, struct err *e);
void resource_table_free(struct api *api);

#include "api/admission/admission.h"
#include "api/kinds/kinds.h"
