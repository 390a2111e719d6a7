/* Shared inside src/api: the request, the row of the resource table, and who calls whom.
 *
 *   http.c, local_client.c, core.c   make a struct rq and give it to route.c
 *   route.c                          path → verb, resource, name; then authz (auth/rbac.c); then read or write
 *   read.c list.c watch/             answer from the caches, on the caller's thread
 *   lanes.c → write.c                mutations in straight-line code
 *   kinds/                           what is special to a kind: rows, strategies, rules, cells
 *   auth/ admission/ relay/ custom/ aggregate/ audit/   one part of a server each, with a header of its own */
#pragma once
#include "api/api.h"
#include "base/log.h"
#include "base/map.h"
#include "base/task.h"
#include "cache/cache.h"
#include "seal/seal.h"

struct rq;
struct custom;
struct crds;
struct aggregates;
struct patience;
struct aggregate_openapi;
struct held_event;

/* ---- verbs ----------------------------------------------------------------------------------- */

enum verb { V_NONE, V_GET, V_LIST, V_WATCH, V_CREATE, V_UPDATE, V_PATCH, V_DELETE, V_DELETE_COLLECTION, V_CONNECT };
#define VERB_BIT(v) (1u << (v))
#define VERBS_READ (VERB_BIT(V_GET) | VERB_BIT(V_LIST) | VERB_BIT(V_WATCH))
#define VERBS_ALL                                                                                        \
	(VERBS_READ | VERB_BIT(V_CREATE) | VERB_BIT(V_UPDATE) | VERB_BIT(V_PATCH) | VERB_BIT(V_DELETE) | \
		VERB_BIT(V_DELETE_COLLECTION))
#define VERBS_GET_WRITE (VERB_BIT(V_GET) | VERB_BIT(V_UPDATE) | VERB_BIT(V_PATCH))
const char *verb_name(enum verb v); /* "get", "deletecollection"; connect has the HTTP method's verb instead */

/* ---- the table of resources ------------------------------------------------------------------ */

struct column {
	const char *name, *type, *format; /* type "string", "integer", "date"; format "name" for the first column */
	int priority;                     /* 1: only with -o wide */
	const char *help;
};
/* Where a row's cells are built: strings and numbers appended to a JSON list. */
struct cells;

/* How names are checked. */
enum name_rule { NAME_SUBDOMAIN, NAME_LABEL, NAME_LABEL_1035, NAME_PATH };

/* What a kind adds to the common write path. Every member may be NULL. All run on the writer's task. */
struct strategy {
	/* First of all: what can only be written becomes what is stored, so that managed fields and admission see that. NULL:
	 * there is no such field. */
	void (*fold)(struct rq *rq, struct node *object);
	/* Before the rules, after admission: sets status away on create, keeps it on update, bumps what only the kind
	 * knows. old is missing on create. */
	int (*prepare)(struct rq *rq, struct node *object, struct val old, struct err *e);
	/* Adds causes with err_cause(); the caller makes the message. */
	void (*validate)(struct rq *rq, struct val object, struct val old, struct err *e);
	/* Of a valid object of somebody else's: what to warn of (rq_warn). NULL: nothing. */
	void (*warn)(struct rq *rq, struct val object, struct val old);
	/* Of an object that the rules are content with, but for sub-resources: takes what no two objects may have
	 * (addresses, ports) and writes it into the object. A write that fails gives it back (ipalloc_undo()). */
	int (*claim)(struct rq *rq, struct node *object, struct val old, struct err *e);
	bool create_on_update; /* PUT to a name that is not there creates */
	bool create_status;    /* a creator may set the status (nodes) */
	bool graceful;         /* DELETE answers the object and honours gracePeriodSeconds (pods) */
};

