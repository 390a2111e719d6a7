/* The object document: an immutable JSON tree, and the tools that read, build, edit and compare it.
 *
 * Two forms, each with one job:
 *   struct doc   published: immutable, reference-counted, one allocation that holds the JSON text and an index of
 *                nodes (8 bytes each) that point into it. Shared by every reader, thread and HTTP response.
 *   struct node  being built: a mutable tree in an arena. Nobody else sees it. node_publish() makes a doc of it.
 *
 *     text ── doc_parse() ──► doc ── node_from() ──► node ── edits ──► node_publish() ──► doc
 *
 * Reading never fails: a path that is not there gives a missing value, whose str is empty, int 0, list empty.
 * Limits: nesting DOC_DEPTH_MAX, text DOC_TEXT_MAX, no duplicate keys, valid UTF-8, integers keep 64 bits.
 * Thread: a doc is read from any thread; a node belongs to whoever owns its arena.
 * Published documents whose root is a map begin with "apiVersion" and "kind" when they have them. */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"

#define DOC_DEPTH_MAX 128
#define DOC_TEXT_MAX ((size_t)64 << 20)

struct doc;
struct doc *doc_ref(struct doc *d);
struct doc *doc_unref(struct doc *d); /* NULL accepted, returns NULL */
AUTO(struct doc, doc_unref)
void doc_end(void *doc); /* doc_unref() for maps and others that end what they hold */
/* Take: the reference is dropped with the arena. */
void doc_hold(struct arena *a, struct doc *take);

enum val_kind { VAL_MISSING, VAL_NULL, VAL_BOOL, VAL_INT, VAL_FLOAT, VAL_STR, VAL_LIST, VAL_MAP };

/* A place in a doc; good while the doc is referenced. Pass by value. */
struct val {
	const struct doc *d;
	uint32_t at;
};
#define VAL_NONE ((struct val){ NULL, 0 })

/* ---- reading --------------------------------------------------------------------------------- */

/* Parses JSON (RFC 8259). Own: doc_unref(). The text is copied; the doc's text is compact JSON when the input is (input
 * white space is kept out: the copy is re-written compactly). Fails: ERR_BAD_REQUEST with line and column. */
int doc_parse(struct str json, struct doc **ret, struct err *e);
/* As doc_parse(), but a duplicate key is not an error: the last one wins and each is reported to dup (may be NULL)
 * by its path: "spec.replicas" (for field validation Warn and Ignore). */
int doc_parse_lenient(
	struct str json, void (*dup)(void *arg, struct str path), void *arg, struct doc **ret, struct err *e);
/* Text that doc_text() gave earlier, as the store keeps it: strings stay byte for byte, and the slot that
 * node_publish_versioned() made (stamped or not) is found, so that doc_stamp() works on the result. */
int doc_parse_stored(struct str json, struct doc **ret, struct err *e);
/* YAML as Kubernetes reads it (one document; anchors resolved within bounds; plain y/yes/on/true and n/no/off/false are
 * booleans, 010 is 8, dates are strings, "<<" merges: what kubectl makes of the same text). dup as above; NULL: a
 * duplicate key is an error. JSON is accepted too. */
int doc_parse_yaml(
	struct str yaml, void (*dup)(void *arg, struct str path), void *arg, struct doc **ret, struct err *e);
/* Block style, keys in the order of their bytes. false: there is no room in out. */
bool val_write_yaml(struct val v, struct buf *out);

struct val doc_root(const struct doc *d);
struct str doc_text(const struct doc *d); /* borrow: the whole JSON text */
size_t doc_bytes(const struct doc *d);    /* memory it takes, index included */

enum val_kind val_kind(struct val v);
static inline bool val_has(struct val v)
{
	return v.d != NULL;
}
struct val val_get_str(struct val map, struct str key);
static inline struct val val_get(struct val map, const char *key) /* here, so that a literal's length is known */
{
	return val_get_str(map, str_c(key));
}
/* Dotted path of plain names: val_path(root, "spec.template.spec"). Keys with dots need val_get(). */
struct val val_path(struct val v, const char *path);
struct val val_at(struct val list, size_t i);
size_t val_len(struct val v); /* entries of a list or map, else 0 */
/* The value's text as in the doc: quotes included for strings. */
struct str val_text(struct val v);

