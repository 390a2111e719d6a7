/* Custom kinds: compiling, pruning, defaults, values, what schemas must not say, OpenAPI. */
#include "doc/doc_fixture.h"
#include "schema/schema.h"
#include <stdio.h>

static struct schema_custom *compile(const char *json)
{
	const struct schema_custom_opts o = { "stable.example.com", "v1", "CronTab", "CronTabList" };
	auto_(doc_unref) struct doc *d = json_doc(json);
	struct schema_custom *c = NULL;
	struct err e;

	err_init(&e);
	if (schema_custom_new(doc_root(d), &o, &c, &e))
		fail_msg("%s", e.message);
	return c;
}

static const char schema[] =
	"{\"type\":\"object\",\"required\":[\"spec\"],\"properties\":{\"spec\":{\"type\":"
	"\"object\",\"required\":[\"cron\"],\"properties\":{"
	"\"cron\":{\"type\":\"string\",\"pattern\":\"^\\\\d+( \\\\d+)*$\",\"maxLength\":9},"
	"\"n\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":10,\"default\":3},"
	"\"port\":{\"x-kubernetes-int-or-string\":true},"
	"\"gone\":{\"type\":\"string\",\"nullable\":true,\"default\":\"x\"},"
	"\"mode\":{\"type\":\"string\",\"enum\":[\"on\",\"off\"]},"
	"\"map\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"integer\"}},"
	"\"any\":{\"type\":\"object\",\"additionalProperties\":true},"
	"\"usual\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"integer\",\"default\":1}},"
	"\"usuals\":{\"type\":\"array\",\"items\":{\"type\":\"integer\",\"default\":5}},"
	"\"free\":{\"type\":\"object\",\"x-kubernetes-preserve-unknown-fields\":true,"
	"\"properties\":{\"known\":{\"type\":\"object\"}}},"
	"\"pod\":{\"type\":\"object\",\"x-kubernetes-embedded-resource\":true,\"x-kubernetes-"
	"preserve-unknown-fields\":true},"
	"\"maybe\":{\"type\":\"string\",\"nullable\":true,\"enum\":[\"a\"]},"
	"\"small\":{\"type\":\"integer\",\"format\":\"int32\"},"
	"\"few\":{\"type\":\"array\",\"minItems\":1,\"maxItems\":2,\"items\":{\"type\":\"integer\"}},"
	"\"pair\":{\"type\":\"object\",\"minProperties\":2,\"maxProperties\":2,\"additionalProperties\":{"
	"\"type\":\"string\",\"minLength\":1}},"
	"\"all\":{\"type\":\"string\",\"allOf\":[{\"maxLength\":2},{\"pattern\":\"^b\"}]},"
	"\"one\":{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\"},\"b\":{\"type\":"
	"\"string\"}},\"oneOf\":[{\"required\":[\"a\"]},{\"required\":[\"b\"]}]},"
	"\"list\":{\"type\":\"array\",\"x-kubernetes-list-type\":\"map\",\"x-kubernetes-list-map-"
	"keys\":[\"name\"],\"items\":{\"type\":\"object\","
	"\"required\":[\"name\"],\"properties\":{\"name\":{\"type\":\"string\"},\"v\":{\"type\":"
	"\"integer\",\"default\":7}}}}"
	"}}}}";

/* Decoded and defaulted, as text. */
static char *read_as(const struct schema_type *t, struct arena *a, const char *json)
{
	auto_(doc_unref) struct doc *d = json_doc(json);
	struct node *n = node_from(a, doc_root(d));
	struct buf b = BUF_INIT;
	struct err e;
	size_t len;

	err_init(&e);
	if (schema_decode(t, a, n, NULL, &e))
		fail_msg("%s", e.message);
	schema_default(t, a, n, NULL);
	node_write(n, &b);
	return buf_take(&b, &len);
}

