/* The three patches. Strategic results are those that kubectl gives for the same input. */
#include "doc/doc_fixture.h"

static void check(struct node *n, const char *patch, const char *want)
{
	auto_(doc_unref) struct doc *d = node_publish(n), *w = json_doc(want);

	if (!val_equal(doc_root(d), doc_root(w)))
		fail_msg("%s gives\n%.*s, want\n%s", patch, STR_ARG(doc_text(d)), want);
}

struct row {
	const char *target, *patch, *want; /* want NULL: refused */
};

static void json_patches(void **state)
{
	static const struct row rows[] = {
		{ "{\"a\":1}", "[{\"op\":\"add\",\"path\":\"/b\",\"value\":2}]", "{\"a\":1,\"b\":2}" },
		{ "{\"a\":[1,2]}", "[{\"op\":\"add\",\"path\":\"/a/1\",\"value\":9}]", "{\"a\":[1,9,2]}" },
		{ "{\"a\":[1,2]}", "[{\"op\":\"add\",\"path\":\"/a/-\",\"value\":9}]", "{\"a\":[1,2,9]}" },
		{ "{\"a\":[1,2]}", "[{\"op\":\"add\",\"path\":\"/a/3\",\"value\":9}]", NULL },
		{ "{\"a\":[1,2]}", "[{\"op\":\"add\",\"path\":\"/a/01\",\"value\":9}]", NULL },
		{ "{\"a\":[1,2]}", "[{\"op\":\"remove\",\"path\":\"/a/0\"}]", "{\"a\":[2]}" },
		{ "{\"a\":1}", "[{\"op\":\"remove\",\"path\":\"/b\"}]", NULL },
		{ "{\"a\":1}", "[{\"op\":\"remove\",\"path\":\"\"}]", NULL },
		{ "{\"a\":1}", "[{\"op\":\"replace\",\"path\":\"/a\",\"value\":null}]", "{\"a\":null}" },
		{ "{\"a\":1}", "[{\"op\":\"replace\",\"path\":\"/b\",\"value\":1}]", NULL },
		{ "{\"a\":1}", "[{\"op\":\"replace\",\"path\":\"\",\"value\":{\"z\":1}}]", "{\"z\":1}" },
		{ "{\"a/b\":{\"c~d\":1}}", "[{\"op\":\"replace\",\"path\":\"/a~1b/c~0d\",\"value\":5}]",
			"{\"a/b\":{\"c~d\":5}}" },
		{ "{\"a\":{\"x\":1}}", "[{\"op\":\"move\",\"from\":\"/a/x\",\"path\":\"/b\"}]", "{\"a\":{},\"b\":1}" },
		{ "{\"a\":{\"x\":1}}", "[{\"op\":\"move\",\"from\":\"/a\",\"path\":\"/a/y\"}]", NULL },
		{ "{\"a\":{\"x\":1}}",
			"[{\"op\":\"copy\",\"from\":\"/a\",\"path\":\"/b\"},{\"op\":\"replace\",\"path\":\"/a/"
			"x\",\"value\":2}]",
			"{\"a\":{\"x\":2},\"b\":{\"x\":1}}" },
		{ "{\"a\":\"0123456789012345678901234567890123456789012345678901234567890123456789\"}",
			"[{\"op\":\"copy\",\"from\":\"/a\",\"path\":\"/b\"}]", NULL },
		{ "{\"a\":[1,{\"b\":2}]}", "[{\"op\":\"test\",\"path\":\"/a\",\"value\":[1.0,{\"b\":2}]}]",
			"{\"a\":[1,{\"b\":2}]}" },
		{ "{\"a\":1}", "[{\"op\":\"test\",\"path\":\"/a\",\"value\":2}]", NULL },
		{ "{\"a\":1}", "[{\"op\":\"test\",\"path\":\"/b\",\"value\":null}]", "{\"a\":1}" },
		{ "{\"a\":1}", "[{\"op\":\"add\",\"path\":\"b\",\"value\":2}]", NULL },
		{ "{\"a\":1}", "[{\"op\":\"add\",\"path\":\"/a/b\",\"value\":2}]", NULL },
		{ "{\"a\":1}", "[{\"op\":\"add\",\"path\":\"/x~2\",\"value\":2}]", NULL },
		{ "{\"a\":1}", "[{\"op\":\"add\",\"path\":\"/x\"}]", "{\"a\":1,\"x\":null}" },
		{ "{\"a\":1}", "[{\"op\":\"replace\",\"path\":\"/a\"}]", "{\"a\":null}" },
		{ "{\"a\":1}", "[{\"op\":\"test\",\"path\":\"/a\"}]", NULL },
		{ "{\"a\":1}", "[{\"op\":\"frob\",\"path\":\"/x\"}]", NULL },
		{ "{\"a\":1}", "{}", NULL },
		{ "{\"a\":1}", "[7]", NULL },
		{ "{\"\":1}", "[{\"op\":\"replace\",\"path\":\"/\",\"value\":2}]", "{\"\":2}" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		auto_(arena_free) struct arena *a = arena_new();
		auto_(doc_unref) struct doc *d = json_doc(rows[i].target), *p = json_doc(rows[i].patch);
		struct node *n = node_from(a, doc_root(d));
		struct err e;
		int r;

		err_init(&e);
		r = patch_json(a, &n, doc_root(p), 64, &e);
		if ((r == 0) != (rows[i].want != NULL))
			fail_msg("%s: %d %s", rows[i].patch, r, e.message);
		if (r == 0)
			check(n, rows[i].patch, rows[i].want);
	}
}

static void json_patch_cannot_nest_without_end(void **state)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_(doc_unref) struct doc *p = json_doc("[{\"op\":\"copy\",\"from\":\"/a\",\"path\":\"/a/a\"}]");
	struct node *n = node_pack(a, "{a:{}}");
	struct err e;
	int r = 0, steps = 0;

	err_init(&e);
	for (; r == 0 && steps < 300; steps++)
		r = patch_json(a, &n, doc_root(p), 1 << 20, &e);
	assert_int_equal(r, -ERR_INVALID);
	doc_unref(node_publish(n));
}

