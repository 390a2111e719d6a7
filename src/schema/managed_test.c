/* Server-side apply and managedFields, as upstream behaves. */
#include "doc/doc_fixture.h"
#include "schema/fieldset.h"
#include <stdio.h>

struct env {
	struct arena *a;
	struct err e;
	const struct schema_type *deployment, *pod;
};

static int setup(void **state)
{
	struct env *v = calloc(1, sizeof(*v));

	v->a = arena_new();
	err_init(&v->e);
	v->deployment = schema_builtin(STR("apps"), STR("v1"), STR("Deployment"));
	v->pod = schema_builtin(STR(""), STR("v1"), STR("Pod"));
	*state = v;
	return 0;
}

static int teardown(void **state)
{
	struct env *v = *state;

	arena_free(v->a);
	free(v);
	return 0;
}

static struct val parse(struct env *v, const char *json)
{
	struct doc *d = quoted_doc(json);

	doc_hold(v->a, d);
	return doc_root(d);
}

static struct val publish(struct env *v, struct node *n)
{
	struct doc *d = node_publish(n);

	doc_hold(v->a, d);
	return doc_root(d);
}

static const char *quote(struct env *v, struct str s)
{
	char *text = arena_cstr(v->a, s);

	for (char *p = text; *p; p++)
		if (*p == '"')
			*p = '\'';
	return text;
}

struct by {
	const char *manager, *sub, *now;
	bool force;
	int fails; /* error code */
};

static struct managed_write write_of(const struct schema_type *t, struct by by)
{
	return (struct managed_write){ .type = t,
		.api_version = STR("apps/v1"),
		.manager = str_c(by.manager),
		.subresource = str_c(by.sub),
		.now = str_c(by.now ? by.now : "2026-01-01T00:00:00Z"),
		.force = by.force,
		.status_apart = true };
}

static struct val apply(struct env *v, struct val live, const char *json, struct by by)
{
	struct managed_write w = write_of(v->deployment, by);
	struct node *n = NULL;
	int r;

	w.apply = true;
	err_init(&v->e);
	r = managed_apply(v->a, &w, live, parse(v, json), &n, &v->e);
	if (r != -by.fails)
		fail_msg("%d: %s", r, v->e.message);
	return r ? live : publish(v, n);
}

static struct val update(struct env *v, struct val live, const char *json, struct by by)
{
	struct managed_write w = write_of(v->deployment, by);
	struct node *n = node_from(v->a, parse(v, json));

	assert_int_equal(managed_update(v->a, &w, live, n, &v->e), 0);
	return publish(v, n);
}

static const char *entry(struct env *v, struct val object, size_t i, const char *field)
{
	struct val e = val_at(val_path(object, "metadata.managedFields"), i);
	struct val f = val_get(e, field);

	return quote(v, val_kind(f) == VAL_STR ? val_str(f) : val_text(f));
}

static size_t entries(struct val object)
{
	return val_len(val_path(object, "metadata.managedFields"));
}

static const char *at(struct env *v, struct val object, const char *path)
{
	return quote(v, val_text(val_path(object, path)));
}

/* ---- sets ------------------------------------------------------------------------------------ */

static void a_set_of_fields(void **state)
{
	struct env *v = *state;
	struct val o = parse(v,
		"{'apiVersion':'v1','kind':'Pod','metadata':{'name':'a','labels':{'x':'y'},'finalizers':['b','a']},"
		"'spec':{'containers':[{'name':'c','image':'i','ports':[{'containerPort':80}],'args':['1'],'resources':"
		"{}}],"
		"'nodeSelector':{'k':'v'}}}");
	struct field_set *s = field_set_of(v->a, v->pod, o), *back;
	struct val text = publish(v, field_set_node(v->a, s));

	assert_string_equal(quote(v, val_text(text)),
		"{'f:metadata':{'f:finalizers':{'v:\\'a\\'':{},'v:\\'b\\'':{}},'f:labels':{'f:x':{}}},"
		"'f:spec':{'f:containers':{'k:{\\'name\\':\\'c\\'}':{'.':{},'f:args':{},'f:image':{},'f:name':{},'f:"
		"ports':"
		"{'k:{\\'containerPort\\':80,\\'protocol\\':\\'TCP\\'}':{'.':{},'f:containerPort':{}}},'f:resources':{}"
		"}},'f:nodeSelector':{}}}");
	assert_int_equal(field_set_parse(v->a, text, &back, &v->e), 0);
	assert_true(fs_equal(s, back));
	assert_int_equal(field_set_parse(v->a, parse(v, "{'x':{}}"), &back, &v->e), -ERR_BAD_REQUEST);
	assert_int_equal(field_set_parse(v->a, parse(v, "{'f:x':1}"), &back, &v->e), -ERR_BAD_REQUEST);
}

