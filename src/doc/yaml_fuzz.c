/* Whatever YAML gives is a document whose text is JSON. */
#include "doc/doc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void ignore(void *arg, struct str path)
{
	(void)arg;
	(void)path;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	auto_(doc_unref) struct doc *d = NULL, *again = NULL;
	struct err e;

	err_init(&e);
	if (doc_parse_yaml(str_n((const char *)data, n), ignore, NULL, &d, &e) < 0)
		return 0;
	PRE(doc_parse(doc_text(d), &again, &e) == 0);
	PRE(val_equal(doc_root(d), doc_root(again)));
	return 0;
}
