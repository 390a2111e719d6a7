/* What the files of the scheduler share.
 *
 *     informers ──messages──► one task: snapshot · pending pods · decisions ──jobs──► writers: bind, say why not
 *                                ▲                                                        │
 *                                └───────────────── messages: what failed ────────────────┘
 *
 * Everything below belongs to the one task that decides: nothing of it is locked. */
#pragma once
#include "base/arena.h"
#include "base/map.h"
#include "scheduler/scheduler.h"

/* ---- pods and nodes as decisions see them ---------------------------------------------------- */

enum { RES_CPU, RES_MEMORY, RES_EPHEMERAL, RES_PODS, RES_FIXED }; /* cpu in thousandths, the rest whole */

struct extra { /* "example.com/gpu", "hugepages-2Mi" */
	struct str name;
	int64_t v;
};
struct host_port {
	struct str ip, protocol;
	int64_t port;
};
struct label_pair { /* matchLabelKeys, mismatchLabelKeys: the value that the pod itself has */
	struct str key, value;
	bool equal;
};
struct label_pairs {
	struct label_pair *items;
	size_t n;
};
struct affinity_term {
	const struct selector *labels;     /* of pods */
	const struct selector *namespaces; /* by label; NULL: none */
	struct str *names;                 /* of namespaces */
	size_t n_names;
	struct str topology_key;
	struct label_pairs pairs;
	int64_t weight;
};
struct affinity_terms {
	struct affinity_term *items;
	size_t n;
};
struct pod_terms { /* of pods with inter-pod affinity only */
	struct affinity_terms required, preferred, anti_required, anti_preferred;
};

/* A pod, read once. Strings point into doc. */
struct pod_info {
	struct doc *doc; /* ref */
	int64_t requests[RES_FIXED];
	int64_t scored[2]; /* cpu and memory with what upstream assumes of pods that request nothing */
	struct extra *extras;
	struct host_port *ports;
	uint16_t n_extras, n_ports;
	bool assumed; /* we chose its node, the informer has not shown it yet */
	int32_t priority;
	struct node_info *node;  /* NULL: pending */
	struct pod_class *class; /* on a node */
};
/* Own. */
struct pod_info *pod_info_new(struct doc *pod);
struct pod_info *pod_info_free(struct pod_info *p);
/* A newer version of the pod that asks for the same: it takes the old one's place. False: it does not, nothing was done. */
bool pod_info_renew(struct pod_info *p, struct doc *pod);
AUTO(struct pod_info, pod_info_free)
int64_t pod_request(const struct pod_info *p, struct str extra);
/* NULL: it has none. Strings point into the pod. */
struct pod_terms *pod_terms_new(struct arena *a, const struct doc *pod);
struct str pod_controller_uid(const struct doc *pod);
struct label_pairs label_pairs_of(struct arena *a, struct val term, const struct doc *pod);
bool label_pairs_match(struct label_pairs pairs, struct val labels);
bool pod_is_ended(const struct doc *pod);
bool pod_is_deleting(const struct doc *pod);

#define PLACES_FEW 4
struct node_info {
	/* What every decision looks at, together: thousands of nodes do not fit into the processor's cache. */
	size_t at;               /* in snapshot.list */
	struct doc *doc;         /* ref; NULL: pods name it, but nobody has seen it */
	int32_t *places;         /* by topology */
	int32_t few[PLACES_FEW]; /* places, while there are no more */
	size_t cap_places;
	bool unschedulable, prefers_away; /* a taint PreferNoSchedule */

	struct str name; /* points to its key in the map */
	int64_t allocatable[RES_FIXED], used[RES_FIXED], scored[2];
	struct pod_info **pods;
	size_t n_pods, cap;
	struct val labels, taints; /* of doc, read once */
	char text[];
};
static inline struct val node_labels(const struct node_info *n)
{
	return n->labels;
}
int64_t node_extra(const struct node_info *n, struct str name, int64_t *ret_used);

