#include "schema/rules.h"

static unsigned word(struct str key)
{
	static const char *const banned[] = { "id", "definitions", "dependencies", "patternProperties",
		"additionalItems", "$ref", "uniqueItems" };

	if (str_is(key, "properties") || str_is(key, "items") || str_is(key, "additionalProperties"))
		return WORDS_INNER;
	if (str_is(key, "default"))
		return WORDS_DEFAULT;
	if (str_starts(key, STR("x-kubernetes-")))
		return str_starts(key, STR("x-kubernetes-list-")) || str_is(key, "x-kubernetes-map-type") ?
			WORDS_LIST :
			WORDS_EXTENSION;
	if (str_ends(key, STR("Of")) || str_is(key, "not"))
		return key.n == 10 ? WORDS_LIMIT : WORDS_COMBINATION; /* multipleOf */
	if (key.n && (*key.p == 'm' || str_is(key, "enum") || str_is(key, "pattern")))
		return WORDS_LIMIT;
	for (size_t i = 0; i < ARRAY_LEN(banned); i++)
		if (str_is(key, banned[i]))
			return WORDS_BANNED;
	return 0;
}

unsigned schema_words(struct val v)
{
	unsigned all = 0;

	for (struct val_iter it = val_iter(v); val_next(&it);)
		all |= word(it.key);
	return all;
}
