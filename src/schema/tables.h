/* Private: what tools/schemac.py makes of the files in api/. */
#pragma once
#include "schema/schema.h"

struct schema_tables {
	const struct schema_type *types; /* the first n_named in order of their names */
	size_t n_named, n_types;
	const struct schema_kind_entry *kinds; /* in order of group, version, kind */
	size_t n_kinds;
	const struct schema_type *string, *boolean, *strings;
};
extern const struct schema_tables schema_tables;
