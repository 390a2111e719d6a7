/* Whatever another server says of its kinds: our document stays one that reads, and its references lead somewhere. */
#include "schema/openapi.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_refs(struct val v, struct val definitions)
{
	for (struct val_iter it = val_iter(v); val_next(&it);) {
		struct str ref = str_is(it.key, "$ref") ? val_str(it.val) : STR_NULL;

		if (str_starts(ref, STR("#/definitions/")) && val_kind(v) == VAL_MAP)
			PRE(val_has(val_get_str(definitions, str_sub(ref, 14, ref.n))));
		/* extensions, defaults and enums are anything */
		if (!str_starts(it.key, STR("x-")) && !str_is(it.key, "default") && !str_is(it.key, "enum"))
			check_refs(it.val, definitions);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	auto_(doc_unref) struct doc *d = NULL, *tidied = NULL, *whole = NULL;
	auto_buf struct buf tidy = BUF_INIT, json = BUF_INIT, pb = BUF_INIT;
	struct err e;

	err_init(&e);
	if (doc_parse_lenient(str_n((const char *)data, n), NULL, NULL, &d, &e) < 0 ||
		openapi_tidy(doc_root(d), "w.example.com", "v1", &tidy) < 0)
		return 0;
	if (doc_parse(buf_view(&tidy), &tidied, &e))
		PANIC("%s", e.message);
	struct val others[] = { doc_root(tidied), doc_root(tidied) };
	struct openapi_source s = { .others = others, .n_others = 1, .server_version = "v1" };
	PRE(!openapi_v2_json(&s, &json) && !openapi_v2_protobuf(&s, &pb));
	if (doc_parse(buf_view(&json), &whole, &e))
		PANIC("%s", e.message);
	check_refs(doc_root(whole), doc_get(whole, "definitions"));
	size_t once = val_len(doc_get(whole, "definitions"));
	whole = doc_unref(whole);
	buf_reset(&json);
	s.n_others = 2; /* the same again: no definition is there twice */
	PRE(!openapi_v2_json(&s, &json));
	if (doc_parse_lenient(buf_view(&json), NULL, NULL, &whole, &e))
		PANIC("%s", e.message);
	PRE(val_len(doc_get(whole, "definitions")) == once);
	return 0;
}
