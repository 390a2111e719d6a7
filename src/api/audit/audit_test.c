/* Which rule of an audit policy decides. */
#include "api/audit/audit.h"
#include "base/file.h"
#include "base/test.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static const char policy_text[] =
	"apiVersion: audit.k8s.io/v1\n"
	"kind: Policy\n"
	"omitStages: [RequestReceived]\n"
	"rules:\n"
	"- {level: None, users: ['system:noisy'], verbs: [watch]}\n"
	"- {level: None, nonResourceURLs: ['/healthz*', /version]}\n"
	"- {level: RequestResponse, resources: [{group: '', resources: [pods, 'services/*']}], namespaces: [prod], "
	"omitManagedFields: true}\n"
	"- {level: Request, resources: [{group: apps}], omitStages: [ResponseStarted]}\n"
	"- {level: Metadata, resources: [{group: '', resources: [secrets], resourceNames: [one]}]}\n";

static enum audit_level level_of(struct audit_policy *p, struct rq rq)
{
	return audit_decide(p, &rq).level;
}

static void the_first_rule_that_fits_decides(void **state)
{
	struct audit_policy *p;
	struct err e;

	(void)state;
	err_init(&e);
	assert_int_equal(audit_policy_parse(str_c(policy_text), &p, &e), 0);
	struct rq pods = { .resource_request = true,
		.resource_name = STR("pods"),
		.ns = STR("prod"),
		.verb_text = STR("get"),
		.id.user = STR("a") };
	assert_int_equal(level_of(p, pods), AUDIT_RESPONSE);
	assert_true(audit_decide(p, &pods).omit_managed);
	assert_int_equal(audit_decide(p, &pods).omit, 1u << STAGE_RECEIVED);
	pods.sub = STR("log"); /* "pods" is not "pods/log" */
	assert_int_equal(level_of(p, pods), AUDIT_NONE);
	pods.resource_name = STR("services");
	assert_int_equal(level_of(p, pods), AUDIT_RESPONSE);
	pods.ns = STR("other");
	assert_int_equal(level_of(p, pods), AUDIT_NONE);
	struct rq apps = { .resource_request = true,
		.group = STR("apps"),
		.resource_name = STR("deployments"),
		.verb_text = STR("watch"),
		.id.user = STR("a") };
	assert_int_equal(level_of(p, apps), AUDIT_REQUEST);
	assert_int_equal(audit_decide(p, &apps).omit, 1u << STAGE_RECEIVED | 1u << STAGE_STARTED);
	apps.id.user = STR("system:noisy");
	assert_int_equal(level_of(p, apps), AUDIT_NONE);
	struct identity real = { .user = STR("a") };
	apps.id.real = &real; /* who impersonates is not whom nobody listens to */
	assert_int_equal(level_of(p, apps), AUDIT_REQUEST);
	apps.id.user = STR("b");
	real.user = STR("system:noisy");
	assert_int_equal(level_of(p, apps), AUDIT_NONE);
	struct rq secret = {
		.resource_request = true, .resource_name = STR("secrets"), .name = STR("one"), .verb_text = STR("get")
	};
	assert_int_equal(level_of(p, secret), AUDIT_METADATA);
	secret.name = STR("two");
	assert_int_equal(level_of(p, secret), AUDIT_NONE);
	struct rq health = { .path = STR("/healthz/etcd"), .verb_text = STR("get") };
	assert_int_equal(level_of(p, health), AUDIT_NONE);
	audit_policy_free(p);
}

static void wrong(const char *text, const char *want)
{
	struct audit_policy *p;
	struct err e;

	err_init(&e);
	assert_true(audit_policy_parse(str_c(text), &p, &e) < 0);
	assert_non_null(strstr(e.message, want));
}

static void what_is_wrong_with_a_policy_is_said(void **state)
{
	(void)state;
	wrong("{apiVersion: audit.k8s.io/v1, kind: Policy, rules: []}", "0 rules");
	wrong("{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: Some}]}", "rules[0].level");
	wrong("{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: None, user: [a]}]}",
		"unknown field \"user\"");
	wrong("{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: None, omitStages: [Now]}]}", "omitStages");
	wrong("{apiVersion: v1, kind: Pod}", "kind Policy");
}

/* ---- the log --------------------------------------------------------------------------------- */

static void record(struct audit *a, const char *who)
{
	struct rq *rq = rq_new(NULL);

	rq->id.user = str_c(who);
	audit_record(a, rq, 200);
	arena_free(rq->a);
}

static bool tells(const char *path, const char *who)
{
	auto_buf struct buf text = BUF_INIT;
	struct err e;

	err_init(&e);
	return file_read(path, &text, &e) == 0 && str_has(buf_view(&text), str_c(who));
}

/* It was put aside, and for a while there was no folder for the next. */
static void a_log_that_cannot_be_written_is_tried_again(void **state)
{
	char folder[] = "/tmp/kogge-audit-XXXXXX";
	struct audit *a;
	struct err e;

	(void)state;
	err_init(&e);
	assert_non_null(mkdtemp(folder));
	auto_free char *path = xasprintf("%s/log", folder), *aside = xasprintf("%s-aside", folder);
	assert_non_null(a = audit_new(&(struct api_opts){ .audit_path = path, .audit_bytes_max = 1 }, &e));
	assert_int_equal(rename(folder, aside), 0);
	record(a, "ann");
	record(a, "bob");
	assert_int_equal(mkdir(folder, 0700), 0);
	record(a, "cid");
	audit_free(a);
	auto_free char *first = xasprintf("%s/log", aside), *rest = xasprintf("rm -r %s %s", folder, aside);
	assert_true(tells(first, "ann"));
	auto_free char *found = xasprintf("grep -q cid %s/log*", folder);
	assert_int_equal(system(found), 0);
	assert_int_equal(system(rest), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_rule_that_fits_decides),
		cmocka_unit_test(what_is_wrong_with_a_policy_is_said),
		cmocka_unit_test(a_log_that_cannot_be_written_is_tried_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