/* ---- apply ----------------------------------------------------------------------------------- */

#define HEAD "'apiVersion':'apps/v1','kind':'Deployment','metadata':{'name':'d'}"

static void apply_creates_and_gives_up(void **state)
{
	struct env *v = *state;
	struct val o = apply(v, VAL_NONE,
		"{" HEAD
		",'spec':{'replicas':3,'paused':true,'template':{'spec':{'containers':[{'name':'a','image':'1'},"
		"{'name':'b','image':'2'}]}}}}",
		(struct by){ "one" });

	assert_int_equal(entries(o), 1);
	assert_string_equal(entry(v, o, 0, "operation"), "Apply");
	assert_string_equal(entry(v, o, 0, "fieldsV1"),
		"{'f:spec':{'f:paused':{},'f:replicas':{},'f:template':{'f:spec':{'f:containers':"
		"{'k:{\\'name\\':\\'a\\'}':{'.':{},'f:image':{},'f:name':{}},'k:{\\'name\\':\\'b\\'}':{'.':{},'f:image'"
		":{},'f:name':{}}}}}}}");
	o = apply(v, o,
		"{" HEAD ",'spec':{'replicas':3,'template':{'spec':{'containers':[{'name':'b','image':'2'}]}}}}",
		(struct by){ "one" });
	assert_string_equal(
		at(v, o, "spec"), "{'replicas':3,'template':{'spec':{'containers':[{'name':'b','image':'2'}]}}}");
}

static void another_applier_conflicts(void **state)
{
	struct env *v = *state;
	struct val o = apply(v, VAL_NONE, "{" HEAD ",'spec':{'replicas':3,'minReadySeconds':1}}", (struct by){ "one" });
	const char *reason, *field, *message;
	size_t pos = 0;

	apply(v, o, "{" HEAD ",'spec':{'replicas':4}}", (struct by){ "two", .fails = ERR_CONFLICT });
	assert_string_equal(v->e.message, "Apply failed with 1 conflict: conflict with \"one\": .spec.replicas");
	assert_true(err_next_cause(&v->e, &pos, &reason, &field, &message));
	assert_string_equal(reason, "FieldManagerConflict");
	assert_string_equal(field, ".spec.replicas");
	assert_string_equal(message, "conflict with \"one\"");
	apply(v, o, "{" HEAD ",'spec':{'replicas':4,'minReadySeconds':2}}",
		(struct by){ "two", .fails = ERR_CONFLICT });
	assert_string_equal(v->e.message,
		"Apply failed with 2 conflicts: conflicts with \"one\":\n- .spec.minReadySeconds\n- .spec.replicas");
	/* the same value is shared, not a conflict */
	o = apply(v, o, "{" HEAD ",'spec':{'replicas':3}}", (struct by){ "two" });
	assert_int_equal(entries(o), 2);
	/* one gives it up, two still has it */
	o = apply(v, o, "{" HEAD ",'spec':{'minReadySeconds':1}}", (struct by){ "one" });
	assert_string_equal(at(v, o, "spec.replicas"), "3");
	o = apply(v, o, "{" HEAD ",'spec':{'minReadySeconds':9}}", (struct by){ "two", .force = true });
	assert_string_equal(at(v, o, "spec"), "{'minReadySeconds':9}");
	assert_int_equal(entries(o), 1);
	assert_string_equal(entry(v, o, 0, "manager"), "two");
}

