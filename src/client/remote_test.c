/* The remote backend against an HTTP server that plays the API, over TLS, found through a kubeconfig. */
#include "base/task.h"
#include "base/test.h"
#include "client/informer.h"
#include "net/net.h"
#include "pki/pki.h"
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

/* ---- the server ------------------------------------------------------------------------------ */

struct played {
	char dir[64];
	struct net_loop *loop;
	struct tls *tls;
	struct http_server *server;
	char *url;
	_Atomic int busy; /* this many requests get 429 */
	_Atomic int lists, watches;
	struct task_mutex lock;
	char seen[8192]; /* requests, a line each */
	struct task *breaker;
};

static void note(struct played *p, struct http_request *r)
{
	size_t n;

	task_lock(&p->lock);
	n = strlen(p->seen);
	snprintf(p->seen + n, sizeof(p->seen) - n, "%.*s %.*s?%.*s [%.*s] %.*s\n", STR_ARG(http_method(r)),
		STR_ARG(http_path(r)), STR_ARG(http_query(r)), STR_ARG(http_header(r, "content-type")),
		STR_ARG(http_body(r)));
	task_unlock(&p->lock);
}

static bool saw(struct played *p, const char *what)
{
	bool found;

	task_lock(&p->lock);
	found = strstr(p->seen, what) != NULL;
	if (!found)
		print_error("%s", p->seen);
	task_unlock(&p->lock);
	return found;
}

static void answer_busy(struct http_request *r)
{
	static const struct http_header h[] = { { STR("retry-after"), STR("1") },
		{ STR("content-type"), STR("application/json") } };

	http_reply(r, 429, h, 2,
		&(struct net_piece){ .bytes = STR("{\"kind\":\"Status\",\"reason\":\"TooManyRequests\",\"message\":"
						  "\"later\",\"code\":429}") },
		1);
}

static void nothing(void *arg)
{
}

/* Writes the rest of a watch in pieces that do not respect lines, then ends it. */
static void feed_run(void *arg)
{
	static const char text[] = "{\"type\":\"MODIFIED\",\"object\":{\"apiVersion\":\"v1\",\"kind\":\"Pod\","
				   "\"metadata\":{\"name\":\"p1\",\"namespace\":"
				   "\"ns\",\"uid\":\"u1\",\"resourceVersion\":\"21\"}}}\n{\"type\":\"DELETED\","
				   "\"object\":{\"kind\":\"Pod\",\"metadata\":"
				   "{\"name\":\"p2\",\"namespace\":\"ns\",\"uid\":\"u2\",\"resourceVersion\":\"22\"}}}"
				   "\n{\"type\":\"BOOKMARK\",\"object\":"
				   "{\"kind\":\"Pod\",\"metadata\":{\"resourceVersion\":\"30\"}}}\n";
	struct http_stream *s = arg;

	for (size_t at = 0; at < sizeof(text) - 1; at += 37) {
		http_stream_write(
			s, &(struct net_piece){ .bytes = str_n(text + at, MIN((size_t)37, sizeof(text) - 1 - at)) }, 1);
		task_sleep_ms(1);
	}
	http_stream_end(s);
}

static const struct http_stream_ops feed_ops = { nothing, nothing };

static void answer_watch(struct played *p, struct http_request *r)
{
	static const struct http_header h[] = { { STR("content-type"), STR("application/json") } };
	int n = atomic_fetch_add(&p->watches, 1);

	if (n == 1) { /* the second one learns that it is too late */
		http_reply_text(r, 410, "application/json",
			STR("{\"kind\":\"Status\",\"reason\":\"Expired\",\"message\":\"too old\",\"code\":410}"));
		return;
	}
	struct http_stream *s = http_reply_stream(r, 200, h, 1, &feed_ops, NULL);
	if (n == 0)
		p->breaker = task_spawn("feed", feed_run, s);
	/* Later ones stay silent until the client goes. */
}

