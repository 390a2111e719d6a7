/* What readers get of the server core: watches, lists and pages, discovery. */
#include "api/api_fixture.h"

#define WAIT_MS 60000 /* ends what hangs */

static bool stream_has(struct answer *a, const char *text, int64_t ms)
{
	struct mono until = mono_add_ms(mono_now(), ms);
	bool found;

	task_lock(&a->lock);
	for (;;) {
		buf_byte(&a->body, 0);
		a->body.n--;
		found = str_has(buf_view(&a->body), str_c(text));
		if (found || !task_wait_until(&a->wake, &a->lock, until))
			break;
	}
	task_unlock(&a->lock);
	return found;
}

static void watch_tells_entering_and_leaving(void **state)
{
	struct fixture *f = *state;

	expect(f, 201, call(f, "POST", CM, "{\"metadata\":{\"name\":\"w1\",\"labels\":{\"in\":\"yes\"}}}"));
	struct answer *w = start(f, "GET", CM "?watch=1&labelSelector=in%3Dyes", NULL, NULL, NULL);
	assert_int_equal(w->status, 200);
	assert_true(
		stream_has(w, "{\"type\":\"ADDED\",\"object\":{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\"", WAIT_MS));
	expect(f, 200, call_as(f, "PATCH", CM "/w1", "application/merge-patch+json", NULL, "{\"data\":{\"x\":\"1\"}}"));
	assert_true(stream_has(w, "\"MODIFIED\"", WAIT_MS));
	expect(f, 200,
		call_as(f, "PATCH", CM "/w1", "application/merge-patch+json", NULL,
			"{\"metadata\":{\"labels\":{\"in\":\"no\"}}}"));
	assert_true(stream_has(w, "\"DELETED\"", WAIT_MS));
	expect(f, 201, call(f, "POST", CM, "{\"metadata\":{\"name\":\"w2\"}}"));
	expect(f, 200,
		call_as(f, "PATCH", CM "/w2", "application/merge-patch+json", NULL,
			"{\"metadata\":{\"labels\":{\"in\":\"yes\"}}}"));
	assert_true(stream_has(w, "\"name\":\"w2\"", WAIT_MS));
	stream_close(f, w);
	w = start(f, "GET",
		CM "?watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan", NULL,
		"application/json;as=Table;v=v1;g=meta.k8s.io,application/json", NULL);
	assert_true(stream_has(w, "columnDefinitions\":[{\"name\":\"Name\"", WAIT_MS));
	assert_true(stream_has(w, "k8s.io/initial-events-end", WAIT_MS));
	stream_close(f, w);
	w = start(f, "GET", CM "?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan", NULL, NULL, NULL);
	expect(f, 201, call(f, "POST", CM, "{\"metadata\":{\"name\":\"after\"}}"));
	assert_true(stream_has(w, "\"name\":\"after\"", WAIT_MS));
	assert_false(stream_has(w, "\"BOOKMARK\"", 0)); /* they were not asked for */
	stream_close(f, w);
	w = start(f, "GET", CM "?watch=1&sendInitialEvents=false&resourceVersionMatch=NotOlderThan", NULL, NULL, NULL);
	expect(f, 201, call(f, "POST", CM, "{\"metadata\":{\"name\":\"w3\"}}"));
	assert_true(stream_has(w, "\"name\":\"w3\"", WAIT_MS)); /* from now on */
	assert_false(stream_has(w, "\"name\":\"w2\"", 0));
	assert_false(stream_has(w, "\"ERROR\"", 0));
	stream_close(f, w);
	w = start(f, "GET", CM "?watch=1&timeoutSeconds=1", NULL, NULL, NULL);
	struct mono until = mono_add_ms(mono_now(), WAIT_MS);
	task_lock(&w->lock);
	while (!w->ended && task_wait_until(&w->wake, &w->lock, until))
		;
	bool ended = w->ended;
	task_unlock(&w->lock);
	assert_true(ended);
	stream_close(f, w);
}