static void apply_meets_update(void **state)
{
	struct env *v = *state;
	struct val o = apply(v, VAL_NONE, "{" HEAD ",'spec':{'replicas':1,'paused':true}}", (struct by){ "one" });

	o = update(v, o, "{" HEAD ",'spec':{'replicas':5,'paused':true}}", (struct by){ "hand" });
	assert_int_equal(entries(o), 2);
	assert_string_equal(entry(v, o, 0, "fieldsV1"), "{'f:spec':{'f:paused':{}}}");
	assert_string_equal(entry(v, o, 1, "fieldsV1"), "{'f:spec':{'f:replicas':{}}}");
	assert_string_equal(entry(v, o, 1, "operation"), "Update");
	apply(v, o, "{" HEAD ",'spec':{'replicas':1,'paused':true}}", (struct by){ "one", .fails = ERR_CONFLICT });
	assert_string_equal(
		v->e.message, "Apply failed with 1 conflict: conflict with \"hand\" using apps/v1: .spec.replicas");
	o = apply(v, o, "{" HEAD ",'spec':{'replicas':1,'paused':true}}", (struct by){ "one", .force = true });
	assert_int_equal(entries(o), 1);
}

static void order_of_lists_is_kept(void **state)
{
	struct env *v = *state;
	struct val o = update(v, VAL_NONE,
		"{" HEAD ",'spec':{'template':{'spec':{'containers':[{'name':'a'},{'name':'x'},{'name':'b'}]}}}}",
		(struct by){ "hand" });

	o = apply(v, o,
		"{" HEAD ",'spec':{'template':{'spec':{'containers':[{'name':'b'},{'name':'n'},{'name':'a'}]}}}}",
		(struct by){ "one" });
	assert_string_equal(
		at(v, o, "spec.template.spec.containers"), "[{'name':'x'},{'name':'b'},{'name':'n'},{'name':'a'}]");
	/* what the updater still has stays when the applier stops sending it */
	o = apply(v, o, "{" HEAD ",'spec':{'template':{'spec':{'containers':[{'name':'b'}]}}}}", (struct by){ "one" });
	assert_string_equal(at(v, o, "spec.template.spec.containers"), "[{'name':'x'},{'name':'b'},{'name':'a'}]");
}

/* ---- update ---------------------------------------------------------------------------------- */

static void update_as_kubectl_create(void **state)
{
	struct env *v = *state;
	struct val o = update(v, VAL_NONE,
		"{" HEAD
		",'spec':{'replicas':1,'selector':{'matchLabels':{'a':'b'}},'strategy':{'type':'RollingUpdate',"
		"'rollingUpdate':{'maxSurge':1}},'template':{'metadata':{'labels':{'a':'b'}},'spec':{'containers':[{'"
		"name':'c','resources':{},"
		"'ports':[{'containerPort':80,'protocol':'TCP'}]}],'securityContext':{}}}},'status':{'replicas':1}}",
		(struct by){ "kubectl-create" });

	assert_string_equal(entry(v, o, 0, "manager"), "kubectl-create");
	assert_string_equal(entry(v, o, 0, "fieldsType"), "FieldsV1");
	assert_string_equal(entry(v, o, 0, "fieldsV1"),
		"{'f:spec':{'f:replicas':{},'f:selector':{},'f:strategy':{'f:rollingUpdate':"
		"{'.':{},'f:maxSurge':{}},'f:type':{}},'f:template':{'f:metadata':{'f:labels':{'.':{},'f:a':{}}},'f:"
		"spec':{'f:containers':"
		"{'k:{\\'name\\':\\'c\\'}':{'.':{},'f:name':{},'f:ports':{'.':{},'k:{\\'containerPort\\':80,\\'"
		"protocol\\':\\'TCP\\'}':{'.':{},'f:containerPort':{},"
		"'f:protocol':{}}},'f:resources':{}}},'f:securityContext':{}}}}}");
}

static void update_without_change_keeps_time(void **state)
{
	struct env *v = *state;
	struct val o = update(v, VAL_NONE, "{" HEAD ",'spec':{'replicas':1}}",
			   (struct by){ "a", .now = "2026-01-01T00:00:01Z" }),
		   p;

	p = update(v, o, "{" HEAD ",'spec':{'replicas':1}}", (struct by){ "a", .now = "2026-01-01T00:00:02Z" });
	assert_string_equal(entry(v, p, 0, "time"), "2026-01-01T00:00:01Z");
	p = update(v, o, "{" HEAD ",'spec':{'replicas':2}}", (struct by){ "a", .now = "2026-01-01T00:00:03Z" });
	assert_string_equal(entry(v, p, 0, "time"), "2026-01-01T00:00:03Z");
	assert_int_equal(entries(p), 1);
	p = update(v, o, "{" HEAD "}", (struct by){ "b" });
	assert_int_equal(entries(p), 0);
}

