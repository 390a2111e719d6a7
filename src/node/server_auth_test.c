#include "base/task.h"
#include "doc/doc_fixture.h"
#include "node/server_auth.h"
#include <stdio.h>

/* ---- an API that knows the token "good", of alice, who may get nodes/metrics ------------------ */

struct api {
	int tokens, access; /* questions so far */
	bool silent;
	char said[1000]; /* the last question about access */
};

static int fake_call(void *self, const struct client_request *rq, struct doc **ret, struct err *e)
{
	struct api *api = self;
	struct str sub = doc_str(rq->body, "spec.resourceAttributes.subresource");

	assert_int_equal(rq->verb, VERB_CREATE);
	if (api->silent)
		return err_set(e, ERR_UNAVAILABLE, "nobody answers");
	if (gvr_eq(rq->res, res_tokenreviews)) {
		api->tokens++;
		*ret = quoted_doc(str_is(doc_str(rq->body, "spec.token"), "good") ?
				"{'status':{'authenticated':true,'user':{'username':'alice','groups':['staff'],'extra':{'k':['v']}}}}" :
				"{'status':{'authenticated':false,'error':'who is that'}}");
		return 0;
	}
	api->access++;
	snprintf(api->said, sizeof(api->said), "%.*s", STR_ARG(doc_text(rq->body)));
	*ret = quoted_doc(str_is(sub, "metrics") || str_is(sub, "proxy") ? "{'status':{'allowed':true}}" :
									   "{'status':{'allowed':false}}");
	return 0;
}

static int no_list(void *self, const struct client_request *rq, void (*each)(void *arg, struct doc *take), void *arg,
	char ret_rev[24], struct err *e)
{
	(void)self, (void)rq, (void)each, (void)arg, (void)ret_rev;
	return err_set(e, ERR_UNSUPPORTED, "no lists here");
}

static int no_watch(void *self, const struct client_request *rq, struct client_stream **ret, struct err *e)
{
	(void)self, (void)rq, (void)ret;
	return err_set(e, ERR_UNSUPPORTED, "no watches here");
}

static int no_next(struct client_stream *s, int64_t timeout_ms, struct client_event *ret, struct err *e)
{
	(void)s, (void)timeout_ms, (void)ret;
	return err_set(e, ERR_UNSUPPORTED, "no watches here");
}

static void no_stream(struct client_stream *s)
{
	(void)s;
}

static const struct client_ops fake_ops = { fake_call, no_list, no_watch, no_next, no_stream, no_stream, NULL, NULL };

struct fixture {
	struct api api;
	struct client *client;
	struct server_auth *s;
	struct arena *a;
	struct mono now;
	struct str user;
};

static int set_up(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	f->client = client_new(&fake_ops, &f->api, "test");
	f->s = server_auth_new(f->client, "n1");
	f->a = arena_new();
	f->now = mono_now();
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	server_auth_free(f->s);
	client_free(f->client);
	arena_free(f->a);
	free(f);
	return 0;
}

static enum verdict asks(
	struct fixture *f, const char *cn, const char *org, const char *authorization, const char *path, bool ask)
{
	struct str orgs[] = { str_c(org ? org : "") };
	struct http_peer peer = { .cn = cn ? str_c(cn) : STR_NULL, .orgs = orgs, .n_orgs = org ? 1 : 0 };
	struct server_asker who = { &peer, authorization ? str_c(authorization) : STR_NULL };
	struct server_want want = server_want(STR("GET"), str_c(path));

	f->user = STR_NULL;
	return server_auth(f->s, &who, &want, ask, f->now, f->a, &f->user);
}

static enum verdict token(struct fixture *f, const char *authorization, const char *path)
{
	return asks(f, NULL, NULL, authorization, path, true);
}

static enum verdict known(struct fixture *f, const char *authorization, const char *path)
{
	return asks(f, NULL, NULL, authorization, path, false);
}

static void later(struct fixture *f, int64_t ms)
{
	f->now = mono_add_ms(f->now, ms);
}

/* ---- who -------------------------------------------------------------------------------------- */

