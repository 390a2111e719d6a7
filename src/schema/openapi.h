/* Private: the pieces of OpenAPI documents, written straight into a buffer. */
#pragma once
#include "base/buf.h"
#include "base/map.h"
#include "schema/schema_internal.h"

struct oa {
	const struct openapi_resource *r;
	size_t n;
	bool v3;
	struct map *seen;                 /* name -> const struct schema_type * */
	const struct schema_type **types; /* named ones that the resources need, in order of their names */
	size_t n_types;
};
/* group NULL: all resources. */
void oa_init(struct oa *o, const struct openapi_resource *r, size_t n, bool v3, const char *group, const char *version);
const struct schema_type *oa_list_type(const struct openapi_resource *r); /* NULL: no builtin one */
void oa_fini(struct oa *o);

void oa_string(struct buf *b, const char *s); /* quoted and escaped */
void oa_key(
	struct buf *b, bool *any, struct str key); /* the next key of a map, with the comma before it and its colon */
/* The schema of a named type, and a reference to a type from elsewhere. */
void oa_definition(const struct oa *o, const struct schema_type *t, struct buf *b);
void oa_reference(const struct oa *o, const struct schema_type *t, struct buf *b);

/* The definition of a custom kind, without braces, from its JSONSchemaProps. */
void oa_custom(const struct oa *o, struct val source, struct buf *b);

/* Paths of a resource: its collection in all namespaces, its collection, one item. */
enum oa_path { OA_ALL, OA_COLLECTION, OA_ITEM, OA_PATHS };
/* false: the resource has no such path. */
bool oa_path_name(const struct openapi_resource *r, enum oa_path p, char *ret, size_t cap);
void oa_path_item(const struct oa *o, const struct openapi_resource *r, enum oa_path p, struct buf *b);

/* Of other servers, ready to be written: openapi_others.c. */
struct oa_piece {
	struct str name, json;
};
struct oa_pieces {
	struct oa_piece *v;
	size_t n, room;
};
struct oa_others {
	struct oa_pieces paths, definitions;
	struct arena *a;
};
void oa_others_init(struct oa_others *x, const struct oa *o, const struct val *others, size_t n);
void oa_others_fini(struct oa_others *x);