static void status_is_apart(void **state)
{
	struct env *v = *state;
	struct val o = update(v, VAL_NONE, "{" HEAD ",'spec':{'replicas':1}}", (struct by){ "a" });

	o = update(v, o,
		"{" HEAD ",'spec':{'replicas':1},'status':{'readyReplicas':1,'conditions':[{'type':'Available','status'"
		":'True'}]}}",
		(struct by){ "a", "status" });
	assert_int_equal(entries(o), 2);
	assert_string_equal(entry(v, o, 0, "subresource"), "");
	assert_string_equal(entry(v, o, 1, "subresource"), "status");
	assert_string_equal(entry(v, o, 1, "fieldsV1"),
		"{'f:status':{'f:conditions':{'.':{},'k:{\\'type\\':\\'"
		"Available\\'}':{'.':{},'f:status':{},'f:type':{}}},"
		"'f:readyReplicas':{}}}");
}

/* A manifest that was exported with its status, or a status with its spec: what is not written here takes nothing from
 * anybody, not even by force. */
static void what_an_endpoint_does_not_write_is_not_applied(void **state)
{
	struct env *v = *state;
	struct val o = update(v, VAL_NONE, "{" HEAD ",'spec':{'replicas':1}}", (struct by){ "a" });

	o = update(v, o, "{" HEAD ",'spec':{'replicas':1},'status':{'readyReplicas':1}}", (struct by){ "a", "status" });
	o = apply(v, o, "{" HEAD ",'spec':{'paused':true},'status':{'readyReplicas':7}}", (struct by){ "b" });
	o = apply(v, o, "{" HEAD ",'spec':{'paused':true},'status':{'readyReplicas':7}}",
		(struct by){ "b", .force = true });
	o = apply(v, o, "{" HEAD ",'spec':{'replicas':9},'status':{'replicas':1}}", (struct by){ "c", "status" });
	assert_string_equal(at(v, o, "spec"), "{'replicas':1,'paused':true}");
	assert_string_equal(at(v, o, "status"), "{'readyReplicas':1,'replicas':1}");
	assert_int_equal(entries(o), 4);
	assert_string_equal(entry(v, o, 0, "fieldsV1"), "{'f:spec':{'f:paused':{}}}");
	assert_string_equal(entry(v, o, 1, "fieldsV1"), "{'f:status':{'f:replicas':{}}}");
	assert_string_equal(entry(v, o, 2, "fieldsV1"), "{'f:spec':{'f:replicas':{}}}");
	assert_string_equal(entry(v, o, 3, "fieldsV1"), "{'f:status':{'f:readyReplicas':{}}}");
}

static void there_are_at_most_ten_updaters(void **state)
{
	struct env *v = *state;
	struct val o = VAL_NONE;

	for (int i = 0; i < 15; i++) {
		char *json = arena_printf(v->a, "{" HEAD ",'spec':{'template':{'metadata':{'labels':{");
		char *name = arena_printf(v->a, "m%02d", i), *now = arena_printf(v->a, "2026-01-01T00:00:%02dZ", i);

		for (int k = 0; k <= i; k++)
			json = arena_printf(v->a, "%s%s'l%02d':''", json, k ? "," : "", k);
		json = arena_printf(v->a, "%s}}}}}", json);
		o = update(v, o, json, (struct by){ name, .now = now });
	}
	assert_int_equal(entries(o), 10);
	assert_string_equal(entry(v, o, 0, "manager"), "ancient-changes");
	assert_non_null(strstr(entry(v, o, 0, "fieldsV1"), "f:l05"));
	assert_string_equal(entry(v, o, 9, "manager"), "m14");
}

static void managers_can_be_reset(void **state)
{
	struct env *v = *state;
	struct val o = update(v, VAL_NONE, "{" HEAD ",'spec':{'replicas':1}}", (struct by){ "a" });

	o = update(v, o,
		"{'apiVersion':'apps/"
		"v1','kind':'Deployment','metadata':{'name':'d','managedFields':[]},'spec':{'replicas':1}}",
		(struct by){ "a" });
	assert_int_equal(entries(o), 0);
	o = update(
		v, o, "{" HEAD ",'spec':{'replicas':2}}", (struct by){ "a" }); /* not tracked until somebody applies */
	assert_int_equal(entries(o), 0);
	apply(v, o, "{" HEAD ",'spec':{'replicas':3}}", (struct by){ "b", .fails = ERR_CONFLICT });
	assert_string_equal(v->e.message,
		"Apply failed with 1 conflict: conflict with \"before-first-apply\" using apps/v1: .spec.replicas");
}