static void answer_list(struct played *p, struct http_request *r)
{
	bool second = str_has(http_query(r), STR("continue=abc%3D"));

	atomic_fetch_add(&p->lists, 1);
	if (second)
		http_reply_text(r, 200, "application/json",
			STR("{\"kind\":\"PodList\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"20\"},"
			    "\"items\":[{\"metadata\":{\"name\":\"p2\","
			    "\"namespace\":\"ns\",\"uid\":\"u2\",\"resourceVersion\":\"12\"}}]}"));
	else
		http_reply_text(r, 200, "application/json",
			STR("{\"kind\":\"PodList\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"20\","
			    "\"continue\":\"abc=\"},\"items\":[{"
			    "\"metadata\":{\"name\":\"p1\",\"namespace\":\"ns\",\"uid\":\"u1\",\"resourceVersion\":"
			    "\"11\"}}]}"));
}

static void handle(void *arg, struct http_request *r)
{
	struct played *p = arg;
	struct str path = http_path(r);

	note(p, r);
	if (!str_is(http_peer(r)->cn, "admin") && !str_is(http_header(r, "authorization"), "Bearer secret"))
		http_reply_text(r, 401, "application/json",
			STR("{\"kind\":\"Status\",\"reason\":\"Unauthorized\",\"message\":\"Unauthorized\",\"code\":"
			    "401}"));
	else if (atomic_load(&p->busy) > 0 && atomic_fetch_sub(&p->busy, 1) > 0)
		answer_busy(r);
	else if (str_has(http_query(r), STR("watch=true")))
		answer_watch(p, r);
	else if (str_is(path, "/base/api/v1/pods"))
		answer_list(p, r);
	else if (str_ends(path, STR("/missing")))
		http_reply_text(r, 404, "application/json",
			STR("{\"kind\":\"Status\",\"reason\":\"NotFound\",\"message\":\"pods \\\"missing\\\" not "
			    "found\",\"code\":404}"));
	else if (http_body(r).n)
		http_reply_text(r, 200, "application/json", http_body(r));
	else
		http_reply_text(r, 200, "application/json",
			STR("{\"kind\":\"Pod\",\"metadata\":{\"name\":\"x\",\"resourceVersion\":\"5\"}}"));
}

static void must(int r, const struct err *e)
{
	if (r < 0)
		fail_msg("%s", e->message);
}

static int start(void **state)
{
	static const char *const sans[] = { "127.0.0.1", NULL };
	struct played *p = xcalloc(1, sizeof(*p));
	struct err e;

	err_init(&e);
	snprintf(p->dir, sizeof(p->dir), "/tmp/kogge-remote-XXXXXX");
	assert_non_null(mkdtemp(p->dir));
	task_mutex_init(&p->lock);
	must(pki_ca(p->dir, "ca", "test", &e), &e);
	must(pki_leaf(p->dir, "ca",
		     &(struct pki_leaf){ .name = "server", .cn = "server", .sans = sans, .server = true }, NULL, &e),
		&e);
	must(pki_leaf(p->dir, "ca", &(struct pki_leaf){ .name = "admin", .cn = "admin", .client = true }, NULL, &e),
		&e);
	auto_free char *cert = xasprintf("%s/server.crt", p->dir), *key = xasprintf("%s/server.key", p->dir),
		       *ca = xasprintf("%s/ca.crt", p->dir);
	must(tls_new(&(struct tls_opts){ .cert_file = cert, .key_file = key, .ca_file = ca, .server = true }, &p->tls,
		     &e),
		&e);
	p->loop = net_loop_new("server");
	must(http_server_new(&(struct http_server_opts){ .address = "127.0.0.1",
				     .tls = p->tls,
				     .loops = &p->loop,
				     .n_loops = 1,
				     .handle = handle,
				     .arg = p },
		     &p->server, &e),
		&e);
	p->url = xasprintf("https://127.0.0.1:%d/base", http_server_port(p->server));
	*state = p;
	return 0;
}