struct subresource {
	const char *name;                   /* "status", "scale", "binding" … */
	const char *group, *version, *kind; /* of its body; NULL kind: the resource's own */
	const char *old_api_version;        /* that bodies may say, too; NULL: none */
	unsigned verbs;
	/* POST to the subresource (binding, eviction, token) in the writer's task. *body is the decoded object and is
	 * replaced by the answer. NULL: handled by update/patch/get of the common path, or by relay/. */
	int (*create)(struct rq *rq, struct node **body, struct err *e);
	bool relay; /* log, exec, attach, portforward, proxy */
};

struct resource_def {
	const char *group, *version, *resource, *singular, *kind, *list_kind; /* list_kind NULL: kind + "List" */
	const char *const *short_names, *const *categories;                   /* NULL-terminated or NULL */
	const char *deprecated; /* every request is warned with this, or NULL */
	bool namespaced;
	unsigned verbs;
	const struct subresource *subs; /* ended by a NULL name; or NULL */
	enum name_rule names;
	const struct strategy *strategy; /* or NULL */
	const struct column *columns;    /* after Name; ended by a NULL name; NULL: Age only */
	/* Appends the cells that columns name. NULL with columns NULL. */
	void (*cells)(struct cells *c, struct val object);
	bool columns_without_name;          /* Event */
	const char *const *field_selectors; /* paths besides metadata.name and .namespace; NULL-terminated or NULL */
	/* The value of a field that is not simply at its path. false: it is. */
	bool (*field_value)(struct val object, struct str field, char *ret, size_t ret_max);
	/* No storage: POST is answered by this (reviews). *body is replaced by the answer. */
	int (*create)(struct rq *rq, struct node **body, struct err *e);
	/* No storage: what GET (name given) and LIST show, computed now, on a task that may wait. The documents live as
	 * long as rq->a;
	 * a name that is not there is an error. Selectors are applied by the caller. */
	int (*compute)(struct rq *rq, struct str name, struct doc ***ret, size_t *ret_n, struct err *e);
	bool has_controller; /* needs one: until api_controller_present() was called for it, writes answer with a Warning */
	bool generation;     /* metadata.generation is kept */
	const char *generation_of; /* counted when this field of the metadata changes, too; or NULL */
	bool needs_version;        /* a PUT has to say which version it replaces; of custom kinds, each */
	bool shows_deleted;        /* DELETE answers the object that is gone, not a Status */
	bool orphans;              /* a deletion that does not say what becomes of dependents leaves them */
	/* Another served form of a stored row: "group/version/resource" of the storing row and the way between. */
	const char *stored_as;
	void (*to_stored)(struct arena *a, struct node *object);
	void (*from_stored)(struct arena *a, struct node *object);
	const struct schema_type *type; /* NULL: looked up among the builtin kinds */
};

struct resource {
	struct resource_def def;
	const struct schema_type *type;
	char list_kind[96], api_version[160], group_resource[160]; /* "apps/v1", "deployments.apps" */
	char key_prefix[168];                                      /* of its keys in the store: "deployments.apps/" */
	struct resource *stored; /* the row that has the cache: itself, or stored_as */
	struct cache *cache;     /* NULL for rows without storage and for other forms */
	bool removed;
	bool controller_present; /* atomic, see api_controller_present() */
	size_t stale;            /* values met that upkeep.c will write again; loading and upkeep only */
	int64_t last_event;      /* atomic: revision of its latest change */
	char storage_hash[16];   /* as discovery shows it */
	struct custom *custom;   /* own: of a custom kind, see custom.h; else NULL */
	int users;               /* atomic: requests that hold it */
	struct mono removed_at;
	/* While it is filled beside a running store: events wait in `held`. */
	struct task_mutex load_lock;
	bool loading;
	struct held_event *held, **held_end;
	struct resource *replaces; /* gets the events too, until this one takes over */
};
/* A row for as long as a request lasts. */
void resource_hold(struct resource *r);
void resource_release(struct resource *r);
/* Borrow: rows live as long as the api (removed ones are only unlinked). NULL: not served. */
struct resource *api_resource(struct api *api, struct str group, struct str version, struct str resource);
/* Any version of it. */
struct resource *api_resource_any(struct api *api, const char *group, const char *resource);
/* Snapshot of the rows in table order, in the arena. */
struct resource **api_resources(struct api *api, struct arena *a, size_t *ret_n);
/* The cache of a builtin resource; never NULL for a stored builtin kind. */
struct cache *api_cache(struct api *api, const char *group, const char *resource);
/* Own: one reference; NULL: not there. ns empty for cluster scope. The stored form. */
struct doc *api_get(struct api *api, const char *group, const char *resource, struct str ns, struct str name);
const struct subresource *resource_sub(const struct resource *r, struct str sub);