static void json_patch_counts_its_work(void **state)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_buf struct buf b = BUF_INIT;
	auto_(doc_unref) struct doc *p = NULL;
	struct node *n = node_pack(a, "{l:[]}");
	struct err e;

	for (int i = 0; i < 100000; i++)
		node_add(node_getc(n, "l"), node_int(a, i));
	for (int i = 0; i < 9000; i++)
		buf_printf(&b, "%c{\"op\":\"add\",\"path\":\"/l/0\",\"value\":1}", i ? ',' : '[');
	buf_add(&b, "]", 2);
	p = json_doc(b.p);
	assert_int_equal(patch_json(a, &n, doc_root(p), 64, &e), -ERR_TOO_LARGE);
}

static void merge_patches(void **state)
{
	static const struct row rows[] = { /* the examples of RFC 7386 */
		{ "{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}" },
		{ "{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}" },
		{ "{\"a\":\"b\"}", "{\"a\":null}", "{}" },
		{ "{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}" },
		{ "{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}" },
		{ "{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}" },
		{ "{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}", "{\"a\":{\"b\":\"d\"}}" },
		{ "{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}" },
		{ "[\"a\",\"b\"]", "[\"c\",\"d\"]", "[\"c\",\"d\"]" }, { "{\"a\":\"b\"}", "[\"c\"]", "[\"c\"]" },
		{ "{\"a\":\"foo\"}", "null", "null" }, { "{\"e\":null}", "{\"a\":1}", "{\"e\":null,\"a\":1}" },
		{ "[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}" },
		{ "{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}" }
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		auto_(arena_free) struct arena *a = arena_new();
		auto_(doc_unref) struct doc *d = json_doc(rows[i].target), *p = json_doc(rows[i].patch);
		struct node *n = node_from(a, doc_root(d));

		patch_merge(a, &n, doc_root(p));
		check(n, rows[i].patch, rows[i].want);
	}
}

/* A small schema: type names are their own opaque pointers. */
static const void *shape_child(const void *type, struct str key)
{
	const char *t = type;

	if (!strcmp(t, "root"))
		return "pod"; /* every field of the root is one */
	if (!strcmp(t, "pod"))
		return str_is(key, "containers") ? "containers" : NULL;
	if (!strcmp(t, "containers"))
		return key.n ? NULL : "container";
	return NULL;
}

static struct str shape_key(const void *type, struct str field)
{
	return str_is(field, "containers") || str_is(field, "env") ? STR("name") : STR("");
}

static bool shape_merges(const void *type, struct str field)
{
	return str_is(field, "containers") || str_is(field, "env") || str_is(field, "finalizers");
}

static bool shape_retains(const void *type, struct str field)
{
	return false;
}

#define TARGET                                                                                                        \
	"{\"s\":{\"strategy\":{\"type\":\"R\",\"r\":{\"m\":1}},\"finalizers\":[\"f1\",\"f2\",\"f3\"],\"args\":[1,2]," \
	"\"containers\":[{\"name\":\"c1\",\"image\":\"i1\",\"env\":[{\"name\":\"A\",\"value\":\"1\"},"                \
	"{\"name\":\"B\",\"value\":\"2\"}]},{\"name\":\"c2\"},{\"name\":\"c3\"}]}}"

