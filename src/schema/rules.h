/* Private: what a custom kind's OpenAPI schema asks of values, compiled. The type tables say which fields there are;
 * rules say what may stand in them. Everything lives in the arena of the struct schema_custom. */
#pragma once
#include "schema/schema_internal.h"

enum rule_type {
	RULE_STRING = 1,
	RULE_INTEGER = 2,
	RULE_NUMBER = 4,
	RULE_BOOLEAN = 8,
	RULE_OBJECT = 16,
	RULE_ARRAY = 32,
};

struct rule_number {
	double value;
	const char *text;
	bool given, exclusive;
};
/* Most schemas have none of these. */
struct rule_limits {
	struct rule_number min, max, multiple;
	int64_t min_length, max_length, min_items, max_items, min_fields, max_fields; /* -1: none */
	const char *pattern;
	struct pattern *compiled;
	struct str *enums; /* JSON texts */
	size_t n_enums;
};
struct rules_list {
	const struct schema_rules **of;
	size_t n;
};
struct rule_combos {
	struct rules_list all, any, one;
	const struct schema_rules * not ;
};
struct rule_field {
	struct str name;
	const struct schema_rules *rules;
};
struct schema_rules {
	const struct rule_field *fields; /* in order of their names */
	const char *const *required;     /* ended by NULL, or NULL */
	const char *const *list_keys;    /* of a list of type map */
	const struct schema_rules *items, *additional;
	const struct rule_limits *limits;
	const struct rule_combos *combos;
	uint16_t n_fields;
	uint8_t types;  /* enum rule_type bits; 0: any */
	uint8_t format; /* enum rule_format */
	uint8_t list;   /* enum schema_list */
	bool nullable;
	bool has_unique; /* a list of type set or map, or one inside */
};

/* A keyword that says true or nothing. */
static inline bool flag(struct val schema, const char *key)
{
	return val_bool(val_get(schema, key), false);
}

/* ---- format.c -------------------------------------------------------------------------------- */
/* types: of the schema that names it, enum rule_type. 0: none that upstream knows there. */
uint8_t format_find(struct str name, uint8_t types);
const char *format_name(uint8_t format);
bool format_is_number(uint8_t format);
bool format_holds(uint8_t format, struct str s);

/* ---- pattern.c: regular expressions in Go's dialect, bounded in time and memory -------------- */
struct pattern;
int pattern_new(struct str text, struct pattern **ret, struct err *e); /* the message says what is wrong with it */
struct pattern *pattern_free(struct pattern *p);
enum pattern_verdict { PATTERN_NO, PATTERN_YES, PATTERN_TOO_EXPENSIVE };
enum pattern_verdict pattern_match(const struct pattern *p, struct str s);

/* ---- rules.c --------------------------------------------------------------------------------- */
struct check;
/* Of a map's entry; NULL: nothing is asked of it. */
const struct schema_rules *rules_field(const struct schema_rules *r, struct str name);
/* old: the value before this change, or VAL_NONE. Parts of v that are as they were there are not judged again: a schema
 * that became stricter keeps nobody from changing the rest of an object. */
void rules_check(struct check *c, const struct schema_rules *r, struct val v, struct val old);
/* That lists of type set and map have no element twice. An object that had some already may keep them. */
void rules_unique(struct check *c, const struct schema_rules *r, struct val v, struct val old);

/* Which sorts of words one schema says, not those inside it. Most say few, and looking for each of sixty words in each of
 * thousands of schemas is what compiling them cost. */
enum schema_word {
	WORDS_LIST = 1,        /* x-kubernetes-list-type, -list-map-keys, -map-type */
	WORDS_EXTENSION = 2,   /* any other x-kubernetes- */
	WORDS_COMBINATION = 4, /* allOf, anyOf, oneOf, not */
	WORDS_LIMIT = 8,       /* minimum, maxLength, multipleOf, pattern, enum … */
	WORDS_BANNED = 16,     /* definitions, $ref … */
	WORDS_INNER = 32,      /* properties, additionalProperties, items */
	WORDS_DEFAULT = 64,
};
unsigned schema_words(struct val v);