static int stop(void **state)
{
	struct played *p = *state;
	auto_free char *cmd = xasprintf("rm -r %s", p->dir);

	task_join(p->breaker);
	http_server_free(p->server);
	net_loop_free(p->loop);
	tls_free(p->tls);
	assert_int_equal(system(cmd), 0);
	task_mutex_fini(&p->lock);
	free(p->url);
	free(p);
	return 0;
}

/* ---- cases ----------------------------------------------------------------------------------- */

static char *base64_of(const char *dir, const char *name)
{
	char bytes[8192];
	auto_free char *path = xasprintf("%s/%s", dir, name);
	int fd = open(path, O_RDONLY);
	ssize_t n = read(fd, bytes, sizeof(bytes));

	assert_true(n > 0);
	close(fd);
	return base64_encode(str_n(bytes, (size_t)n));
}

/* Half of the credentials inline, half in files with relative names. */
static struct client *connect_by_kubeconfig(struct played *p)
{
	auto_free char *path = xasprintf("%s/config", p->dir), *ca = base64_of(p->dir, "ca.crt"),
		       *key = base64_of(p->dir, "admin.key");
	FILE *f = fopen(path, "w");
	struct client *c = NULL;
	struct err e;

	fprintf(f,
		"apiVersion: v1\nkind: Config\ncurrent-context: here\n"
		"clusters:\n- name: other\n  cluster: {server: 'http://nowhere'}\n- name: c\n  cluster:\n    server: "
		"%s\n    certificate-authority-data: %s\n"
		"contexts:\n- {name: here, context: {cluster: c, user: u}}\n"
		"users:\n- name: u\n  user:\n    client-certificate: admin.crt\n    client-key-data: %s\n",
		p->url, ca, key);
	fclose(f);
	err_init(&e);
	must(client_kubeconfig(path, "test", &c, &e), &e);
	return c;
}

static void calls(void **state)
{
	struct played *p = *state;
	auto_(client_free) struct client *c = connect_by_kubeconfig(p);
	auto_(doc_unref) struct doc *d = NULL, *back = NULL;
	struct err e;

	err_init(&e);
	must(client_get(c, res_pods, STR("ns"), STR("x"), &d, &e), &e);
	assert_int_equal(doc_revision(d), 5);
	assert_int_equal(client_get(c, res_pods, STR("ns"), STR("missing"), &back, &e), -ERR_NOT_FOUND);
	assert_string_equal(e.message, "pods \"missing\" not found");
	must(client_create(c, res_deployments, STR("ns"), d, &back, &e), &e);
	assert_true(str_eq(doc_text(back), doc_text(d)));
	must(client_patch(c, res_pods, STR("ns"), STR("x"), "status", PATCH_MERGE, d, NULL, &e), &e);
	must(client_delete(
		     c, res_pods, STR("ns"), STR("x"), (struct client_delete){ .uid = STR("u1"), .grace_s = 0 }, &e),
		&e);
	assert_true(saw(p,
		"POST /base/apis/apps/v1/namespaces/ns/deployments?fieldManager=test [application/json] "
		"{\"kind\":\"Pod\""));
	assert_true(saw(p,
		"PATCH /base/api/v1/namespaces/ns/pods/x/status?fieldManager=test [application/merge-patch+json] {"));
	assert_true(saw(p, "\"gracePeriodSeconds\":0"));
	assert_true(saw(p, "\"preconditions\":{\"uid\":\"u1\"}"));
}

static void a_busy_server_is_asked_again(void **state)
{
	struct played *p = *state;
	auto_(client_free) struct client *c = connect_by_kubeconfig(p);
	auto_(doc_unref) struct doc *d = NULL;
	struct err e;

	err_init(&e);
	atomic_store(&p->busy, 1);
	must(client_get(c, res_pods, STR("ns"), STR("x"), &d, &e), &e);
}