static void strategic_patches(void **state)
{
	static const struct {
		const char *patch, *field,
			*want; /* want: field of s afterwards; NULL: refused with the text in field */
	} rows[] = {
		{ "{\"s\":{\"strategy\":{\"$retainKeys\":[\"type\"],\"type\":\"X\"}}}", "strategy",
			"{\"type\":\"X\"}" },
		{ "{\"s\":{\"strategy\":{\"$retainKeys\":[\"q\"],\"type\":\"X\"}}}",
			"invalid patch format of retainKeys", NULL },
		{ "{\"s\":{\"$retainKeys\":\"x\"}}", "invalid patch format of retainKeys", NULL },
		{ "{\"s\":{\"strategy\":{\"$patch\":\"replace\",\"type\":\"X\"}}}", "strategy", "{\"type\":\"X\"}" },
		{ "{\"s\":{\"strategy\":{\"$patch\":\"delete\"}}}", "strategy", "{}" },
		{ "{\"s\":{\"strategy\":{\"$patch\":\"merge\",\"z\":1}}}", "strategy",
			"{\"type\":\"R\",\"r\":{\"m\":1},\"z\":1}" },
		{ "{\"s\":{\"$patch\":\"bogus\"}}", "unknown patch type: bogus in map: {\"$patch\":\"bogus\"}", NULL },
		{ "{\"s\":{\"strategy\":{\"r\":{\"m\":null,\"n\":{\"o\":null,\"p\":1}}}}}", "strategy",
			"{\"type\":\"R\",\"r\":{\"n\":{\"p\":1}}}" },
		{ "{\"s\":{\"args\":[9]}}", "args", "[9]" },
		{ "{\"s\":{\"containers\":[{\"name\":\"c2\",\"$patch\":\"delete\"}]}}", "containers",
			"[{\"name\":\"c1\",\"image\":\"i1\",\"env\":[{\"name\":\"A\",\"value\":\"1\"},{\"name\":\"B\","
			"\"value\":\"2\"}]},"
			"{\"name\":\"c3\"}]" },
		{ "{\"s\":{\"containers\":[{\"$patch\":\"replace\"},{\"name\":\"z\"}]}}", "containers",
			"[{\"name\":\"z\"}]" },
		{ "{\"s\":{\"containers\":[{\"name\":\"c1\",\"env\":[{\"name\":\"Z\",\"value\":\"1\"},{\"name\":\"A\","
		  "\"value\":null,"
		  "\"v\":{}},{\"name\":\"Z\",\"value\":\"2\"}]},{\"name\":\"c2\",\"$patch\":\"delete\"},{\"name\":"
		  "\"c3\","
		  "\"$patch\":\"delete\"}]}}",
			"containers",
			"[{\"name\":\"c1\",\"image\":\"i1\",\"env\":[{\"name\":\"Z\",\"value\":\"2\"},{\"name\":\"A\","
			"\"v\":{}},{\"name\":\"B\",\"value\":\"2\"}]}]" },
		{ "{\"s\":{\"$setElementOrder/finalizers\":[\"f3\",\"f1\"]}}", "finalizers", "[\"f2\",\"f3\",\"f1\"]" },
		{ "{\"s\":{\"finalizers\":[\"f9\",\"f1\"]}}", "finalizers", "[\"f9\",\"f1\",\"f2\",\"f3\"]" },
		{ "{\"s\":{\"$deleteFromPrimitiveList/finalizers\":[\"f2\"],\"finalizers\":[\"f9\",\"f1\"],"
		  "\"$setElementOrder/finalizers\":[\"f9\",\"f3\",\"f1\"]}}",
			"finalizers", "[\"f9\",\"f3\",\"f1\"]" },
		{ "{\"s\":{\"$deleteFromPrimitiveList/"
		  "finalizers\":[\"f2\",\"f1\"],\"finalizers\":[\"f1\",\"f8\",\"f1\"]}}",
			"finalizers", "[\"f1\",\"f8\",\"f3\"]" },
		{ "{\"s\":{\"$deleteFromPrimitiveList/finalizers\":[\"f2\",\"none\"]}}", "finalizers",
			"[\"f1\",\"f3\"]" },
		{ "{\"s\":{\"$setElementOrder/finalizers\":[\"f3\",\"f2\",\"f1\"],\"finalizers\":[\"f4\"]}}",
			"The order in patch list:\n[\"f4\"]\n doesn't match $setElementOrder "
			"list:\n[\"f3\",\"f2\",\"f1\"]\n",
			NULL },
		{ "{\"s\":{\"containers\":[{\"image\":\"n\"}]}}",
			"map: {\"image\":\"n\"} does not contain declared merge key: name", NULL },
		{ "{\"s\":{\"containers\":[\"x\"]}}",
			"list element types are not identical, or are lists: cannot merge", NULL },
		{ "{\"s\":{\"containers\":[{\"name\":\"c1\",\"$patch\":\"merge\"}]}}",
			"merging lists cannot yet be specified in the patch", NULL },
		{ "{\"s\":{\"containers\":{\"a\":1}}}", "containers", "{\"a\":1}" },
		{ "{\"s\":{\"containers\":null}}", "containers", NULL },
		{ "{\"n\":1,\"s\":{\"new\":{\"$patch\":\"delete\"},\"more\":[{\"a\":null,\"$retainKeys\":[\"b\"],\"b\":"
		  "1},{\"$patch\":"
		  "\"delete\"}],\"$setElementOrder/more\":[]}}",
			"more", "[{\"b\":1}]" },
	};
	struct patch_shape shape = { "root", shape_child, shape_key, shape_merges, shape_retains };

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		auto_(arena_free) struct arena *a = arena_new();
		auto_(doc_unref) struct doc *d = json_doc(TARGET), *p = json_doc(rows[i].patch);
		struct node *n = node_from(a, doc_root(d));
		struct err e;

		err_init(&e);
		if (patch_strategic(a, &n, doc_root(p), &shape, &e) < 0) {
			if (rows[i].want || strcmp(e.message, rows[i].field))
				fail_msg("%s: %s", rows[i].patch, e.message);
		} else if (rows[i].want) {
			check(node_get(node_getc(n, "s"), str_c(rows[i].field)), rows[i].patch, rows[i].want);
		} else {
			assert_null(node_get(node_getc(n, "s"), str_c(rows[i].field)));
		}
	}
}

