/* JSONPath as CustomResourceDefinitions use it. */
#include "doc/doc_fixture.h"

static const char object[] =
	"{'spec':{'replicas':3,'a.b':'dotted','list':[10,20,30],'none':null,'name with blank':'x'},"
	"'metadata':{'annotations':{'example.com/note':'hello'}},"
	"'status':{'conditions':[{'type':'Synced','status':'False'},{'type':'Ready','status':'True','age':7}],"
	"'groups':[{'of':[]},{'of':[{'n':'first'},{'n':'second'}]}]}}";

static void finds_the_first_value(void **state)
{
	static const struct {
		const char *path, *text; /* NULL: nothing there */
	} rows[] = {
		{ ".spec.replicas", "3" },
		{ "$.spec.replicas", "3" },
		{ ".spec['a.b']", "\"dotted\"" },
		{ ".spec.a\\.b", "\"dotted\"" },
		{ ".spec[\"name with blank\"]", "\"x\"" },
		{ ".metadata.annotations['example.com/note']", "\"hello\"" },
		{ ".metadata.annotations.example\\.com/note", "\"hello\"" },
		{ ".spec.list[0]", "10" },
		{ ".spec.list[-1]", "30" },
		{ ".spec.list[3]", NULL },
		{ ".spec.list[-4]", NULL },
		{ ".spec.list[*]", "10" },
		{ ".spec.replicas[0]", NULL },
		{ ".spec.none", "null" },
		{ ".spec.none.deeper", NULL },
		{ ".spec.other", NULL },
		{ ".status.conditions[?(@.type==\"Ready\")].status", "\"True\"" },
		{ ".status.conditions[?( @.type == 'Ready' )].status", "\"True\"" },
		{ ".status.conditions[?(@.type!=\"Ready\")].type", "\"Synced\"" },
		{ ".status.conditions[?(@.age==7)].type", "\"Ready\"" },
		{ ".status.conditions[?(@.age)].type", "\"Ready\"" },
		{ ".status.conditions[?(@.type==\"Lost\")].status", NULL },
		{ ".status.conditions[?(@.age==\"7\")].type", NULL },
		{ ".status.conditions[?(@.age>=7)].type", "\"Ready\"" },
		{ ".status.conditions[?(@.age<7)].type", NULL },
		{ ".status.conditions[?(@.type>\"R\")].type", "\"Synced\"" },
		{ ".status.conditions[?(@.type==Ready)].type", NULL },
		{ ".status[?(@.type==\"Ready\")].type", NULL },
		{ ".status.groups[*].of[*].n", NULL }, /* an empty list ends it */
		{ ".status.groups[1:].of[*].n", "\"first\"" },
		{ ".status.groups.*.of[1].n", NULL },
		{ ".status.groups[-1:].of[1].n", "\"second\"" },
		{ ".spec.list[-1:]", "30" },
		{ ".spec.list[1:]", "20" },
		{ ".spec.list[1::2]", "20" },
		{ ".spec.list[:-1]", "10" },
		{ ".spec.list[]", "10" },
		{ ".spec.list[0:9]", NULL },
		{ ".spec.list[2:1]", NULL },
		{ ".spec[*]", NULL },
	};
	auto_(arena_free) struct arena *a = arena_new();
	auto_(doc_unref) struct doc *d = quoted_doc(object);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct json_path *p = NULL;
		struct val v;

		print_message("%s\n", rows[i].path);
		assert_int_equal(json_path_new(a, str_c(rows[i].path), &p, NULL), 0);
		v = json_path_first(p, doc_root(d));
		assert_int_equal(val_has(v), rows[i].text != NULL);
		if (rows[i].text)
			assert_string_equal(arena_cstr(a, val_text(v)), rows[i].text);
	}
}

static void says_what_is_wrong(void **state)
{
	static const struct {
		const char *path, *why;
	} rows[] = {
		{ "spec", "is an invalid path: it must begin with a dot" },
		{ "{.spec}", "is an invalid path: it must begin with a dot" },
		{ ".", "is an invalid path: a field's name is missing" },
		{ "..spec", "is an invalid path: a field's name is missing" },
		{ ".spec }", "is an invalid path: it must begin with a dot" },
		{ ".a[", "is an invalid path: a bracket is not closed" },
		{ ".a[1:x]", "is an invalid path: an index must be a number, a slice, a quoted name, * or a filter" },
		{ ".a['b]", "is an invalid path: an index must be a number, a slice, a quoted name, * or a filter" },
		{ ".a[0", "is an invalid path: a bracket is not closed" },
		{ ".a[?(b==1)]", "is an invalid path: a filter must begin with @." },
		{ ".a[?(@.b~1)]", "is an invalid path: a filter compares with ==, !=, <, <=, > or >=" },
		{ ".a[?(@.b==)]", "is an invalid path: a filter compares with a number, a quoted text, true or false" },
		{ ".a[?(@.b==1]", "is an invalid path: a filter is not closed" },
		{ ".a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a",
			"is an invalid path: it has too many steps" },
	};
	auto_(arena_free) struct arena *a = arena_new();
	char name[1100] = ".";
	struct json_path *p;
	struct err e;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		err_init(&e);
		assert_int_equal(json_path_new(a, str_c(rows[i].path), &p, &e), -ERR_INVALID);
		assert_string_equal(e.message, rows[i].why);
	}
	memset(name + 1, 'a', sizeof(name) - 2);
	err_init(&e);
	assert_int_equal(json_path_new(a, str_c(name), &p, &e), -ERR_INVALID);
	assert_string_equal(e.message, "is an invalid path: a field's name is too long");
}

static void knows_plain_paths(void **state)
{
	static const char *const rows[][2] = { { ".spec.replicas", "spec.replicas" },
		{ ".spec['replicas']", "spec.replicas" }, { ".spec['a.b']", NULL }, { ".spec.list[0]", NULL },
		{ ".spec.*", NULL }, { ".spec['']", NULL } };
	auto_(arena_free) struct arena *a = arena_new();

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct json_path *p = NULL;

		assert_int_equal(json_path_new(a, str_c(rows[i][0]), &p, NULL), 0);
		if (rows[i][1])
			assert_string_equal(json_path_dotted(p), rows[i][1]);
		else
			assert_null(json_path_dotted(p));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_the_first_value),
		cmocka_unit_test(says_what_is_wrong),
		cmocka_unit_test(knows_plain_paths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