/* Who may watch one object by name gets no other, whichever way he names it. */
static void a_watch_of_one_name_tells_of_no_other(void **state)
{
	struct fixture *f = *state;
	static const char *const rules[][2] = {
		{ "roles",
			"{\"metadata\":{\"name\":\"one\"},\"rules\":[{\"apiGroups\":[\"\"],\"resources\":[\"configmaps\"],"
			"\"resourceNames\":[\"one\"],\"verbs\":[\"watch\",\"list\"]}]}" },
		{ "rolebindings",
			"{\"metadata\":{\"name\":\"one\"},\"roleRef\":{\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"Role\","
			"\"name\":\"one\"},\"subjects\":[{\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"User\",\"name\":\"ann\"}]}" },
	};
	static const char *const urls[] = { "/api/v1/watch/namespaces/default/configmaps/one",
		"/api/v1/watch/namespaces/default/configmaps/one?fieldSelector=metadata.name%3D%3Done",
		CM "?watch=1&fieldSelector=metadata.name%3Done", CM "?watch=1&fieldSelector=metadata.name%3D%3Done",
		CM "?watch=1&fieldSelector=metadata.namespace%3Ddefault,metadata.name%3Done" };
	const struct identity ann = { .user = { "ann", 3 } };

	for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
		auto_free char *url =
			xasprintf("/apis/rbac.authorization.k8s.io/v1/namespaces/default/%s", rules[i][0]);
		expect(f, 201, call(f, "POST", url, rules[i][1]));
	}
	expect(f, 201, call(f, "POST", CM, "{\"metadata\":{\"name\":\"another\"}}"));
	expect(f, 201, call(f, "POST", CM, "{\"metadata\":{\"name\":\"one\"}}"));
	f->as = &ann;
	for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
		struct answer *w = start(f, "GET", urls[i], NULL, NULL, NULL);
		assert_int_equal(w->status, 200);
		assert_true(stream_has(w, "\"name\":\"one\"", WAIT_MS));
		assert_false(stream_has(w, "\"name\":\"another\"", 0));
		stream_close(f, w);
	}
	expect(f, 200, call(f, "GET", CM "?fieldSelector=metadata.name%3D%3Done", NULL));
	expect(f, 403, call(f, "GET", CM "?fieldSelector=metadata.name!%3Done", NULL));
	expect(f, 403, call(f, "GET", "/api/v1/watch/namespaces/default/configmaps", NULL));
	expect(f, 400,
		call(f, "GET", "/api/v1/watch/namespaces/default/configmaps/one?fieldSelector=metadata.name%3Danother",
			NULL));
	assert_string_equal(get(f, "message"), "fieldSelector metadata.name doesn't match requested name");
	expect(f, 405, call(f, "POST", "/api/v1/watch/namespaces/default/configmaps/one", NULL));
	f->as = NULL;
}

/* The Python client writes False. */
static void booleans_have_no_case(void **state)
{
	struct fixture *f = *state;

	expect(f, 200, call(f, "GET", CM "?watch=False", NULL));
	assert_string_equal(get(f, "kind"), "ConfigMapList");
	expect(f, 200, call(f, "GET", CM "?watch=FALSE", NULL));
	expect(f, 200, call(f, "GET", CM "?watch=0", NULL));
	struct answer *w = start(f, "GET", CM "?watch=", NULL, NULL, NULL);
	assert_true(w->stream);
	stream_close(f, w);
}

/* Watches of one form that are told together get the same bytes; no form gets another's. */
static void watches_share_what_they_are_told(void **state)
{
	struct fixture *f = *state;
	static const char *const forms[] = { "application/json", "application/vnd.kubernetes.protobuf",
		"application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
		"application/json;as=Table;v=v1;g=meta.k8s.io" };
	static const char *const begins[] = {
		"{\"type\":\"ADDED\",\"object\":{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\"", "",
		"{\"type\":\"ADDED\",\"object\":{\"kind\":\"PartialObjectMetadata\"",
		"{\"type\":\"ADDED\",\"object\":{\"kind\":\"Table\""
	};
	struct answer *w[3 * ARRAY_LEN(forms)];
	auto_free char *large = xcalloc(1, 9001);

	expect(f, 200, call(f, "GET", CM, NULL));
	auto_free char *url = xasprintf(CM "?watch=1&resourceVersion=%s", get(f, "metadata.resourceVersion"));
	for (size_t i = 0; i < ARRAY_LEN(w); i++)
		w[i] = start(
			f, "GET", url, NULL, forms[i / 2 % ARRAY_LEN(forms)], NULL); /* pairs, so that forms change */
	memset(large, 'L', 9000);
	auto_free char *body = xasprintf("{\"metadata\":{\"name\":\"large\"},\"data\":{\"x\":\"%s\"}}", large);
	expect(f, 201, call(f, "POST", CM, "{\"metadata\":{\"name\":\"told\"},\"data\":{\"x\":\"1\"}}"));
	expect(f, 201, call(f, "POST", CM, body));
	expect(f, 200,
		call_as(f, "PATCH", CM "/told", "application/merge-patch+json", NULL, "{\"data\":{\"x\":\"2\"}}"));
	expect(f, 200, call(f, "DELETE", CM "/told", NULL));
	for (size_t i = 0; i < ARRAY_LEN(w); i++) {
		size_t form = i / 2 % ARRAY_LEN(forms);
		const struct answer *first = w[form * 2];

		assert_true(stream_has(w[i], "DELETED", WAIT_MS));
		assert_int_equal(w[i]->status, 200);
		assert_true(str_starts(buf_view(&w[i]->body), str_c(begins[form])));
		assert_true(str_eq(buf_view(&w[i]->body), buf_view(&first->body)));
		assert_int_equal(str_has(buf_view(&w[i]->body), str_c(large)), form < 2);
		assert_int_equal(w[i]->body.p[0] == 0, form == 1); /* a frame's length, not text */
	}
	for (size_t i = 0; i < ARRAY_LEN(w); i++)
		stream_close(f, w[i]);
}

static void set_full(struct answer *a, bool full)
{
	task_lock(&a->lock);
	a->full = full;
	task_unlock(&a->lock);
	if (!full)
		a->ops->writable(a->ops_arg);
}