static void strategic_order(void **state)
{
	static const char *const rows[][2] = {
		/* order in the patch, names afterwards */
		{ "{\"$setElementOrder/"
		  "containers\":[{\"name\":\"c3\"},{\"name\":\"c4\"},{\"name\":\"c1\"}],\"containers\":["
		  "{\"name\":\"c4\"},{\"name\":\"c1\",\"image\":\"u\"}]}",
			"c2 c3 c4 c1 " },
		{ "{\"containers\":[{\"name\":\"new\"},{\"name\":\"c2\",\"x\":1}]}", "new c1 c2 c3 " },
		{ "{\"$setElementOrder/"
		  "containers\":[{\"name\":\"c1\"},{\"name\":\"c4\"}],\"containers\":[{\"name\":\"c1\"},"
		  "{\"name\":\"c4\"}]}",
			"c1 c4 c2 c3 " },
		{ "{\"$setElementOrder/containers\":[{\"name\":\"c3\"},{\"name\":\"c1\"}]}", "c2 c3 c1 " },
		{ "{\"$setElementOrder/"
		  "containers\":[{\"name\":\"c2\"},{\"name\":\"c1\"}],\"containers\":[{\"name\":\"c3\",\"$patch\":"
		  "\"delete\"}]}",
			"c2 c1 " },
	};
	struct patch_shape shape = { "pod", shape_child, shape_key, shape_merges, shape_retains };

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		auto_(arena_free) struct arena *a = arena_new();
		auto_(doc_unref) struct doc *d = json_doc(TARGET), *p = json_doc(rows[i][0]);
		auto_buf struct buf names = BUF_INIT;
		struct node *n = node_from(a, doc_get(d, "s"));
		struct err e;

		err_init(&e);
		if (patch_strategic(a, &n, doc_root(p), &shape, &e) < 0)
			fail_msg("%s: %s", rows[i][0], e.message);
		n = node_getc(n, "containers");
		for (size_t k = 0; k < node_len(n); k++) {
			buf_str(&names, node_text_str(node_getc(node_at(n, k), "name")));
			buf_byte(&names, ' ');
		}
		if (!str_is(buf_view(&names), rows[i][1]))
			fail_msg("%s gives %.*s", rows[i][0], STR_ARG(buf_view(&names)));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(json_patches),
		cmocka_unit_test(json_patch_cannot_nest_without_end),
		cmocka_unit_test(json_patch_counts_its_work),
		cmocka_unit_test(merge_patches),
		cmocka_unit_test(strategic_patches),
		cmocka_unit_test(strategic_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