/* ---- the server ------------------------------------------------------------------------------ */

struct lanes;
struct audit;
struct metrics;
struct watches;
struct upkeep;
struct relays;
struct outgoing;
struct openapi_cache;
struct ipalloc;
struct node_pods;
struct auth; /* state of auth/: its alone */

struct api {
	struct api_opts opts;     /* strings copied into arena */
	struct arena *arena;      /* lives as long as the api; only touched while it is made */
	struct task_mutex lock;   /* table, health and metrics lists */
	struct map *rows;         /* "group/version/resource" → struct resource */
	struct map *removed_rows; /* kept until the end */
	struct map *prefixes;     /* key prefix without '/' → struct resource that stores */
	int64_t table_version;    /* atomic: grows with every change of the table */
	struct cache_budget *budget;
	struct lanes *lanes;
	struct audit *audit;
	struct metrics *metrics;
	struct watches *watches;
	struct upkeep *upkeep;
	struct relays *relays;
	struct outgoing *outgoing;
	struct crds *crds;
	struct aggregates *aggregates;
	struct patience *patience;
	struct aggregate_openapi *aggregate_openapi;
	struct slow_watches *slow_watches;
	struct openapi_cache *openapi;
	struct ipalloc *ipalloc;
	struct node_pods *node_pods;
	struct auth *auth;
	struct health *health;
	bool stopping; /* atomic */
	bool ready;    /* atomic: bootstrap is written */
	char cluster_uid[40];
};

/* ---- one request ----------------------------------------------------------------------------- */

struct param {
	struct str key, value; /* decoded */
};
enum media { MEDIA_JSON, MEDIA_YAML, MEDIA_PROTOBUF };
enum render { RENDER_OBJECT, RENDER_TABLE, RENDER_METADATA, RENDER_DISCOVERY };
enum lane { LANE_EXEMPT, LANE_CONTROLLERS, LANE_EVERYONE, LANE_N };

#define RQ_WARNINGS_MAX 32

