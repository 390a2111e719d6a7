/* The control process: store, API, controllers and scheduler in one address space, under its own uid.
 *
 *     listener ─► loops ─► API ─► store ─► caches ─► local clients ─► controllers, scheduler
 */
#include "api/api.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "cmd/crashes.h"
#include "cmd/process.h"
#include "controllers/controllers.h"
#include "net/net.h"
#include "scheduler/scheduler.h"
#include "seal/seal.h"
#include "store/store.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#define LOG_MODULE "control"
#define LOOPS 2
#define END_MS 1500

struct control {
	const struct settings *s;
	const struct layout *l;
	struct crashes *crashes;
	const char *held_off[HELD_MAX + 1];
	struct arena *a;
	struct seal *seal;
	struct store *store;
	struct net_loop *loops[LOOPS];
	struct tls *tls;
	struct api *api;
	struct http_server *server;
	struct client *informer_client, *scheduler_client, *held_off_client;
	struct recorder *held_off_events;
	struct informers *informers;
	struct controllers *controllers;
	struct scheduler *scheduler;
	struct str ca_pem;
	int64_t memory; /* bytes that we may use */
};

/* A TLS session with a client certificate takes 22 KiB of heap, its request, its events and the kernel the rest. */
#define CONNECTION_BYTES ((int64_t)32 << 10)
#define STREAM_BYTES ((int64_t)512 << 10) /* of one that is stuck, both ways */
#define FILES 65536
#define OTHER_FILES 160 /* of the store, outgoing connections, and those accepted while others are closed */

static enum log_level log_level_of(const char *name)
{
	static const char *const names[] = { "debug", "info", "warn", "error" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (!strcmp(names[i], name))
			return (enum log_level)i;
	return LOG_INFO;
}

void process_begin(const char *name, const struct settings *s)
{
	log_setup(name, log_level_of(s->log_level), s->log_json);
	signal(SIGPIPE, SIG_IGN);
	/* few arenas and early trimming: idle memory counts more here than parallel malloc */
	mallopt(M_ARENA_MAX, 2);
	mallopt(M_TRIM_THRESHOLD, 128 << 10);
	mallopt(M_MMAP_THRESHOLD, 256 << 10);
}

/* Threads inherit the mask: block before the first is made. */
void block_end_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	pthread_sigmask(SIG_BLOCK, set, NULL);
}

static void end_anyway(void *arg)
{
	(void)arg;
	task_sleep_ms(END_MS);
	log_warn("something still waits after %d ms: ended anyway", END_MS);
	_exit(0);
}

/* Nothing is lost by it: what is acknowledged is on disk, and pods outlive both processes. */
void end_soon(void)
{
	log_info("stopping");
	task_detach(task_spawn("end-anyway", end_anyway, NULL));
}

void say_ready(int fd)
{
	if (write(fd, "1", 1) != 1)
		log_warn("the supervisor does not listen");
	close(fd);
}

/* A budget: the n-th part of the memory that there is. */
static int64_t share(const struct control *c, int64_t n, int64_t least, int64_t most)
{
	return MAX(least, MIN(c->memory / n, most));
}

/* Half of the memory is for connections; some files are for all else. */
static size_t connections_max(const struct control *c)
{
	struct rlimit files;
	int64_t n = share(c, 2 * CONNECTION_BYTES, 128, 20000);

	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < (rlim_t)(n + OTHER_FILES))
		n = MAX((int64_t)files.rlim_cur - OTHER_FILES, (int64_t)32);
	return (size_t)n;
}

static void allow_many_files(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0 || files.rlim_cur >= FILES)
		return;
	files.rlim_cur = MIN(files.rlim_max, (rlim_t)FILES);
	setrlimit(RLIMIT_NOFILE, &files);
}

/* NULL: no DNS server runs here. */
static const char *cluster_dns(struct control *c)
{
	const char *const *ips = c->l->ip.dns;

	if (c->s->no_node || settings_without(c->s, "dns"))
		return NULL;
	return ips[1] ? arena_printf(c->a, "%s,%s", ips[0], ips[1]) : ips[0];
}

