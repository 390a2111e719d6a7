/* The server core over a memory store, without sockets. */
#include "api/api_internal.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

/* ---- a sink that keeps what it gets ---------------------------------------------------------- */

struct answer {
	struct task_mutex lock;
	struct task_cond wake;
	int status;
	struct buf body;
	char warning[2048]; /* all of them */
	char content_type[128], etag[300];
	bool done, stream, ended, closed;
	const struct http_stream_ops *ops;
	void *ops_arg;
	size_t read; /* of a stream: bytes taken */
};

static void keep_headers(struct answer *a, const struct http_header *h, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (str_is(h[i].name, "warning"))
			snprintf(a->warning + strlen(a->warning), sizeof(a->warning) - strlen(a->warning), "%.*s\n",
				STR_ARG(h[i].value));
		if (str_is(h[i].name, "content-type"))
			snprintf(a->content_type, sizeof(a->content_type), "%.*s", STR_ARG(h[i].value));
		if (str_is(h[i].name, "etag"))
			snprintf(a->etag, sizeof(a->etag), "%.*s", STR_ARG(h[i].value));
	}
}

static void keep_pieces(struct answer *a, const struct net_piece *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		buf_str(&a->body, p[i].bytes);
	for (size_t i = 0; i < n; i++) {
		struct net_piece q = p[i]; /* the last one's end frees the array */
		if (q.end && i + 1 < n)
			q.end(q.owner);
	}
	if (n && p[n - 1].end)
		p[n - 1].end(p[n - 1].owner);
}

static void sink_reply(
	void *arg, int status, const struct http_header *h, size_t n_h, const struct net_piece *p, size_t n)
{
	struct answer *a = arg;

	task_lock(&a->lock);
	a->status = status;
	keep_headers(a, h, n_h);
	keep_pieces(a, p, n);
	a->done = true;
	task_broadcast(&a->wake);
	task_unlock(&a->lock);
}

static void *sink_stream(void *arg, int status, const struct http_header *h, size_t n_h,
	const struct http_stream_ops *ops, void *ops_arg)
{
	struct answer *a = arg;

	task_lock(&a->lock);
	a->status = status;
	keep_headers(a, h, n_h);
	a->done = a->stream = true;
	a->ops = ops;
	a->ops_arg = ops_arg;
	task_broadcast(&a->wake);
	task_unlock(&a->lock);
	return a;
}

static void sink_write(void *stream, const struct net_piece *p, size_t n)
{
	struct answer *a = stream;

	task_lock(&a->lock);
	keep_pieces(a, p, n);
	task_broadcast(&a->wake);
	task_unlock(&a->lock);
}

static size_t sink_unsent(void *stream)
{
	(void)stream;
	return 0;
}

static void sink_end(void *stream)
{
	struct answer *a = stream;

	task_lock(&a->lock);
	a->ended = true;
	task_broadcast(&a->wake);
	task_unlock(&a->lock);
}

static const struct api_sink sink = { sink_reply, sink_stream, sink_write, sink_unsent, sink_end, sink_end };

/* ---- a server and calls ---------------------------------------------------------------------- */

struct fixture {
	struct store *store;
	struct api *api;
	struct answer *last;
	struct doc *doc; /* of the last answer */
	const char *if_none_match;
};

static bool body_has(struct fixture *f, const char *part)
{
	return str_has(buf_view(&f->last->body), str_c(part));
}

static struct answer *answer_new(void)
{
	struct answer *a = xcalloc(1, sizeof(*a));

	task_mutex_init(&a->lock);
	task_cond_init(&a->wake);
	a->body = BUF_INIT;
	return a;
}

static void answer_free(struct answer *a)
{
	if (!a)
		return;
	buf_fini(&a->body);
	task_mutex_fini(&a->lock);
	task_cond_fini(&a->wake);
	free(a);
}

static const struct str master_groups[] = { { "system:masters", 14 }, { "system:authenticated", 20 } };
static const struct identity master = { .user = { "admin", 5 }, .groups = master_groups, .n_groups = 2 };

static struct answer *start(
	struct fixture *f, const char *method, const char *url, const char *type, const char *accept, const char *body)
{
	struct answer *a = answer_new();
	struct str path, query = str_cut(str_c(url), '?', &path);
	struct http_header h[] = { { STR("Content-Type"), str_c(type ? type : "application/json") },
		{ STR("Accept"), str_c(accept ? accept : "application/json") }, { STR("User-Agent"), STR("test/1") },
		{ STR("If-None-Match"), str_c(f->if_none_match) } };
	struct api_call c = { .method = str_c(method),
		.path = path,
		.query = query,
		.headers = h,
		.n_headers = f->if_none_match ? 4 : 3,
		.body = str_c(body),
		.identity = &master,
		.sink = &sink,
		.sink_arg = a };

