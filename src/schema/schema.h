/* The type system as data: descriptors of every kind's fields, and one engine that walks them.
 *
 * api/NAME.schema (one file an API group) are compiled by tools/schemac.py to C tables at build time; a CRD's OpenAPI
 * schema compiles into the same tables at run time. The engine knows JSON values (doc/) and types, nothing of
 * HTTP or storage. Thread: types are immutable once published; any thread. */
#pragma once
#include "doc/doc.h"

enum schema_kind {
	SCHEMA_OBJECT,
	SCHEMA_LIST,
	SCHEMA_MAP,
	SCHEMA_STRING,
	SCHEMA_BOOL,
	SCHEMA_INT32,
	SCHEMA_INT64,
	SCHEMA_UINT32,
	SCHEMA_DOUBLE,
	SCHEMA_BYTES, /* base64 string */
	SCHEMA_QUANTITY,
	SCHEMA_INT_OR_STRING,
	SCHEMA_TIME,
	SCHEMA_MICRO_TIME,
	SCHEMA_DURATION,
	SCHEMA_FIELDS_V1, /* opaque object */
	SCHEMA_RAW,       /* runtime.RawExtension: any object */
	SCHEMA_JSON,      /* any JSON (apiextensions) */
	/* An element (JSONSchemaProps) or: true/false, a list of elements, a list of strings. Leaves for merging. */
	SCHEMA_OR_BOOL,
	SCHEMA_OR_LIST,
	SCHEMA_OR_STRINGS,
};
enum schema_list { SCHEMA_LIST_ATOMIC, SCHEMA_LIST_SET, SCHEMA_LIST_MAP };

struct schema_type;
struct schema_rules; /* private */
struct schema_limit {
	int64_t min, max; /* inclusive; INT64_MIN, INT64_MAX: none */
};
struct schema_field {
	const char *name; /* JSON name */
	const char *help;
	const struct schema_type *type;
	const char *merge_key;            /* patchMergeKey, or NULL */
	const char *const *list_keys;     /* NULL-terminated, for SCHEMA_LIST_MAP */
	const char *fallback;             /* default as JSON text, or NULL */
	const struct schema_limit *limit; /* of a number, or NULL: enforced */
	const char *says;      /* what is told when the field's rule refuses, or NULL: the rule's usual words */
	uint16_t number;       /* protobuf; 0: not a field of this message (inlined from another, or JSON only) */
	uint8_t list;          /* enum schema_list, of a list field */
	unsigned required : 1; /* OpenAPI's word: always written, not a rule */
	unsigned must : 1;     /* enforced: not missing and not empty */
	unsigned omit_empty : 1;
	unsigned patch_merge : 1, patch_retain_keys : 1, patch_replace : 1; /* patchStrategy */
	unsigned pointer : 1;     /* "not given" differs from zero in protobuf */
	unsigned create_only : 1; /* immutable after creation */
	unsigned map_atomic : 1;  /* mapType/structType atomic */
};
/* A struct of its own on the wire whose fields stand between the owner's in JSON (Go's inline). */
struct schema_embed {
	const struct schema_type *type;
	uint16_t number;
};
struct schema_type {
	const char *name; /* "io.k8s.api.core.v1.PodSpec"; NULL for anonymous lists and maps */
	const char *help;
	const struct schema_field *fields; /* of an object, in protobuf number order; inlined ones (number 0) last */
	const struct schema_type *element; /* of a list or map */
	const struct schema_field
		*element_field;            /* how an apply merges an element that is a list or map; NULL: as a whole */
	const char *element_fallback;      /* of a custom list or map: what null stands for, as JSON text, or NULL */
	const char *const *enum_values;    /* of a string: NULL-terminated, or NULL; enforced */
	const uint16_t *by_name;           /* positions of fields in order of their names */
	const struct schema_embed *embeds; /* number 0 ends */
	uint16_t n_fields;
	uint8_t kind; /* enum schema_kind */
	unsigned struct_atomic : 1;
	unsigned is_kind : 1;    /* has apiVersion and kind */
	unsigned wire_items : 1; /* a named list that is a message {repeated items = 1} */
	unsigned
		custom : 1; /* compiled from an OpenAPI schema: unknown fields are pruned, wrong types are for validation */
	unsigned keep_unknown : 1, nullable : 1,
		embedded : 1,             /* x-kubernetes-preserve-unknown-fields, nullable … of such */
		has_embedded : 1;         /* it or something in it is */
	const struct schema_rules *rules; /* of a custom kind: what its values must be like; else NULL */
};
struct schema_kind_entry { /* a kind that clients name in apiVersion/kind */
	const char *group, *version, *kind;
	const struct schema_type *type;
};