/* kinds.c */
#define NO_PLACE (-1)
struct topology {
	char *key;
	struct map *ids; /* value → its number + 1 */
	size_t n;
};
struct class_node {
	struct node_info *node;
	int64_t pods;
};
struct pod_class {
	struct doc *doc;           /* ref: one of its pods; the next ones are what rules ask for */
	struct val labels;         /* alike in those that were asked for */
	struct str ns, controller; /* uid */
	bool deleting;
	struct pod_terms *terms;
	struct arena *a; /* theirs; NULL: none */
	struct class_node *nodes;
	size_t n, cap, key_len;
	char *key;
	struct pod_class *sibling; /* the next one of the same controller */
	size_t at;                 /* in snapshot.with_terms */
};

struct asked {
	bool lately; /* since asked_until was last set */
};

/* What pods ask for, and what the resource plugins last said of a node about it: pods come in rows that ask for the
 * same, and of thousands of nodes one changes with each. */
struct demand {
	int64_t requests[RES_FIXED], scored[2];
};
struct opinion {
	uint64_t demand; /* number of the demand it is about; 0: none */
	bool fits;
	int8_t free, balanced; /* scores; NO_SCORE: nobody asked */
};
#define NO_SCORE (-1)

struct snapshot {
	struct map *nodes;                      /* name → node_info */
	struct node_info **list;                /* those that exist */
	size_t n, cap, next;                    /* next: where the next decision begins to look */
	size_t n_unschedulable, n_tainted;      /* of those */
	struct opinion *opinions;               /* as list */
	struct demand demand;                   /* of the pods of this row */
	uint64_t n_demands;                     /* its number */
	struct map *pods;                       /* uid → pod_info on a node */
	struct map *namespaces;                 /* name → doc */
	struct map *claims, *volumes, *classes; /* "namespace/name" or name → doc */
	struct map *images;                     /* name → how many nodes have it */
	struct map *classes_of_pods;            /* key → pod_class */
	struct map *siblings;                   /* uid of a controller → its first class */
	struct pod_class **with_terms;          /* classes with inter-pod affinity */
	size_t n_with_terms, cap_with_terms;
	struct map *asked;       /* name of a label that makes classes → struct asked */
	bool all_asked;          /* too many: every label does */
	struct mono asked_until; /* then names that nobody asked for lately go */
	struct topology *topologies;
	size_t n_topologies;
};
void snapshot_init(struct snapshot *s);
void snapshot_fini(struct snapshot *s);
void snapshot_node(struct snapshot *s, struct str name, struct doc *node);    /* NULL: gone */
void snapshot_namespace(struct snapshot *s, struct str name, struct doc *ns); /* NULL: gone */
/* One of the maps of documents: d replaces what is there, NULL: gone. */
void snapshot_doc(struct map *m, struct str key, struct doc *d);
/* Puts (replaces) a pod on the node, as the informer shows it. */
void snapshot_pod(struct snapshot *s, struct doc *pod, struct str node);
/* Take: the pod is to be bound to the node, and counts there from now on. */
void snapshot_assume(struct snapshot *s, struct pod_info *take, struct node_info *n);
void snapshot_forget_pod(struct snapshot *s, struct str uid);
struct pod_info *snapshot_find_pod(struct snapshot *s, struct str uid);
size_t snapshot_topology(struct snapshot *s, struct str key); /* index into node_info.places */
void snapshot_place(struct snapshot *s, struct node_info *n); /* after its labels changed */
void snapshot_tidy_topologies(struct snapshot *s);            /* between decisions */
void snapshot_forget_topologies(struct snapshot *s);
/* Before the pod's selectors are held against classes: those differ in the labels that it asks for. */
void snapshot_ask_labels(struct snapshot *s, const struct doc *pod);
/* Between decisions: names of labels that nobody asks for any more would make classes for ever. */
void snapshot_tidy_labels(struct snapshot *s, struct mono now);
void class_put(struct snapshot *s, struct node_info *n, struct pod_info *p);
void class_take(struct snapshot *s, struct node_info *n, struct pod_info *p);
void class_end(void *class);
int64_t snapshot_image_nodes(struct snapshot *s, struct str name);
/* For what-if questions: takes a pod from its node and puts it back. */
void node_take(struct snapshot *s, struct pod_info *p);
void node_put(struct snapshot *s, struct node_info *n, struct pod_info *p);

/* ---- deciding -------------------------------------------------------------------------------- */

/* What happened that may help a pod that found no node. */
enum happening {
	NODE_ADDED = 1,
	NODE_LABELS = 2,
	NODE_TAINTS = 4, /* or unschedulable */
	NODE_ROOM = 8,   /* allocatable grew */
	POD_GONE = 16,
	POD_PLACED = 32,
	POD_LABELS = 64, /* of one on a node; a namespace's too */
	VOLUMES = 128,   /* a claim, volume or storage class */
};