/* Nothing of that write is kept either, although it changes something. */
static void a_reset_forgets_its_own_change(void **state)
{
	struct env *v = *state;
	struct val o = update(v, VAL_NONE, "{" HEAD ",'spec':{'replicas':1}}", (struct by){ "a" });

	o = update(v, o,
		"{'apiVersion':'apps/"
		"v1','kind':'Deployment','metadata':{'name':'d','managedFields':[{}]},'spec':{'replicas':2}}",
		(struct by){ "a" });
	assert_int_equal(entries(o), 0);
}

static bool is_v1(void *arg, struct str api_version)
{
	(void)arg;
	return str_is(api_version, "apps/v1");
}

#define OWNED(managed, spec)                                                                           \
	"{'apiVersion':'apps/v1','kind':'Deployment','metadata':{'name':'d','managedFields':[" managed \
	"]},'spec':{" spec "}}"
#define ENTRY(version, fields)                                         \
	"{'manager':'old','operation':'Update','apiVersion':'" version \
	"','fieldsType':'FieldsV1','fieldsV1':{'f:spec':{" fields "}}}"

static struct val write_again(struct env *v, const char *live, const char *json)
{
	struct managed_write w = write_of(v->deployment, (struct by){ "new" });
	struct node *n = node_from(v->a, parse(v, json));

	w.served = is_v1;
	assert_int_equal(managed_update(v->a, &w, parse(v, live), n, &v->e), 0);
	return publish(v, n);
}

static void what_is_owned_follows_the_kind(void **state)
{
	struct env *v = *state;
	struct val o;

	/* a version that is gone */
	o = write_again(v, OWNED(ENTRY("apps/v1beta1", "'f:replicas':{}"), "'replicas':1"),
		OWNED("", "'replicas':1,'paused':true"));
	assert_int_equal(entries(o), 0); /* an empty list is a reset */
	o = write_again(v, OWNED(ENTRY("apps/v1beta1", "'f:replicas':{}"), "'replicas':1"),
		"{" HEAD ",'spec':{'replicas':1,'paused':true}}");
	assert_int_equal(entries(o), 1);
	assert_string_equal(entry(v, o, 0, "manager"), "new");
	/* a selector is one value: who had a part of it has it */
	o = write_again(v,
		OWNED(ENTRY("apps/v1",
			      "'f:selector':{'f:matchLabels':{'.':{},'f:a':{}}},'f:template':{'f:spec':{'f:tolerations':{}}}"),
			"'selector':{'matchLabels':{'a':'b'}}"),
		"{" HEAD ",'spec':{'selector':{'matchLabels':{'a':'b'}}}}");
	assert_int_equal(entries(o), 1);
	assert_string_equal(entry(v, o, 0, "fieldsV1"),
		"{'f:spec':{'f:selector':{},'f:template':{'f:spec':{'f:tolerations':{}}}}}");
}

static void what_is_no_entry_is_not_read(void **state)
{
	static const char *const bad[] = {
		"{'manager':'x','operation':'Update','apiVersion':'apps/v1','fieldsV1':{}}",
		"{'manager':'x','operation':'Update','fieldsType':'FieldsV1','fieldsV1':{}}",
		"{'manager':'x','operation':'Other','apiVersion':'apps/v1','fieldsType':'FieldsV1'}",
	};
	struct env *v = *state;
	struct val o = update(v, VAL_NONE, "{" HEAD ",'spec':{'replicas':1}}", (struct by){ "a" });

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		const char *json = arena_printf(v->a,
			"{'apiVersion':'apps/v1','kind':'Deployment','metadata':{'name':'d','managedFields':[%s]},'spec':{'replicas':1}}",
			bad[i]);
		struct val after = update(v, o, json, (struct by){ "b" });

		assert_int_equal(entries(after), 1);
		assert_string_equal(entry(v, after, 0, "manager"), "a");
	}
}