static void prunes_and_defaults(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{ "{\"spec\":{\"cron\":\"1\",\"what\":1}}", "{\"spec\":{\"cron\":\"1\",\"gone\":\"x\",\"n\":3}}" },
		{ "{\"spec\":{\"cron\":\"1\",\"n\":null,\"gone\":null}}",
			"{\"spec\":{\"cron\":\"1\",\"n\":3,\"gone\":null}}" },
		{ "{\"spec\":{\"cron\":null,\"gone\":null,\"n\":1,\"port\":null,\"map\":{\"a\":1,\"b\":null},"
		  "\"list\":null,\"any\":{\"c\":null},\"free\":{\"known\":null,\"x\":null}},\"metadata\":null}",
			"{\"spec\":{\"gone\":null,\"n\":1,\"map\":{\"a\":1},\"any\":{\"c\":null},"
			"\"free\":{\"x\":null}}}" },
		{ "{\"spec\":{\"gone\":null,\"n\":{\"a\":1},\"any\":{\"a\":{\"b\":1},\"c\":[{\"d\":2},3]},\"few\":{\"x\":1}}}",
			"{\"spec\":{\"gone\":null,\"n\":{},\"any\":{\"a\":{},\"c\":[{},3]},\"few\":{}}}" },
		{ "{\"spec\":{\"gone\":null,\"n\":1,\"usual\":{\"a\":null,\"b\":2,\"c\":[null,3]}}}",
			"{\"spec\":{\"gone\":null,\"n\":1,\"usual\":{\"a\":1,\"b\":2,\"c\":[null,3]}}}" },
		{ "{\"spec\":{\"gone\":null,\"n\":1,\"usuals\":[null,7]}}",
			"{\"spec\":{\"gone\":null,\"n\":1,\"usuals\":[5,7]}}" },
		{ "{\"spec\":{\"cron\":\"1\",\"gone\":null,\"n\":1,\"list\":[null,{\"name\":\"a\",\"v\":null}]}}",
			"{\"spec\":{\"cron\":\"1\",\"gone\":null,\"n\":1,\"list\":[null,{\"name\":\"a\",\"v\":7}]}}" },
		{ "{\"spec\":null}", "{}" },
		{ "{\"spec\":{\"gone\":\"\",\"n\":0,\"free\":{\"x\":{\"y\":1},\"known\":{\"z\":1}}}}",
			"{\"spec\":{\"gone\":\"\",\"n\":0,\"free\":{\"x\":{\"y\":1},\"known\":{}}}}" },
		{ "{\"spec\":{\"gone\":\"\",\"n\":0,\"list\":[{\"name\":\"a\",\"q\":1}]}}",
			"{\"spec\":{\"gone\":\"\",\"n\":0,\"list\":[{\"name\":\"a\",\"v\":7}]}}" },
		{ "{\"spec\":{\"gone\":\"\",\"n\":0,\"pod\":{\"kind\":\"P\",\"metadata\":{\"name\":\"p\",\"odd\":1},"
		  "\"any\":1}}}",
			"{\"spec\":{\"gone\":\"\",\"n\":0,\"pod\":{\"kind\":\"P\",\"metadata\":{\"name\":\"p\"},"
			"\"any\":1}}}" },
		{ "{\"spec\":{\"gone\":\"\",\"n\":3.0,\"free\":{\"x\":[1e+06,1.50,{\"y\":9007199254740993}]}}}",
			"{\"spec\":{\"gone\":\"\",\"n\":3,\"free\":{\"x\":[1000000,1.5,{\"y\":9007199254740993}]}}}" },
		{ "{\"spec\":\"text\",\"metadata\":{\"name\":\"m\",\"odd\":1}}",
			"{\"spec\":\"text\",\"metadata\":{\"name\":\"m\"}}" },
	};
	auto_(schema_custom_free) struct schema_custom *c = compile(schema);
	auto_(arena_free) struct arena *a = arena_new();

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_free char *got = read_as(schema_custom_type(c), a, cases[i].in);

		assert_string_equal(got, cases[i].out);
	}
}

static void checks_values(void **state)
{
	static const struct {
		const char *in, *message; /* NULL: fine */
	} cases[] = {
		{ "{\"spec\":{\"cron\":\"1 "
		  "2\",\"port\":\"http\",\"mode\":\"on\",\"map\":{\"a\":1},\"one\":{\"a\":\"\"}}}",
			NULL },
		{ "{\"spec\":{\"cron\":\"1\",\"n\":4.0,\"gone\":null}}", NULL },
		{ "{}", "spec: Required value" },
		{ "{\"spec\":{}}", "spec.cron: Required value" },
		{ "{\"spec\":{\"cron\":7}}",
			"spec.cron: Invalid value: \"integer\": spec.cron in body must be of type "
			"string: \"integer\"" },
		{ "{\"spec\":{\"cron\":null}}",
			"spec.cron: Invalid value: \"null\": spec.cron in body must be of type string: \"null\"" },
		{ "{\"spec\":{\"cron\":\"x\"}}",
			"spec.cron: Invalid value: \"x\": spec.cron in body should match '^\\d+( \\d+)*$'" },
		{ "{\"spec\":{\"cron\":\"1234567890\"}}", "spec.cron: Too long: may not be more than 9 bytes" },
		{ "{\"spec\":{\"cron\":\"1\",\"n\":11}}",
			"spec.n: Invalid value: 11: spec.n in body should be less than or equal to 10" },
		{ "{\"spec\":{\"cron\":\"1\",\"n\":1.5}}",
			"spec.n: Invalid value: \"number\": spec.n in body must be of type integer: \"number\"" },
		{ "{\"spec\":{\"cron\":\"1\",\"mode\":\"up\"}}",
			"spec.mode: Unsupported value: \"up\": supported values: \"on\", \"off\"" },
		{ "{\"spec\":{\"cron\":\"1\",\"port\":true}}",
			"spec.port: Invalid value: \"boolean\": spec.port in "
			"body must be of type integer,string: \"boolean\"" },
		{ "{\"spec\":{\"cron\":\"1\",\"map\":{\"k\":\"v\"}}}",
			"spec.map.k: Invalid value: \"string\": spec.map.k in body must be of type integer: "
			"\"string\"" },
		{ "{\"spec\":{\"cron\":\"1\",\"mode\":1}}",
			"[spec.mode: Invalid value: \"integer\": spec.mode in body must be of type string: \"integer\", "
			"spec.mode: Unsupported value: 1: supported values: \"on\", \"off\"]" },
		{ "{\"spec\":{\"cron\":\"1\",\"maybe\":null}}",
			"spec.maybe: Unsupported value: \"null\": supported values: \"a\"" },
		{ "{\"spec\":{\"cron\":\"1\",\"small\":3000000000,\"few\":[1,2]}}", NULL },
		{ "{\"spec\":{\"cron\":\"1\",\"few\":[]}}",
			"spec.few: Invalid value: 0: spec.few in body should have at least 1 items" },
		{ "{\"spec\":{\"cron\":\"1\",\"few\":[1,2,3]}}", "spec.few: Too many: 3: must have at most 2 items" },
		{ "{\"spec\":{\"cron\":\"1\",\"pair\":{\"x\":\"\"}}}",
			"[spec.pair: Invalid value: 1: spec.pair in body should have at least 2 properties, spec.pair.x: "
			"Invalid value: \"\": spec.pair.x in body should be at least 1 chars long]" },
		{ "{\"spec\":{\"cron\":\"1\",\"pair\":{\"x\":\"\",\"y\":\"\",\"z\":\"\"}}}",
			"[spec.pair: Too many: 3: must have at most 2 items, spec.pair.x: Invalid value: \"\": spec.pair.x in "
			"body should be at least 1 chars long, spec.pair.y: Invalid value: \"\": spec.pair.y in body should be "
			"at least 1 chars long, spec.pair.z: Invalid value: \"\": spec.pair.z in body should be at least 1 "
			"chars long]" },
		{ "{\"spec\":{\"cron\":\"1\",\"all\":\"abc\"}}",
			"[spec.all: Too long: may not be more than 2 bytes, spec.all: Invalid value: \"abc\": spec.all in body "
			"should match '^b', <nil>: Invalid value: \"\": \"spec.all\" must validate all the schemas (allOf). None validated]" },
		{ "{\"spec\":{\"cron\":\"1\",\"all\":\"ab\"}}",
			"[spec.all: Invalid value: \"ab\": spec.all in body should match '^b', <nil>: Invalid value: \"\": "
			"\"spec.all\" must validate all the schemas (allOf)]" },
		{ "{\"spec\":{\"cron\":\"1\",\"one\":{\"a\":\"\",\"b\":\"\"}}}",
			"<nil>: Invalid value: \"\": \"spec.one\" must validate one and only one schema (oneOf). Found "
			"2 valid alternatives" },
		{ "{\"spec\":{\"cron\":\"1\",\"one\":{}}}",
			"[<nil>: Invalid value: \"\": \"spec.one\" must validate one and only one schema (oneOf). "
			"Found none valid, spec.one.a: Required value]" },
		{ "{\"spec\":{\"cron\":\"1\",\"list\":[{\"name\":\"a\"},{\"name\":\"b\"},{\"name\":\"a\"}]}}",
			"spec.list[2]: Duplicate value: {\"name\":\"a\"}" },
		{ "{\"spec\":{\"cron\":\"1\",\"list\":[{\"name\":1}]}}",
			"spec.list[0].name: Invalid value: \"integer\": spec.list[0].name in body must be of type "
			"string: \"integer\"" },
	};
	auto_(schema_custom_free) struct schema_custom *c = compile(schema);

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_(doc_unref) struct doc *d = json_doc(cases[i].in);
		struct err e;

		err_init(&e);
		schema_validate(schema_custom_type(c), doc_root(d), "", &e);
		assert_string_equal(e.message, cases[i].message ? cases[i].message : "");
	}
}