static void a_token_serves_as_well(void **state)
{
	struct played *p = *state;
	auto_free char *ca = xasprintf("%s/ca.crt", p->dir);
	struct client_remote_opts o = { .server = p->url, .ca_file = ca, .token = "secret", .name = "t" };
	auto_(client_free) struct client *c = NULL, *bad = NULL;
	auto_(doc_unref) struct doc *d = NULL;
	struct err e;

	err_init(&e);
	must(client_remote(&o, &c, &e), &e);
	must(client_get(c, res_pods, STR("ns"), STR("x"), &d, &e), &e);
	o.token = "wrong";
	must(client_remote(&o, &bad, &e), &e);
	assert_int_equal(client_get(bad, res_pods, STR("ns"), STR("x"), NULL, &e), -ERR_UNAUTHORIZED);
}

static void nobody_there_is_said_clearly(void **state)
{
	struct client_remote_opts o = { .server = "http://127.0.0.1:1", .name = "t" };
	auto_(client_free) struct client *c = NULL;
	struct err e;

	err_init(&e);
	must(client_remote(&o, &c, &e), &e);
	assert_int_equal(client_get(c, res_pods, STR("ns"), STR("x"), NULL, &e), -ERR_UNAVAILABLE);
	assert_non_null(strstr(e.message, "get pods ns/x"));
}

static void an_informer_follows_through_it_all(void **state)
{
	struct played *p = *state;
	auto_(client_free) struct client *c = connect_by_kubeconfig(p);
	struct informer *i = informer_new(c, (struct informer_opts){ .res = res_pods });
	struct doc *d;

	informer_start(i);
	assert_true(informer_wait_synced(i, 60000));
	d = informer_get(i, STR("ns"), STR("p1"));
	assert_true(str_is(doc_str(d, "kind"), "Pod"));
	doc_unref(d);
	for (int ms = 0; informer_revision(i) < 30; ms++) { /* the bookmark at the end of the first watch */
		assert_true(ms < 60000);
		task_sleep_ms(1);
	}
	/* The second watch fails with 410: list again, which brings p2 back; the third is silent. */
	for (int ms = 0; atomic_load(&p->watches) < 3; ms++) {
		assert_true(ms < 60000);
		task_sleep_ms(1);
	}
	assert_int_equal(informer_len(i), 2);
	assert_true(saw(p, "watch=true"));
	assert_true(saw(p, "resourceVersion=20&"));
	assert_true(saw(p, "resourceVersion=30&"));
	informer_free(i); /* while its watch waits */
	assert_int_equal(p->lists, 4);
}

static void bad_kubeconfigs(void **state)
{
	struct played *p = *state;
	static const struct {
		const char *text, *says;
	} cases[] = {
		{ "a: [", "config" },
		{ "kind: Config", "no current-context" },
		{ "current-context: x", "no context named \"x\"" },
		{ "current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]",
			"no cluster named \"c\"" },
		{ "current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\nclusters: [{name: c, "
		  "cluster: {}}]\nusers: [{name: u, user: {}}]",
			"has no server" },
		{ "current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\nclusters: [{name: c, "
		  "cluster: {server: 'http://x'}}]\nusers: "
		  "[{name: u, user: {exec: {}}}]",
			"exec" },
		{ "current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\nclusters: [{name: c, "
		  "cluster: {server: 'https://x', "
		  "certificate-authority-data: '***'}}]\nusers: [{name: u, user: {}}]",
			"not base64" },
	};
	auto_free char *path = xasprintf("%s/config", p->dir);
	struct client *c = NULL;
	struct err e;

	err_init(&e);
	assert_int_equal(client_kubeconfig("/nonexistent/config", "t", &c, &e), -ERR_NOT_FOUND);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		FILE *f = fopen(path, "w");

		fputs(cases[i].text, f);
		fclose(f);
		err_init(&e);
		assert_true(client_kubeconfig(path, "t", &c, &e) < 0);
		if (!strstr(e.message, cases[i].says))
			fail_msg("case %zu: %s", i, e.message);
	}
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(calls),
		TEST(a_busy_server_is_asked_again),
		TEST(a_token_serves_as_well),
		TEST(nobody_there_is_said_clearly),
		TEST(an_informer_follows_through_it_all),
		TEST(bad_kubeconfigs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