static int open_api(struct control *c, struct err *e)
{
	struct store_sqlite_opts store = { .path = c->l->store, .existing = true };
	const char *pki = c->l->control_pki, *const *ranges = c->l->ip.services;
	int64_t first = 0, last = 0;
	struct str from, to = str_cut(str_c(c->s->node_ports), '-', &from);
	struct api_opts o = {
		.service_cidrs = ranges[1] ? arena_printf(c->a, "%s,%s", ranges[0], ranges[1]) : ranges[0],
		.cluster_domain = c->s->cluster_domain,
		.cluster_dns = cluster_dns(c),
		.advertise_address = c->l->ip.node[0],
		.advertise_port = (int)c->s->port,
		.own_node = c->l->node_name,
		.pki_dir = pki,
		.node_cert_file = arena_printf(c->a, "%s/node-client.crt", pki),
		.node_key_file = arena_printf(c->a, "%s/node-client.key", pki),
		.node_ca_file = arena_printf(c->a, "%s/ca.crt", pki),
		.issuer = arena_printf(c->a, "https://kubernetes.default.svc.%s", c->s->cluster_domain),
		.audit_path = c->s->audit_log[0] ? c->s->audit_log : NULL,
		.audit_policy = c->s->audit_policy[0] ? c->s->audit_policy : NULL,
		.audit_bytes_max = c->s->audit_maxsize << 20,
		.audit_keep_max = (int)c->s->audit_maxbackup,
		.audit_keep_days = (int)c->s->audit_maxage,
		.loop = c->loops[0],
		.streams_max = (int)MIN(share(c, 4 * STREAM_BYTES, 64, 1024), (int64_t)connections_max(c) / 2),
		.ring_bytes = share(c, 16, (int64_t)1 << 20, (int64_t)16 << 20),
	};

	if (!str_i64(from, &first) || !str_i64(to, &last) || first < 1 || last > 65535 || first > last)
		return err_set(e, ERR_INVALID, "--service-node-port-range %s: expected FROM-TO", c->s->node_ports);
	o.node_port_first = (int)first;
	o.node_port_last = (int)last;
	if (seal_open(c->l->sealing_keys, c->l->encryption_config, &c->seal, e) < 0)
		return err_wrap(e, "encryption at rest");
	o.seal = c->seal;
	if (layout_check(c->l, e) < 0 || store_open_sqlite(&store, &c->store, e) < 0)
		return -e->code;
	o.store = c->store;
	return api_new(&o, &c->api, e);
}

static int serve(struct control *c, int listener, struct err *e)
{
	struct tls_opts t = {
		.cert_file = arena_printf(c->a, "%s/server.crt", c->l->control_pki),
		.key_file = arena_printf(c->a, "%s/server.key", c->l->control_pki),
		.ca_file = arena_printf(c->a, "%s/ca.crt", c->l->control_pki),
		.server = true,
	};
	struct http_server_opts o = { .fd = dup(listener),
		.loops = c->loops,
		.n_loops = LOOPS,
		.handle = api_http_handle,
		.refused = api_http_refused,
		.arg = c->api,
		.bodies_max = (size_t)share(c, 4, (int64_t)4 << 20, (int64_t)24 << 20),
		.unread_max = (size_t)share(c, 16, (int64_t)4 << 20, (int64_t)1 << 30),
		.connections_max = connections_max(c) };

	if (tls_new(&t, &c->tls, e) < 0)
		return -e->code;
	o.tls = c->tls;
	return http_server_new(&o, &c->server, e);
}

/* ---- those who work through the API ---------------------------------------------------------- */

static struct client *client_for(void *arg, const char *name)
{
	static const char *const groups[] = { "system:serviceaccounts", "system:serviceaccounts:kube-system", NULL };
	struct control *c = arg;
	auto_free char *user = xasprintf("system:serviceaccount:kube-system:%s", name);

	return api_local_client(c->api, user, groups, name);
}

static void mark_handled(struct control *c)
{
	const char *what;

	for (size_t i = 0; (what = controllers_handles(i, c->held_off)); i++) {
		struct str group, resource = str_cut(str_c(what), '/', &group);

		api_controller_present(c->api, arena_cstr(c->a, group), arena_cstr(c->a, resource));
	}
}

static const char held_off_text[] = "is held off: it ended the control process three times within a minute";

/* In /readyz?verbose and as Events of the node; `kogge status` reads the supervisor's list. */
static void tell_held_off(struct control *c)
{
	auto_(doc_unref) struct doc *node = NULL;

	if (!c->held_off[0])
		return;
	node = node_publish(node_pack(
		c->a, "{apiVersion:'v1', kind:'Node', metadata:{name:s, uid:s}}", c->l->node_name, c->l->node_name));
	c->held_off_client = client_for(c, "node-controller");
	c->held_off_events = recorder_new(c->held_off_client, "kogge", c->l->node_name);
	for (size_t i = 0; c->held_off[i]; i++) {
		api_health_note(c->api, arena_printf(c->a, "controller/%s", c->held_off[i]), held_off_text);
		recorder_event(c->held_off_events, node, "Warning", "ControllerHeldOff",
			"%s %s. The API and everything else go on; restart Kogge to try it again", c->held_off[i],
			held_off_text);
	}
}