/* A schema that became stricter judges what is changed, and leaves alone what stays as it was. */
static void judges_only_what_changes(void **state)
{
	static const struct {
		const char *was, *is, *message;
	} cases[] = {
		{ "{'spec':{'a':'long','b':'1'}}", "{'spec':{'a':'long','b':'1'},'metadata':{'labels':{'x':'y'}}}",
			"" },
		{ "{'spec':{'a':'long','b':'1'}}", "{'spec':{'a':'long','b':'2'}}", "" },
		{ "{'spec':{'a':'long'}}", "{'spec':{'a':'longer'}}",
			"spec.a: Too long: may not be more than 2 bytes" },
		{ "{'spec':{'keyed':[{'name':'x','v':'long'}]}}",
			"{'spec':{'keyed':[{'name':'new'},{'name':'x','v':'long','w':'1'}]}}", "" },
		{ "{'spec':{'plain':[{'v':'long'}]}}", "{'spec':{'plain':[{'v':'long','w':'1'}]}}",
			"spec.plain[0].v: Too long: may not be more than 2 bytes" },
		{ "{'spec':{'not':'x','b':'1'}}", "{'spec':{'not':'x','b':'2'}}", "" },
	};
	auto_free char *stricter = quoted(
		"{'type':'object','properties':{'spec':{'type':'object','properties':{'a':{'type':'string','maxLength':2},"
		"'b':{'type':'string'},'not':{'type':'string','not':{'enum':['x']}},"
		"'keyed':{'type':'array','x-kubernetes-list-type':'map','x-kubernetes-list-map-keys':['name'],'items':{"
		"'type':'object','properties':{'name':{'type':'string'},'v':{'type':'string','maxLength':2},"
		"'w':{'type':'string'}}}},"
		"'plain':{'type':'array','items':{'type':'object','properties':{'v':{'type':'string','maxLength':2},"
		"'w':{'type':'string'}}}}}}}}");
	auto_(schema_custom_free) struct schema_custom *c = compile(stricter);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_free char *was_text = quoted(cases[i].was), *is_text = quoted(cases[i].is);
		auto_(doc_unref) struct doc *was = json_doc(was_text), *is = json_doc(is_text);
		struct err e;

		err_init(&e);
		schema_validate_change(schema_custom_type(c), doc_root(is), doc_root(was), "", &e);
		assert_string_equal(e.message, cases[i].message);
	}
}

/* One field f of a schema, and what is said of a value. Quotes are single. */
static void says(const char *schema_of_f, const char *value, const char *message)
{
	char text[1200];
	struct err e;

	snprintf(text, sizeof(text), "{'type':'object','properties':{'f':%s}}", schema_of_f);
	auto_free char *json = quoted(text);
	auto_(schema_custom_free) struct schema_custom *c = compile(json);
	snprintf(text, sizeof(text), "{'f':%s}", value);
	auto_free char *object = quoted(text);
	auto_(doc_unref) struct doc *d = json_doc(object);
	err_init(&e);
	schema_validate(schema_custom_type(c), doc_root(d), "", &e);
	if (strcmp(e.message, message))
		fail_msg("%s, %s:\n%s\n%s", schema_of_f, value, e.message, message);
}