	api_call(f->api, &c);
	task_lock(&a->lock);
	while (!a->done)
		task_wait(&a->wake, &a->lock);
	task_unlock(&a->lock);
	return a;
}

static int call_as(
	struct fixture *f, const char *method, const char *url, const char *type, const char *accept, const char *body)
{
	struct err e;

	answer_free(f->last);
	f->doc = doc_unref(f->doc);
	f->last = start(f, method, url, type, accept, body);
	err_init(&e);
	if (f->last->body.n && f->last->body.p[0] == '{')
		doc_parse(buf_view(&f->last->body), &f->doc, &e);
	return f->last->status;
}

static int call(struct fixture *f, const char *method, const char *url, const char *body)
{
	return call_as(f, method, url, NULL, NULL, body);
}

static char *get(struct fixture *f, const char *path)
{
	static char text[4][2048];
	static int turn;
	struct val v = f->doc ? doc_get(f->doc, path) : VAL_NONE;
	struct str s = val_kind(v) == VAL_STR ? val_str(v) : val_has(v) ? val_text(v) : STR("");

	turn = (turn + 1) % 4;
	snprintf(text[turn], sizeof(text[turn]), "%.*s", STR_ARG(s));
	return text[turn];
}

static void show(struct fixture *f)
{
	print_message("%d %.*s\n", f->last->status, (int)f->last->body.n, f->last->body.p);
}

#define expect(f, want, ...)                     \
	do {                                     \
		int status_ = (__VA_ARGS__);     \
		if (status_ != (want))           \
			show(f);                 \
		assert_int_equal(status_, want); \
	} while (0)

static int setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	struct api_opts o = { .no_authz = false };
	struct err e;

	err_init(&e);
	if (store_open_memory(&f->store, &e) < 0)
		fail_msg("%s", e.message);
	o.store = f->store;
	if (api_new(&o, &f->api, &e) < 0)
		fail_msg("%s", e.message);
	*state = f;
	call(f, "POST", "/api/v1/namespaces/default/serviceaccounts", "{\"metadata\":{\"name\":\"default\"}}");
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	answer_free(f->last);
	doc_unref(f->doc);
	api_stop(f->api);
	store_close(f->store);
	api_free(f->api);
	free(f);
	return 0;
}

#define CM "/api/v1/namespaces/default/configmaps"

static void creates_reads_updates_deletes(void **state)
{
	struct fixture *f = *state;

	expect(f, 201,
		call(f, "POST", CM,
			"{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"a\"},\"data\":{\"k\":\"v\"}}"));
	assert_string_equal(get(f, "metadata.namespace"), "default");
	assert_true(strlen(get(f, "metadata.uid")) == 36);
	char *rv = xstrdup(get(f, "metadata.resourceVersion"));
	expect(f, 200, call(f, "GET", CM "/a", NULL));
	assert_string_equal(get(f, "data.k"), "v");
	assert_string_equal(get(f, "metadata.resourceVersion"), rv);
	expect(f, 409, call(f, "POST", CM, "{\"metadata\":{\"name\":\"a\"}}"));
	assert_string_equal(get(f, "reason"), "AlreadyExists");
	assert_string_equal(get(f, "message"), "configmaps \"a\" already exists");
	char *body = xasprintf("{\"metadata\":{\"name\":\"a\",\"resourceVersion\":\"%s\"},\"data\":{\"k\":\"w\"}}", rv);
	expect(f, 200, call(f, "PUT", CM "/a", body));
	expect(f, 409,
		call(f, "PUT", CM "/a",
			"{\"metadata\":{\"name\":\"a\",\"resourceVersion\":\"1\"},\"data\":{\"k\":\"x\"}}"));
	assert_string_equal(get(f, "reason"), "Conflict");
	expect(f, 200, call(f, "DELETE", CM "/a", NULL));
	assert_string_equal(get(f, "status"), "Success");
	expect(f, 404, call(f, "GET", CM "/a", NULL));
	assert_string_equal(get(f, "message"), "configmaps \"a\" not found");
	free(rv);
	free(body);
}

static void same_update_writes_nothing(void **state)
{
	struct fixture *f = *state;

	expect(f, 201, call(f, "POST", CM, "{\"metadata\":{\"name\":\"same\"},\"data\":{\"k\":\"v\"}}"));
	char *rv = xstrdup(get(f, "metadata.resourceVersion"));
	expect(f, 200, call(f, "PUT", CM "/same", "{\"metadata\":{\"name\":\"same\"},\"data\":{\"k\":\"v\"}}"));
	assert_string_equal(get(f, "metadata.resourceVersion"), rv);
	expect(f, 200,
		call_as(f, "PATCH", CM "/same", "application/merge-patch+json", NULL, "{\"data\":{\"k\":\"v\"}}"));
	assert_string_equal(get(f, "metadata.resourceVersion"), rv);
	free(rv);
}