static void a_token_is_reviewed_and_its_user(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(known(f, "Bearer good", "metrics"), VERDICT_UNKNOWN);
	assert_int_equal(f->api.tokens + f->api.access, 0);
	assert_int_equal(token(f, "Bearer good", "metrics"), VERDICT_ALLOWED);
	assert_true(str_is(f->user, "alice"));
	assert_string_equal(f->api.said,
		"{\"apiVersion\":\"authorization.k8s.io/v1\",\"kind\":\"SubjectAccessReview\",\"spec\":{\"user\":\"alice\",\"groups\":[\"staff\"],"
		"\"extra\":{\"k\":[\"v\"]},\"resourceAttributes\":{\"verb\":\"get\",\"version\":\"v1\",\"resource\":\"nodes\","
		"\"subresource\":\"metrics\",\"name\":\"n1\"}}}");
	assert_int_equal(token(f, "bearer  good ", "stats"), VERDICT_FORBIDDEN);
	assert_int_equal(f->api.tokens, 1);
	assert_int_equal(f->api.access, 2);
}

static void no_token_and_a_bad_one_are_nobody(void **state)
{
	static const char *const nobody[] = { NULL, "", "Bearer", "Bearer ", "Basic good", "good" };
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_LEN(nobody); i++)
		assert_int_equal(token(f, nobody[i], "metrics"), VERDICT_UNAUTHORIZED);
	assert_int_equal(f->api.tokens, 0);
	assert_int_equal(token(f, "Bearer bad", "metrics"), VERDICT_UNAUTHORIZED);
	assert_int_equal(f->api.tokens, 1);
	assert_int_equal(f->api.access, 0);
}

static void certificates(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(asks(f, "kube-apiserver-kubelet-client", NULL, NULL, "exec", false), VERDICT_ALLOWED);
	assert_int_equal(asks(f, "root", "system:masters", "Bearer bad", "exec", false), VERDICT_ALLOWED);
	assert_int_equal(asks(f, NULL, "system:masters", NULL, "exec", false), VERDICT_UNAUTHORIZED);
	assert_int_equal(f->api.tokens + f->api.access, 0);
	assert_int_equal(asks(f, "bob", "staff", "Bearer good", "stats", true), VERDICT_FORBIDDEN);
	assert_true(str_is(f->user, "bob"));
	assert_non_null(strstr(f->api.said, "{\"user\":\"bob\",\"groups\":[\"staff\",\"system:authenticated\"],"));
	assert_int_equal(asks(f, "bob", "staff", NULL, "metrics", true), VERDICT_ALLOWED);
	assert_int_equal(f->api.tokens, 0);
}

/* ---- for how long ------------------------------------------------------------------------------ */

static void remembers_for_a_while(void **state)
{
	struct fixture *f = *state;

	(void)token(f, "Bearer good", "metrics");
	(void)token(f, "Bearer good", "stats");
	(void)token(f, "Bearer bad", "metrics");
	later(f, 9999);
	assert_int_equal(known(f, "Bearer bad", "metrics"), VERDICT_UNAUTHORIZED);
	later(f, 1);
	assert_int_equal(known(f, "Bearer bad", "metrics"), VERDICT_UNKNOWN);
	later(f, 19999);
	assert_int_equal(known(f, "Bearer good", "stats"), VERDICT_FORBIDDEN);
	later(f, 1);
	assert_int_equal(known(f, "Bearer good", "stats"), VERDICT_UNKNOWN);
	later(f, 89999);
	assert_int_equal(known(f, "Bearer good", "metrics"), VERDICT_ALLOWED);
	later(f, 1);
	assert_int_equal(known(f, "Bearer good", "metrics"), VERDICT_UNKNOWN);
	assert_int_equal(token(f, "Bearer good", "metrics"), VERDICT_ALLOWED);
	assert_int_equal(f->api.tokens, 3);
	assert_int_equal(f->api.access, 2); /* what alice may is remembered longer than whose her token is */
}

static void bad_tokens_push_out_no_good_one(void **state)
{
	struct fixture *f = *state;
	char text[40];

	(void)token(f, "Bearer good", "metrics");
	for (int i = 0; i < 300; i++) {
		snprintf(text, sizeof(text), "Bearer bad-%d", i);
		assert_int_equal(token(f, text, "metrics"), VERDICT_UNAUTHORIZED);
	}
	assert_int_equal(known(f, "Bearer good", "metrics"), VERDICT_ALLOWED);
	assert_int_equal(known(f, "Bearer bad-299", "metrics"), VERDICT_UNAUTHORIZED);
	assert_int_equal(known(f, "Bearer bad-44", "metrics"), VERDICT_UNAUTHORIZED);
	assert_int_equal(known(f, "Bearer bad-43", "metrics"), VERDICT_UNKNOWN); /* 256 are remembered */
}

