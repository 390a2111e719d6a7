/* Who asks, as others are told it: approvers of certificates, and the audit log. */
#include "api/api_fixture.h"
#include "api/auth/auth.h"

#define RBAC "/apis/rbac.authorization.k8s.io/v1"
#define CSRS "/apis/certificates.k8s.io/v1/certificatesigningrequests"
#define MERGE "application/merge-patch+json"

static const struct str authenticated[] = { { "system:authenticated", 20 } };
static const struct identity_extra extra[] = { { { "team", 4 }, { "red", 3 } } };
static const struct identity owner = { .user = { "owner", 5 }, .groups = authenticated, .n_groups = 1 };
static const struct identity account = {
	.user = { "owner", 5 }, .uid = { "7", 1 }, .groups = authenticated, .n_groups = 1, .extra = extra, .n_extra = 1
};

/* What the owner may, everywhere: rules as JSON. */
static void owner_may(struct fixture *f, const char *rules)
{
	auto_free char *role = xasprintf("{\"metadata\":{\"name\":\"owner\"},\"rules\":[%s]}", rules);

	expect(f, 201, call(f, "POST", RBAC "/clusterroles", role));
	expect(f, 201,
		call(f, "POST", RBAC "/clusterrolebindings",
			"{\"metadata\":{\"name\":\"owner\"},\"roleRef\":{\"apiGroup\":\"rbac.authorization.k8s.io\","
			"\"kind\":\"ClusterRole\",\"name\":\"owner\"},\"subjects\":[{\"apiGroup\":\"rbac.authorization.k8s.io\","
			"\"kind\":\"User\",\"name\":\"owner\"}]}"));
}

/* ---- requests for certificates --------------------------------------------------------------- */

/* Of CN=a. */
#define REQUEST                                                                                            \
	"LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIR01HNENBUUF3RERFS01BZ0dBMVVFQXd3QllUQlpNQk1H" \
	"QnlxR1NNNDlBZ0VHQ0NxR1NNNDlBd0VIQTBJQQpCUEduRVRoSXozaTBIRDN4THZFcjJ3V3c5K3l3NlBFckZieTQ2czVOamNt" \
	"SUpwREMvM1pHYjJuaWZ5Y1kxRHo3CkdzRnZoSnUzODhXNEZlWHBYdGFGR0ZHZ0FEQUtCZ2dxaGtqT1BRUURBZ05JQURCRkFp" \
	"QXA5REZ2U3FVRHdCOU4KME8xMENPbE9GS3Y0QldDSGRDK1JoN0k3L1JqaUd3SWhBUG1mTUIva1IzUkQyVEI4OWZoSndUU0JO" \
	"cjR4M0tSZgprMjllMDhJbWZMQXUKLS0tLS1FTkQgQ0VSVElGSUNBVEUgUkVRVUVTVC0tLS0tCg=="

#define CSR(name)                                                                                     \
	"{\"metadata\":{\"name\":\"" name "\"},\"spec\":{\"request\":\"" REQUEST                      \
	"\",\"signerName\":\"example.com/x\",\"usages\":[\"client auth\"],\"username\":\"root\","     \
	"\"uid\":\"forged\",\"groups\":[\"system:masters\"],\"extra\":{\"team\":[\"blue\"],\"more\":" \
	"[\"x\"]}}}"

#define OF_CSRS(verbs) "{\"apiGroups\":[\"certificates.k8s.io\"],\"resources\":[\"*\"],\"verbs\":[" verbs "]}"

/* What he says of himself is nobody's business. */
static void who_asks_is_what_the_server_knows(void **state)
{
	struct fixture *f = *state;

	owner_may(f, OF_CSRS("\"create\""));
	f->as = &owner;
	expect(f, 201, call(f, "POST", CSRS, CSR("a")));
	assert_string_equal(get(f, "spec.username"), "owner");
	assert_string_equal(get(f, "spec.uid"), "");
	assert_string_equal(get(f, "spec.groups"), "[\"system:authenticated\"]");
	assert_string_equal(get(f, "spec.extra"), "");
	f->as = &account;
	expect(f, 201, call(f, "POST", CSRS, CSR("b")));
	assert_string_equal(get(f, "spec.uid"), "7");
	assert_string_equal(get(f, "spec.extra"), "{\"team\":[\"red\"]}");
	f->as = NULL;
}

static void conditions_are_the_signers(void **state)
{
	static const char condition[] = "{\"status\":{\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\"}]}}",
			  label[] = "{\"metadata\":{\"labels\":{\"a\":\"b\"}}}";
	struct fixture *f = *state;

	owner_may(f, OF_CSRS("\"create\",\"patch\""));
	f->as = &owner;
	expect(f, 201, call(f, "POST", CSRS, CSR("a")));
	expect(f, 200, call_as(f, "PATCH", CSRS "/a/status", MERGE, NULL, label));
	expect(f, 403, call_as(f, "PATCH", CSRS "/a/status", MERGE, NULL, condition));
	assert_true(body_has(f, "user not permitted to sign requests with signerName"));
	f->as = NULL;
	expect(f, 200, call_as(f, "PATCH", CSRS "/a/status", MERGE, NULL, condition));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(who_asks_is_what_the_server_knows, setup, teardown),
		cmocka_unit_test_setup_teardown(conditions_are_the_signers, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
