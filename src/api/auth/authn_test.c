/* Who asks, as others are told it: approvers of certificates, and the audit log. */
#include "api/api_fixture.h"
#include "api/auth/auth.h"
#include <stdlib.h>
#include <unistd.h>

#define RBAC "/apis/rbac.authorization.k8s.io/v1"
#define CSRS "/apis/certificates.k8s.io/v1/certificatesigningrequests"
#define MERGE "application/merge-patch+json"

static const struct str authenticated[] = { { "system:authenticated", 20 } };
static const struct identity_extra extra[] = { { { "team", 4 }, { "red", 3 } } };
static const struct identity owner = { .user = { "owner", 5 }, .groups = authenticated, .n_groups = 1 };
static const struct identity account = {
	.user = { "owner", 5 }, .uid = { "7", 1 }, .groups = authenticated, .n_groups = 1, .extra = extra, .n_extra = 1
};

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

	owner_may(f, NULL, OF_CSRS("\"create\""));
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

	owner_may(f, NULL, OF_CSRS("\"create\",\"patch\""));
	f->as = &owner;
	expect(f, 201, call(f, "POST", CSRS, CSR("a")));
	expect(f, 200, call_as(f, "PATCH", CSRS "/a/status", MERGE, NULL, label));
	expect(f, 403, call_as(f, "PATCH", CSRS "/a/status", MERGE, NULL, condition));
	assert_true(body_has(f, "user not permitted to sign requests with signerName"));
	f->as = NULL;
	expect(f, 200, call_as(f, "PATCH", CSRS "/a/status", MERGE, NULL, condition));
}

/* ---- tokens ---------------------------------------------------------------------------------- */

static int setup_signer(void **state)
{
	char dir[] = "/tmp/kogge-authn-XXXXXX";
	struct fixture *f;
	struct err e;

	err_init(&e);
	if (setup(state) < 0 || !mkdtemp(dir) || pki_signing_key(dir, "sa", &e) < 0)
		return -1;
	f = *state;
	auto_free char *key = xasprintf("%s/sa.key", dir), *public_key = xasprintf("%s/sa.pub", dir);
	int rc = pki_signer_new(key, &f->api->auth->signer, &e);
	unlink(key);
	unlink(public_key);
	return rmdir(dir) < 0 ? -1 : rc;
}

#define TOKEN "/api/v1/namespaces/default/serviceaccounts/default/token"
#define POD                                                                                                                  \
	"{\"metadata\":{\"name\":\"web\"},\"spec\":{\"nodeName\":\"a\",\"serviceAccountName\":\"default\",\"containers\":[{" \
	"\"name\":\"c\",\"image\":\"i\"}],\"volumes\":[{\"name\":\"t\",\"projected\":{\"sources\":[{"                        \
	"\"serviceAccountToken\":{\"path\":\"vault\",\"audience\":\"vault\"}},{\"serviceAccountToken\":{\"path\":\"t\"}}]}}]}}"

/* Of the pod, for these audiences, which are JSON. */
static int ask_token(struct fixture *f, const char *uid, const char *audiences)
{
	auto_free char *body =
		xasprintf("{\"spec\":{\"expirationSeconds\":3607,\"audiences\":[%s],\"boundObjectRef\":{\"kind\":"
			  "\"Pod\",\"apiVersion\":\"v1\",\"name\":\"web\",\"uid\":\"%s\"}}}",
			audiences, uid);

	return call(f, "POST", TOKEN, body);
}

/* How long the token of the last answer lives. */
static int64_t lives_s(struct fixture *f)
{
	auto_(doc_unref) struct doc *claims = NULL;
	auto_buf struct buf text = BUF_INIT;
	struct err e;

	err_init(&e);
	assert_int_equal(pki_verify_token(f->api->auth->signer, doc_str(f->doc, "status.token"), &text, &e), 0);
	assert_int_equal(doc_parse(buf_view(&text), &claims, &e), 0);
	return doc_int(claims, "exp", 0) - doc_int(claims, "iat", 0);
}

/* The year is for programs that do not read ours anew; others check for themselves, and never see the pod go. */
static void only_our_own_tokens_live_on(void **state)
{
	struct fixture *f = *state;

	expect(f, 201, call(f, "POST", PODS, POD));
	auto_free char *uid = xstrdup(get(f, "metadata.uid"));
	expect(f, 201, ask_token(f, uid, ""));
	assert_int_equal(lives_s(f), 365 * 24 * 3600);
	expect(f, 201, ask_token(f, uid, "\"vault\""));
	assert_int_equal(lives_s(f), 3607);
	expect(f, 201, ask_token(f, uid, "\"https://kubernetes.default.svc\",\"vault\""));
	assert_int_equal(lives_s(f), 3607);
}

