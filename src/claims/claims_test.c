/* Which volume a claim gets: a table. */
#include "claims/claims.h"
#include "doc/doc_fixture.h"
#include <stdio.h>

static struct doc *volume(const char *name, const char *size, const char *more)
{
	auto_free char *text = xasprintf("{metadata: {name: %s, labels: {disk: %s}}, status: {phase: Available}, spec: "
					 "{capacity: {storage: %s}, "
					 "accessModes: [ReadWriteOnce, ReadOnlyMany]%s}}",
		name, name, size, more);

	return yaml_doc(text);
}

#define PVS 9
static void pvs(struct doc *ret[PVS])
{
	ret[0] = volume("v5", "5Gi", "");
	ret[1] = volume("v1", "1Gi", "");
	ret[2] = volume("v2", "2Gi", "");
	ret[3] = volume("fast", "1Gi", ", storageClassName: fast");
	ret[4] = volume("block", "1Gi", ", volumeMode: Block");
	ret[5] = volume("taken", "1Gi", ", claimRef: {namespace: shop, name: other, uid: x}");
	ret[6] = volume("mine", "9Gi", ", storageClassName: odd, claimRef: {namespace: shop, name: mine}");
	ret[7] = volume("n1", "1Gi",
		", storageClassName: local, nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: "
		"host, operator: In, values: [n1]}]}]}}");
	ret[8] = volume("n2", "1Gi",
		", storageClassName: local, nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: "
		"host, operator: In, values: [n2]}]}]}}");
}

static const struct {
	const char *name, *size, *more, *want;
	bool any;
	const char *node;
} cases[] = {
	{ "c", "1Gi", "", "v1", true, NULL },
	{ "c", "1500Mi", "", "v2", true, NULL },
	{ "c", "3Gi", "", "v5", true, NULL },
	{ "c", "6Gi", "", "-", true, NULL },
	{ "c", "1Gi", ", accessModes: [ReadWriteMany]", "-", true, NULL },
	{ "c", "1Gi", ", accessModes: [ReadOnlyMany]", "v1", true, NULL },
	{ "c", "1Gi", ", storageClassName: fast", "fast", true, NULL },
	{ "c", "1Gi", ", storageClassName: none", "-", true, NULL },
	{ "c", "1Gi", ", volumeMode: Block", "block", true, NULL },
	{ "c", "1Gi", ", selector: {matchLabels: {disk: v5}}", "v5", true, NULL },
	{ "c", "1Gi", ", selector: {matchLabels: {disk: fast}}", "-", true, NULL },
	{ "mine", "1Gi", "", "mine", true, NULL },
	{ "mine", "1Gi", "", "mine", false, NULL },
	{ "mine", "10Gi", "", "-", true, NULL },
	{ "c", "1Gi", "", "-", false, NULL },
	{ "c", "1Gi", ", storageClassName: local", "n2", true, "n2" },
	{ "c", "1Gi", ", storageClassName: local", "-", true, "n3" },
};

static void the_smallest_that_fits(void **state)
{
	struct doc *all[PVS];

	(void)state;
	pvs(all);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_(arena_free) struct arena *a = arena_new();
		auto_free char *text = xasprintf("{metadata: {name: %s, namespace: shop, uid: u}, spec: {resources: "
						 "{requests: {storage: %s}}%s}}",
			cases[i].name, cases[i].size, cases[i].more);
		auto_free char *host = xasprintf("{host: %s}", cases[i].node ? cases[i].node : "any");
		auto_(doc_unref) struct doc *claim = yaml_doc(text), *labels = yaml_doc(host);
		struct claim_search s = { .volumes = all,
			.n = PVS,
			.any = cases[i].any,
			.labels = doc_root(labels),
			.node = str_c(cases[i].node) };
		struct doc *best = claim_best_volume(&s, claim, a);

		if (!str_is(best ? doc_name(best) : STR("-"), cases[i].want))
			fail_msg("case %zu: %s: it is %.*s, not %s", i, text, STR_ARG(best ? doc_name(best) : STR("-")),
				cases[i].want);
	}
	for (size_t i = 0; i < PVS; i++)
		doc_unref(all[i]);
}

static void why_not(void **state)
{
	auto_(doc_unref) struct doc *claim = yaml_doc("{spec: {storageClassName: fast, accessModes: [ReadWriteOnce], "
						      "resources: {requests: {storage: 1Gi}}}}");
	static const struct {
		const char *volume, *why;
	} table[] = {
		{ "{spec: {storageClassName: fast, accessModes: [ReadWriteOnce], capacity: {storage: 1Mi}}}",
			"requested PV is too small" },
		{ "{spec: {accessModes: [ReadWriteOnce], capacity: {storage: 1Gi}}}",
			"storageClassName does not match" },
		{ "{spec: {storageClassName: fast, volumeMode: Block, accessModes: [ReadWriteOnce], capacity: "
		  "{storage: 1Gi}}}",
			"incompatible volumeMode" },
		{ "{spec: {storageClassName: fast, accessModes: [ReadWriteMany], capacity: {storage: 1Gi}}}",
			"incompatible accessMode" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		auto_(doc_unref) struct doc *v = yaml_doc(table[i].volume);
		assert_string_equal(volume_misfit(v, claim), table[i].why);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(the_smallest_that_fits), cmocka_unit_test(why_not) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