#define LAST_APPLIED "kubectl.kubernetes.io/last-applied-configuration"
#define FROM_CLIENT_SIDE                                                                                                  \
	"'apiVersion':'apps/v1','kind':'Deployment','metadata':{'name':'d','annotations':{'" LAST_APPLIED "':"            \
	"'{\\\"apiVersion\\\":\\\"apps/v1\\\",\\\"kind\\\":\\\"Deployment\\\",\\\"metadata\\\":{\\\"name\\\":\\\"d\\\"}," \
	"\\\"spec\\\":{\\\"replicas\\\":3,\\\"paused\\\":true}}'}}"

/* What kubectl applied on its own side is no other's; what another changed since then is. */
static void the_server_side_inherits_from_the_client_side(void **state)
{
	struct env *v = *state;
	struct val o = update(v, VAL_NONE, "{" FROM_CLIENT_SIDE ",'spec':{'replicas':3,'paused':true}}",
		(struct by){ "kubectl-client-side-apply" });
	struct val after;

	apply(v, o, "{" HEAD ",'spec':{'replicas':4}}", (struct by){ "gitops", .fails = ERR_CONFLICT });
	after = apply(v, o, "{" HEAD ",'spec':{'replicas':4}}", (struct by){ "kubectl" });
	assert_string_equal(at(v, after, "spec"), "{'replicas':4,'paused':true}");
	assert_string_equal(entry(v, after, 0, "manager"), "kubectl");
	assert_string_equal(quote(v, val_str(val_get(val_path(after, "metadata.annotations"), LAST_APPLIED))),
		"{" HEAD ",'spec':{'replicas':4}}\n");

	/* written as kubectl does, with Go's marshaller */
	after = apply(v, after,
		"{'metadata':{'name':'d'},'spec':{'replicas':4,'template':{'metadata':{'annotations':{'z':'<&>\\u2028',"
		"'a':'\u00e9'}}}},'kind':'Deployment','apiVersion':'apps/v1'}",
		(struct by){ "kubectl" });
	assert_string_equal(quote(v, val_str(val_get(val_path(after, "metadata.annotations"), LAST_APPLIED))),
		"{" HEAD ",'spec':{'replicas':4,'template':{'metadata':{'annotations':{'a':'\u00e9',"
		"'z':'\\u003c\\u0026\\u003e\\u2028'}}}}}\n");

	o = update(v, o, "{" FROM_CLIENT_SIDE ",'spec':{'replicas':5,'paused':true}}", (struct by){ "hpa" });
	apply(v, o, "{" HEAD ",'spec':{'replicas':4,'paused':false}}", (struct by){ "kubectl", .fails = ERR_CONFLICT });
	assert_string_equal(
		v->e.message, "Apply failed with 1 conflict: conflict with \"hpa\" using apps/v1: .spec.replicas");
}

static void kinds_without_a_schema_merge_their_maps(void **state)
{
	struct env *v = *state;
	struct val o;

	v->deployment = NULL;
	o = apply(v, VAL_NONE, "{" HEAD ",'spec':{'a':{'b':1,'c':[1]}}}", (struct by){ "one" });
	o = apply(v, o, "{" HEAD ",'spec':{'a':{'d':2}}}", (struct by){ "two" });
	o = apply(v, o, "{" HEAD ",'spec':{'a':{'b':1}}}", (struct by){ "one" });
	assert_string_equal(at(v, o, "spec"), "{'a':{'b':1,'d':2}}");
}

static void check_is(struct env *v, const struct schema_type *t, const char *json, const char *says)
{
	err_init(&v->e);
	assert_int_equal(managed_check(v->a, t, node_from(v->a, parse(v, json)), &v->e), says ? -ERR_BAD_REQUEST : 0);
	assert_string_equal(quote(v, str_c(v->e.message)), says ? says : "");
}

#define POD_SPEC(spec) "{'kind':'Pod','apiVersion':'v1','metadata':{'namespace':'x','name':'p'},'spec':" spec "}"
#define POD_SAYS(what) "failed to create typed patch object (x/p; /v1, Kind=Pod): " what