static const char deployment[] =
	"{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"metadata\":{\"name\":\"web\"},\"spec\":{\"replicas\":2,\"selector\":{\"matchLabels\":{\"app\":\"web\"}},"
	"\"template\":{\"metadata\":{\"labels\":{\"app\":\"web\"}},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"busybox\"}]}}}}";
#define NETPOL "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies"
#define NETPOL_JSON(spec)                                                                                                          \
	"{\"apiVersion\":\"networking.k8s.io/v1\",\"kind\":\"NetworkPolicy\",\"metadata\":{\"generateName\":\"p\"},\"spec\":" spec \
	"}"

static void network_policies_make_sense(void **state)
{
	static const struct {
		int status;
		const char *json, *says;
	} cases[] = {
		{ 201, NETPOL_JSON("{\"podSelector\":{}}"), "" },
		{ 201,
			NETPOL_JSON(
				"{\"podSelector\":{},\"ingress\":[{\"from\":[{\"podSelector\":{}}],\"ports\":[{\"port\":1,\"endPort\":9},{\"port\":\"web\"}]}]}"),
			"" },
		{ 422, NETPOL_JSON("{\"podSelector\":{},\"ingress\":[{\"from\":[{}]}]}"),
			"spec.ingress[0].from[0]: Required value: must specify a peer" },
		{ 422,
			NETPOL_JSON(
				"{\"podSelector\":{},\"egress\":[{\"to\":[{\"podSelector\":{},\"ipBlock\":{\"cidr\":\"10.0.0.0/8\"}}]}]}"),
			"may not specify both ipBlock and another peer" },
		{ 422,
			NETPOL_JSON(
				"{\"podSelector\":{},\"egress\":[{\"to\":[{\"ipBlock\":{\"cidr\":\"10.0.0.0/8\",\"except\":[\"11.0.0.0/9\"]}}]}]}"),
			"spec.egress[0].to[0].ipBlock.except[0]: Invalid value: \\\"11.0.0.0/9\\\": must be a strict subset of `cidr`" },
		{ 422,
			NETPOL_JSON(
				"{\"podSelector\":{},\"egress\":[{\"to\":[{\"ipBlock\":{\"cidr\":\"10.0.0.0\"}}]}]}"),
			"must be a valid CIDR value" },
		{ 422, NETPOL_JSON("{\"podSelector\":{},\"egress\":[{\"ports\":[{\"port\":9,\"endPort\":8}]}]}"),
			"must be greater than or equal to `port`" },
		{ 422, NETPOL_JSON("{\"podSelector\":{},\"egress\":[{\"ports\":[{\"port\":\"web\",\"endPort\":8}]}]}"),
			"when `port` is non-numeric" },
		{ 422, NETPOL_JSON("{\"podSelector\":{},\"egress\":[{\"ports\":[{\"endPort\":8}]}]}"),
			"when `port` is not specified" },
		{ 422, NETPOL_JSON("{\"podSelector\":{},\"egress\":[{\"ports\":[{\"port\":0}]}]}"),
			"must be between 1 and 65535" },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		expect(f, cases[i].status, call(f, "POST", NETPOL, cases[i].json));
		if (!str_has(buf_view(&f->last->body), str_c(cases[i].says)))
			fail_msg("%s: %.*s", cases[i].json, STR_ARG(buf_view(&f->last->body)));
	}
}

#define DEPLOY "/apis/apps/v1/namespaces/default/deployments"

static void deployment_gets_defaults_and_generation(void **state)
{
	struct fixture *f = *state;

	expect(f, 201, call(f, "POST", DEPLOY, deployment));
	assert_string_equal(get(f, "spec.strategy.type"), "RollingUpdate");
	assert_string_equal(get(f, "spec.template.spec.restartPolicy"), "Always");
	assert_string_equal(get(f, "metadata.generation"), "1");
	assert_non_null(strstr(f->last->warning, "no controller"));
	expect(f, 200,
		call_as(f, "PATCH", DEPLOY "/web", "application/strategic-merge-patch+json", NULL,
			"{\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"busybox:2\"}]}}}}"));
	assert_string_equal(get(f, "metadata.generation"), "2");
	assert_string_equal(get(f, "spec.replicas"), "2");
	expect(f, 200,
		call_as(f, "PATCH", DEPLOY "/web/scale", "application/merge-patch+json", NULL,
			"{\"spec\":{\"replicas\":5}}"));
	assert_string_equal(get(f, "kind"), "Scale");
	assert_string_equal(get(f, "spec.replicas"), "5");
	assert_string_equal(get(f, "status.selector"), "app=web");
	expect(f, 200, call(f, "GET", DEPLOY "/web", NULL));
	assert_string_equal(get(f, "metadata.generation"), "3");
	expect(f, 200,
		call_as(f, "PATCH", DEPLOY "/web/status", "application/merge-patch+json", NULL,
			"{\"status\":{\"replicas\":3},\"spec\":{\"replicas\":9}}"));
	assert_string_equal(get(f, "spec.replicas"), "5");
	assert_string_equal(get(f, "status.replicas"), "3");
	assert_string_equal(get(f, "metadata.generation"), "3");
	expect(f, 422,
		call_as(f, "PATCH", DEPLOY "/web", "application/merge-patch+json", NULL,
			"{\"spec\":{\"selector\":{\"matchLabels\":{\"app\":\"x\"}}}}"));
	assert_non_null(strstr(get(f, "message"), "Deployment.apps \"web\" is invalid"));
	assert_non_null(strstr(get(f, "message"), "field is immutable"));
}