static void a_silent_api_proves_nothing(void **state)
{
	struct fixture *f = *state;

	f->api.silent = true;
	assert_int_equal(token(f, "Bearer good", "metrics"), VERDICT_UNAUTHORIZED);
	assert_int_equal(asks(f, "bob", NULL, NULL, "metrics", true), VERDICT_FAILED);
	f->api.silent = false;
	assert_int_equal(token(f, "Bearer good", "metrics"), VERDICT_ALLOWED);
	assert_int_equal(asks(f, "bob", NULL, NULL, "metrics", true), VERDICT_ALLOWED);
	f->api.silent = true;
	assert_int_equal(token(f, "Bearer good", "metrics"), VERDICT_ALLOWED);
}

static void only_so_many_ask_at_a_time(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 8; i++)
		assert_in_range(server_auth_may_ask(f->s, STR("10.0.0.1")), 0, 15);
	assert_int_equal(server_auth_may_ask(f->s, STR("10.0.0.1")), -1);
	for (int i = 0; i < 7; i++)
		assert_in_range(server_auth_may_ask(f->s, STR("10.0.0.2")), 0, 15);
	int last = server_auth_may_ask(f->s, STR("fd00::3"));
	assert_in_range(last, 0, 15);
	assert_int_equal(server_auth_may_ask(f->s, STR("10.0.0.2")), -1);
	server_auth_answered(f->s, last);
	assert_int_equal(server_auth_may_ask(f->s, STR("10.0.0.2")), last);
	assert_int_equal(server_auth_may_ask(f->s, STR("10.0.0.4")), -1);
}

/* ---- what ------------------------------------------------------------------------------------- */

static void paths_and_methods_as_roles_say_them(void **state)
{
	static const struct {
		const char *method, *first, *verb, *sub, *other;
	} cases[] = {
		{ "GET", "metrics", "get", "metrics", NULL },
		{ "GET", "stats", "get", "stats", NULL },
		{ "GET", "logs", "get", "log", NULL },
		{ "GET", "pods", "get", "pods", "proxy" },
		{ "GET", "containerLogs", "get", "proxy", NULL },
		{ "GET", "metricsx", "get", "proxy", NULL },
		{ "GET", "", "get", "proxy", NULL },
		{ "POST", "stats", "create", "stats", NULL },
		{ "PUT", "stats", "update", "stats", NULL },
		{ "PATCH", "stats", "patch", "stats", NULL },
		{ "DELETE", "stats", "delete", "stats", NULL },
		{ "HEAD", "stats", "", "stats", NULL },
		{ "GET", "exec", "create", "proxy", NULL }, /* over a WebSocket */
		{ "GET", "attach", "create", "proxy", NULL },
		{ "PUT", "portForward", "create", "proxy", NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct server_want w = server_want(str_c(cases[i].method), str_c(cases[i].first));
		assert_string_equal(w.verb, cases[i].verb);
		assert_string_equal(w.subs[0], cases[i].sub);
		if (cases[i].other)
			assert_string_equal(w.subs[1], cases[i].other);
		else
			assert_null(w.subs[1]);
	}
}

static void the_wider_permission_is_enough(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(token(f, "Bearer good", "pods"), VERDICT_ALLOWED); /* proxy, not pods */
	assert_int_equal(f->api.access, 2);
	assert_int_equal(known(f, "Bearer good", "pods"), VERDICT_ALLOWED);
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
int main(void)
{
	static const struct CMUnitTest tests[] = {
		WITH(a_token_is_reviewed_and_its_user),
		WITH(no_token_and_a_bad_one_are_nobody),
		WITH(certificates),
		WITH(remembers_for_a_while),
		WITH(bad_tokens_push_out_no_good_one),
		WITH(a_silent_api_proves_nothing),
		WITH(only_so_many_ask_at_a_time),
		cmocka_unit_test(paths_and_methods_as_roles_say_them),
		WITH(the_wider_permission_is_enough),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
