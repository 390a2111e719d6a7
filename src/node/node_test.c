#include "doc/doc_fixture.h"

#include "node/node_internal.h"
#include "node/tar.h"
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- environment ----------------------------------------------------------------------------- */

static int fake_object(void *arg, struct gvr r, struct str ns, struct str name, struct doc **ret, struct err *e)
{
	(void)arg;
	(void)ns;
	if (str_is(name, "missing"))
		return err_set(e, ERR_NOT_FOUND, "not found");
	if (gvr_eq(r, res_secrets))
		*ret = json_doc("{\"kind\":\"Secret\",\"data\":{\"password\":\"aHVzaA==\"}}");
	else
		*ret = json_doc("{\"kind\":\"ConfigMap\",\"data\":{\"color\":\"blue\",\"size\":\"9\"}}");
	return 0;
}

static int env_of(struct arena *a, const char *container, struct env *env, struct err *e)
{
	static const char *const ips[] = { "10.0.0.7", "fd00::7" };
	struct doc *pod = json_doc(
		"{\"kind\":\"Pod\",\"metadata\":{\"name\":\"web\",\"namespace\":\"shop\",\"uid\":\"u-1\",\"labels\":{\"app\":\"w\\\"x\"}},"
		"\"spec\":{\"nodeName\":\"n1\",\"containers\":[{\"name\":\"c\",\"resources\":{\"limits\":{\"memory\":\"64Mi\",\"cpu\":\"1500m\"}}}]}}");
	struct doc *c = json_doc(container);
	struct doc *services[] = {
		json_doc(
			"{\"metadata\":{\"name\":\"kubernetes\",\"namespace\":\"default\"},\"spec\":{\"clusterIP\":\"10.96.0.1\",\"ports\":[{\"name\":\"https\","
			"\"port\":443,\"protocol\":\"TCP\"}]}}"),
		json_doc(
			"{\"metadata\":{\"name\":\"my-db\",\"namespace\":\"shop\"},\"spec\":{\"clusterIP\":\"10.96.0.9\",\"ports\":[{\"port\":5432}]}}"),
		json_doc(
			"{\"metadata\":{\"name\":\"headless\",\"namespace\":\"shop\"},\"spec\":{\"clusterIP\":\"None\",\"ports\":[{\"port\":1}]}}"),
		json_doc(
			"{\"metadata\":{\"name\":\"other\",\"namespace\":\"else\"},\"spec\":{\"clusterIP\":\"10.96.0.8\",\"ports\":[{\"port\":1}]}}"),
	};
	struct env_ctx x = { .a = a,
		.pod = pod,
		.pod_ip = ips[0],
		.pod_ips = ips,
		.n_pod_ips = 2,
		.host_ips = (const char *const[]){ "192.0.2.1", "2001:db8::1" },
		.n_host_ips = 2,
		.node_name = "n1",
		.object = fake_object,
		.services = { services, ARRAY_LEN(services) },
		.fake_services = true,
		.node_cpu_milli = 4000,
		.node_mem = 1 << 30 };
	int r = env_build(&x, doc_root(c), env, e);

	doc_unref(pod);
	doc_unref(c);
	for (size_t i = 0; i < ARRAY_LEN(services); i++)
		doc_unref(services[i]);
	return r;
}

static void check_env(const char *container, const char *name, const char *want)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct env env = { 0 };
	struct err e;

	err_init(&e);
	if (env_of(a, container, &env, &e) < 0)
		fail_msg("%s: %s", container, e.message);
	const char *got = env_get(&env, str_c(name));
	if (!want)
		assert_null(got);
	else if (!got || strcmp(got, want) != 0)
		fail_msg("%s: %s is \"%s\", expected \"%s\"", container, name, got ? got : "(missing)", want);
}