struct str val_str(struct val v); /* empty when it is not a string; escapes are decoded (the doc keeps copies) */
int64_t val_int(struct val v, int64_t otherwise); /* also a float with an integral value */
bool val_bool(struct val v, bool otherwise);
double val_float(struct val v, double otherwise);
bool val_is(struct val v, const char *s); /* a string equal to s */
/* Shorthands on the root: doc_str(d, "metadata.name"). */
struct str doc_str(const struct doc *d, const char *path);
int64_t doc_int(const struct doc *d, const char *path, int64_t otherwise);
bool doc_bool(const struct doc *d, const char *path, bool otherwise);
struct val doc_get(const struct doc *d, const char *path);

struct val_iter {
	struct str key; /* of a map's entry; empty in a list */
	struct val val;
	size_t i;      /* 0-based position */
	struct val in; /* private */
	uint32_t next; /* private */
};
/* `for (struct val_iter it = val_iter(v); val_next(&it);)` over a map or list; none for anything else. */
struct val_iter val_iter(struct val v);
bool val_next(struct val_iter *it);

bool val_equal(struct val a, struct val b); /* maps in any order; 1 equals 1.0 */
uint64_t val_hash(struct val v);            /* the same for equal values; another in every process */
/* First entry of a list of maps whose `key` is the string `want` ("name": containers, "type": conditions). */
struct val val_find(struct val list, const char *key, struct str want);

/* ---- building and editing -------------------------------------------------------------------- */

struct node; /* NULL is "missing" for every reader below */

struct node *node_null(struct arena *a);
struct node *node_bool(struct arena *a, bool b);
struct node *node_int(struct arena *a, int64_t i);
struct node *node_float(struct arena *a, double f);
struct node *node_str(struct arena *a, struct str s); /* copies s into the arena */
struct node *node_c(struct arena *a, const char *s);
struct node *node_strf(struct arena *a, const char *fmt, ...) PRINTF(2, 3);
struct node *node_map(struct arena *a);
struct node *node_list(struct arena *a);
/* A tree over a published value: children are made when first touched, untouched parts are copied as text when
 * published. Holds a reference to the doc in the arena. */
struct node *node_from(struct arena *a, struct val v);
bool node_is_of(const struct node *n, const struct doc *d); /* as it is there: a view that nobody has looked into */
struct node *node_copy(struct arena *a, struct node *n);    /* deep, independent of n's later edits */

/* Builds a tree from a picture, in the manner of jansson's json_pack:
 *   {key:v, …}  [v, …]   keys are bare words or 'quoted/keys'
 *   s const char * (NULL: the entry is left out)   S struct str (p NULL: left out)   i int   I int64_t   b int (bool)
 *   f double   n null   v struct val (missing: left out)   o struct node * (NULL: left out)
 * A literal string value is written 'text', a literal number 12, true and false as they are.
 *     node_pack(a, "{apiVersion:'v1', kind:'Event', metadata:{name:s, namespace:S}, count:i}", name, ns, 1)
 * A malformed picture is our own bug and ends the process. */
struct node *node_pack(struct arena *a, const char *picture, ...);

enum val_kind node_kind(struct node *n);
struct node *node_get(struct node *map, struct str key);
struct node *node_getc(struct node *map, const char *key);
struct node *node_path(struct node *n, const char *path);
size_t node_len(struct node *n);
struct node *node_at(struct node *list, size_t i);
struct str node_key_at(struct node *map, size_t i);
struct str node_text_str(struct node *n); /* string value; empty when it is not one */
int64_t node_int_of(struct node *n, int64_t otherwise);
bool node_bool_of(struct node *n, bool otherwise);
double node_float_of(struct node *n, double otherwise);