static const char *controllers_state(void *arg)
{
	struct control *c = arg;

	if (!c->controllers)
		return "not run by this server: --without controllers";
	return c->held_off[0] ? "some are held off: kogge status names them" : NULL;
}

static const char *scheduler_state(void *arg)
{
	struct control *c = arg;

	return c->scheduler ? NULL : "not run by this server: --without scheduler";
}

static void metrics(void *arg, struct buf *out)
{
	struct control *c = arg;

	if (c->controllers)
		controllers_metrics(c->controllers, out);
	if (c->scheduler)
		scheduler_metrics(c->scheduler, out);
}

static void start_workers(struct control *c)
{
	static const char *const no_groups[] = { NULL }, *const balancers[] = { "service-controller", NULL };
	/* without a service proxy nobody would answer at a balancer's address */
	bool balances = !settings_without(c->s, "loadbalancer") && !settings_without(c->s, "proxy");
	struct controllers_opts o = { .client_for = client_for,
		.arg = c,
		.ca_pem = c->ca_pem,
		.host = c->l->node_name,
		.pki_dir = c->l->control_pki,
		.ca_name = "ca",
		.legacy_token_secrets = c->s->legacy_token_secrets,
		.hold_off = c->held_off,
		.unwanted = balances ? NULL : balancers,
		.working = crashes_working,
		.working_arg = c->crashes };

	c->informer_client = api_local_client(c->api, "system:kube-controller-manager", no_groups, "shared-informers");
	c->informers = informers_new(c->informer_client);
	if (!settings_without(c->s, "controllers")) {
		o.informers = c->informers;
		c->controllers = controllers_new(&o);
		mark_handled(c);
		tell_held_off(c);
	}
	if (!settings_without(c->s, "proxy"))
		api_controller_present(
			c->api, "networking.k8s.io", "networkpolicies"); /* the node's network enforces them */
	if (!settings_without(c->s, "scheduler")) {
		c->scheduler_client = api_local_client(c->api, "system:kube-scheduler", no_groups, "default-scheduler");
		c->scheduler = scheduler_new(&(struct scheduler_opts){
			.client = c->scheduler_client, .informers = c->informers, .host = c->l->node_name });
	}
	informers_start(c->informers);
	if (c->controllers)
		controllers_start(c->controllers);
	if (c->scheduler)
		scheduler_start(c->scheduler);
	api_component_add(c->api, "controller-manager", controllers_state, c);
	api_component_add(c->api, "scheduler", scheduler_state, c);
	api_metrics_add(c->api, metrics, c);
}

static void stop_all(struct control *c)
{
	if (c->api)
		api_stop(c->api);
	if (c->scheduler)
		scheduler_stop(c->scheduler);
	if (c->controllers)
		controllers_stop(c->controllers);
	http_server_free(c->server);
	recorder_free(c->held_off_events);
	client_free(c->held_off_client);
	informers_free(c->informers); /* its handlers are theirs */
	scheduler_free(c->scheduler);
	controllers_free(c->controllers);
	client_free(c->scheduler_client);
	client_free(c->informer_client);
	store_close(c->store);
	api_free(c->api);
	seal_free(c->seal);
	for (size_t i = 0; i < LOOPS; i++)
		net_loop_free(c->loops[i]);
	tls_free(c->tls);
	arena_free(c->a);
}

static int start_all(struct control *c, int listener, struct err *e)
{
	auto_buf struct buf ca = BUF_INIT;

	for (size_t i = 0; i < LOOPS; i++)
		c->loops[i] = net_loop_new("http");
	if (file_read(arena_printf(c->a, "%s/ca.crt", c->l->control_pki), &ca, e) < 0)
		return -e->code;
	c->ca_pem = arena_str(c->a, buf_view(&ca));
	if (open_api(c, e) < 0 || serve(c, listener, e) < 0)
		return -e->code;
	return 0;
}

int control_main(const struct settings *s, const struct layout *l, struct crashes *crashes, int listener, int ready_fd)
{
	struct control c = { .s = s, .l = l, .crashes = crashes, .a = arena_new(), .memory = memory_limit() };
	struct err e;
	sigset_t ends;
	int signal_number;

	err_init(&e);
	process_begin("control", s);
	allow_many_files();
	block_end_signals(&ends);
	crashes_watch(crashes);
	crashes_held(crashes, c.held_off);
	if (start_all(&c, listener, &e) < 0) {
		log_error("%s", e.message);
		_exit(1);
	}
	say_ready(ready_fd);
	start_workers(&c);
	sigwait(&ends, &signal_number);
	end_soon();
	stop_all(&c);
	return 0;
}