static void builds_the_environment(void **state)
{
	(void)state;
	check_env("{\"env\":[{\"name\":\"A\",\"value\":\"1\"},{\"name\":\"B\",\"value\":\"$(A)-$$(A)-$(NOPE)-$\"}]}",
		"B", "1-$(A)-$(NOPE)-$");
	check_env("{\"env\":[{\"name\":\"P\",\"valueFrom\":{\"secretKeyRef\":{\"name\":\"s\",\"key\":\"password\"}}}]}",
		"P", "hush");
	check_env("{\"env\":[{\"name\":\"C\",\"valueFrom\":{\"configMapKeyRef\":{\"name\":\"c\",\"key\":\"color\"}}}]}",
		"C", "blue");
	check_env(
		"{\"env\":[{\"name\":\"C\",\"valueFrom\":{\"configMapKeyRef\":{\"name\":\"missing\",\"key\":\"x\",\"optional\":true}}}]}",
		"C", NULL);
	check_env("{\"envFrom\":[{\"prefix\":\"X_\",\"configMapRef\":{\"name\":\"c\"}}]}", "X_size", "9");
	check_env("{\"env\":[{\"name\":\"N\",\"valueFrom\":{\"fieldRef\":{\"fieldPath\":\"metadata.name\"}}}]}", "N",
		"web");
	check_env("{\"env\":[{\"name\":\"I\",\"valueFrom\":{\"fieldRef\":{\"fieldPath\":\"status.podIPs\"}}}]}", "I",
		"10.0.0.7,fd00::7");
	check_env(
		"{\"env\":[{\"name\":\"L\",\"valueFrom\":{\"fieldRef\":{\"fieldPath\":\"metadata.labels['app']\"}}}]}",
		"L", "w\"x");
	check_env(
		"{\"env\":[{\"name\":\"M\",\"valueFrom\":{\"resourceFieldRef\":{\"containerName\":\"c\",\"resource\":\"limits.memory\",\"divisor\":\"1Mi\"}}}]}",
		"M", "64");
	check_env(
		"{\"env\":[{\"name\":\"M\",\"valueFrom\":{\"resourceFieldRef\":{\"containerName\":\"c\",\"resource\":\"limits.cpu\"}}}]}",
		"M", "2");
	check_env("{}", "KUBERNETES_SERVICE_HOST", "10.96.0.1");
	check_env("{}", "KUBERNETES_SERVICE_PORT_HTTPS", "443");
	check_env("{}", "MY_DB_PORT_5432_TCP_ADDR", "10.96.0.9");
	check_env("{}", "MY_DB_PORT", "tcp://10.96.0.9:5432");
	check_env("{}", "HEADLESS_SERVICE_HOST", NULL);
	check_env("{}", "OTHER_SERVICE_HOST", NULL);
}

static void missing_reference_is_an_error(void **state)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct env env;
	struct err e;

	(void)state;
	err_init(&e);
	assert_int_equal(env_of(a, "{\"envFrom\":[{\"secretRef\":{\"name\":\"missing\"}}]}", &env, &e), -ERR_NOT_FOUND);
	assert_string_equal(e.message, "secret \"missing\" not found");
}

/* ---- volumes --------------------------------------------------------------------------------- */

static char *slurp(const char *dir, const char *name)
{
	char path[512], text[512];
	int fd;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return NULL;
	n = read(fd, text, sizeof(text) - 1);
	(void)close(fd);
	text[n < 0 ? 0 : n] = 0;
	return xstrdup(text);
}

