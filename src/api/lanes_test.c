/* Which lane a request waits in. */
#include "api/api_internal.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h> /* wants the two above */

static enum lane lane(const char *user, const char *group, const char *resource)
{
	struct str groups[] = { str_c(group) };
	struct rq rq = { .id = { .user = str_c(user), .groups = groups, .n_groups = 1 },
		.resource_name = str_c(resource) };

	return lanes_choose(&rq);
}

static void the_cluster_goes_before_its_users(void **state)
{
	assert_int_equal(lane("anna", "system:masters", "pods"), LANE_EXEMPT);
	assert_int_equal(lane("system:node:a", "system:nodes", "leases"), LANE_EXEMPT);
	assert_int_equal(lane("system:kube-scheduler", "", "pods"), LANE_CONTROLLERS);
	assert_int_equal(lane("system:serviceaccount:kube-system:dns", "", "pods"), LANE_CONTROLLERS);
	assert_int_equal(lane("anna", "", "pods"), LANE_EVERYONE);
}

/* Leases elect leaders in the namespaces of users, too: those are many. */
static void only_the_clusters_own_leases_do(void **state)
{
	assert_int_equal(lane("system:kube-scheduler", "", "leases"), LANE_EXEMPT);
	assert_int_equal(lane("system:serviceaccount:team:web", "system:serviceaccounts", "leases"), LANE_EVERYONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_cluster_goes_before_its_users),
		cmocka_unit_test(only_the_clusters_own_leases_do),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