static void what_does_not_fit_is_refused(void **state)
{
	struct env *v = *state;

	check_is(v, v->pod, "{'metadata':{'managedFields':[{'manager':'x'}]}}", "metadata.managedFields must be nil");
	check_is(v, v->pod, POD_SPEC("{'containers':[{'name':'a','env':[]},{'name':'b'}]}"), NULL);
	check_is(v, v->pod, POD_SPEC("{'containers':[{'image':'x'}]}"),
		POD_SAYS(".spec.containers: element 0: associative list with keys has an element that omits key field "
			 "'name' (and doesn't have default value)"));
	check_is(v, v->pod, POD_SPEC("{'containers':[{'name':'x'},{'name':'y'},{'name':'x'}]}"),
		POD_SAYS(".spec.containers: duplicate entries for key [name='x']"));
	check_is(v, v->pod, POD_SPEC("{'containers':[{'name':'x','resources':{'cpu':1}}]}"),
		POD_SAYS(".spec.containers[name='x'].resources.cpu: field not declared in schema"));
	check_is(v, v->pod, POD_SPEC("{'tolerations':[{'key':'x','what':1}]}"), /* in an atomic list */
		POD_SAYS(".spec.tolerations[0].what: field not declared in schema"));
	check_is(v, v->pod, "{'kind':'Pod','apiVersion':'a/v1','x':1,'metadata':{'finalizers':['a','b','a']}}",
		"failed to create typed patch object (/; a/v1, Kind=Pod): errors:\n  .x: field not declared in schema\n"
		"  .metadata.finalizers: duplicate entries for key [='a']");
}

static void custom_kinds_say_what_they_declare(void **state)
{
	static const char schema[] =
		"{'type':'object','properties':{'spec':{'type':'object','properties':{'size':{'type':'integer'},"
		"'free':{'type':'object'},'any':{'x-kubernetes-preserve-unknown-fields':true},"
		"'kept':{'type':'object','x-kubernetes-preserve-unknown-fields':true,'properties':{"
		"'shut':{'type':'object','properties':{'a':{'type':'string'}}}}}}}}}";
	struct schema_custom_opts o = { .group = "g", .version = "v1", .kind = "Thing", .list_kind = "ThingList" };
	struct env *v = *state;
	auto_(schema_custom_free) struct schema_custom *c = NULL;

	assert_int_equal(schema_custom_new(parse(v, schema), &o, &c, &v->e), 0);
	check_is(v, schema_custom_type(c),
		"{'kind':'Thing','apiVersion':'g/v1','metadata':{'labels':{'a':'b'}},"
		"'spec':{'size':1,'free':{'x':1},'any':[{'x':1}],'kept':{'x':{'y':1}}}}",
		NULL);
	check_is(v, schema_custom_type(c),
		"{'kind':'Thing','apiVersion':'g/v1','metadata':{'name':'t'},"
		"'spec':{'sice':1,'kept':{'shut':{'b':1}}},'status':{}}",
		"failed to create typed patch object (/t; g/v1, Kind=Thing): errors:\n"
		"  .spec.sice: field not declared in schema\n"
		"  .spec.kept.shut.b: field not declared in schema\n"
		"  .status: field not declared in schema");
}

/* Each of them for itself, as the entries of a map. */
static void who_sets_unknown_fields_owns_them(void **state)
{
	static const char schema[] =
		"{'type':'object','properties':{'spec':{'type':'object','x-kubernetes-preserve-unknown-fields':true}}}";
	struct schema_custom_opts o = { .group = "g", .version = "v1", .kind = "Thing", .list_kind = "ThingList" };
	struct env *v = *state;
	auto_(schema_custom_free) struct schema_custom *c = NULL;
	struct field_set *s;

	assert_int_equal(schema_custom_new(parse(v, schema), &o, &c, &v->e), 0);
	s = field_set_of(v->a, schema_custom_type(c), parse(v, "{'spec':{'a':{'b':1}}}"));
	assert_string_equal(
		quote(v, val_text(publish(v, field_set_node(v->a, s)))), "{'f:spec':{'f:a':{'.':{},'f:b':{}}}}");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_set_of_fields),
		T(apply_creates_and_gives_up),
		T(another_applier_conflicts),
		T(apply_meets_update),
		T(order_of_lists_is_kept),
		T(update_as_kubectl_create),
		T(update_without_change_keeps_time),
		T(status_is_apart),
		T(what_an_endpoint_does_not_write_is_not_applied),
		T(there_are_at_most_ten_updaters),
		T(managers_can_be_reset),
		T(a_reset_forgets_its_own_change),
		T(what_is_owned_follows_the_kind),
		T(what_is_no_entry_is_not_read),
		T(the_server_side_inherits_from_the_client_side),
		T(kinds_without_a_schema_merge_their_maps),
		T(what_does_not_fit_is_refused),
		T(custom_kinds_say_what_they_declare),
		T(who_sets_unknown_fields_owns_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