/* Lives in its own arena, ended by rq_free() after the answer. */
struct rq {
	struct api *api;
	struct arena *a;
	/* as it came */
	struct str method, path, query, body, content_type, accept, user_agent;
	struct str go_on; /* of a list that failed: a token with which it goes on, inconsistently */
	const struct http_header *headers;
	size_t n_headers;
	struct param *params;
	size_t n_params;
	struct doc *body_doc;      /* local client: the body as a document, own */
	struct http_request *http; /* NULL: no socket */
	const struct api_sink *sink;
	void *sink_arg;
	bool local; /* from api_local_client: answered with a document */
	/* who */
	struct identity id;
	/* what */
	enum verb verb;
	struct str verb_text; /* for authorization and audit: "get", "create" … */
	struct str group, version, resource_name, ns, name, sub, sub_path;
	bool resource_request, too_long; /* too_long: there is more of the path after sub */
	bool by_selector;                /* name is that of the field selector of a list or watch */
	struct resource *res;            /* the row as it was asked for */
	const struct subresource *subres;
	/* how to answer */
	enum media media;
	enum render render;
	struct str include_object; /* of a Table: None, Metadata, Object */
	bool pretty, gzip, table_beta;
	bool immutable; /* whoever keeps the answer need not ask again */
	/* options */
	bool dry_run, force;
	struct node *delete_options; /* of a deletion, as webhooks see them; else NULL */
	struct str field_manager;
	enum { VALIDATE_WARN, VALIDATE_IGNORE, VALIDATE_STRICT } field_validation;
	enum patch_type patch;
	/* outcome */
	struct {
		bool set;
		const char *group, *kind; /* kind NULL: nobody, `details: {}` */
		struct str name;
	} about; /* whom the error's details name, where it is not the resource that was asked for */
	char *warnings[RQ_WARNINGS_MAX];
	size_t n_warnings;
	int status;
	char audit_id[UUID_TEXT_MAX]; /* rq_audit_id(): made when it is first asked for */
	struct mono began;
	enum lane lane;
	struct str source;             /* the peer's address */
	struct str forwarded, real_ip; /* for whom it says it asks: X-Forwarded-For and X-Real-Ip */
	struct str failure;            /* the Status that was answered, as JSON, for the audit record */
	const char *decision, *reason; /* of authorization, for the audit record */
	int deny_code; /* of a webhook's refusal, with the reason it gave: what the client sees. 0: none */
	const char *deny_reason;
	struct str deny_details;      /* JSON, or empty */
	struct str audit_answer;      /* what was answered, when the record is to have it */
	struct identity_extra *notes; /* audit annotations */
	size_t n_notes;
	struct quota_charge *charges; /* of ResourceQuotas, given back when the write fails */
	struct map *allocated;        /* addresses and ports taken for this write, given back when it fails */
	struct doc *answer_doc;       /* local: own, the answer */
	void (*run)(struct rq *rq);   /* what a lane does with it */
	struct rq *next;              /* in its lane's queue */
	struct on_lane *on_lane;      /* lanes.c: a lane's thread runs it; NULL: none does */
	bool answered;
	enum { INFLIGHT_NOT, INFLIGHT_READ_ONLY, INFLIGHT_MUTATING } inflight; /* metrics.c: as what it was counted */
};
struct str rq_param(const struct rq *rq, const char *key); /* first value; p NULL: absent */
struct str rq_header(const struct rq *rq, const char *lower_name);
void rq_warn(struct rq *rq, const char *fmt, ...) PRINTF(2, 3);
/* The current time as RFC 3339, in the arena. */
struct str rq_now(struct rq *rq);

/* ---- authorization: auth/rbac.c -------------------------------------------------------------- */

struct authz_attrs {
	struct str verb;
	bool resource_request;
	struct str group, version, resource, sub, ns, name;
	struct str path; /* of other requests */
	struct str field_selector, label_selector;
};
/* RBAC, node authorizer and system:masters. reason (may be NULL) is why, for reviews and the audit record. Any thread,
 * never waits. */
bool authz_allowed(
	struct api *api, const struct identity *id, const struct authz_attrs *at, char *reason, size_t reason_max);

/* ---- bootstrap: bootstrap.c ------------------------------------------------------------------ */

/* What every cluster has: namespaces, roles, bindings, priority classes, default/kubernetes … Called once by api_new()
 * when writes work; creates what is missing and leaves changes of the user alone (roles with autoupdate are
 * reconciled). */
int api_bootstrap(struct api *api, struct err *e);
/* For bootstrap.c and others inside: a write as system:masters, past authorization and lanes. body is a published doc.
 * ret may be NULL. */
int api_write(struct api *api, enum verb verb, const char *group, const char *resource, struct str ns, struct str name,
	struct doc *body, struct doc **ret, struct err *e);
/* The same of a sub-resource: "status". */
int api_write_sub(struct api *api, enum verb verb, const char *group, const char *resource, const char *sub,
	struct str ns, struct str name, struct doc *body, struct doc **ret, struct err *e);

#include "api/core.h"
