/* Private to src/schema. */
#pragma once
#include "base/buf.h"
#include "schema/schema.h"
#include "schema/tables.h"

#define PATH_MAX_TEXT 1024

/* A place in an object for messages: linked on the stack, printed only when something is wrong. */
struct place {
	const struct place *up;
	struct str name; /* a field or map key */
	long index;      /* of a list element, or -1 */
	bool is_key;     /* a map key: printed as [key] */
};
/* How a path is told: by validation  spec.containers[0].name  metadata.labels[app]
 *                  by strict decoding  spec.containers[0].name  metadata.labels.app
 *              by Go's type errors     spec.containers.name     metadata.labels */
enum place_style { PLACE_VALIDATION, PLACE_STRICT, PLACE_GO };
void place_text(const struct place *p, enum place_style style, char *ret, size_t cap);

const char *schema_short_name(const struct schema_type *t); /* PodSpec */

static inline bool schema_is_leaf(const struct schema_type *t)
{
	return t->kind != SCHEMA_OBJECT && t->kind != SCHEMA_LIST && t->kind != SCHEMA_MAP;
}
/* A JSON text of a schema file as a tree. */
struct node *schema_literal(struct arena *a, const char *json);

/* ---- zero.c ---------------------------------------------------------------------------------- */
bool zero_left_out(const struct schema_field *f, struct node *n);
/* NULL: it may be missing. */
struct node *zero_always_there(struct arena *a, const struct schema_field *f);

/* ---- validate.c: field errors while they are found ------------------------------------------- */
struct check {
	struct err *e;
	size_t n;
	struct buf text;   /* "path: sentence" joined as upstream joins a list of field errors */
	struct buf causes; /* records "reason\0path\0sentence\0": err_set() would wipe them from the err */
};
void check_fail(struct check *c, const char *reason, const char *path, const char *sentence);

/* ---- decode.c, prune.c: reading a client's object -------------------------------------------- */
struct decode {
	struct arena *a;
	const struct schema_report *rep;
	struct err *e;
};
void decode_unknown(struct decode *d, const struct place *at);
/* What Go makes of null in a list or map: the zero value; NULL: it stays. */
struct node *zero_of_null(struct arena *a, const struct schema_type *t);
int decode_typed(struct decode *d, const struct schema_type *t, struct node *n, const struct place *at);
int decode_custom(struct decode *d, const struct schema_type *t, struct node *n, const struct place *at);