static void apply_takes_and_refuses_fields(void **state)
{
	struct fixture *f = *state;
	static const char config[] = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: ssa\ndata:\n  a: '1'\n";

	expect(f, 422, call_as(f, "PATCH", CM "/ssa", "application/apply-patch+yaml", NULL, config));
	expect(f, 201, call_as(f, "PATCH", CM "/ssa?fieldManager=one", "application/apply-patch+yaml", NULL, config));
	assert_string_equal(get(f, "metadata.managedFields"), get(f, "metadata.managedFields"));
	expect(f, 409,
		call_as(f, "PATCH", CM "/ssa?fieldManager=two", "application/apply-patch+yaml", NULL,
			"{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"ssa\"},\"data\":{\"a\":\"2\"}}"));
	assert_non_null(strstr(get(f, "message"), "conflict with \"one\""));
	expect(f, 200,
		call_as(f, "PATCH", CM "/ssa?fieldManager=two&force=true", "application/apply-patch+yaml", NULL,
			"{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"ssa\"},\"data\":{\"a\":\"2\"}}"));
	assert_string_equal(get(f, "data.a"), "2");
}

static void strict_reading_names_the_field(void **state)
{
	struct fixture *f = *state;

	expect(f, 400, call(f, "POST", CM "?fieldValidation=Strict", "{\"metadata\":{\"name\":\"s\"},\"daata\":{}}"));
	assert_non_null(strstr(get(f, "message"), "strict decoding error: unknown field \"daata\""));
	expect(f, 201, call(f, "POST", CM, "{\"metadata\":{\"name\":\"s\"},\"daata\":{}}"));
	assert_non_null(strstr(f->last->warning, "unknown field \\\"daata\\\""));
}

/* What autoscaling/v1 cannot say survives a change through it. */
static void an_old_autoscaler_keeps_what_it_cannot_say(void **state)
{
	static const char body[] =
		"{\"metadata\":{\"name\":\"h\"},\"spec\":{\"maxReplicas\":3,\"scaleTargetRef\":{\"kind\":\"Deployment\",\"name\":\"d\"},"
		"\"metrics\":[{\"type\":\"Resource\",\"resource\":{\"name\":\"cpu\",\"target\":{\"type\":\"Utilization\",\"averageUtilization\":60}}},"
		"{\"type\":\"Resource\",\"resource\":{\"name\":\"memory\",\"target\":{\"type\":\"AverageValue\",\"averageValue\":\"90Mi\"}}},"
		"{\"type\":\"Pods\",\"pods\":{\"metric\":{\"name\":\"m\"},\"target\":{\"type\":\"AverageValue\",\"averageValue\":\"5\"}}}],"
		"\"behavior\":{\"scaleDown\":{\"stabilizationWindowSeconds\":7}}}}";
	static const char v1[] = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers",
			  v2[] = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
	struct fixture *f = *state;
	char url1[200], url2[200], metrics[2000], behavior[2000];
	auto_(doc_unref) struct doc *want = NULL;
	struct err e;

	err_init(&e);
	snprintf(url1, sizeof(url1), "%s/h", v1);
	snprintf(url2, sizeof(url2), "%s/h", v2);
	expect(f, 201, call(f, "POST", v2, body));
	snprintf(metrics, sizeof(metrics), "%s", get(f, "spec.metrics"));
	snprintf(behavior, sizeof(behavior), "%s", get(f, "spec.behavior"));
	expect(f, 200, call(f, "GET", url1, NULL));
	assert_string_equal(get(f, "spec.targetCPUUtilizationPercentage"), "60");
	assert_false(val_has(doc_get(f->doc, "spec.metrics")));
	assert_non_null(strstr(get(f, "metadata.annotations"), "\\\"targetAverageValue\\\":\\\"90Mi\\\""));
	expect(f, 200,
		call_as(f, "PATCH", url1, "application/merge-patch+json", NULL,
			"{\"spec\":{\"maxReplicas\":5,\"targetCPUUtilizationPercentage\":70}}"));
	expect(f, 200, call(f, "GET", url2, NULL));
	assert_string_equal(get(f, "spec.maxReplicas"), "5");
	assert_string_equal(get(f, "spec.behavior"), behavior);
	assert_false(val_has(doc_get(f->doc, "metadata.annotations")));
	*strstr(metrics, "60") = '7';
	assert_int_equal(doc_parse(str_c(metrics), &want, &e), 0);
	assert_true(val_equal(doc_get(f->doc, "spec.metrics"), doc_root(want)));
}

