/* Families of Services, as upstream's allocator decides them (its storage tests), in clusters of every kind. */
#include "api/api.h"
#include "base/test.h"
#include <stdio.h>

#define V4 "10.96.0.0/16"
#define V6 "fd00:96::/112"
#define BOTH V4 "," V6
#define S "selector:{a:'b'}" /* in node_pack()'s words */
#define EXTERNAL "type:'ExternalName', externalName:'example.com'"

/* One step: a create, or with `then` the update that follows it. Wanted: "policy families", or a part of the refusal. */
struct row {
	const char *cluster, *create, *then, *wanted;
};
static const struct row rows[] = {
	/* what is left open */
	{ BOTH, S, NULL, "SingleStack IPv4" },
	{ V6, S, NULL, "SingleStack IPv6" },
	{ BOTH, S ", ipFamilies:['IPv6']", NULL, "SingleStack IPv6" },
	{ BOTH, S ", ipFamilyPolicy:'PreferDualStack'", NULL, "PreferDualStack IPv4 IPv6" },
	{ V4, S ", ipFamilyPolicy:'PreferDualStack'", NULL, "PreferDualStack IPv4" },
	{ BOTH, S ", ipFamilyPolicy:'RequireDualStack', ipFamilies:['IPv6']", NULL, "RequireDualStack IPv6 IPv4" },
	{ BOTH, S ", clusterIP:'fd00:96::77'", NULL, "SingleStack IPv6" },
	{ BOTH, S ", clusterIP:'fd00:96::77', ipFamilyPolicy:'PreferDualStack'", NULL, "PreferDualStack IPv6 IPv4" },
	/* headless: without a selector any families, also those that the cluster has not */
	{ BOTH, S ", clusterIP:'None'", NULL, "SingleStack IPv4" },
	{ BOTH, "clusterIP:'None'", NULL, "RequireDualStack IPv4 IPv6" },
	{ V4, "clusterIP:'None'", NULL, "RequireDualStack IPv4 IPv6" },
	{ V4, "clusterIP:'None', ipFamilies:['IPv6']", NULL, "RequireDualStack IPv6 IPv4" },
	{ V4, "clusterIP:'None', ipFamilyPolicy:'SingleStack'", NULL, "SingleStack IPv4" },
	{ V4, S ", clusterIP:'None', ipFamilyPolicy:'RequireDualStack'", NULL,
		"not configured for dual-stack services" },
	/* refused */
	{ V4, S ", ipFamilyPolicy:'RequireDualStack'", NULL, "not configured for dual-stack services" },
	{ V4, S ", ipFamilies:['IPv6']", NULL, "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured" },
	{ V4, S ", clusterIP:'fd00:96::77'", NULL, "IPv6 is not configured on this cluster" },
	{ BOTH, S ", ipFamilies:['IPv4','IPv6']", NULL, "when multiple IP families are specified" },
	{ BOTH, S ", clusterIP:'10.96.0.7', clusterIPs:['10.96.0.7','fd00:96::7']", NULL,
		"when multiple cluster IPs are specified" },
	{ BOTH, S ", ipFamilyPolicy:'PreferDualStack', ipFamilies:['IPv4','IPv4']", NULL, "Duplicate value" },
	{ BOTH, S ", clusterIPs:['10.96.0.7']", NULL, "must be empty when `clusterIP` is not specified" },
	{ BOTH, S ", clusterIP:'10.96.0.7', clusterIPs:['10.96.0.8']", NULL, "first value must match `clusterIP`" },
	{ BOTH, S ", clusterIP:'10.96.0.7', clusterIPs:['10.96.0.7','10.96.0.8'], ipFamilyPolicy:'RequireDualStack'",
		NULL, "no more than one IP for each IP family" },
	{ BOTH, S ", clusterIP:'None', clusterIPs:['None','10.96.0.8']", NULL, "'None' must be the first and only" },
	{ BOTH, EXTERNAL ", ipFamilies:['IPv4']", NULL, "spec.ipFamilies: Forbidden" },
	{ BOTH, EXTERNAL ", ipFamilyPolicy:'SingleStack'", NULL, "spec.ipFamilyPolicy: Forbidden" },
	/* updates: up, down, and neither by accident */
	{ BOTH, S, "ipFamilyPolicy:'PreferDualStack'", "PreferDualStack IPv4 IPv6" },
	{ BOTH, S, "ipFamilyPolicy:'RequireDualStack', ipFamilies:['IPv4','IPv6']", "RequireDualStack IPv4 IPv6" },
	{ BOTH, S ", ipFamilyPolicy:'PreferDualStack'", "ipFamilyPolicy:'SingleStack'", "SingleStack IPv4" },
	{ BOTH, S ", ipFamilyPolicy:'PreferDualStack'", "ipFamilyPolicy:'SingleStack', ipFamilies:['IPv4']",
		"SingleStack IPv4" },
	{ BOTH, S ", ipFamilyPolicy:'PreferDualStack'", "ipFamilies:['IPv4']",
		"must be 'SingleStack' to release the secondary IP family" },
	{ BOTH, S ", ipFamilyPolicy:'RequireDualStack', clusterIP:'10.96.0.9'", "clusterIPs:['10.96.0.9']",
		"must be 'SingleStack' to release the secondary cluster IP" },
	{ BOTH, S ", ipFamilyPolicy:'PreferDualStack'", "sessionAffinity:'ClientIP'", "PreferDualStack IPv4 IPv6" },
	{ BOTH, S, "ipFamilies:['IPv6','IPv4'], ipFamilyPolicy:'RequireDualStack'", "may not change once set" },
	{ BOTH, S ", ipFamilyPolicy:'RequireDualStack', clusterIP:'10.96.0.9', clusterIPs:['10.96.0.9','fd00:96::9']",
		"clusterIPs:['10.96.0.9','fd00:96::a']", "spec.clusterIPs[1]" },
	{ BOTH, S, "clusterIP:'10.96.0.9', clusterIPs:['10.96.0.9']", "may not change once set" },
	{ BOTH, S ", clusterIP:'None'", "ipFamilies:['IPv6']", "SingleStack IPv6" },
	/* to ExternalName and back */
	{ BOTH, S ", ipFamilyPolicy:'PreferDualStack'", EXTERNAL, "" },
	{ BOTH, EXTERNAL, S ", type:'ClusterIP', externalName:n", "SingleStack IPv4" },
};