/* Sets or replaces; the child is used as it is (not copied). Order: new keys go last. */
void node_set(struct node *map, struct str key, struct node *child);
void node_setc(struct node *map, const char *key, struct node *child);
bool node_del(struct node *map, struct str key);
bool node_delc(struct node *map, const char *key);
void node_add(struct node *list, struct node *child);
void node_insert(struct node *list, size_t i, struct node *child);
void node_remove_at(struct node *list, size_t i);
void node_replace_at(struct node *list, size_t i, struct node *child);
/* Makes n hold what `with` holds (both in the same arena). */
void node_assign(struct node *n, struct node *with);
/* Numbers in and below n that were sent with a point or an exponent, in their shortest form: 3.0 and 3e0 become 3. */
void node_shorten_numbers(struct node *n);
/* Dotted path, making maps on the way: node_set_path(root, "metadata.annotations", child). */
void node_set_path(struct node *root, const char *path, struct node *child);
/* The map (list) at path; whatever else is on the way or there is replaced by a new one. */
struct node *node_need_map(struct node *root, const char *path);
struct node *node_need_list(struct node *root, const char *path);
bool node_equal(struct node *a, struct node *b);
void node_write(struct node *n, struct buf *out); /* compact JSON */

/* Own: one reference. Never fails for trees within the limits (input was checked when parsed). */
struct doc *node_publish(struct node *n);
/* As node_publish(), and keeps room for metadata.resourceVersion (the root must be a map; metadata is made when
 * missing): the doc's text has "" and blanks there until doc_stamp() is called. Before it is shared, the one
 * owner calls doc_stamp(d, rev) once; the text changes in place, its length does not. */
struct doc *node_publish_versioned(struct node *n);
void doc_stamp(struct doc *d, int64_t revision);
int64_t doc_revision(const struct doc *d); /* metadata.resourceVersion as a number, 0: none */
/* Text without the leading apiVersion and kind, in two pieces that are sent one after the other: "{" and the rest
 * (lists omit them in their items). */
struct str doc_item_text(const struct doc *d); /* what follows "{" */

/* ---- identity -------------------------------------------------------------------------------- */

struct str doc_name(const struct doc *d);
struct str doc_ns(const struct doc *d);
struct str doc_uid(const struct doc *d);

/* ---- patches: each changes `target` in place or fails and leaves it in an unspecified state ---- */

/* RFC 6902. copy_max bounds what "copy" may add. Fails: ERR_INVALID (no such operation, test failed, path missing),
 * ERR_BAD_REQUEST (no list), ERR_TOO_LARGE (more than 10000 operations, or copy_max). */
int patch_json(struct arena *a, struct node **target, struct val patch, size_t copy_max, struct err *e);
/* RFC 7386. */
void patch_merge(struct arena *a, struct node **target, struct val patch);
/* Strategic merge patch. Fails: ERR_BAD_REQUEST in upstream's words where known. The schema answers how a field
 * merges; doc/ knows no schema. */
struct patch_shape {
	const void *type; /* opaque to doc/ */
	/* Type of a map's field, or of a list's or map's elements when key is empty; NULL: unknown, merged as JSON. */
	const void *(*child)(const void *type, struct str key);
	/* patchMergeKey of a list field ("" none: primitive), and its strategies. */
	struct str (*merge_key)(const void *type, struct str field);
	bool (*is_merge)(const void *type, struct str field);
	bool (*is_retain_keys)(const void *type, struct str field);
};
int patch_strategic(
	struct arena *a, struct node **target, struct val patch, const struct patch_shape *shape, struct err *e);

/* ---- quantities ("100m", "1Gi"): exact decimals of up to 19 digits with a scale -------------- */