static void writes_files_atomically(void **state)
{
	char dir[] = "/tmp/kogge-node-test-XXXXXX", link[256];
	auto_(arena_free) struct arena *a = arena_new();
	struct file_set one = { .a = a }, two = { .a = a };
	struct stat st;
	struct err e;
	bool changed;

	(void)state;
	err_init(&e);
	assert_non_null(mkdtemp(dir));
	assert_int_equal(file_set_add(&one, STR("a"), STR("1"), 0644, &e), 0);
	assert_int_equal(file_set_add(&one, STR("sub/b"), STR("2"), 0400, &e), 0);
	assert_int_equal(file_set_add(&two, STR("a"), STR("one"), 0644, &e), 0);
	assert_int_equal(files_write(dir, &one, -1, &changed, &e), 0);
	assert_true(changed);
	auto_free char *b = slurp(dir, "sub/b");
	assert_string_equal(b, "2");
	(void)snprintf(link, sizeof(link), "%s/a", dir);
	assert_int_equal(lstat(link, &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_int_equal(files_write(dir, &one, -1, &changed, &e), 0);
	assert_false(changed); /* the same again touches nothing */
	assert_int_equal(files_write(dir, &two, -1, &changed, &e), 0);
	assert_true(changed);
	auto_free char *text = slurp(dir, "a"), *gone = slurp(dir, "sub/b");
	assert_string_equal(text, "one");
	assert_null(gone);
	remove_tree(dir);
	assert_int_not_equal(access(dir, F_OK), 0);
}

static void keeps_files_inside(void **state)
{
	static const char *const bad[] = { "", "/etc/passwd", "../x", "a/../../x", "..data", "a//b", "./a" };
	auto_(arena_free) struct arena *a = arena_new();
	struct file_set s = { .a = a };
	struct err e;

	(void)state;
	err_init(&e);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(file_set_add(&s, str_c(bad[i]), STR("x"), 0644, &e), -ERR_INVALID);
}

/* ---- logs ------------------------------------------------------------------------------------ */

static void reads_runtime_log_lines(void **state)
{
	struct log_line l;

	(void)state;
	assert_true(log_parse(STR("2026-11-23T10:00:00.123456789Z stdout F hello world"), &l));
	assert_true(str_is(l.text, "hello world"));
	assert_false(l.is_stderr);
	assert_false(l.partial);
	assert_true(log_parse(STR("2026-11-23T10:00:00.5+01:00 stderr P part"), &l));
	assert_true(l.is_stderr && l.partial);
	assert_true(log_parse(STR("2026-11-23T10:00:00Z stdout F "), &l));
	assert_int_equal(l.text.n, 0);
	assert_false(log_parse(STR("hello"), &l));
	assert_false(log_parse(STR("2026-11-23T10:00:00Z other F x"), &l));
	assert_false(log_parse(STR(""), &l));
}

/* ---- resources ------------------------------------------------------------------------------- */

static void knows_the_classes(void **state)
{
	static const struct {
		const char *spec, *qos;
	} rows[] = {
		{ "{\"resources\":{\"limits\":{\"cpu\":\"1\",\"memory\":\"1Gi\"}},\"containers\":[{}]}", "Guaranteed" },
		{ "{\"resources\":{\"requests\":{\"cpu\":\"1\"}},\"containers\":[{}]}", "Burstable" },
		{ "{\"containers\":[{}]}", "BestEffort" },
		{ "{\"containers\":[{\"resources\":{\"requests\":{\"cpu\":\"1\"}}}]}", "Burstable" },
		{ "{\"containers\":[{\"resources\":{\"limits\":{\"cpu\":\"1\",\"memory\":\"1Gi\"}}}]}", "Guaranteed" },
		{ "{\"containers\":[{\"resources\":{\"limits\":{\"cpu\":\"1\",\"memory\":\"1Gi\"},\"requests\":{\"cpu\":\"1000m\",\"memory\":\"1024Mi\"}}}]}",
			"Guaranteed" },
		{ "{\"containers\":[{\"resources\":{\"limits\":{\"cpu\":\"1\",\"memory\":\"1Gi\"}}},{}]}",
			"Burstable" },
		{ "{\"containers\":[{\"resources\":{\"requests\":{\"cpu\":\"0\"}}}]}", "BestEffort" },
	};
	struct resources r = { .mem_request = (int64_t)1 << 30 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		auto_(doc_unref) struct doc *d = json_doc(rows[i].spec);
		assert_string_equal(pod_qos(doc_root(d)), rows[i].qos);
	}
	assert_int_equal(resources_cpu_shares(0), 2);
	assert_int_equal(resources_cpu_shares(500), 512);
	assert_int_equal(resources_oom_score_adj("BestEffort", &r, (int64_t)4 << 30, false), 1000);
	assert_int_equal(resources_oom_score_adj("Burstable", &r, (int64_t)4 << 30, false), 750);
	assert_int_equal(resources_oom_score_adj("Guaranteed", &r, (int64_t)4 << 30, false), -997);
}

static void reads_fields_of_kernel_files(void **state)
{
	static const char text[] =
		"cache 7\nrss 12\ntotal_rss 34\nMemTotal:       24105 kB\nInactive(file):    2 kB\nbad x\n";

	(void)state;
	assert_int_equal(stats_field(text, "rss"), 12);
	assert_int_equal(stats_field(text, "total_rss"), 34);
	assert_int_equal(stats_field(text, "MemTotal"), 24105 * 1024);
	assert_int_equal(stats_field(text, "Inactive(file)"), 2048);
	assert_int_equal(stats_field(text, "bad"), 0);
	assert_int_equal(stats_field(text, "absent"), 0);
}

static void admits_only_what_it_can_honour(void **state)
{
	static const struct {
		const char *spec, *reason, *why; /* why NULL: admitted */
	} rows[] = {
		{ "{\"containers\":[{\"name\":\"c\"}]}", NULL, NULL },
		{ "{\"os\":{\"name\":\"windows\"}}", "PodOSNotSupported", "OS" },
		{ "{\"securityContext\":{\"sysctls\":[{\"name\":\"net.ipv4.tcp_syncookies\",\"value\":\"1\"}]}}", NULL,
			NULL },
		{ "{\"securityContext\":{\"sysctls\":[{\"name\":\"net/ipv4/tcp_syncookies\",\"value\":\"1\"}]}}", NULL,
			NULL },
		{ "{\"securityContext\":{\"sysctls\":[{\"name\":\"kernel.msgmax\",\"value\":\"1\"}]}}",
			"SysctlForbidden", "kernel.msgmax" },
		{ "{\"hostNetwork\":true,\"securityContext\":{\"sysctls\":[{\"name\":\"net.ipv4.tcp_syncookies\",\"value\":\"1\"}]}}",
			"SysctlForbidden", "host net" },
		{ "{\"securityContext\":{\"supplementalGroupsPolicy\":\"Strict\"}}",
			"SupplementalGroupsPolicyNotSupported", "Strict" },
		{ "{\"containers\":[{\"ports\":[{\"hostPort\":81,\"protocol\":\"TCP\"}]}]}", "NodePorts",
			"free ports" },
		{ "{\"containers\":[{\"ports\":[{\"hostPort\":81,\"protocol\":\"UDP\"}]}]}", NULL, NULL },
		{ "{\"hostUsers\":false}", NULL, "hostUsers" },
		{ "{\"volumes\":[{\"name\":\"v\",\"iscsi\":{}}]}", NULL, "iscsi" },
		{ "{\"volumes\":[{\"name\":\"v\",\"emptyDir\":{\"medium\":\"HugePages\"}}]}", NULL, "HugePages" },
		{ "{\"volumes\":[{\"name\":\"v\",\"emptyDir\":{\"medium\":\"Memory\"}},{\"name\":\"w\"}]}", NULL,
			NULL },
		{ "{\"containers\":[{\"name\":\"c\",\"volumeDevices\":[{\"name\":\"v\"}]}]}", NULL, "volumeDevices" },
	};
	auto_(doc_unref) struct doc *there = json_doc(
		"{\"metadata\":{\"uid\":\"u\"},\"spec\":{\"containers\":[{\"ports\":[{\"hostPort\":81,\"protocol\":\"TCP\"}]}]}}");
	struct pod other = { .doc = there, .admitted = true };
	struct node_agent n = { 0 };

	(void)state;
	task_mutex_init(&n.lock);
	n.pods = map_new(NULL);
	map_put(n.pods, STR("u"), &other);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		auto_free char *json = xasprintf("{\"kind\":\"Pod\",\"spec\":%s}", rows[i].spec), *why = NULL;
		auto_(doc_unref) struct doc *d = json_doc(json);
		const char *reason = NULL;
		bool ok = pod_admit(&n, d, &reason, &why);
		assert_int_equal(ok, rows[i].why == NULL);
		if (ok)
			continue;
		assert_non_null(strstr(why, rows[i].why));
		assert_int_equal(reason != NULL, rows[i].reason != NULL);
		if (reason)
			assert_string_equal(reason, rows[i].reason);
	}
	n.short_of_memory = true;
	auto_(doc_unref) struct doc *greedy = json_doc("{\"spec\":{\"containers\":[{\"name\":\"c\"}]}}");
	auto_(doc_unref) struct doc *modest =
		json_doc("{\"spec\":{\"containers\":[{\"resources\":{\"requests\":{\"memory\":\"1Mi\"}}}]}}");
	auto_free char *why = NULL;
	const char *reason = NULL;
	assert_false(pod_admit(&n, greedy, &reason, &why));
	assert_string_equal(reason, "Evicted");
	assert_true(pod_admit(&n, modest, &reason, &why));
	map_free(n.pods);
	task_mutex_fini(&n.lock);
}

static void forgets_commands_that_did_not_come(void **state)
{
	char dir[] = "/tmp/kogge-node-test-XXXXXX";
	struct node_agent n = { .o = { .registry_dir = "ours" } };
	struct err e;

	(void)state;
	err_init(&e);
	assert_non_null(mkdtemp(dir));
	auto_free char *socket = xasprintf("%s/containerd.sock", dir),
		       *io = xasprintf("%s/containerd/io.containerd.grpc.v1.cri/containers/c/io", dir);
	assert_int_equal(mkdirs(io, 0755, &e), 0);
	n.o.cri_socket = socket;
	task_mutex_init(&n.lock);
	exec_holds_init(&n);
	exec_expected(&n, "c");
	exec_expected(&n, "c");
	exec_expected(&n, "another");
	assert_int_equal(map_len(n.exec_watches), 1);
	exec_forget(&n, mono_add_ms(mono_now(), 59000));
	assert_int_equal(map_len(n.exec_watches), 1);
	exec_forget(&n, mono_add_ms(mono_now(), 61000));
	assert_int_equal(map_len(n.exec_watches), 0);
	exec_holds_fini(&n);
	task_mutex_fini(&n.lock);
	remove_tree(dir);
}

static void reads_what_is_reserved(void **state)
{
	static const char *const bad[] = { "cpu", "cpu=", "cpu=x", "cpu=-1", "gpu=1", "memory=1Gi,cpu=one", "=1" };
	struct reserved r = { 0 };
	struct err e;

	(void)state;
	err_init(&e);
	assert_int_equal(reserved_parse(STR("cpu=500m, memory=1Gi,,ephemeral-storage=2G"), &r, &e), 0);
	assert_int_equal(r.cpu_milli, 500);
	assert_int_equal(r.memory_bytes, 1 << 30);
	assert_int_equal(r.disk_bytes, 2000000000);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(reserved_parse(str_c(bad[i]), &r, &e), -ERR_INVALID);
	assert_int_equal(r.cpu_milli, 500); /* bad input changes nothing */
}

static void reads_thresholds(void **state)
{
	static const char *const bad[] = { "memory.used<1", "memory.available", "memory.available<x",
		"nodefs.available<101%", "nodefs.available<-1Ki" };
	struct threshold t[SIGNALS] = { 0 };
	struct err e;

	(void)state;
	err_init(&e);
	assert_int_equal(
		pressure_thresholds(STR("memory.available<100Mi, nodefs.available<10%,imagefs.available<15%"), t, &e),
		0);
	assert_int_equal(t[SIGNAL_MEMORY].amount, 100 << 20);
	assert_int_equal(t[SIGNAL_DISK].percent, 10);
	assert_int_equal(t[SIGNAL_IMAGES].percent, 15);
	assert_false(t[SIGNAL_INODES].given);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		err_init(&e);
		assert_int_equal(pressure_thresholds(str_c(bad[i]), t, &e), -ERR_INVALID);
	}
	assert_int_equal(t[SIGNAL_DISK].percent, 10); /* as it was */
}