static struct doc *packed(const char *before, const char *spec, const char *after)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_free char *picture = xasprintf("%s%s%s", before, spec, after);

	return node_publish(node_pack(a, picture));
}

static int create(struct client *c, const char *spec, struct doc **ret, struct err *e)
{
	auto_(doc_unref) struct doc *body = packed("{metadata:{name:'s'}, spec:{ports:[{port:80}], ", spec, "}}");

	return client_create(c, res_services, STR("default"), body, ret, e);
}

static int change(struct client *c, const char *spec, struct doc **ret, struct err *e)
{
	auto_(doc_unref) struct doc *body = packed("{spec:{", spec, "}}");

	return client_patch(c, res_services, STR("default"), STR("s"), NULL, PATCH_MERGE, body, ret, e);
}

/* "policy family family"; there are as many addresses, of these families. */
static void tell(struct doc *d, char ret[128])
{
	struct val families = doc_get(d, "spec.ipFamilies"), ips = doc_get(d, "spec.clusterIPs");
	bool headless = val_is(val_at(ips, 0), "None");
	size_t n = (size_t)snprintf(ret, 128, "%.*s", STR_ARG(doc_str(d, "spec.ipFamilyPolicy")));

	assert_int_equal(val_len(ips), headless ? 1 : val_len(families));
	for (size_t i = 0; i < val_len(families); i++) {
		struct str family = val_str(val_at(families, i));

		n += (size_t)snprintf(ret + n, 128 - n, " %.*s", STR_ARG(family));
		if (!headless)
			assert_int_equal(str_has(val_str(val_at(ips, i)), STR(":")), str_is(family, "IPv6"));
	}
}

static void try_row(struct client *c, const struct row *r)
{
	auto_(doc_unref) struct doc *d = NULL;
	char got[128];
	struct err e;
	int rc;

	err_init(&e);
	rc = create(c, r->create, &d, &e);
	if (r->then) {
		if (rc < 0)
			fail_msg("%s: %s", r->create, e.message);
		d = doc_unref(d);
		rc = change(c, r->then, &d, &e);
	}
	if (rc < 0) {
		assert_int_equal(rc, -ERR_INVALID);
		if (!strstr(e.message, r->wanted))
			fail_msg("%s | %s: no \"%s\" in: %s", r->create, r->then, r->wanted, e.message);
		return;
	}
	tell(d, got);
	if (strcmp(got, r->wanted) != 0)
		fail_msg("%s | %s: \"%s\", not \"%s\"", r->create, r->then, got, r->wanted);
}

/* A cluster of its own for each row: nothing is taken yet. */
static void families_are_upstreams(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct api_opts o = { .service_cidrs = rows[i].cluster };
		struct client *c;
		struct api *api;
		struct err e;

		err_init(&e);
		assert_int_equal(store_open_memory(&o.store, &e), 0);
		assert_int_equal(api_new(&o, &api, &e), 0);
		c = api_local_client(api, "tester", (const char *const[]){ "system:masters", NULL }, "tester");
		try_row(c, &rows[i]);
		client_free(c);
		api_stop(api);
		store_close(o.store);
		api_free(api);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(families_are_upstreams) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