const struct schema_kind_entry *schema_builtin_kinds(size_t *ret_n);
/* NULL: no such builtin kind. */
const struct schema_type *schema_builtin(struct str group, struct str version, struct str kind);
const struct schema_type *schema_builtin_by_name(
	const char *name); /* "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta" */
const struct schema_field *schema_field(const struct schema_type *t, struct str name);

/* How strict reading treats what the schema does not know. */
struct schema_report {
	void (*unknown)(void *arg, struct str path); /* an unknown field was dropped: `spec.foo`; or NULL */
	void *arg;
	bool keep_nulls; /* to server-side apply they say something; of the object's own metadata those of maps and lists */
	bool drop_wrong; /* of what is stored: apiVersion, kind and metadata of embedded objects that are none go away */
};
/* Decoding of a client's object against its type, in place: checks JSON types (ERR_BAD_REQUEST in upstream's words,
 * path in the message), drops unknown fields and reports them, drops nulls, normalises times and quantities. */
int schema_decode(
	const struct schema_type *t, struct arena *a, struct node *n, const struct schema_report *rep, struct err *e);
/* Fills declared defaults (the per-kind ones that upstream writes as code are in the schema files too, see `default`).
 * was: what n is a change of, or NULL. Here and below, what is in it as it is there went through all of this before, and
 * is not looked into. */
void schema_default(const struct schema_type *t, struct arena *a, struct node *n, const struct doc *was);
/* What upstream fills in by code and the schema files cannot say: depends on other fields or on the kind
 * (imagePullPolicy by the tag, targetPort = port, requests from limits …). schema_default() runs it for builtin kinds.
 */
void schema_default_object(const struct schema_type *t, struct arena *a, struct node *n);
/* The form in which Go's structs are written, of builtin kinds: fields that may be left out when they are empty are
 * (before defaulting), and the others are there (last of all: what the server adds so belongs to nobody). */
void schema_drop_zeros(const struct schema_type *t, struct arena *a, struct node *n, const struct doc *was);
void schema_fill_zeros(const struct schema_type *t, struct arena *a, struct node *n, const struct doc *was);
/* Required fields, enums, limits that the schema files declare: adds causes, ERR_INVALID when there are any.
 * path: prefix of the causes' fields, "" at the root. The message is the causes joined as upstream joins them. */
int schema_validate(const struct schema_type *t, struct val v, const char *path, struct err *e);
/* The same, where v was old before: rules of a custom kind do not judge again what stays as it is. */
int schema_validate_change(const struct schema_type *t, struct val v, struct val old, const char *path, struct err *e);
/* Fields marked create-only that differ: "field is immutable" causes. */
int schema_validate_update(const struct schema_type *t, struct val v, struct val old, const char *path, struct err *e);
/* Type as Go's messages name it, "[]v1.Container", into buf. */
void schema_go_type(const struct schema_type *t, char *ret, size_t cap);

/* ---- custom kinds ---------------------------------------------------------------------------- */

/* The OpenAPI v3 schema of one version of a custom kind, compiled into types like the builtin ones, and rules for its
 * values. Everything above works with them. Immutable; any thread. */
struct schema_custom;
struct schema_custom_opts {
	const char *group, *version, *kind, *list_kind; /* copied */
};
/* json_schema: a JSONSchemaProps; missing: anything goes. Fails: ERR_INVALID for what schema_structural() refuses. */
int schema_custom_new(
	struct val json_schema, const struct schema_custom_opts *o, struct schema_custom **ret, struct err *e);
struct schema_custom *schema_custom_free(struct schema_custom *c);
AUTO(struct schema_custom, schema_custom_free)
const struct schema_type *schema_custom_type(const struct schema_custom *c);      /* borrow: as long as c */
const struct schema_type *schema_custom_list_type(const struct schema_custom *c); /* its list, for OpenAPI */
/* Adds causes for all that a CustomResourceDefinition's schema must not say. path:
 * "spec.versions[0].schema.openAPIV3Schema". false: it has no structure of which defaults could be judged. */
bool schema_structural(struct val json_schema, const char *path, struct err *e);
/* Every object in v that is embedded there (x-kubernetes-embedded-resource), with its path. */
typedef void schema_embedded_fn(void *arg, struct val object, const char *path);
void schema_each_embedded(
	const struct schema_type *t, struct val v, const char *path, schema_embedded_fn *each, void *arg);
/* Adds causes for defaults of a structural schema that it would refuse itself. each() is called of the objects that are
 * embedded in one; a default of which it adds causes is judged no further. pruned: they may have no unknown fields. */
void schema_check_defaults(
	struct val json_schema, const char *path, bool pruned, schema_embedded_fn *each, void *arg, struct err *e);
/* Whether a schema has defaults with fields that it does not declare. */
bool schema_defaults_unknown(struct val json_schema);
/* Paths of x-kubernetes-validations, which are kept and not enforced. */
void schema_unenforced_rules(struct val json_schema, void (*each)(void *arg, const char *path), void *arg);

