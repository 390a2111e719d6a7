/* The path is the first line, an object the rest. A plain path finds what val_path() finds. */
#include "doc/doc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_(doc_unref) struct doc *d = NULL;
	struct str text, json = str_cut(str_n((const char *)data, n), '\n', &text);
	struct json_path *p;
	struct val found;
	struct err e;

	err_init(&e);
	if (json_path_new(a, text, &p, &e) < 0) {
		PRE(e.code == ERR_INVALID && e.message[0]);
		return 0;
	}
	if (doc_parse(json, &d, NULL) < 0)
		return 0;
	found = json_path_first(p, doc_root(d));
	if (json_path_dotted(p) && json_path_dotted(p)[0])
		PRE(val_equal(found, val_path(doc_root(d), json_path_dotted(p))));
	return 0;
}