enum verdict {
	FITS,
	NO_ROOM, /* would fit if some pods went */
	NEVER,
};
#define PLUGINS_MAX 16
struct reason {
	const char *text;
	int64_t nodes;
};
struct cycle {
	struct snapshot *s;
	struct arena *a;
	const struct pod_info *pod;
	const struct pod_terms *terms; /* of the pod; NULL: none */
	void *state[PLUGINS_MAX], *score_state[PLUGINS_MAX];
	unsigned char filters[PLUGINS_MAX]; /* those that have a say about this pod */
	size_t n_filters;
	unsigned failed; /* bits by plugin */
	size_t plugin;   /* whose turn it is */
	struct reason reasons[32];
	size_t n_reasons;
	uint64_t demand;   /* its number; 0: more than opinions are about */
	bool quiet;        /* what-if: reasons are not wanted */
	const char *whole; /* no node will do, and why; set by a prepare() that returns true */
};
void cycle_reason(struct cycle *c, const char *text);
#define CYCLE_STATE(c) ((c)->state[(c)->plugin])
#define CYCLE_SCORE(c) ((c)->score_state[(c)->plugin])

struct candidates {
	struct node_info **nodes;
	int64_t *scores;
	size_t n;
};
struct plugin {
	const char *name;
	bool (*prepare)(struct cycle *c); /* once a pod; false: every node passes */
	enum verdict (*filter)(struct cycle *c, const struct node_info *n);
	bool (*prepare_score)(struct cycle *c, const struct candidates *k); /* false: all are equal */
	int64_t (*score)(struct cycle *c, const struct node_info *n);
	void (*normalize)(struct cycle *c, struct candidates *k); /* to 0…100; NULL: they are */
	int weight;
	unsigned helps; /* enum happening: what may change its mind */
};
extern const struct plugin plugins[];
extern const size_t plugins_n;
#define SCORE_MAX 100
void scores_up(struct cycle *c, struct candidates *k);   /* the highest becomes 100 */
void scores_down(struct cycle *c, struct candidates *k); /* the highest becomes 0 */

void cycle_begin(struct cycle *c, struct snapshot *s, struct arena *a, const struct pod_info *pod);
enum verdict cycle_filter(struct cycle *c, const struct node_info *n);
/* The best node, NULL: none. */
struct node_info *cycle_choose(struct cycle *c);
/* "0/1 nodes are available: 1 Insufficient cpu." */
const char *cycle_message(struct cycle *c);
unsigned happenings_that_help(unsigned failed);

/* The plugins, by file. */
enum verdict node_name_filter(struct cycle *c, const struct node_info *n);
bool node_name_prepare(struct cycle *c);
bool unschedulable_prepare(struct cycle *c);
enum verdict unschedulable_filter(struct cycle *c, const struct node_info *n);
bool taints_prepare(struct cycle *c);
enum verdict taints_filter(struct cycle *c, const struct node_info *n);
bool taints_prepare_score(struct cycle *c, const struct candidates *k);
int64_t taints_score(struct cycle *c, const struct node_info *n);
bool node_affinity_prepare(struct cycle *c);
enum verdict node_affinity_filter(struct cycle *c, const struct node_info *n);
bool node_affinity_prepare_score(struct cycle *c, const struct candidates *k);
int64_t node_affinity_score(struct cycle *c, const struct node_info *n);
bool ports_prepare(struct cycle *c);
enum verdict ports_filter(struct cycle *c, const struct node_info *n);
bool images_prepare_score(struct cycle *c, const struct candidates *k);
int64_t images_score(struct cycle *c, const struct node_info *n);
bool fit_prepare(struct cycle *c);
enum verdict fit_filter(struct cycle *c, const struct node_info *n);
int64_t fit_score(struct cycle *c, const struct node_info *n);
bool balance_prepare_score(struct cycle *c, const struct candidates *k);
int64_t balance_score(struct cycle *c, const struct node_info *n);
bool affinity_prepare(struct cycle *c);
enum verdict affinity_filter(struct cycle *c, const struct node_info *n);
bool affinity_prepare_score(struct cycle *c, const struct candidates *k);
int64_t affinity_score(struct cycle *c, const struct node_info *n);
void affinity_normalize(struct cycle *c, struct candidates *k);
bool spread_prepare(struct cycle *c);
enum verdict spread_filter(struct cycle *c, const struct node_info *n);
bool spread_prepare_score(struct cycle *c, const struct candidates *k);
int64_t spread_score(struct cycle *c, const struct node_info *n);
void spread_normalize(struct cycle *c, struct candidates *k);