/* Watches go on together; who does not read gets it later, once and in order, and goes on with the others. */
static void a_watch_without_room_misses_nothing(void **state)
{
	struct fixture *f = *state;
	struct answer *w[4];

	expect(f, 200, call(f, "GET", CM, NULL));
	auto_free char *url = xasprintf(CM "?watch=1&resourceVersion=%s", get(f, "metadata.resourceVersion"));
	auto_free char *one = xasprintf("%s&fieldSelector=metadata.name%%3Dthird", url);
	for (size_t i = 0; i < 3; i++)
		w[i] = start(f, "GET", url, NULL, NULL, NULL);
	w[3] = start(f, "GET", one, NULL, NULL, NULL);
	expect(f, 201, call(f, "POST", CM, "{\"metadata\":{\"name\":\"first\"}}"));
	for (size_t i = 0; i < 3; i++)
		assert_true(stream_has(w[i], "\"first\"", WAIT_MS));
	for (int round = 0; round < 3; round++) {
		set_full(w[1], true);
		expect(f, 201, call(f, "POST", CM, "{\"metadata\":{\"name\":\"third\"}}"));
		expect(f, 200, call(f, "DELETE", CM "/third", NULL));
		auto_free char *body = xasprintf("{\"metadata\":{\"name\":\"end-%d\"}}", round);
		auto_free char *end = xasprintf("\"end-%d\"", round);
		expect(f, 201, call(f, "POST", CM, body));
		assert_true(stream_has(w[0], end, WAIT_MS));
		assert_true(stream_has(w[2], end, WAIT_MS));
		assert_false(stream_has(w[1], end, 0));
		set_full(w[1], false);
		assert_true(stream_has(w[1], end, WAIT_MS));
		assert_true(str_eq(buf_view(&w[1]->body), buf_view(&w[0]->body)));
	}
	expect(f, 201, call(f, "POST", CM, "{\"metadata\":{\"name\":\"last\"}}"));
	for (size_t i = 0; i < 3; i++) {
		assert_true(stream_has(w[i], "\"last\"", WAIT_MS));
		assert_true(str_eq(buf_view(&w[i]->body), buf_view(&w[0]->body)));
	}
	assert_true(stream_has(w[3], "\"DELETED\"", WAIT_MS));
	assert_false(stream_has(w[3], "\"end-", 0));
	assert_false(stream_has(w[3], "\"first\"", 0));
	for (size_t i = 0; i < ARRAY_LEN(w); i++)
		stream_close(f, w[i]);
}

static void lists_page_and_tables_have_columns(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 5; i++) {
		char *body = xasprintf("{\"metadata\":{\"name\":\"page%d\",\"labels\":{\"page\":\"y\"}}}", i);
		expect(f, 201, call(f, "POST", "/api/v1/namespaces/kube-public/configmaps", body));
		free(body);
	}
	expect(f, 200, call(f, "GET", "/api/v1/namespaces/kube-public/configmaps?limit=2", NULL));
	assert_string_equal(get(f, "kind"), "ConfigMapList");
	assert_int_equal(val_len(doc_get(f->doc, "items")), 2);
	assert_true(strtol(get(f, "metadata.remainingItemCount"), NULL, 10) >= 3);
	assert_false(val_has(val_get(val_at(doc_get(f->doc, "items"), 0), "kind")));
	char *url = xasprintf(
		"/api/v1/namespaces/kube-public/configmaps?limit=100&continue=%s", get(f, "metadata.continue"));
	char *rv = xstrdup(get(f, "metadata.resourceVersion"));
	expect(f, 200, call(f, "DELETE", "/api/v1/namespaces/kube-public/configmaps/page4", NULL));
	expect(f, 200, call(f, "GET", url, NULL)); /* the page of then: from history */
	assert_string_equal(get(f, "metadata.resourceVersion"), rv);
	assert_true(body_has(f, "page4"));
	expect(f, 200,
		call_as(f, "GET", "/api/v1/namespaces", NULL,
			"application/json;as=Table;v=v1;g=meta.k8s.io,application/json", NULL));
	assert_string_equal(get(f, "kind"), "Table");
	assert_int_equal(val_len(doc_get(f->doc, "columnDefinitions")), 3);
	assert_true(val_len(doc_get(f->doc, "rows")) >= 4);
	expect(f, 406, call_as(f, "GET", "/api/v1/namespaces", NULL, "text/html", NULL));
	free(url);
	free(rv);
}