struct quantity {
	int64_t value;  /* mantissa */
	int8_t scale;   /* value × 10^scale (−9 … 18) */
	uint8_t format; /* enum quantity_format, for printing */
};
enum quantity_format { QUANTITY_DECIMAL, QUANTITY_BINARY, QUANTITY_EXPONENT };
#define QUANTITY_TEXT_MAX 64
/* false: not a quantity. Finer than nano is rounded up; beyond int64 is capped. */
bool quantity_parse(struct str s, struct quantity *ret);
const char *quantity_wrong(struct str s);             /* upstream's sentence about a text that is no quantity */
bool quantity_of(struct val v, struct quantity *ret); /* a string or number */
void quantity_text(struct quantity q, char ret[QUANTITY_TEXT_MAX]); /* canonical: 1500m, 1536Mi */
int quantity_cmp(struct quantity a, struct quantity b);
struct quantity quantity_add(struct quantity a, struct quantity b);
struct quantity quantity_sub(struct quantity a, struct quantity b);
int64_t quantity_milli(struct quantity q); /* rounded up, capped */
int64_t quantity_whole(struct quantity q); /* rounded up, capped */

/* ---- JSONPath of CustomResourceDefinitions: columns, scale, selectable fields ----------------- */

struct json_path;
/* .a.b['c'][0][-1:][*][?(@.type=="Ready")]; in the arena. Fails: ERR_INVALID with what is wrong. */
int json_path_new(struct arena *a, struct str text, struct json_path **ret, struct err *e);
/* The first value there, missing when none. */
struct val json_path_first(const struct json_path *p, struct val v);
/* Plain fields only: "spec.replicas" of ".spec.replicas". NULL: it has indexes or filters. Borrow: as long as p. */
const char *json_path_dotted(const struct json_path *p);

/* ---- selectors ------------------------------------------------------------------------------- */

struct selector; /* immutable, reference-free; lives in an arena */
/* "a=b,c!=d,e in (f,g),!h". Empty: matches all. Fails: ERR_BAD_REQUEST in upstream's words where known. */
int selector_parse(struct arena *a, struct str text, const struct selector **ret, struct err *e);
/* metav1.LabelSelector {matchLabels, matchExpressions}. A missing or null value matches nothing, an empty map all. */
int selector_of(struct arena *a, struct val label_selector, const struct selector **ret, struct err *e);
/* map[string]string as in spec.selector of a Service or ReplicationController. Missing or empty: matches nothing. */
int selector_of_map(struct arena *a, struct val map, const struct selector **ret, struct err *e);
bool selector_matches(const struct selector *s, struct val labels);
bool selector_is_everything(const struct selector *s);
/* Own (arena): canonical text "a=b,c in (d,e)". */
struct str selector_text(struct arena *a, const struct selector *s);
/* Field selectors: only =, ==, != joined by commas; values may have backslash escapes. */
struct field_term {
	struct str field, value;
	bool equal; /* false: != */
};
int field_selector_parse(struct arena *a, struct str text, struct field_term **ret, size_t *ret_n, struct err *e);

/* ---- small shared rules ---------------------------------------------------------------------- */

/* metav1.IntOrString: a number, or "30%" of total rounded up or down. false: neither. */
bool int_or_percent(struct val v, int64_t total, bool round_up, int64_t *ret);
/* Whether a node with these labels and this name is one that spec.nodeSelector and the required node affinity of a
 * pod's spec allow. */
bool affinity_required_met(struct val pod_spec, struct val labels, struct str name);
bool affinity_term_met(struct val node_selector_term, struct val labels, struct str name);
/* Whether a toleration covers a taint of this key, value and effect. */
bool toleration_covers(struct val toleration, struct str key, struct str value, struct str effect);
/* FNV-32a of bytes, printed in the alphabet bcdfghjklmnpqrstvwxz2456789 (pod-template-hash and names). */
uint32_t fnv32a(struct str s);
void safe_encode(uint64_t n, char ret[24]);
/* Go-style base64 (standard alphabet, padded) both ways. Own: free(). */
char *base64_encode(struct str s);
int base64_decode(struct str s, struct buf *out); /* -ERR_BAD_REQUEST when malformed */