static const char pod[] =
	"{\"metadata\":{\"generateName\":\"p-\",\"labels\":{\"app\":\"p\"}},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"busybox\"}]}}";
#define PODS "/api/v1/namespaces/default/pods"

static void pod_is_admitted_bound_and_deleted_with_grace(void **state)
{
	struct fixture *f = *state;

	expect(f, 201, call(f, "POST", PODS, pod));
	assert_string_equal(get(f, "status.phase"), "Pending");
	assert_string_equal(get(f, "status.qosClass"), "BestEffort");
	assert_string_equal(get(f, "spec.serviceAccountName"), "default");
	assert_non_null(strstr(get(f, "spec.volumes"), "kube-api-access-"));
	assert_non_null(strstr(get(f, "spec.tolerations"), "node.kubernetes.io/unreachable"));
	char *url = xasprintf(PODS "/%s", get(f, "metadata.name"));
	char *bind = xasprintf("%s/binding", url);
	expect(f, 201, call(f, "POST", bind, "{\"target\":{\"kind\":\"Node\",\"name\":\"n1\"}}"));
	expect(f, 409, call(f, "POST", bind, "{\"target\":{\"kind\":\"Node\",\"name\":\"n2\"}}"));
	expect(f, 200, call(f, "GET", url, NULL));
	assert_string_equal(get(f, "spec.nodeName"), "n1");
	expect(f, 422,
		call_as(f, "PATCH", url, "application/merge-patch+json", NULL, "{\"spec\":{\"nodeName\":\"n3\"}}"));
	expect(f, 200, call(f, "GET", PODS "?fieldSelector=spec.nodeName%3Dn1&labelSelector=app=p", NULL));
	assert_int_equal(val_len(doc_get(f->doc, "items")), 1);
	expect(f, 200, call(f, "GET", PODS "?fieldSelector=spec.nodeName!%3Dn1", NULL));
	assert_int_equal(val_len(doc_get(f->doc, "items")), 0);
	expect(f, 200, call(f, "DELETE", url, NULL));
	assert_string_equal(get(f, "metadata.deletionGracePeriodSeconds"), "30");
	assert_string_equal(get(f, "metadata.generation"), "2");
	expect(f, 200,
		call(f, "DELETE", url, "{\"kind\":\"DeleteOptions\",\"apiVersion\":\"v1\",\"gracePeriodSeconds\":0}"));
	expect(f, 404, call(f, "GET", url, NULL));
	free(url);
	free(bind);
}

static void invalid_pod_lists_every_cause(void **state)
{
	struct fixture *f = *state;

	expect(f, 422,
		call(f, "POST", PODS,
			"{\"metadata\":{\"name\":\"Bad\"},\"spec\":{\"containers\":[{\"name\":\"C\",\"volumeMounts\":[{\"name\":\"x\",\"mountPath\":\"/x\"}]}]}}"));
	assert_string_equal(get(f, "details.kind"), "Pod");
	assert_true(val_len(doc_get(f->doc, "details.causes")) >= 3);
	assert_non_null(strstr(get(f, "message"), "spec.containers[0].image: Required value"));
}

static void service_gets_address_and_gives_it_back(void **state)
{
	struct fixture *f = *state;
	static const char np[] =
		"{\"metadata\":{\"name\":\"s1\"},\"spec\":{\"type\":\"NodePort\",\"clusterIP\":\"10.96.0.77\",\"selector\":{\"a\":\"b\"},\"ports\":[{\"port\":80,\"nodePort\":30080}]}}";

	expect(f, 201, call(f, "POST", "/api/v1/namespaces/default/services", np));
	assert_string_equal(get(f, "spec.clusterIPs"), "[\"10.96.0.77\"]");
	assert_string_equal(get(f, "spec.ipFamilies"), "[\"IPv4\"]");
	expect(f, 422,
		call(f, "POST", "/api/v1/namespaces/default/services",
			"{\"metadata\":{\"name\":\"s2\"},\"spec\":{\"clusterIP\":\"10.96.0.77\",\"ports\":[{\"port\":80}]}}"));
	assert_non_null(strstr(get(f, "message"), "already allocated"));
	expect(f, 201,
		call(f, "POST", "/api/v1/namespaces/default/services",
			"{\"metadata\":{\"name\":\"s3\"},\"spec\":{\"ports\":[{\"port\":80}]}}"));
	assert_non_null(strstr(get(f, "spec.clusterIP"), "10."));
	expect(f, 200, call(f, "DELETE", "/api/v1/namespaces/default/services/s1", NULL));
	expect(f, 201, call(f, "POST", "/api/v1/namespaces/default/services", np));
	expect(f, 201,
		call(f, "POST", "/api/v1/namespaces/default/services",
			"{\"metadata\":{\"name\":\"hl\"},\"spec\":{\"clusterIP\":\"None\",\"selector\":{\"a\":\"b\"},\"ports\":[{\"port\":80}]}}"));
	assert_string_equal(get(f, "spec.clusterIPs"), "[\"None\"]");
}

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

