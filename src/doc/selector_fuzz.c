/* The canonical text of a selector reads back as the same selector. */
#include "doc/doc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct str s = str_n((const char *)data, n), text;
	const struct selector *sel, *again;
	struct field_term *terms;
	size_t terms_n;
	struct err e;

	err_init(&e);
	if (selector_parse(a, s, &sel, &e) == 0) {
		selector_matches(sel, VAL_NONE);
		text = selector_text(a, sel);
		PRE(selector_parse(a, text, &again, &e) == 0);
		PRE(str_eq(text, selector_text(a, again)));
	}
	(void)field_selector_parse(a, s, &terms, &terms_n, &e);
	return 0;
}
