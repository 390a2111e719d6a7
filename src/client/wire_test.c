#include "base/test.h"
#include "client/remote_internal.h"

static void path_is(const struct client_request *rq, const char *want)
{
	auto_buf struct buf b = BUF_INIT;

	wire_path(&b, STR(""), rq);
	buf_byte(&b, 0);
	assert_string_equal(b.p, want);
}

static void paths_and_queries(void **state)
{
	path_is(&(struct client_request){ .verb = VERB_GET, .res = res_pods, .ns = STR("ns"), .name = STR("a/b") },
		"/api/v1/namespaces/ns/pods/a%2Fb");
	path_is(
		&(struct client_request){
			.verb = VERB_LIST, .res = res_nodes, .label_selector = STR("a in (b)"), .limit = 5 },
		"/api/v1/nodes?labelSelector=a%20in%20%28b%29&limit=5");
	path_is(&(struct client_request){ .verb = VERB_UPDATE,
			.res = res_deployments,
			.ns = STR("n"),
			.name = STR("d"),
			.sub = "status",
			.field_manager = "me" },
		"/apis/apps/v1/namespaces/n/deployments/d/status?fieldManager=me");
	path_is(&(struct client_request){ .verb = VERB_WATCH,
			.res = res_pods,
			.resource_version = STR("7"),
			.bookmarks = true,
			.timeout_s = 9 },
		"/api/v1/pods?resourceVersion=7&timeoutSeconds=9&watch=true&allowWatchBookmarks=true");
	path_is(&(struct client_request){ .verb = VERB_PATCH,
			.patch = PATCH_APPLY,
			.res = res_pods,
			.name = STR("x"),
			.force = true,
			.field_manager = "m" },
		"/api/v1/pods/x?fieldManager=m&force=true");
}

static void urls(void **state)
{
	char *url;

	assert_true(str_is(wire_split_url("https://h:1/base/", &url), "/base"));
	assert_string_equal(url, "https://h:1");
	free(url);
	assert_true(str_is(wire_split_url("https://h:1", &url), ""));
	free(url);
}

static void a_status_becomes_an_error(void **state)
{
	struct err e;
	const char *reason, *field, *message;
	size_t pos = 0;

	err_init(&e);
	assert_int_equal(wire_error(409,
				 STR("{\"kind\":\"Status\",\"reason\":\"AlreadyExists\",\"message\":\"pods \\\"x\\\" "
				     "already exists\"}"),
				 0, &e),
		-ERR_EXISTS);
	assert_string_equal(e.message, "pods \"x\" already exists");
	assert_int_equal(
		wire_error(422,
			STR("{\"kind\":\"Status\",\"reason\":\"Invalid\",\"message\":\"bad\",\"details\":{\"causes\":[{"
			    "\"reason\":\"FieldValueInvalid\",\"field\":\"spec.x\",\"message\":\"no\"}]}}"),
			0, &e),
		-ERR_INVALID);
	assert_true(err_next_cause(&e, &pos, &reason, &field, &message));
	assert_string_equal(reason, "FieldValueInvalid");
	assert_string_equal(field, "spec.x");
	assert_string_equal(message, "no");
	assert_int_equal(wire_error(429,
				 STR("{\"kind\":\"Status\",\"reason\":\"TooManyRequests\",\"details\":{"
				     "\"retryAfterSeconds\":3}}"),
				 0, &e),
		-ERR_TOO_MANY);
	assert_int_equal(e.retry_after_s, 3);
	assert_int_equal(wire_error(404, STR("no such page"), 0, &e), -ERR_NOT_FOUND);
	assert_string_equal(e.message, "the server answered 404: no such page");
	assert_int_equal(wire_error(503, STR(""), 2, &e), -ERR_UNAVAILABLE);
	assert_int_equal(e.retry_after_s, 2);
}

static void events_of_a_watch(void **state)
{
	static const char *const good[] = {
		"{\"type\":\"DELETED\",\"object\":{\"kind\":\"Pod\",\"metadata\":{\"resourceVersion\":\"7\"}}}",
		" { \"object\" : {\"kind\":\"Pod\",\"metadata\":{\"resourceVersion\":\"7\"}} , \"type\": \"DELETED\" "
		"}\r",
	};
	static const char *const bad[] = {
		"",
		"{}",
		"{\"type\":\"ADDED\"}",
		"{\"type\":\"WHAT\",\"object\":{}}",
		"{\"type\":\"ADDED\",\"object\":}",
		"{\"type\":\"ADDED\",\"object\":{}",
	};
	struct client_event ev;
	struct err e;

	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		assert_int_equal(wire_event(str_c(good[i]), &ev, &e), 0);
		assert_int_equal(ev.type, EVENT_DELETED);
		assert_int_equal(doc_revision(ev.object), 7);
		doc_unref(ev.object);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		err_init(&e);
		assert_true(wire_event(str_c(bad[i]), &ev, &e) < 0);
		assert_true(e.message[0]);
	}
}

static void items_get_their_kind_back(void **state)
{
	auto_(doc_unref) struct doc *list = NULL, *a = NULL, *b = NULL, *c = NULL;

	assert_int_equal(doc_parse(STR("{\"apiVersion\":\"v1\",\"kind\":\"PodList\",\"items\":[{\"metadata\":{\"name\":"
				       "\"x\"}},{},{\"kind\":\"Other\"}]}"),
				 &list, NULL),
		0);
	struct val items = doc_get(list, "items"), v = doc_get(list, "apiVersion");
	assert_int_equal(wire_item(val_at(items, 0), v, STR("Pod"), &a, NULL), 0);
	assert_true(str_is(doc_text(a), "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"x\"}}"));
	assert_int_equal(wire_item(val_at(items, 1), v, STR("Pod"), &b, NULL), 0);
	assert_true(str_is(doc_text(b), "{\"apiVersion\":\"v1\",\"kind\":\"Pod\"}"));
	assert_int_equal(wire_item(val_at(items, 2), v, STR("Pod"), &c, NULL), 0);
	assert_true(str_is(doc_text(c), "{\"kind\":\"Other\"}"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths_and_queries),
		cmocka_unit_test(urls),
		cmocka_unit_test(a_status_becomes_an_error),
		cmocka_unit_test(events_of_a_watch),
		cmocka_unit_test(items_get_their_kind_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