static void stream_close(struct answer *a)
{
	a->ops->closed(a->ops_arg);
	task_sleep_ms(20);
	answer_free(a);
}

static void watch_tells_entering_and_leaving(void **state)
{
	struct fixture *f = *state;

	expect(f, 201, call(f, "POST", CM, "{\"metadata\":{\"name\":\"w1\",\"labels\":{\"in\":\"yes\"}}}"));
	struct answer *w = start(f, "GET", CM "?watch=1&labelSelector=in%3Dyes", NULL, NULL, NULL);
	assert_int_equal(w->status, 200);
	assert_true(
		stream_has(w, "{\"type\":\"ADDED\",\"object\":{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\"", 1000));
	expect(f, 200, call_as(f, "PATCH", CM "/w1", "application/merge-patch+json", NULL, "{\"data\":{\"x\":\"1\"}}"));
	assert_true(stream_has(w, "\"MODIFIED\"", 1000));
	expect(f, 200,
		call_as(f, "PATCH", CM "/w1", "application/merge-patch+json", NULL,
			"{\"metadata\":{\"labels\":{\"in\":\"no\"}}}"));
	assert_true(stream_has(w, "\"DELETED\"", 1000));
	expect(f, 201, call(f, "POST", CM, "{\"metadata\":{\"name\":\"w2\"}}"));
	expect(f, 200,
		call_as(f, "PATCH", CM "/w2", "application/merge-patch+json", NULL,
			"{\"metadata\":{\"labels\":{\"in\":\"yes\"}}}"));
	assert_true(stream_has(w, "\"name\":\"w2\"", 1000));
	stream_close(w);
	w = start(f, "GET",
		CM "?watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan", NULL,
		"application/json;as=Table;v=v1;g=meta.k8s.io,application/json", NULL);
	assert_true(stream_has(w, "columnDefinitions\":[{\"name\":\"Name\"", 1000));
	assert_true(stream_has(w, "k8s.io/initial-events-end", 1000));
	stream_close(w);
	w = start(f, "GET", CM "?watch=1&timeoutSeconds=1", NULL, NULL, NULL);
	struct mono until = mono_add_ms(mono_now(), 3000);
	task_lock(&w->lock);
	while (!w->ended && task_wait_until(&w->wake, &w->lock, until))
		;
	assert_true(w->ended);
	task_unlock(&w->lock);
	stream_close(w);
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

		assert_true(stream_has(w[i], "DELETED", 5000));
		assert_int_equal(w[i]->status, 200);
		assert_true(str_starts(buf_view(&w[i]->body), str_c(begins[form])));
		assert_true(str_eq(buf_view(&w[i]->body), buf_view(&first->body)));
		assert_int_equal(str_has(buf_view(&w[i]->body), str_c(large)), form < 2);
		assert_int_equal(w[i]->body.p[0] == 0, form == 1); /* a frame's length, not text */
	}
	for (size_t i = 0; i < ARRAY_LEN(w); i++)
		stream_close(w[i]);
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

static void dry_run_leaves_nothing(void **state)
{
	struct fixture *f = *state;

	expect(f, 201, call(f, "POST", CM "?dryRun=All", "{\"metadata\":{\"name\":\"dry\"}}"));
	expect(f, 404, call(f, "GET", CM "/dry", NULL));
}