/* As a real API server chooses, seen at 1.20. */
static const struct {
	const char *accept, *type; /* NULL: 406 */
} choices[] = {
	{ "application/yaml;q=0.5,application/json", "application/json" },
	{ "application/json;q=0.1, application/yaml;q=0.9", "application/yaml" },
	{ "*/*,application/yaml", "application/yaml" },
	{ "application/yaml;q=0.9, */*;q=0.8", "application/yaml" },
	{ "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "application/json" },
	{ "application/yaml;q=x,application/json", "application/yaml" },
	{ "*", "application/json" },
	{ "*/*;q=0", "application/json" },
	{ " ", "application/json" },
	{ ",,", NULL },
	{ ";;;", NULL },
	{ "application/json;stream=watch", "application/json" },
	{ "application/json;stream=x", NULL },
};

#define TABLE "application/json ; as = Table ; v=v1;g=meta.k8s.io"

static void the_best_of_what_is_accepted_is_sent(void **state)
{
	struct fixture *f = *state;

	expect(f, 201, call(f, "POST", CM, "{\"metadata\":{\"name\":\"chosen\"}}"));
	for (size_t i = 0; i < ARRAY_LEN(choices); i++) {
		int want = choices[i].type ? 200 : 406;

		expect(f, want, call_as(f, "GET", CM "/chosen", NULL, choices[i].accept, NULL));
		assert_string_equal(f->last->content_type, choices[i].type ? choices[i].type : "application/json");
	}
	expect(f, 200, call_as(f, "GET", CM, NULL, TABLE ",application/json;q=0.5", NULL));
	assert_string_equal(get(f, "kind"), "Table");
	expect(f, 200, call_as(f, "GET", CM, NULL, TABLE ";q=0.1,application/json", NULL));
	assert_string_equal(get(f, "kind"), "ConfigMapList");
	expect(f, 406, call_as(f, "GET", CM "?watch=1", NULL, "application/yaml", NULL));
	expect(f, 201,
		call_as(f, "POST", CM "?dryRun=All", "Application/JSON", NULL, "{\"metadata\":{\"name\":\"b\"}}"));
	expect(f, 415, call_as(f, "POST", CM "?dryRun=All", "*/*", NULL, "{\"metadata\":{\"name\":\"b\"}}"));
}

static void a_table_says_what_its_rows_include(void **state)
{
	struct fixture *f = *state;

	expect(f, 200, call_as(f, "GET", "/api/v1/namespaces?includeObject=None", NULL, TABLE, NULL));
	expect(f, 400, call_as(f, "GET", "/api/v1/namespaces?includeObject=All", NULL, TABLE, NULL));
	assert_string_equal(get(f, "message"),
		"Unable to convert to Table as requested: includeObject: Invalid value: \"All\": must be 'Metadata', 'Object', 'None', or empty");
	expect(f, 200, call_as(f, "GET", "/api/v1/namespaces?includeObject=All", NULL, NULL, NULL));
}

static void a_refusal_is_protobuf_for_who_asks(void **state)
{
	static const char pb[] = "application/vnd.kubernetes.protobuf";
	struct arena *a = arena_new();
	struct fixture *f = *state;
	struct node *n;
	struct err e;

	err_init(&e);
	expect(f, 404, call_as(f, "GET", CM "/none", NULL, pb, NULL));
	assert_string_equal(f->last->content_type, pb);
	assert_int_equal(schema_from_protobuf(a, buf_view(&f->last->body), &n, &e), 0);
	assert_true(str_is(node_text_str(node_path(n, "reason")), "NotFound"));
	assert_true(str_is(node_text_str(node_path(n, "details.name")), "none"));
	expect(f, 404, call_as(f, "GET", CM "/none", NULL, "application/json", NULL));
	assert_string_equal(get(f, "reason"), "NotFound");
	arena_free(a);
}

static bool begins(struct fixture *f, const char *text)
{
	return str_starts(buf_view(&f->last->body), str_c(text));
}

/* curl and browsers ask for it by their name, others with ?pretty. Lists are made while they are sent. */
static void answers_for_people_are_indented(void **state)
{
	struct fixture *f = *state;

	expect(f, 201, call(f, "POST", CM, "{\"metadata\":{\"name\":\"a\"},\"data\":{\"k\":\"{[\\\",:\"}}"));
	expect(f, 201, call(f, "POST", CM, "{\"metadata\":{\"name\":\"b\"},\"data\":{}}"));
	expect(f, 200, call(f, "GET", CM "?pretty=true", NULL));
	assert_true(begins(f,
		"{\n  \"kind\": \"ConfigMapList\",\n  \"apiVersion\": \"v1\",\n  \"metadata\": {\n    \"resourceVersion\": \""));
	assert_true(body_has(f,
		"\n      \"data\": {\n        \"k\": \"{[\\\",:\"\n      }\n    },\n    {\n      \"metadata\": {\n"));
	assert_true(val_len(doc_get(f->doc, "items")) >= 2);
	expect(f, 200, call(f, "GET", CM "?pretty=true&labelSelector=no%3Dsuch", NULL));
	assert_true(body_has(f, "\n  \"items\": []\n}\n"));
	expect(f, 200, call(f, "GET", CM "/a?pretty=true", NULL));
	assert_true(body_has(f, "\n  \"data\": {\n    \"k\": \"{[\\\",:\"\n  }\n"));
	expect(f, 404, call(f, "GET", CM "/none?pretty=true", NULL));
	assert_true(begins(f, "{\n  \"kind\": \"Status\",\n  \"apiVersion\": \"v1\",\n  \"metadata\": {},\n"));
	expect(f, 200, call(f, "GET", "/api?pretty=1", NULL));
	assert_true(begins(f, "{\n  \"kind\": \"APIVersions\",\n  \"versions\": [\n    \"v1\"\n  ],\n"));
	expect(f, 200, call(f, "GET", CM, NULL));
	assert_true(begins(f, "{\"kind\":\"ConfigMapList\","));
}

/* Between the decision and the last pod's end. */
static void a_job_that_will_succeed_says_so(void **state)
{
	static const char jobs[] = "/apis/batch/v1/namespaces/default/jobs";
	struct fixture *f = *state;

	expect(f, 201,
		call(f, "POST", jobs,
			"{\"metadata\":{\"name\":\"early\"},\"spec\":{\"template\":{\"spec\":{\"restartPolicy\":\"Never\",\"containers\":"
			"[{\"name\":\"c\",\"image\":\"i\"}]}}}}"));
	expect(f, 200,
		call_as(f, "PATCH", "/apis/batch/v1/namespaces/default/jobs/early/status",
			"application/merge-patch+json", NULL,
			"{\"status\":{\"startTime\":\"2026-01-01T00:00:00Z\",\"conditions\":[{\"type\":\"SuccessCriteriaMet\",\"status\":\"True\"}]}}"));
	expect(f, 200, call_as(f, "GET", jobs, NULL, TABLE, NULL));
	assert_true(body_has(f, "\"cells\":[\"early\",\"SuccessCriteriaMet\",\"0/1\""));
}

static void a_scale_is_a_table_of_its_own(void **state)
{
	static const char deploy[] = "/apis/apps/v1/namespaces/default/deployments";
	struct fixture *f = *state;
	char *scale = xasprintf("%s/web/scale", deploy);

	expect(f, 201,
		call(f, "POST", deploy,
			"{\"metadata\":{\"name\":\"web\"},\"spec\":{\"replicas\":2,\"selector\":{\"matchLabels\":{\"a\":\"b\"}},"
			"\"template\":{\"metadata\":{\"labels\":{\"a\":\"b\"}},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"x\"}]}}}}"));
	expect(f, 200, call_as(f, "GET", scale, NULL, TABLE, NULL));
	assert_string_equal(get(f, "kind"), "Table");
	assert_int_equal(val_len(doc_get(f->doc, "columnDefinitions")), 4);
	assert_true(body_has(f, "\"cells\":[\"web\",2,0,\"0s\"]"));
	expect(f, 200,
		call_as(f, "PATCH", scale, "application/merge-patch+json", TABLE, "{\"spec\":{\"replicas\":3}}"));
	assert_true(body_has(f, "\"cells\":[\"web\",3,0,\""));
	expect(f, 200,
		call_as(f, "GET", scale, NULL, "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", NULL));
	assert_string_equal(get(f, "kind"), "PartialObjectMetadata");
	free(scale);
}

/* Base64 of {"v":…,"rv":…,"start":…}. */
#define TOKEN(v, rv, start) "{\"v\":\"" v "\",\"rv\":" rv ",\"start\":\"" start "\"}"

static const struct {
	const char *token, *said;
} bad_tokens[] = {
	{ "rubbish", "it is not what this server gave" },
	{ TOKEN("meta.k8s.io/v2", "1", "a"), "server does not recognize this encoded version \"meta.k8s.io/v2\"" },
	{ TOKEN("meta.k8s.io/v1", "0", "a"), "incorrect encoded start resourceVersion (version meta.k8s.io/v1)" },
	{ TOKEN("meta.k8s.io/v1", "1", ""), "encoded start key empty (version meta.k8s.io/v1)" },
	{ TOKEN("meta.k8s.io/v1", "1", "a/../b"), "a/../b" },
};

static void pages_go_on_after_compaction(void **state)
{
	struct fixture *f = *state;
	const char *at = "/api/v1/namespaces/kube-node-lease/configmaps";
	struct err e;

	err_init(&e);
	for (int i = 0; i < 5; i++) {
		auto_free char *body = xasprintf("{\"metadata\":{\"name\":\"page%d\"}}", i);
		expect(f, 201, call(f, "POST", at, body));
	}
	auto_free char *first = xasprintf("%s?limit=3", at);
	expect(f, 200, call(f, "GET", first, NULL));
	auto_free char *second = xasprintf("%s?limit=100&continue=%s", at, get(f, "metadata.continue"));
	auto_free char *exact =
		xasprintf("%s?resourceVersionMatch=Exact&resourceVersion=%s", at, get(f, "metadata.resourceVersion"));
	auto_free char *gone = xasprintf("%s/page4", at);
	expect(f, 200, call(f, "DELETE", gone, NULL));
	expect(f, 200, call(f, "GET", second, NULL));
	assert_true(body_has(f, "page4"));
	assert_int_equal(store_compact(f->store, store_revision(f->store), &e), 0);

	expect(f, 410, call(f, "GET", exact, NULL));
	assert_string_equal(get(f, "message"), "The resourceVersion for the provided list is too old.");
	assert_string_equal(get(f, "metadata.continue"), "");
	expect(f, 410, call(f, "GET", second, NULL));
	assert_string_equal(get(f, "reason"), "Expired");
	assert_non_null(strstr(get(f, "message"), "use the continue token in this response"));
	auto_free char *rest = xasprintf("%s?limit=100&continue=%s", at, get(f, "metadata.continue"));
	expect(f, 200, call(f, "GET", rest, NULL));
	assert_true(body_has(f, "page3"));
	assert_false(body_has(f, "page2"));
	assert_false(body_has(f, "page4"));

	for (size_t i = 0; i < ARRAY_LEN(bad_tokens); i++) {
		auto_free char *token = base64_encode(str_c(bad_tokens[i].token));
		auto_free char *url = xasprintf("%s?continue=%s", at, token);
		expect(f, 400, call(f, "GET", url, NULL));
		assert_true(str_ends(str_c(get(f, "message")), str_c(bad_tokens[i].said)));
	}
}

/* What a watch from that version is told: nothing yet, or that it is too old. */
static int resumed(struct fixture *f, const char *version)
{
	const struct gvr maps = { "", "v1", "configmaps" };
	struct client *c = api_local_client(f->api, "admin", (const char *const[]){ "system:masters", NULL }, "test");
	struct client_request rq = { .verb = VERB_WATCH, .res = maps, .resource_version = str_c(version) };
	struct client_stream *s;
	struct err e;

	err_init(&e);
	int rc = client_watch(c, &rq, &s, &e);
	if (rc >= 0)
		client_close(c, s);
	client_free(c);
	return rc;
}

static void play_with_time(void *arg)
{
	void *state;

	setup(&state);
	struct fixture *f = state;
	expect(f, 201, call(f, "POST", CM, "{\"metadata\":{\"name\":\"a\"}}"));
	auto_free char *before = xstrdup(get(f, "metadata.resourceVersion"));
	task_sleep_ms(10000);
	expect(f, 201, call(f, "POST", CM, "{\"metadata\":{\"name\":\"b\"}}"));
	auto_free char *seen = xstrdup(get(f, "metadata.resourceVersion"));
	task_sleep_ms(74000);
	assert_int_equal(resumed(f, before), 0);
	task_sleep_ms(40000);
	assert_int_equal(resumed(f, before), -ERR_EXPIRED);
	auto_free char *url = xasprintf(CM "?watch=1&resourceVersion=%s", before);
	auto_free char *said = xasprintf(
		"{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},"
		"\"status\":\"Failure\",\"message\":\"too old resource version: %s (%s)\",\"reason\":\"Expired\",\"code\":410}}",
		before, seen);
	struct answer *w = start(f, "GET", url, NULL, NULL, NULL);
	assert_int_equal(w->status, 200);
	assert_true(stream_has(w, said, WAIT_MS));
	stream_close(f, w);
	assert_int_equal(resumed(f, seen), 0); /* it missed nothing */
	teardown(&state);
	*(bool *)arg = true;
}

static void changes_are_kept_for_a_while(void **state)
{
	bool done = false;

	task_sim_run(1, 600000, play_with_time, &done);
	assert_true(done);
}

static void discovery_speaks_old_and_new(void **state)
{
	struct fixture *f = *state;

	expect(f, 200, call(f, "GET", "/api", NULL));
	assert_string_equal(get(f, "versions"), "[\"v1\"]");
	expect(f, 200, call(f, "GET", "/apis", NULL));
	expect(f, 200, call(f, "GET", "/apis/apps", NULL));
	expect(f, 200, call(f, "GET", "/apis/apps/v1", NULL));
	expect(f, 404, call(f, "GET", "/apis/extensions/v1beta1", NULL));
	expect(f, 200,
		call_as(f, "GET", "/apis", NULL,
			"application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json", NULL));
	assert_string_equal(get(f, "kind"), "APIGroupDiscoveryList");
	assert_int_equal(f->last->etag[0], '"');
	expect(f, 200, call(f, "GET", "/version", NULL));
	expect(f, 200, call(f, "GET", "/openapi/v3", NULL));
	expect(f, 200, call(f, "GET", "/openapi/v3/apis/apps/v1", NULL));
	expect(f, 200, call(f, "GET", "/openapi/v2", NULL));
	expect(f, 200, call(f, "GET", "/readyz?verbose", NULL));
	expect(f, 404, call(f, "GET", "/readyz/etcd-0", NULL)); /* a component, no check of readiness */
	expect(f, 200, call(f, "GET", "/metrics", NULL));
	assert_true(str_has(buf_view(&f->last->body),
		STR("kogge_store_stage_duration_seconds_bucket{stage=\"commit\",le=\"0.0005\"} ")));
	expect(f, 404, call(f, "GET", "/nothing", NULL));
}

static const char *check_fails(void *arg)
{
	return "because";
}

/* Anybody may ask the root; what is below it is for monitoring. */
static void why_a_check_fails_is_told_below_the_root(void **state)
{
	struct fixture *f = *state;

	api_health_add(f->api, "bad", false, check_fails, NULL);
	expect(f, 500, call(f, "GET", "/readyz", NULL));
	assert_true(body_has(f, "[+]ping ok\n"));
	assert_true(body_has(f, "[-]bad failed: reason withheld\n"));
	assert_true(body_has(f, "readyz check failed\n"));
	assert_false(body_has(f, "because"));
	expect(f, 500, call(f, "GET", "/readyz/bad", NULL));
	assert_true(body_has(f, "internal server error: because\n"));
	expect(f, 200, call(f, "GET", "/readyz?exclude=bad", NULL));
	expect(f, 200, call(f, "GET", "/livez", NULL));
	expect(f, 404, call(f, "GET", "/livez/bad", NULL)); /* it is not among these */
	expect(f, 404, call(f, "GET", "/readyz/", NULL));
}

static void what_a_client_has_is_not_sent_again(void **state)
{
	struct fixture *f = *state;
	char tag[300], several[700], weak[310];
	const char *const has[] = { tag, several, weak, "*" }, *const has_not[] = { "\"x\"", "", "W/\"x\", \"y\"" };

	expect(f, 200, call(f, "GET", "/openapi/v3/apis/apps/v1", NULL));
	snprintf(tag, sizeof(tag), "%s", f->last->etag);
	snprintf(weak, sizeof(weak), "W/%s", tag);
	snprintf(several, sizeof(several), "\"x\" , %s,W/\"y\"", tag);
	for (size_t i = 0; i < ARRAY_LEN(has); i++) {
		f->if_none_match = has[i];
		expect(f, 304, call(f, "GET", "/openapi/v3/apis/apps/v1", NULL));
		assert_string_equal(f->last->etag, tag);
		assert_int_equal(f->last->body.n, 0);
	}
	for (size_t i = 0; i < ARRAY_LEN(has_not); i++) {
		f->if_none_match = has_not[i];
		expect(f, 200, call(f, "GET", "/openapi/v3/apis/apps/v1", NULL));
	}
	f->if_none_match = NULL;
}

static void the_node_of_a_server_has_its_role(void **state)
{
	const struct str groups[] = { STR("system:nodes") };
	const struct identity own = { .user = STR("system:node:own"), .groups = groups, .n_groups = 1 };
	struct fixture *f = *state;

	f->as = &own;
	expect(f, 201, call(f, "POST", "/api/v1/nodes", "{\"metadata\":{\"name\":\"own\"}}"));
	expect(f, 403,
		call_as(f, "PATCH", "/api/v1/nodes/own", "application/merge-patch+json", NULL,
			"{\"metadata\":{\"labels\":null}}"));
	f->as = NULL;
	expect(f, 200, call(f, "GET", "/api/v1/nodes/own", NULL));
	assert_string_equal(get(f, "metadata.labels"), "{\"node-role.kubernetes.io/control-plane\":\"\"}");
	expect(f, 200,
		call_as(f, "GET", "/api/v1/nodes/own", NULL, "application/json;as=Table;v=v1;g=meta.k8s.io", NULL));
	assert_true(body_has(f, "\"control-plane\""));
	expect(f, 200,
		call_as(f, "PATCH", "/api/v1/nodes/own", "application/merge-patch+json", NULL,
			"{\"metadata\":{\"labels\":null}}"));
	assert_false(body_has(f, "control-plane\":\"\"")); /* not given again */
	expect(f, 201, call(f, "POST", "/api/v1/nodes", "{\"metadata\":{\"name\":\"another\"}}"));
	assert_false(body_has(f, "control-plane"));
}

static void expect_yaml(struct fixture *f, int status, const char *url, const char *begin)
{
	struct err e;
	auto_(doc_unref) struct doc *d = NULL;

	expect(f, status, call_as(f, "GET", url, NULL, "application/yaml", NULL));
	assert_string_equal(f->last->content_type, "application/yaml");
	err_init(&e);
	assert_int_equal(doc_parse_yaml(buf_view(&f->last->body), NULL, NULL, &d, &e), 0);
	if (!str_starts(buf_view(&f->last->body), str_c(begin)))
		fail_msg("%s: %.*s", url, STR_ARG(buf_view(&f->last->body)));
}

static void who_wants_yaml_gets_it(void **state)
{
	struct fixture *f = *state;

	expect(f, 201,
		call_as(f, "POST", CM, "application/yaml", NULL, "metadata:\n  name: why\ndata: {b: \"1\", a: two}\n"));
	expect_yaml(f, 200, CM "/why", "apiVersion: v1\ndata:\n  a: two\n  b: \"1\"\nkind: ConfigMap\nmetadata:\n");
	expect_yaml(f, 200, CM, "apiVersion: v1\nitems:\n- data:\n");
	expect_yaml(f, 404, CM "/none", "apiVersion: v1\ncode: 404\ndetails:\n  kind: configmaps\n  name: none\n");
	expect_yaml(f, 200, "/apis/apps/v1", "apiVersion: v1\ngroupVersion: apps/v1\nkind: APIResourceList\n");
	expect(f, 200,
		call_as(f, "GET", CM "/why", NULL, "application/yaml;as=Table;v=v1;g=meta.k8s.io,application/yaml",
			NULL));
	assert_true(str_starts(buf_view(&f->last->body), STR("apiVersion: meta.k8s.io/v1\ncolumnDefinitions:\n")));
}

static void place_in_index(struct fixture *f, const char *name, char ret[400])
{
	char at[100];

	expect(f, 200, call(f, "GET", "/openapi/v3", NULL));
	snprintf(at, sizeof(at), "\"%s\":{\"serverRelativeURL\":\"", name);
	buf_byte(&f->last->body, 0);
	const char *s = strstr(f->last->body.p, at);
	assert_non_null(s);
	snprintf(ret, 400, "%.*s", (int)strcspn(s + strlen(at), "\""), s + strlen(at));
}

static void an_openapi_document_is_kept_for_good(void **state)
{
	struct fixture *f = *state;
	char place[400], index[300], after[400];

	place_in_index(f, "apis/apps/v1", place);
	snprintf(index, sizeof(index), "%s", f->last->etag);
	assert_int_equal(strncmp(place, "/openapi/v3/apis/apps/v1?hash=", 30), 0);
	f->if_none_match = index;
	expect(f, 304, call(f, "GET", "/openapi/v3", NULL));
	f->if_none_match = NULL;
	expect(f, 200, call(f, "GET", place, NULL));
	assert_string_equal(f->last->cache_control, "public, immutable");
	assert_int_equal(strncmp(f->last->etag + 1, place + 30, strlen(place) - 30), 0);
	snprintf(after, sizeof(after), "%s", f->last->etag);
	f->if_none_match = after;
	expect(f, 304, call(f, "GET", place, NULL));
	f->if_none_match = NULL;
	expect(f, 200, call(f, "GET", "/openapi/v3/apis/apps/v1", NULL));
	assert_string_equal(f->last->cache_control, "no-cache, private");
	expect(f, 301, call(f, "GET", "/openapi/v3/apis/apps/v1?hash=OLD", NULL));
	assert_string_equal(f->last->location, place);
	expect(f, 406,
		call_as(f, "GET", "/openapi/v3/apis/apps/v1", NULL,
			"application/com.github.proto-openapi.spec.v3.v1.0+protobuf", NULL));
	/* what changes one document leaves the others alone */
	expect(f, 201,
		call(f, "POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
			"{\"metadata\":{\"name\":\"toys.kept.example.com\"},\"spec\":{\"group\":\"kept.example.com\",\"scope\":\"Cluster\","
			"\"names\":{\"plural\":\"toys\",\"kind\":\"Toy\"},\"versions\":[{\"name\":\"v1\",\"served\":true,\"storage\":true,"
			"\"schema\":{\"openAPIV3Schema\":{\"type\":\"object\",\"description\":\"first\"}}}]}}"));
	for (int i = 0; i < 6000 && call(f, "GET", "/apis/kept.example.com/v1", NULL) != 200; i++)
		task_sleep_ms(10);
	place_in_index(f, "apis/apps/v1", after);
	assert_string_equal(after, place);
	place_in_index(f, "apis/kept.example.com/v1", place);
	expect(f, 200,
		call_as(f, "PATCH", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/toys.kept.example.com",
			"application/json-patch+json", NULL,
			"[{\"op\":\"replace\",\"path\":\"/spec/versions/0/schema/openAPIV3Schema/description\",\"value\":\"second\"}]"));
	for (int i = 0; i < 6000; i++) {
		place_in_index(f, "apis/kept.example.com/v1", after);
		if (strcmp(after, place) != 0)
			break;
		task_sleep_ms(10);
	}
	assert_string_not_equal(after, place);
	expect(f, 301, call(f, "GET", place, NULL));
	expect(f, 200, call(f, "GET", after, NULL));
	assert_true(body_has(f, "second"));
}

static void every_bad_option_is_told(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *query, *causes;
	} cases[] = {
		{ "resourceVersionMatch=Near&sendInitialEvents=true",
			"is invalid: [resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided, "
			"resourceVersionMatch: Unsupported value: \"Near\": supported values: \"Exact\", \"NotOlderThan\", \"\", "
			"sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list]" },
		{ "watch=1&resourceVersionMatch=Near&continue=x",
			"is invalid: [resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided, "
			"resourceVersionMatch: Unsupported value: \"Near\": supported values: \"Exact\", \"NotOlderThan\", \"\", "
			"resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided]" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char *url = xasprintf(CM "?%s", cases[i].query);

		expect(f, 422, call(f, "GET", url, NULL));
		if (!strstr(get(f, "message"), cases[i].causes))
			fail_msg("%s", get(f, "message"));
		free(url);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(watch_tells_entering_and_leaving, setup, teardown),
		cmocka_unit_test_setup_teardown(a_watch_of_one_name_tells_of_no_other, setup, teardown),
		cmocka_unit_test_setup_teardown(booleans_have_no_case, setup, teardown),
		cmocka_unit_test_setup_teardown(watches_share_what_they_are_told, setup, teardown),
		cmocka_unit_test_setup_teardown(a_watch_without_room_misses_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(a_refusal_is_protobuf_for_who_asks, setup, teardown),
		cmocka_unit_test_setup_teardown(answers_for_people_are_indented, setup, teardown),
		cmocka_unit_test_setup_teardown(a_job_that_will_succeed_says_so, setup, teardown),
		cmocka_unit_test_setup_teardown(a_scale_is_a_table_of_its_own, setup, teardown),
		cmocka_unit_test_setup_teardown(a_table_says_what_its_rows_include, setup, teardown),
		cmocka_unit_test_setup_teardown(lists_page_and_tables_have_columns, setup, teardown),
		cmocka_unit_test_setup_teardown(the_best_of_what_is_accepted_is_sent, setup, teardown),
		cmocka_unit_test_setup_teardown(pages_go_on_after_compaction, setup, teardown),
		cmocka_unit_test(changes_are_kept_for_a_while),
		cmocka_unit_test_setup_teardown(discovery_speaks_old_and_new, setup, teardown),
		cmocka_unit_test_setup_teardown(why_a_check_fails_is_told_below_the_root, setup, teardown),
		cmocka_unit_test_setup_teardown(what_a_client_has_is_not_sent_again, setup, teardown),
		cmocka_unit_test_setup_teardown(the_node_of_a_server_has_its_role, setup, teardown),
		cmocka_unit_test_setup_teardown(who_wants_yaml_gets_it, setup, teardown),
		cmocka_unit_test_setup_teardown(an_openapi_document_is_kept_for_good, setup, teardown),
		cmocka_unit_test_setup_teardown(every_bad_option_is_told, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