bool volume_restrictions_prepare(struct cycle *c);
enum verdict volume_restrictions_filter(struct cycle *c, const struct node_info *n);
bool volume_zone_prepare(struct cycle *c);
enum verdict volume_zone_filter(struct cycle *c, const struct node_info *n);
bool volumes_prepare(struct cycle *c);
enum verdict volumes_filter(struct cycle *c, const struct node_info *n);

/* What must be written before a pod can go to the node that was chosen: each claim that waits gets a volume that is
 * there, or is to have one made. Borrowed from the cycle and the snapshot. */
struct volume_write {
	struct doc *claim, *volume; /* volume NULL: one is to be made on the node */
};
struct volume_plan {
	struct volume_write *writes;
	size_t n;
	bool waits;      /* some claim is not bound yet */
	unsigned plugin; /* its bit */
};
struct volume_plan volumes_plan(struct cycle *c, const struct node_info *n);

/* nodeSelector and required node affinity, as spread asks too. */
bool node_wanted(const struct doc *pod, const struct node_info *n);
bool is_picky(const struct doc *pod); /* it has one of them */
bool taint_tolerated(const struct doc *pod, struct val taint);
/* A taint with NoSchedule or NoExecute that the pod does not tolerate, or a missing value. */
struct val taint_against(const struct doc *pod, const struct node_info *n);

/* ---- pushing others out ---------------------------------------------------------------------- */

struct preemption {
	struct node_info *node;    /* NULL: nobody would help */
	struct pod_info **victims; /* in the arena */
	size_t n_victims;
	const char *why_not; /* "0/1 nodes are available: 1 No preemption victims found for incoming pod." */
};
struct preemption preempt(struct cycle *c, const struct informer_list *budgets);
bool may_preempt(struct cycle *c);

/* ---- pending pods ---------------------------------------------------------------------------- */

enum pending_state { PENDING_ACTIVE, PENDING_BACKOFF, PENDING_PARKED, PENDING_GATED, PENDING_OUT, PENDING_STATES };
struct pending {
	struct doc *pod; /* ref; newest */
	enum pending_state state;
	int32_t priority;
	int attempts;
	unsigned failed; /* plugins that stood in the way */
	uint64_t seq;    /* arrival */
	struct mono tried;
	struct mono due;  /* backoff: until; parked: when it is looked at anyway */
	bool again;       /* something helpful happened while it was out */
	size_t at;        /* in its heap */
	char *nominated;  /* node that preemption makes room on, or where volumes are bound; own */
	bool for_volumes; /* the latter */
};
struct heap_of { /* least first by less() */
	struct pending **v;
	size_t n, cap;
	bool (*less)(const struct pending *a, const struct pending *b);
};
struct waiting {
	struct map *by_uid; /* uid → pending */
	struct heap_of active, backoff, parked;
	size_t gated, nominated;
	uint64_t seq;
};
void waiting_init(struct waiting *w);
void waiting_fini(struct waiting *w);
/* A pending pod as the informer shows it. */
void waiting_put(struct waiting *w, struct doc *pod);
void waiting_forget(struct waiting *w, struct str uid);
struct pending *waiting_find(struct waiting *w, struct str uid);
/* Borrow: until it is forgotten; NULL: none is due. Its state is PENDING_OUT. */
struct pending *waiting_pop(struct waiting *w, struct mono now);
void waiting_park(struct waiting *w, struct pending *p, unsigned failed, struct mono now);
void waiting_retry(
	struct waiting *w, struct pending *p, struct mono now); /* after a failure that says nothing about nodes */
void waiting_happened(struct waiting *w, unsigned what, struct mono now);
struct mono waiting_next(struct waiting *w); /* when pop() may give something without news */
void waiting_nominate(struct waiting *w, struct pending *p, struct str node); /* empty: none */