/* As upstream compares: integers as integers, and what a factor makes of a number has to be whole. */
static void compares_numbers(void **state)
{
	static const struct {
		const char *schema, *value, *message;
	} cases[] = {
		{ "{'type':'number','multipleOf':0.1}", "0.3", "" },
		{ "{'type':'number','multipleOf':0.1}", "0.35",
			"f: Invalid value: 0.35: f in body should be a multiple of 0.1" },
		{ "{'type':'integer','multipleOf':3}", "-7",
			"f: Invalid value: -7: f in body should be a multiple of 3" },
		{ "{'type':'integer','multipleOf':-3}", "6",
			"f: Invalid value: -3: factor MultipleOf declared for f must be positive: -3" },
		{ "{'type':'number','maximum':0.1}", "0.2",
			"f: Invalid value: 0.2: f in body should be less than or equal to 0.1" },
		{ "{'type':'integer','maximum':9007199254740992}", "9007199254740993",
			"f: Invalid value: 9007199254740993: f in body should be less than or equal to 9007199254740992" },
		{ "{'type':'integer','minimum':0.5}", "0", "" },
		{ "{'type':'number','minimum':5,'exclusiveMinimum':true}", "5",
			"f: Invalid value: 5: f in body should be greater than 5" },
		{ "{'type':'integer'}", "1e21",
			"f: Invalid value: \"number\": f in body must be of type integer: \"number\"" },
		{ "{'type':'integer'}", "9223372036854775808",
			"f: Invalid value: \"number\": f in body must be of type integer: \"number\"" },
		{ "{'type':'number','enum':[1]}", "1.5", "" },
		{ "{'type':'number','enum':[1]}", "2.5", "f: Unsupported value: 2.5: supported values: \"1\"" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		says(cases[i].schema, cases[i].value, cases[i].message);
}

static void asks_for_formats_where_there_are_some(void **state)
{
	(void)state;
	says("{'type':'string','format':'date'}", "5",
		"f: Invalid value: \"int64\": f in body must be of type date: \"int64\"");
	says("{'type':'string','format':'date'}", "true",
		"f: Invalid value: \"\": f in body must be of type date: \"\"");
	says("{'type':'string','format':'strange'}", "5",
		"f: Invalid value: \"integer\": f in body must be of type string: \"integer\"");
	says("{'type':'integer','format':'int32'}", "true",
		"f: Invalid value: \"\": f in body must be of type int32: \"\"");
	says("{'type':'integer','format':'int32'}", "'x'",
		"f: Invalid value: \"string\": f in body must be of type integer: \"string\"");
	says("{'type':'integer','format':'int32'}", "3000000000", "");
	says("{'type':'integer','format':'date'}", "true",
		"f: Invalid value: \"boolean\": f in body must be of type integer: \"boolean\"");
	says("{'x-kubernetes-preserve-unknown-fields':true,'allOf':[{'format':'duration'}]}", "{}",
		"[f: Invalid value: \"\": f in body must be of type duration: \"\", <nil>: Invalid value: \"\": \"f\" must validate "
		"all the schemas (allOf). None validated]");
}

/* Of alternatives that all fail, the one that matches most is told, and everything once. */
static void tells_the_best_alternative(void **state)
{
	static const char none[] = "<nil>: Invalid value: \"\": \"f\" must validate at least one schema (anyOf)",
			  ab[] = "'type':'object','properties':{'a':{'type':'string'},'b':{'type':'string'}}";
	char schema_of_f[400], message[600];

	(void)state;
	snprintf(schema_of_f, sizeof(schema_of_f),
		"{%s,'anyOf':[{'required':['x']},{'properties':{'a':{'minLength':3},'b':{'minLength':3}}}]}", ab);
	snprintf(message, sizeof(message),
		"[%s, f.a: Invalid value: \"1\": f.a in body should be at least 3 chars long, f.b: Invalid value: \"2\": f.b in "
		"body should be at least 3 chars long]",
		none);
	says(schema_of_f, "{'a':'1','b':'2'}", message);
	snprintf(schema_of_f, sizeof(schema_of_f), "{%s,'anyOf':[{'required':['x']},{'required':['y']}]}", ab);
	snprintf(message, sizeof(message), "[%s, f.x: Required value]", none);
	says(schema_of_f, "{}", message);
	says("{'type':'string','minLength':3,'allOf':[{'minLength':3}]}", "'a'",
		"[f: Invalid value: \"a\": f in body should be at least 3 chars long, <nil>: Invalid value: \"\": \"f\" must "
		"validate all the schemas (allOf). None validated]");
}

/* That is asked after everything else, in a way of its own, and not of an object that had some twice already. */
static void finds_what_is_there_twice(void **state)
{
	static const char
		set[] = "{'type':'array','x-kubernetes-list-type':'set','items':{'type':'integer'}}",
		keyed[] = "{'type':'array','x-kubernetes-list-type':'map','x-kubernetes-list-map-keys':['k'],'items':{"
			  "'type':'object','properties':{'k':{'type':'string'}}}}";
	auto_free char
		*text = quoted(
			"{'type':'object','properties':{'f':{'type':'array','x-kubernetes-list-type':'set','items':{"
			"'type':'integer'}}}}"),
		*twice = quoted("{'f':[1,1]}"), *thrice = quoted("{'f':[1,1,2,2]}");
	auto_(schema_custom_free) struct schema_custom *c = compile(text);
	auto_(doc_unref) struct doc *was = json_doc(twice), *is = json_doc(thrice);
	struct err e;

	(void)state;
	says(set, "[1,2,1,1]", "f[2]: Duplicate value: 1");
	says(keyed, "[{'k':'a'},{},{'x':1}]", "f[2]: Duplicate value: {}");
	says(keyed, "[{'k':'a'},5,{'k':'a'}]",
		"[f[1]: Invalid value: \"integer\": f[1] in body must be of type object: \"integer\", f[1]: Invalid value: 5: must "
		"be an object for an array of list-type map]");
	says("{'type':'object','additionalProperties':{'type':'array','x-kubernetes-list-type':'set','items':{'type':'integer'}}}",
		"{'a':[1,1]}", "f[a][1]: Duplicate value: 1");
	err_init(&e);
	assert_int_equal(schema_validate_change(schema_custom_type(c), doc_root(is), doc_root(was), "", &e), 0);
}

static void checks_formats(void **state)
{
	static const struct {
		const char *format, *good, *bad;
	} cases[] = { { "ipv4", "10.0.0.1", "10.0.0.256" }, { "ipv6", "::1", "10.0.0.1" },
		{ "cidr", "10.0.0.0/8", "10.0.0.0/33" }, { "uuid", "123e4567-e89b-12d3-a456-426614174000", "123e4567" },
		{ "date", "2020-02-29", "2020-02-3" }, { "date-time", "2020-02-29T10:00:00Z", "2020-02-29" },
		{ "byte", "aGk=", "a" }, { "hostname", "a.example.com", "-a" }, { "hostname", "5", "192.0.2.1" },
		{ "email", "a@example.com", "a" }, { "uri", "https://example.com/x", "no scheme" },
		{ "mac", "00:11:22:33:44:55", "00:11" }, { "duration", "1h2m", "abc" }, { "quantity", "10Gi", "ten" },
		{ "k8s-short-name", "a-1", "a.b" }, { "k8s-long-name", "a.b", "A" }, { "password", "", NULL },
		{ "never-heard-of", "anything", NULL } };

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char json[300];
		struct err e;

		snprintf(json, sizeof(json),
			"{\"type\":\"object\",\"properties\":{\"f\":{\"type\":\"string\",\"format\":\"%s\"}}}",
			cases[i].format);
		auto_(schema_custom_free) struct schema_custom *c = compile(json);
		for (int bad = 0; bad < 2; bad++) {
			const char *text = bad ? cases[i].bad : cases[i].good;

			if (!text)
				continue;
			snprintf(json, sizeof(json), "{\"f\":\"%s\"}", text);
			auto_(doc_unref) struct doc *d = json_doc(json);
			err_init(&e);
			if ((schema_validate(schema_custom_type(c), doc_root(d), "", &e) < 0) != bad)
				fail_msg("%s is %s for format %s", text, bad ? "right" : "wrong", cases[i].format);
		}
	}
}

static void a_pattern_is_bounded(void **state)
{
	auto_(schema_custom_free) struct schema_custom *c =
		compile("{\"type\":\"object\",\"properties\":{\"f\":{\"type\":\"string\",\"pattern\":\"^(a+)+$\"}}}");
	auto_(doc_unref) struct doc *d =
		json_doc("{\"f\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab\"}");
	struct err e;

	err_init(&e);
	assert_int_equal(schema_validate(schema_custom_type(c), doc_root(d), "", &e), -ERR_INVALID);
}

/* What is wrong with the words of a schema keeps nobody from judging its defaults, and 3.0 is 3. */
static void defaults_are_judged_and_written(void **state)
{
	auto_free char
		*text = quoted(
			"{'type':'object','properties':{'a':{'type':'null'},'b':{'type':'integer','default':'x'}}}"),
		*whole = quoted("{'type':'object','properties':{'b':{'type':'number','default':3.0}}}");
	auto_(doc_unref) struct doc *d = json_doc(text);
	auto_(schema_custom_free) struct schema_custom *c = compile(whole);
	auto_(arena_free) struct arena *a = arena_new();
	struct err e;

	(void)state;
	err_init(&e);
	assert_true(schema_structural(doc_root(d), "s", &e));
	auto_free char *read = read_as(schema_custom_type(c), a, "{}");
	assert_string_equal(read, "{\"b\":3}");
}

static void no_object(void *arg, struct val object, const char *path)
{
	(void)object;
	err_cause(arg, "FieldValueInvalid", path, "an object");
}

static void refuses_what_is_not_structural(void **state)
{
	static const struct {
		const char *in, *path, *message; /* of the first cause; NULL: fine */
	} cases[] = {
		{ schema, NULL, NULL },
		{ "{\"properties\":{}}", "s.type", "Required value: must not be empty at the root" },
		{ "{\"type\":\"array\",\"items\":{\"type\":\"string\"}}", "s.type",
			"Invalid value: \"array\": must be object at the root" },
		{ "{\"type\":\"object\",\"properties\":{\"a\":{}}}", "s.properties[a].type",
			"Required value: must not be empty for specified object fields" },
		{ "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"array\"}}}", "s.properties[a].items",
			"Required value: must be specified" },
		{ "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\",\"pattern\":\"(?=x)\"}}}",
			"s.properties[a].pattern",
			"Invalid value: \"(?=x)\": must be a valid regular expression, but isn't: error parsing "
			"regexp: invalid or unsupported Perl syntax: `(?=`" },
		{ "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\"}},\"anyOf\":[{\"properties\":{\"a\":"
		  "{\"type\":\"string\"}}}]}",
			"s.anyOf[0].properties[a].type", "Forbidden: must be empty to be structural" },
		{ "{\"type\":\"object\",\"anyOf\":[{\"properties\":{\"b\":{\"minLength\":1}}}]}", "s.properties[b]",
			"Required value: because it is defined in s.anyOf[0].properties[b]" },
		{ "{\"type\":\"object\",\"x-kubernetes-preserve-unknown-fields\":true,\"oneOf\":[{\"not\":{\"properties\":{\"b\":{"
		  "\"items\":{}}}}}],\"properties\":{\"b\":{\"type\":\"object\"}}}",
			"s.properties[b].items",
			"Required value: because it is defined in s.oneOf[0].not.properties[b].items" },
		{ "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"object\",\"anyOf\":[{\"properties\":{\"b\":{\"minLength\":1}}}]}}}",
			NULL, NULL },
		{ "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\",\"allOf\":[{\"id\":\"x\",\"type\":\"string\"}]}}}",
			"s.properties[a].allOf[0].id", "Forbidden: id is not supported" },
		{ "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"object\",\"oneOf\":[{\"x-kubernetes-list-type\":\"set\"}]}}}",
			"s.properties[a].oneOf[0].type",
			"Required value: must be array if x-kubernetes-list-type is specified" },
		{ "{\"type\":\"object\",\"properties\":{\"metadata\":{\"type\":\"object\",\"properties\":{\"labels\":{"
		  "\"type\":\"object\"}}}}}",
			"s.properties[metadata]",
			"Forbidden: must not specify anything other than name and generateName, but metadata is "
			"implicitly specified" },
		{ "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"object\",\"additionalProperties\":{"
		  "\"type\":\"string\",\"default\":1}}}}",
			NULL, NULL },
		{ "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\",\"not\":{\"minLength\":1},\"default\":\"x\"}}}",
			"s.properties[a].default", "Invalid value: \"\": \"\" must not validate the schema (not)" },
		{ "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"properties\":{},"
		  "\"default\":{\"odd\":1}}}}}",
			"s.properties[a].items.default", "Invalid value: {\"odd\":1}: must not have unknown fields" },
		{ "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"object\",\"properties\":{\"b\":{\"type\":\"object\","
		  "\"x-kubernetes-embedded-resource\":true,\"x-kubernetes-preserve-unknown-fields\":true}},"
		  "\"maxProperties\":0,\"default\":{\"b\":{}}}}}",
			"s.properties[a].default.b", "an object" },
		{ "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\",\"default\":1}}}",
			"s.properties[a].default",
			"Invalid value: \"integer\":  in body must be of type string: \"integer\"" },
		{ "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"array\",\"x-kubernetes-list-type\":\"map\","
		  "\"items\":{\"type\":\"object\"}}}}",
			"s.properties[a].x-kubernetes-list-map-keys",
			"Required value: must not be empty if x-kubernetes-list-type is map" },
		{ "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"array\",\"x-kubernetes-list-type\":\"map\",\"x-kubernetes-list-map-keys\":[\"b\"],\"items\":{\"type\":\"object\",\"properties\":{\"k\":{\"type\":\"string\",\"default\":\"x\"}}}}}}",
			"s.properties[a].x-kubernetes-list-map-keys",
			"Invalid value: [\"b\"]: entries must all be names of item properties" },
		{ "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"array\",\"x-kubernetes-list-type\":\"map\",\"x-kubernetes-list-map-keys\":[\"k\",\"k\"],\"items\":{\"type\":\"object\",\"properties\":{\"k\":{\"type\":\"string\",\"default\":\"x\"}}}}}}",
			"s.properties[a].x-kubernetes-list-map-keys",
			"Invalid value: [\"k\",\"k\"]: must not contain duplicate entries" },
		{ "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"array\",\"x-kubernetes-list-type\":\"map\",\"x-kubernetes-list-map-keys\":[\"k\"],\"items\":{\"type\":\"object\",\"properties\":{\"k\":{\"type\":\"string\",\"nullable\":true,\"default\":\"x\"}}}}}}",
			"s.properties[a].items.properties[k].nullable",
			"Forbidden: this property is in x-kubernetes-list-map-keys, so it cannot be nullable" },
		{ "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"array\",\"x-kubernetes-list-type\":\"set\",\"items\":{\"type\":\"array\",\"x-kubernetes-list-type\":\"set\",\"items\":{\"type\":\"string\"}}}}}",
			"s.properties[a].items.x-kubernetes-list-type",
			"Invalid value: \"set\": must be atomic as item of a list with x-kubernetes-list-type=set" },
		{ "{\"type\":\"object\",\"properties\":{\"metadata\":{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\",\"default\":\"x\"}}}}}",
			"s.properties[metadata].properties[name].default",
			"Forbidden: must not be set in top-level metadata" },
		{ "{\"type\":\"object\",\"properties\":{\"kind\":{\"type\":\"string\",\"default\":\"x\"}}}",
			"s.properties[kind].default", "Forbidden: must not be set in top-level kind" },
		{ "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\",\"id\":\"x\"}}}",
			"s.properties[a].id", "Forbidden: id is not supported" },
		{ "{\"type\":\"object\",\"properties\":{\"p\":{\"x-kubernetes-int-or-string\":true,\"anyOf\":[{"
		  "\"type\":\"integer\"},{\"type\":\"string\"}]}}}",
			NULL, NULL },
		/* not asked where a word makes that there is no structure, but defaults are where only words are wrong */
		{ "{\"type\":\"object\",\"id\":\"x\",\"properties\":{\"a\":{\"type\":\"string\",\"pattern\":\"(\"}}}",
			"s.id", "Forbidden: id is not supported" },
		{ "{\"type\":\"object\",\"properties\":{\"metadata\":{\"type\":\"object\",\"properties\":{\"name\":{"
		  "\"type\":\"string\",\"anyOf\":[{\"default\":1}]}}}}}",
			"s.properties[metadata].properties[name].anyOf[0].default",
			"Forbidden: must not be set in top-level metadata" },
		{ "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"object\",\"x-kubernetes-embedded-resource\":true,"
		  "\"properties\":{\"metadata\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\",\"default\":\"x\"}}}}}}",
			"s.properties[a].properties[metadata].additionalProperties.default",
			"Forbidden: must not be set inside additionalProperties applying to object metadata" },
		{ "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\",\"pattern\":\"a(b\"}}}",
			"s.properties[a].pattern",
			"Invalid value: \"a(b\": must be a valid regular expression, but isn't: error parsing regexp: missing "
			"closing ): `a(b`" },
		{ "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\",\"pattern\":\"a[b\"}}}",
			"s.properties[a].pattern",
			"Invalid value: \"a[b\": must be a valid regular expression, but isn't: error parsing regexp: missing "
			"closing ]: `[b`" },
		{ "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"array\",\"items\":{\"type\":\"string\"},\"default\":[1]}}}",
			"s.properties[a].default.[0]",
			"Invalid value: \"integer\": [0] in body must be of type string: \"integer\"" },
		{ "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"array\",\"items\":{\"type\":\"integer\"},"
		  "\"x-kubernetes-list-type\":\"set\",\"default\":[1,1]}}}",
			NULL, NULL },
		{ "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"number\",\"maximum\":2,\"default\":3.0}}}",
			"s.properties[a].default", "Invalid value: 3:  in body should be less than or equal to 2" },
		{ "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"object\",\"additionalProperties\":true,"
		  "\"default\":{\"b\":{\"c\":1}}}}}",
			"s.properties[a].default", "Invalid value: {\"b\":{\"c\":1}}: must not have unknown fields" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_(doc_unref) struct doc *d = json_doc(cases[i].in);
		const char *reason, *path, *message;
		size_t pos = 0;
		struct err e;

		err_init(&e);
		if (schema_structural(doc_root(d), "s", &e))
			schema_check_defaults(doc_root(d), "s", true, no_object, &e, &e);
		if (!cases[i].path) {
			if (err_next_cause(&e, &pos, &reason, &path, &message))
				fail_msg("%s: %s", path, message);
			continue;
		}
		if (!err_next_cause(&e, &pos, &reason, &path, &message))
			fail_msg("no cause for %s", cases[i].in);
		assert_string_equal(path, cases[i].path);
		assert_string_equal(message, cases[i].message);
	}
}

static void applies_by_list_keys(void **state)
{
	auto_(schema_custom_free) struct schema_custom *c = compile(schema);
	auto_(arena_free) struct arena *a = arena_new();
	auto_(doc_unref) struct doc *d =
		json_doc("{\"spec\":{\"cron\":\"1\",\"list\":[{\"name\":\"a\",\"v\":1}],\"free\":"
			 "{\"deep\":{\"x\":1}},\"map\":{\"k\":2}}}");
	struct buf b = BUF_INIT;

	node_write(field_set_node(a, field_set_of(a, schema_custom_type(c), doc_root(d))), &b);
	buf_byte(&b, 0);
	assert_string_equal(b.p,
		"{\"f:spec\":{\"f:cron\":{},\"f:free\":{\"f:deep\":{\".\":{},\"f:x\":{}}},\"f:list\":{\"k:{"
		"\\\"name\\\":\\\"a\\\"}\":{\".\":{},\"f:name\":{},\"f:v\":{}}},"
		"\"f:map\":{\"f:k\":{}}}}");
	buf_fini(&b);
}

/* Applies json, with ' for ", to *live as manager. */
static void apply_as(
	struct arena *a, const struct schema_type *t, struct doc **live, const char *manager, const char *json)
{
	struct managed_write w = { .type = t,
		.api_version = STR("stable.example.com/v1"),
		.manager = str_c(manager),
		.now = STR("2026-01-01T00:00:00Z"),
		.apply = true };
	auto_free char *text = quoted(json);
	auto_(doc_unref) struct doc *config = json_doc(text);
	struct node *n = NULL;
	struct err e;

	err_init(&e);
	if (managed_apply(a, &w, *live ? doc_root(*live) : VAL_NONE, doc_root(config), &n, &e))
		fail_msg("%s", e.message);
	doc_hold(a, *live = node_publish(n));
}

static void applies_lists_inside_lists_and_maps(void **state)
{
	auto_free char *json = quoted(
		"{'type':'object','properties':{'spec':{'type':'object','properties':{"
		"'in':{'type':'array','x-kubernetes-list-type':'map','x-kubernetes-list-map-keys':['n'],'items':{"
		"'type':'object','properties':{'n':{'type':'string'},'sets':{'type':'object','additionalProperties':{"
		"'type':'array','x-kubernetes-list-type':'set','items':{'type':'string'}}}}}},"
		"'whole':{'type':'array','items':{'type':'array','items':{'type':'string'}}}}}}}");
	auto_(schema_custom_free) struct schema_custom *c = compile(json);
	auto_(arena_free) struct arena *a = arena_new();
	const struct schema_type *t = schema_custom_type(c);
	struct doc *live = NULL;

	(void)state;
	apply_as(a, t, &live, "one", "{'spec':{'in':[{'n':'a','sets':{'s':['x']}}],'whole':[['1'],['2']]}}");
	apply_as(a, t, &live, "two", "{'spec':{'in':[{'n':'a','sets':{'s':['y'],'t':['z']}}]}}");
	auto_free char *both = quoted("{'in':[{'n':'a','sets':{'s':['x','y'],'t':['z']}}],'whole':[['1'],['2']]}");
	assert_true(str_is(val_text(doc_get(live, "spec")), both));
	apply_as(a, t, &live, "one", "{'spec':{}}");
	auto_free char *left = quoted("{'in':[{'n':'a','sets':{'s':['y'],'t':['z']}}]}");
	assert_true(str_is(val_text(doc_get(live, "spec")), left));
}

static void is_published(void **state)
{
	auto_(schema_custom_free) struct schema_custom *c = compile(schema);
	auto_(doc_unref) struct doc *source = json_doc(schema), *d = NULL;
	static const char *const verbs[] = { "get", "list", NULL };
	struct openapi_resource r = { .group = "stable.example.com",
		.version = "v1",
		.resource = "crontabs",
		.singular = "crontab",
		.kind = "CronTab",
		.namespaced = true,
		.verbs = verbs,
		.type = schema_custom_type(c),
		.list_type = schema_custom_list_type(c),
		.schema = doc_root(source) };
	struct buf v2 = BUF_INIT, v3 = BUF_INIT;
	struct err e;

	err_init(&e);
	assert_int_equal(openapi_v3_json(&r, 1, r.group, r.version, "v1", &v3), 0);
	assert_int_equal(doc_parse(buf_view(&v3), &d, &e), 0);
	struct val t = val_get(doc_get(d, "components.schemas"), "com.example.stable.v1.CronTab");
	assert_true(val_is(val_path(t, "properties.spec.properties.cron.type"), "string"));
	assert_true(val_len(val_path(t, "properties.spec.properties.one.oneOf")) == 2);
	assert_true(val_has(val_path(t, "properties.metadata.allOf")));
	assert_true(val_is(val_get(val_at(val_get(t, "x-kubernetes-group-version-kind"), 0), "kind"), "CronTab"));
	assert_true(val_has(val_get(doc_get(d, "components.schemas"), "com.example.stable.v1.CronTabList")));
	doc_unref(d);
	assert_int_equal(openapi_v2_json(&(struct openapi_source){ .r = &r, .n = 1, .server_version = "v1" }, &v2), 0);
	assert_int_equal(doc_parse(buf_view(&v2), &d, &e), 0);
	t = val_get(doc_get(d, "definitions"), "com.example.stable.v1.CronTab");
	assert_false(val_has(val_path(t, "properties.spec.properties.one.oneOf")));
	assert_false(val_has(val_path(t, "properties.spec.properties.port.type")));
	buf_reset(&v2);
	assert_int_equal(
		openapi_v2_protobuf(&(struct openapi_source){ .r = &r, .n = 1, .server_version = "v1" }, &v2), 0);
	assert_true(str_has(buf_view(&v2), STR("com.example.stable.v1.CronTab")));
	buf_fini(&v2);
	buf_fini(&v3);
}

static void collect(void *arg, const char *path)
{
	buf_printf(arg, "%s ", path);
}

static void names_rules_it_does_not_enforce(void **state)
{
	auto_(doc_unref) struct doc *d = json_doc("{\"x-kubernetes-validations\":[{\"rule\":\"true\"}],\"properties\":{"
						  "\"a\":{\"items\":{\"x-kubernetes-validations\":[{}]}}}}");
	struct buf b = BUF_INIT;

	schema_unenforced_rules(doc_root(d), collect, &b);
	buf_byte(&b, 0);
	assert_string_equal(b.p, "the whole object a[*] ");
	buf_fini(&b);
}

/* An element that is there twice is found however far apart the two are, and in a time that grows with the list. */
static void long_sets_are_checked_to_the_end(void **state)
{
	auto_(schema_custom_free) struct schema_custom *c = compile(
		"{\"type\":\"object\",\"properties\":{\"s\":{\"type\":\"array\",\"x-kubernetes-list-type\":\"set\",\"items\":{\"type\":\"number\"}}}}");
	auto_buf struct buf b = BUF_INIT;
	struct err e;

	for (int again = 0; again < 2; again++) {
		buf_reset(&b);
		buf_c(&b, "{\"s\":[0");
		for (int i = 1; i < 50000; i++)
			buf_printf(&b, ",%d", i);
		buf_printf(&b, "%s]}", again ? ",7.0" : "");
		buf_byte(&b, 0);
		auto_(doc_unref) struct doc *d = json_doc(b.p);
		err_init(&e);
		assert_int_equal(schema_validate(schema_custom_type(c), doc_root(d), "", &e), again ? -ERR_INVALID : 0);
		if (again)
			assert_string_equal(e.message, "s[50000]: Duplicate value: 7.0");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(prunes_and_defaults),
		cmocka_unit_test(checks_values),
		cmocka_unit_test(judges_only_what_changes),
		cmocka_unit_test(compares_numbers),
		cmocka_unit_test(asks_for_formats_where_there_are_some),
		cmocka_unit_test(tells_the_best_alternative),
		cmocka_unit_test(finds_what_is_there_twice),
		cmocka_unit_test(checks_formats),
		cmocka_unit_test(a_pattern_is_bounded),
		cmocka_unit_test(defaults_are_judged_and_written),
		cmocka_unit_test(refuses_what_is_not_structural),
		cmocka_unit_test(applies_by_list_keys),
		cmocka_unit_test(applies_lists_inside_lists_and_maps),
		cmocka_unit_test(is_published),
		cmocka_unit_test(names_rules_it_does_not_enforce),
		cmocka_unit_test(long_sets_are_checked_to_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