static void chooses_whom_to_evict(void **state)
{
	static const int64_t rows[][6] = {
		/* used, asked, priority: the first of two goes */
		{ 10, 5, 100, 50, 60, 0 }, /* over its request, whatever its priority */
		{ 10, 5, 0, 90, 5, 100 },  /* both over: the lower priority */
		{ 90, 5, 0, 10, 5, 0 },    /* by how much */
		{ 50, 60, 0, 10, 60, 0 },  /* none over: closest to it */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_true(pressure_worse(rows[i][0], rows[i][1], rows[i][2], rows[i][3], rows[i][4], rows[i][5]));
		assert_false(pressure_worse(rows[i][3], rows[i][4], rows[i][5], rows[i][0], rows[i][1], rows[i][2]));
	}
}

static void shares_the_time_before_a_shutdown(void **state)
{
	static const int64_t rows[][5] = {
		/* all, for critical pods, logind's most: for ordinary pods, for critical ones */
		{ 30, 10, 40, 20, 10 },
		{ 30, 10, 15, 10, 5 },
		{ 30, 0, 40, 30, 0 },
		{ 30, 50, 40, 0, 30 },
		{ 30, 10, 2, 1, 1 },
		{ 0, 0, 40, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int64_t ordinary, critical;
		shutdown_shares(rows[i][0], rows[i][1], rows[i][2], &ordinary, &critical);
		assert_int_equal(ordinary, rows[i][3]);
		assert_int_equal(critical, rows[i][4]);
	}
}

static void names_what_helps_when_a_pull_fails(void **state)
{
	static const char *const rows[][3] = {
		{ "docker.io/library/nginx:latest", "dial tcp: lookup registry-1.docker.io: no such host",
			"kogge image import" },
		{ "r.example:5000/a:1", "dial tcp 10.0.0.1:5000: connect: connection refused",
			"nothing listens there" },
		{ "r.example/a:1", "x509: certificate signed by unknown authority", "registries.yaml" },
		{ "r.example/a:1", "pull access denied, authorization failed", "imagePullSecret" },
		{ "r.example/a:1", "r.example/a:1: not found", "has no such image" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		auto_free char *got = image_explain(str_c(rows[i][0]), rows[i][1]);
		struct str host = image_host(str_c(rows[i][0]));
		assert_non_null(strstr(got, rows[i][2]));
		assert_non_null(strstr(got, rows[i][1]));
		assert_true(str_starts(str_sub(str_c(got), strlen("registry "), SIZE_MAX), host));
	}
}

static void tells_containerd_of_mirrors(void **state)
{
	auto_(doc_unref) struct doc *d =
		yaml_doc("mirrors: {docker.io: {endpoint: [\"http://m.example:5000\", \"https://n.example/v2/hub\"]}}\n"
			 "configs: {n.example: {tls: {ca_file: /ca.pem, insecure_skip_verify: true}}}\n");
	auto_buf struct buf docker = BUF_INIT, own = BUF_INIT;
	struct err e;

	(void)state;
	err_init(&e);
	assert_int_equal(registries_check(d, &e), 0);
	registries_toml(d, STR("docker.io"), &docker);
	registries_toml(d, STR("n.example"), &own);
	buf_byte(&docker, 0);
	buf_byte(&own, 0);
	assert_string_equal(docker.p,
		"server = \"https://registry-1.docker.io\"\n"
		"[host.\"http://m.example:5000\"]\n  capabilities = [\"pull\", \"resolve\"]\n"
		"[host.\"https://n.example/v2/hub\"]\n  capabilities = [\"pull\", \"resolve\"]\n  override_path = true\n"
		"  ca = \"/ca.pem\"\n  skip_verify = true\n");
	assert_string_equal(own.p,
		"server = \"https://n.example\"\n[host.\"https://n.example\"]\n  capabilities = [\"pull\", \"resolve\"]\n"
		"  ca = \"/ca.pem\"\n  skip_verify = true\n");
}

static void refuses_registries_that_would_be_no_toml(void **state)
{
	static const char *const bad[] = { "mirror: {}", "mirrors: {\"../x\": {endpoint: []}}",
		"mirrors: {a: {endpoint: [\"ftp://x\"]}}", "mirrors: {a: {endpoint: [\"http://x\\\"]\"]}}",
		"configs: {a/b: {}}", "configs: {a: {tls: {ca_file: \"a\\nb\"}}}" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		auto_(doc_unref) struct doc *d = yaml_doc(bad[i]);
		struct err e;
		err_init(&e);
		assert_int_equal(registries_check(d, &e), -ERR_INVALID);
	}
}

static void finds_credentials_by_server(void **state)
{
	/* {"auths":{"https://index.docker.io/v1/":{"auth":"YTpi"},"r.example:5000":{"username":"u","password":"p"}}} */
	auto_(doc_unref) struct doc *secret = json_doc(
		"{\"data\":{\".dockerconfigjson\":\"eyJhdXRocyI6eyJodHRwczovL2luZGV4LmRvY2tlci5pby92MS8iOnsiYXV0aCI6Il"
		"lUcGkifSwici5leGFtcGxlOjUwMDAiOnsidXNlcm5hbWUiOiJ1IiwicGFzc3dvcmQiOiJwIn19fQ==\"}}");
	auto_(arena_free) struct arena *a = arena_new();
	struct image_auth list[8];
	size_t n = 0;

	(void)state;
	image_credentials_in(secret, STR("docker.io/library/nginx:1"), a, list, &n);
	assert_int_equal(n, 1);
	assert_string_equal(list[0].auth, "YTpi");
	image_credentials_in(secret, STR("r.example:5000/x:1"), a, list, &n);
	assert_int_equal(n, 2);
	assert_string_equal(list[1].username, "u");
	image_credentials_in(secret, STR("other.example/x:1"), a, list, &n);
	assert_int_equal(n, 2);
}

static void completes_image_names(void **state)
{
	static const char *const rows[][2] = {
		{ "busybox", "docker.io/library/busybox:latest" },
		{ "busybox:test", "docker.io/library/busybox:test" },
		{ "me/app:1", "docker.io/me/app:1" },
		{ "example.org/app", "example.org/app:latest" },
		{ "localhost/kogge/pause:1", "localhost/kogge/pause:1" },
		{ "host:5000/a/b:c", "host:5000/a/b:c" },
		{ "a@sha256:00", "docker.io/library/a@sha256:00" },
		{ "sha256:00", "sha256:00" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		auto_free char *got = image_normalize(str_c(rows[i][0]));
		assert_string_equal(got, rows[i][1]);
	}
}

/* ---- archives -------------------------------------------------------------------------------- */

static int from_memory(void *arg, int64_t offset, void *to, size_t n)
{
	struct str *s = arg;

	if (offset < 0 || (uint64_t)offset + n > s->n)
		return -1;
	memcpy(to, s->p + offset, n);
	return 0;
}

static void put_entry(struct buf *b, const char *name, char type, const char *link, const char *text)
{
	char h[512] = { 0 }, block[512] = { 0 };
	unsigned sum = 0;
	size_t n = strlen(text);

	(void)snprintf(h, 100, "%s", name);
	(void)snprintf(h + 124, 12, "%011o", (unsigned)n);
	(void)snprintf(h + 157, 100, "%s", link);
	h[156] = type;
	memcpy(h + 257, "ustar", 5);
	memset(h + 148, ' ', 8);
	for (size_t i = 0; i < sizeof(h); i++)
		sum += (unsigned char)h[i];
	(void)snprintf(h + 148, 8, "%06o", sum);
	buf_add(b, h, sizeof(h));
	memcpy(block, text, n);
	if (n)
		buf_add(b, block, sizeof(block));
}

static void reads_archives(void **state)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_buf struct buf b = BUF_INIT;
	struct tar_index t;
	struct err e;

	(void)state;
	err_init(&e);
	put_entry(&b, "./dir/a", '0', "", "hello");
	put_entry(&b, "x/link", '2', "../dir/a", "");
	put_entry(&b, "@long", 'L', "", "a/very/long/name");
	put_entry(&b, "cut", '0', "", "z");
	put_entry(&b, "pax", 'x', "", "17 path=from/pax\n");
	put_entry(&b, "cut2", '0', "", "y");
	buf_reserve(&b, 1024);
	memset(b.p + b.n, 0, 1024);
	b.n += 1024;
	struct str s = buf_view(&b);
	struct tar_source src = { from_memory, &s, (int64_t)s.n };
	assert_int_equal(tar_read(&src, a, &t, &e), 0);
	const struct tar_entry *f = tar_find(&t, STR("dir/a"));
	assert_non_null(f);
	assert_int_equal(f->size, 5);
	assert_memory_equal(s.p + f->offset, "hello", 5);
	assert_ptr_equal(tar_find(&t, STR("x/link")), f);
	assert_non_null(tar_find(&t, STR("a/very/long/name")));
	assert_non_null(tar_find(&t, STR("from/pax")));
	assert_null(tar_find(&t, STR("nope")));
	s = STR("this is no archive, however long it is");
	src.total = 512;
	assert_true(tar_read(&src, a, &t, &e) < 0);
}

/* ---- ends ------------------------------------------------------------------------------------ */

static void who_never_ran(void **state)
{
	static const struct {
		enum instance_state at;
		int code;
		int64_t started_ns;
		const char *reason;
		bool never;
	} rows[] = {
		{ INST_EXITED, 128, 0, "StartError", true },
		{ INST_EXITED, 128, 5, "Error", false },
		{ INST_EXITED, 128, 0, "", false },
		{ INST_EXITED, 1, 5, "Error", false },
		{ INST_RUNNING, 0, 5, "", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct instance it = { .id = (char *)"c",
			.state = rows[i].at,
			.exit_code = rows[i].code,
			.started_ns = rows[i].started_ns,
			.reason = (char *)rows[i].reason };

		assert_int_equal(instance_never_ran(&it), rows[i].never);
	}
	assert_false(instance_never_ran(&(struct instance){ 0 }));
}

/* ---- statuses -------------------------------------------------------------------------------- */

static bool tells(const char *policy, enum container_kind kind, const char *ended, const char *state)
{
	struct node_agent n = { .lock = TASK_MUTEX_INIT };
	struct container c = { .name = (char *)"c", .kind = kind };
	struct pod p = { .n = &n, .uid = (char *)"u", .containers = { &c }, .n_containers = 1 };
	struct decision goes_on = { .verdict = POD_GOES_ON };
	const char *list = container_list(kind, true) + strlen("status.");
	char *text = xasprintf("{\"spec\":{\"restartPolicy\":\"%s\"},\"status\":{\"%s\":[{\"name\":\"c\",\"state\":"
			       "{\"terminated\":{\"exitCode\":%s}}}]}}",
		policy, list, ended);
	struct doc *d = json_doc(text), *status;
	bool is;

	status = status_build(&p, d, &goes_on);
	is = val_has(val_get(val_get(val_at(doc_get(status, container_list(kind, true)), 0), "state"), state));
	doc_unref(status);
	doc_unref(d);
	free(text);
	return is;
}

static void who_ended_for_good_is_told_as_ended(void **state)
{
	(void)state;
	assert_true(tells("Never", KIND_MAIN, "1", "terminated"));
	assert_true(tells("Never", KIND_INIT, "0", "terminated"));
	assert_true(tells("OnFailure", KIND_MAIN, "0", "terminated"));
	assert_true(tells("Always", KIND_EPHEMERAL, "0", "terminated"));
	assert_true(tells("OnFailure", KIND_MAIN, "1", "waiting"));
	assert_true(tells("Always", KIND_INIT, "0", "waiting"));
	assert_true(tells("Never", KIND_SIDECAR, "0", "waiting"));
}

/* However many there are; of two with one name the later counts. */
static void keeps_every_option_of_a_resolver(void **state)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_free struct node_agent *n = xcalloc(1, sizeof(*n));
	auto_buf struct buf b = BUF_INIT;
	Cri__DnsConfig dns = CRI__DNS_CONFIG__INIT;
	char want[32];

	(void)state;
	buf_c(&b, "{\"dnsPolicy\":\"None\",\"dnsConfig\":{\"options\":[{\"name\":\"o7\"}");
	for (int i = 0; i < 200; i++)
		buf_printf(&b, ",{\"name\":\"o%d\",\"value\":\"%d\"}", i, i);
	buf_c(&b, "]}}");
	buf_byte(&b, 0);
	auto_(doc_unref) struct doc *spec = json_doc(b.p);
	pod_dns(n, doc_root(spec), STR("ns"), a, &dns);
	assert_int_equal(dns.n_options, 200);
	for (int i = 0; i < 200; i++) {
		snprintf(want, sizeof(want), "o%d:%d", i, i);
		assert_string_equal(dns.options[i], want);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(keeps_every_option_of_a_resolver),
		cmocka_unit_test(builds_the_environment),
		cmocka_unit_test(missing_reference_is_an_error),
		cmocka_unit_test(writes_files_atomically),
		cmocka_unit_test(keeps_files_inside),
		cmocka_unit_test(reads_runtime_log_lines),
		cmocka_unit_test(knows_the_classes),
		cmocka_unit_test(names_what_helps_when_a_pull_fails),
		cmocka_unit_test(admits_only_what_it_can_honour),
		cmocka_unit_test(reads_what_is_reserved),
		cmocka_unit_test(reads_thresholds),
		cmocka_unit_test(chooses_whom_to_evict),
		cmocka_unit_test(shares_the_time_before_a_shutdown),
		cmocka_unit_test(reads_fields_of_kernel_files),
		cmocka_unit_test(tells_containerd_of_mirrors),
		cmocka_unit_test(refuses_registries_that_would_be_no_toml),
		cmocka_unit_test(finds_credentials_by_server),
		cmocka_unit_test(completes_image_names),
		cmocka_unit_test(reads_archives),
		cmocka_unit_test(who_never_ran),
		cmocka_unit_test(who_ended_for_good_is_told_as_ended),
		cmocka_unit_test(forgets_commands_that_did_not_come),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