/* Strategic merge patch over a type. */
const struct patch_shape *schema_patch_shape(const struct schema_type *t);

/* ---- server-side apply (managedFields v1) ---------------------------------------------------- */

/* A set of field paths, as in fieldsV1. */
struct field_set;
/* All in the arena. */
int field_set_parse(struct arena *a, struct val fields_v1, struct field_set **ret, struct err *e);
struct node *field_set_node(struct arena *a, const struct field_set *s); /* fieldsV1 JSON */
/* Which fields an object sets, by type (apply), without apiVersion, kind, metadata.{name,namespace,managedFields…}. */
struct field_set *field_set_of(struct arena *a, const struct schema_type *t, struct val object);
/* One write, merged into managedFields. live NULL: create. `object` is edited: for an apply it becomes the merged
 * object. manager, operation "Update" or "Apply", sub "" or "status"; now as RFC 3339; force: take ownership on
 * conflict; status_apart: the kind's status is written through its sub-resource alone; served: whether the kind has this apiVersion, NULL: all. Fails: ERR_CONFLICT with FieldManagerConflict causes in upstream's words. */
struct managed_write {
	const struct schema_type *type;
	struct str api_version, manager, subresource, now;
	bool apply, force, status_apart;
	bool scaled; /* of an apply to a scale: it has a number of replicas, that may be nobody's */
	bool (*served)(void *arg, struct str api_version);
	void *arg;
	struct val sent; /* what is applied, as the client sent it, for kubectl's annotation; or VAL_NONE */
};
int managed_update(struct arena *a, const struct managed_write *w, struct val live, struct node *object, struct err *e);
/* A configuration as it was sent, before schema_decode() drops what it does not know: whether it can be applied. Fails:
 * ERR_BAD_REQUEST for undeclared fields and list elements without a key or there twice, in upstream's words. */
int managed_check(struct arena *a, const struct schema_type *t, struct node *config, struct err *e);
/* applied: a configuration that went through both, its nulls still in it: who applies a null owns the field, which is then
 * what it is without a value; *ret: the new object. live missing: it is created. */
int managed_apply(struct arena *a, const struct managed_write *w, struct val live, struct val applied,
	struct node **ret, struct err *e);

/* ---- protobuf (application/vnd.kubernetes.protobuf) ------------------------------------------ */

/* The "k8s\0" envelope and its inner message, both ways. */
int schema_to_protobuf(const struct schema_type *t, struct val v, struct buf *out, struct err *e); /* with envelope */
int schema_from_protobuf(
	struct arena *a, struct str bytes, struct node **ret, struct err *e); /* kind from the envelope */
int schema_to_protobuf_inner(
	const struct schema_type *t, struct val v, struct buf *out, struct err *e); /* message only */
/* A list with its envelope, item by item: no list document is needed. next: false at the end. */
int schema_list_to_protobuf(struct str api_version, struct str kind, const struct schema_type *item_type,
	struct val list_meta, bool (*next)(void *arg, struct val *ret), void *arg, struct buf *out, struct err *e);
/* A watch event, bare (the stream puts 4 bytes of length before it); object: as schema_to_protobuf() wrote it. */
void schema_watch_to_protobuf(const char *event, struct str object, struct buf *out);

/* ---- OpenAPI --------------------------------------------------------------------------------- */

/* One resource of the table, as OpenAPI needs it: api/ fills an array of them. */
struct openapi_resource {
	const char *group, *version, *resource, *singular, *kind, *sub; /* sub NULL or "status" */
	bool namespaced;
	const char *const *verbs;            /* NULL-terminated */
	const struct schema_type *type;      /* of the request body and answer */
	const struct schema_type *list_type; /* of a custom kind; NULL: the builtin one by its name */
	struct val schema; /* JSONSchemaProps of a custom kind, whose definition it becomes; or missing */
};
/* Of another server's document of version 2: the paths of this group version and the definitions that they need, of each
 * what every client takes. Appends {"paths":{…},"definitions":{…}}. Fails: ERR_NOT_FOUND (it has no such path),
 * ERR_TOO_LARGE (for out). */
int openapi_tidy(struct val document, const char *group, const char *version, struct buf *out);
/* others: what openapi_tidy() made. A group version of theirs must not be among r. */
struct openapi_source {
	const struct openapi_resource *r;
	size_t n;
	const struct val *others;
	size_t n_others;
	const char *server_version;
};
int openapi_v2_json(const struct openapi_source *s, struct buf *out);
int openapi_v2_protobuf(const struct openapi_source *s, struct buf *out);
/* One group version's document. */
int openapi_v3_json(const struct openapi_resource *r, size_t n, const char *group, const char *version,
	const char *server_version, struct buf *out);