static void finalizers_hold_an_object(void **state)
{
	struct fixture *f = *state;

	expect(f, 201, call(f, "POST", CM, "{\"metadata\":{\"name\":\"fin\",\"finalizers\":[\"example.com/x\"]}}"));
	expect(f, 200, call(f, "DELETE", CM "/fin", NULL));
	assert_true(strlen(get(f, "metadata.deletionTimestamp")) > 0);
	expect(f, 422,
		call_as(f, "PATCH", CM "/fin", "application/merge-patch+json", NULL,
			"{\"metadata\":{\"finalizers\":[\"example.com/x\",\"example.com/y\"]}}"));
	expect(f, 200,
		call_as(f, "PATCH", CM "/fin", "application/json-patch+json", NULL,
			"[{\"op\":\"remove\",\"path\":\"/metadata/finalizers\"}]"));
	expect(f, 404, call(f, "GET", CM "/fin", NULL));
	expect(f, 201, call(f, "POST", CM, "{\"metadata\":{\"name\":\"fg\"}}"));
	expect(f, 200, call(f, "DELETE", CM "/fg?propagationPolicy=Foreground", NULL));
	assert_string_equal(get(f, "metadata.finalizers"), "[\"foregroundDeletion\"]");
}

static void namespaces_end_in_two_steps(void **state)
{
	struct fixture *f = *state;

	expect(f, 201, call(f, "POST", "/api/v1/namespaces", "{\"metadata\":{\"name\":\"gone\"}}"));
	assert_string_equal(get(f, "spec.finalizers"), "[\"kubernetes\"]");
	expect(f, 200, call(f, "DELETE", "/api/v1/namespaces/gone", NULL));
	assert_string_equal(get(f, "status.phase"), "Terminating");
	expect(f, 403, call(f, "POST", "/api/v1/namespaces/gone/configmaps", "{\"metadata\":{\"name\":\"x\"}}"));
	expect(f, 200,
		call(f, "PUT", "/api/v1/namespaces/gone/finalize",
			"{\"metadata\":{\"name\":\"gone\"},\"spec\":{\"finalizers\":[]}}"));
	expect(f, 404, call(f, "GET", "/api/v1/namespaces/gone", NULL));
	expect(f, 404, call(f, "POST", "/api/v1/namespaces/gone/configmaps", "{\"metadata\":{\"name\":\"x\"}}"));
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
	expect(f, 200, call(f, "GET", "/metrics", NULL));
	expect(f, 404, call(f, "GET", "/nothing", NULL));
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

#define PODS "/api/v1/namespaces/default/pods"

static void what_is_accepted_may_be_warned_of(void **state)
{
	struct fixture *f = *state;
	static const char *const warnings[] = {
		"spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \\\"kubernetes.io/os\\\" instead",
		"spec.volumes[0].gitRepo: deprecated in v1.11",
		"spec.hostAliases[1].ip: duplicate ip \\\"10.0.0.1\\\"",
		"spec.containers[0].resources.limits[memory]: fractional byte value \\\"100m\\\" is invalid, must be an integer",
		"spec.containers[0].env[1]: hides previous definition of \\\"A\\\", which may be dropped when using apply",
		"spec.containers[0].ports[1]: overlapping port definition with spec.containers[0].ports[0]",
		"metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: non-functional in v1.27+; use the "
		"\\\"seccompProfile\\\" field instead",
		"spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod",
	};

	expect(f, 201,
		call(f, "POST", PODS,
			"{\"metadata\":{\"name\":\"old\",\"annotations\":{\"seccomp.security.alpha.kubernetes.io/pod\":\"x\"}},"
			"\"spec\":{\"nodeSelector\":{\"beta.kubernetes.io/os\":\"linux\"},"
			"\"volumes\":[{\"name\":\"g\",\"gitRepo\":{\"repository\":\"r\"}}],"
			"\"hostAliases\":[{\"ip\":\"10.0.0.1\"},{\"ip\":\"10.0.0.1\"}],"
			"\"topologySpreadConstraints\":[{\"maxSkew\":1,\"topologyKey\":\"z\",\"whenUnsatisfiable\":\"DoNotSchedule\"}],"
			"\"containers\":[{\"name\":\"c\",\"image\":\"i\",\"resources\":{\"limits\":{\"memory\":\"100m\"}},"
			"\"ports\":[{\"containerPort\":80},{\"containerPort\":80,\"hostPort\":80}],"
			"\"env\":[{\"name\":\"A\",\"value\":\"1\"},{\"name\":\"A\",\"value\":\"2\"},{\"name\":\"A\",\"value\":\"$(A)3\"}]}]}}"));
	for (size_t i = 0; i < ARRAY_LEN(warnings); i++)
		if (!strstr(f->last->warning, warnings[i]))
			fail_msg("no \"%s\" in:\n%s", warnings[i], f->last->warning);
	assert_null(strstr(f->last->warning, "env[2]"));
	expect(f, 201,
		call(f, "POST", PODS,
			"{\"metadata\":{\"name\":\"new\"},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}"));
	assert_string_equal(f->last->warning, "");
	expect(f, 200, call(f, "GET", "/api/v1/endpoints", NULL));
	assert_non_null(strstr(f->last->warning, "v1 Endpoints is deprecated in v1.33+"));
}

static void events_are_served_in_both_groups(void **state)
{
	struct fixture *f = *state;

	expect(f, 201,
		call(f, "POST", "/api/v1/namespaces/default/events",
			"{\"metadata\":{\"name\":\"e1\"},\"involvedObject\":{\"kind\":\"Pod\",\"name\":\"x\",\"namespace\":\"default\"},\"message\":\"hi\",\"reason\":\"R\",\"type\":\"Normal\"}"));
	expect(f, 200, call(f, "GET", "/apis/events.k8s.io/v1/namespaces/default/events/e1", NULL));
	assert_string_equal(get(f, "note"), "hi");
	assert_string_equal(get(f, "regarding.name"), "x");
	expect(f, 200,
		call(f, "GET", "/apis/events.k8s.io/v1/namespaces/default/events?fieldSelector=regarding.name%3Dx",
			NULL));
	assert_int_equal(val_len(doc_get(f->doc, "items")), 1);
}

static void local_client_sees_the_same(void **state)
{
	struct fixture *f = *state;
	struct client *c =
		api_local_client(f->api, "system:kube-test", (const char *const[]){ "system:masters", NULL }, "tester");
	struct client_request w = { .verb = VERB_WATCH, .res = res_configmaps, .ns = STR("default") };
	struct client_stream *s;
	struct client_event ev;
	struct doc *d;
	struct err e;

	err_init(&e);
	assert_int_equal(client_watch(c, &w, &s, &e), 0);
	while (client_next(c, s, 50, &ev, &e) == 0)
		doc_unref(ev.object);
	struct arena *a = arena_new();
	struct doc *body = node_publish(node_pack(a, "{metadata:{name:'lc'}, data:{k:'v'}}"));
	assert_int_equal(client_create(c, res_configmaps, STR("default"), body, &d, &e), 0);
	assert_true(str_is(doc_name(d), "lc"));
	doc_unref(d);
	assert_int_equal(client_next(c, s, 1000, &ev, &e), 0);
	assert_int_equal(ev.type, EVENT_ADDED);
	assert_true(str_is(doc_name(ev.object), "lc"));
	doc_unref(ev.object);
	assert_int_equal(client_create(c, res_configmaps, STR("default"), body, NULL, &e), -ERR_EXISTS);
	assert_int_equal(client_delete(c, res_configmaps, STR("default"), STR("lc"),
				 (struct client_delete){ .grace_s = -1 }, &e),
		0);
	assert_int_equal(client_next(c, s, 1000, &ev, &e), 0);
	assert_int_equal(ev.type, EVENT_DELETED);
	doc_unref(ev.object);
	client_close(c, s);
	client_free(c);
	doc_unref(body);
	arena_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(creates_reads_updates_deletes, setup, teardown),
		cmocka_unit_test_setup_teardown(same_update_writes_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(deployment_gets_defaults_and_generation, setup, teardown),
		cmocka_unit_test_setup_teardown(network_policies_make_sense, setup, teardown),
		cmocka_unit_test_setup_teardown(apply_takes_and_refuses_fields, setup, teardown),
		cmocka_unit_test_setup_teardown(strict_reading_names_the_field, setup, teardown),
		cmocka_unit_test_setup_teardown(an_old_autoscaler_keeps_what_it_cannot_say, setup, teardown),
		cmocka_unit_test_setup_teardown(pod_is_admitted_bound_and_deleted_with_grace, setup, teardown),
		cmocka_unit_test_setup_teardown(invalid_pod_lists_every_cause, setup, teardown),
		cmocka_unit_test_setup_teardown(service_gets_address_and_gives_it_back, setup, teardown),
		cmocka_unit_test_setup_teardown(watch_tells_entering_and_leaving, setup, teardown),
		cmocka_unit_test_setup_teardown(watches_share_what_they_are_told, setup, teardown),
		cmocka_unit_test_setup_teardown(lists_page_and_tables_have_columns, setup, teardown),
		cmocka_unit_test_setup_teardown(pages_go_on_after_compaction, setup, teardown),
		cmocka_unit_test_setup_teardown(dry_run_leaves_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(finalizers_hold_an_object, setup, teardown),
		cmocka_unit_test_setup_teardown(namespaces_end_in_two_steps, setup, teardown),
		cmocka_unit_test_setup_teardown(discovery_speaks_old_and_new, setup, teardown),
		cmocka_unit_test_setup_teardown(what_a_client_has_is_not_sent_again, setup, teardown),
		cmocka_unit_test_setup_teardown(every_bad_option_is_told, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_accepted_may_be_warned_of, setup, teardown),
		cmocka_unit_test_setup_teardown(events_are_served_in_both_groups, setup, teardown),
		cmocka_unit_test_setup_teardown(local_client_sees_the_same, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
