/* A server may send anything: a watch line, an error body, a list. Each becomes a value or an error with a sentence. */
#include "client/remote_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_event(struct str s)
{
	struct client_event ev;
	struct err e;

	err_init(&e);
	if (wire_event(s, &ev, &e) < 0)
		PRE(e.code && e.message[0]);
	else
		doc_unref(ev.object);
}

static void check_list(struct str s)
{
	auto_(doc_unref) struct doc *list = NULL;
	struct doc *d;

	if (doc_parse(s, &list, NULL) < 0)
		return;
	for (struct val_iter it = val_iter(doc_get(list, "items")); val_next(&it);) {
		if (wire_item(it.val, doc_get(list, "apiVersion"), STR("Pod"), &d, NULL) == 0)
			doc_unref(d);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct str s = str_n((const char *)data, n);
	struct err e;

	check_event(s);
	check_list(s);
	err_init(&e);
	PRE(wire_error(500, s, 0, &e) < 0 && e.message[0]);
	return 0;
}