static void a_node_asks_for_whom_its_pods_have_tokens(void **state)
{
	static const struct str nodes[] = { { "system:nodes", 12 }, { "system:authenticated", 20 } };
	static const struct identity node = { .user = { "system:node:a", 13 }, .groups = nodes, .n_groups = 2 };
	struct fixture *f = *state;

	expect(f, 201, call(f, "POST", "/api/v1/nodes", "{\"metadata\":{\"name\":\"a\"}}"));
	expect(f, 201, call(f, "POST", PODS, POD));
	auto_free char *uid = xstrdup(get(f, "metadata.uid"));
	f->as = &node;
	expect(f, 201, ask_token(f, uid, ""));
	expect(f, 201, ask_token(f, uid, "\"vault\""));
	expect(f, 403, ask_token(f, uid, "\"vault\",\"other\""));
	expect(f, 403, ask_token(f, uid, "\"other\""));
	assert_true(body_has(f,
		"audience \\\"other\\\" not found in pod spec volume, system:node:a is not authorized to request tokens for this "
		"audience"));
	f->as = NULL;
	expect(f, 201,
		call(f, "POST", RBAC "/clusterroles",
			"{\"metadata\":{\"name\":\"other\"},\"rules\":[{\"apiGroups\":[\"\"],\"resources\":[\"other\"],\"verbs\":["
			"\"request-serviceaccounts-token-audience\"]}]}"));
	expect(f, 201,
		call(f, "POST", RBAC "/clusterrolebindings",
			"{\"metadata\":{\"name\":\"other\"},\"roleRef\":{\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":"
			"\"ClusterRole\",\"name\":\"other\"},\"subjects\":[{\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":"
			"\"Group\",\"name\":\"system:nodes\"}]}"));
	f->as = &node;
	expect(f, 201, ask_token(f, uid, "\"other\""));
	f->as = NULL;
}

/* ---- tokens that Secrets hold ------------------------------------------------------------------ */

#define SECRETS "/api/v1/namespaces/default/secrets"
#define HELD SECRETS "/held"

static bool counts(struct fixture *f, const char *token)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct identity id;
	struct err e;

	err_init(&e);
	return token_identity(f->api, a, str_c(token), NULL, &id, &e) == 0;
}

/* Own. As the controller asks for it, or anybody. */
static char *bound_token(struct fixture *f, long long seconds)
{
	auto_free char *body =
		xasprintf("{\"spec\":{\"expirationSeconds\":%lld,\"boundObjectRef\":{\"kind\":\"Secret\","
			  "\"apiVersion\":\"v1\",\"name\":\"held\"}}}",
			seconds);

	expect(f, 201, call(f, "POST", TOKEN, body));
	return xstrdup(get(f, "status.token"));
}

static void hold(struct fixture *f, const char *token)
{
	auto_free char *body = xasprintf("{\"stringData\":{\"token\":\"%s\"}}", token);

	expect(f, 200, call_as(f, "PATCH", HELD, MERGE, NULL, body));
}

static void a_secrets_token_counts_while_it_stands_there(void **state)
{
	struct fixture *f = *state;

	expect(f, 201,
		call(f, "POST", SECRETS,
			"{\"metadata\":{\"name\":\"held\",\"annotations\":{\"kubernetes.io/service-account.name\":"
			"\"default\"}},\"type\":\"kubernetes.io/service-account-token\"}"));
	auto_free char *first = bound_token(f, 1LL << 32), *second = bound_token(f, 1LL << 32),
		       *other = bound_token(f, 3600);
	assert_false(counts(f, first)); /* nobody has put it there */
	hold(f, first);
	assert_true(counts(f, first));
	assert_false(counts(f, second));
	hold(f, second);
	assert_false(counts(f, first));
	assert_true(counts(f, second));
	expect(f, 200,
		call_as(f, "PATCH", HELD, MERGE, NULL,
			"{\"metadata\":{\"labels\":{\"kubernetes.io/legacy-token-invalid-since\":\"2026-01-01\"}}}"));
	assert_false(counts(f, second));
	expect(f, 200, call_as(f, "PATCH", HELD, MERGE, NULL, "{\"metadata\":{\"labels\":null}}"));
	assert_true(counts(f, second));
	expect(f, 200, call_as(f, "PATCH", HELD, MERGE, NULL, "{\"data\":null}"));
	assert_false(counts(f, second));
	assert_true(counts(f, other)); /* bound to the Secret, and no part of it */
	hold(f, second);
	expect(f, 200,
		call_as(f, "PATCH", HELD, MERGE, NULL, "{\"metadata\":{\"finalizers\":[\"example.com/wait\"]}}"));
	expect(f, 200, call(f, "DELETE", HELD, ""));
	assert_false(counts(f, second)); /* at once */
	assert_true(counts(f, other));   /* in a minute */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(who_asks_is_what_the_server_knows, setup, teardown),
		cmocka_unit_test_setup_teardown(conditions_are_the_signers, setup, teardown),
		cmocka_unit_test_setup_teardown(only_our_own_tokens_live_on, setup_signer, teardown),
		cmocka_unit_test_setup_teardown(a_node_asks_for_whom_its_pods_have_tokens, setup_signer, teardown),
		cmocka_unit_test_setup_teardown(a_secrets_token_counts_while_it_stands_there, setup_signer, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
