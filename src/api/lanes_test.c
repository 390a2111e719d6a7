/* Which lane a request waits in, who has to go from a full one, and what is not begun any more. */
#include "api/api_internal.h"
#include "base/test.h"
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

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

/* ---- a full lane ----------------------------------------------------------------------------- */

#define ROOM 4 /* requests that may wait */

/* A server whose lane has one task, which is at a request until it is told to go on. */
struct full {
	struct store *store;
	struct api *api;
	struct task_mutex lock;
	struct task_cond news;
	bool busy, go_on;
	char log[64]; /* "-NAME": refused, "NAME": done */
};
static struct full full; /* what requests that were made by hand know */

static void note(const char *how, struct str user)
{
	size_t n = strlen(full.log);

	snprintf(full.log + n, sizeof(full.log) - n, "%s%.*s ", how, STR_ARG(user));
}

static void end_piece(const struct net_piece *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i].end)
			p[i].end(p[i].owner);
}

static void told(void *arg, int status, const struct http_header *h, size_t n_h, const struct net_piece *p, size_t n)
{
	const char *user = arg;

	task_lock(&full.lock);
	if (strcmp(user, "first"))
		note(status == 429 ? "-" : "", str_c(user));
	task_unlock(&full.lock);
	end_piece(p, n);
}

static void answer(struct rq *rq)
{
	reply_text(rq, 200, "text/plain", "done");
}

static void dawdle(struct rq *rq)
{
	task_lock(&full.lock);
	full.busy = true;
	task_broadcast(&full.news);
	while (!full.go_on)
		task_wait(&full.news, &full.lock);
	task_unlock(&full.lock);
	answer(rq);
}

static void submit(const char *user, void (*run)(struct rq *rq))
{
	static const struct api_sink sink = { .reply = told };
	struct rq *rq = rq_new(full.api);

	rq->id.user = str_c(user);
	rq->sink = &sink;
	rq->sink_arg = (void *)user;
	rq->run = run;
	lanes_submit(full.api->lanes, rq);
}

static int fill_setup(void **state)
{
	struct api_opts o = { .own_node = "own", .lane_threads = 1, .lane_queue_max = ROOM };
	struct err e;

	full = (struct full){ .lock = TASK_MUTEX_INIT };
	task_cond_init(&full.news);
	err_init(&e);
	if (store_open_memory(&full.store, &e) < 0)
		fail_msg("%s", e.message);
	o.store = full.store;
	if (api_new(&o, &full.api, &e) < 0)
		fail_msg("%s", e.message);
	submit("first", dawdle);
	task_lock(&full.lock);
	while (!full.busy)
		task_wait(&full.news, &full.lock);
	task_unlock(&full.lock);
	return 0;
}

static void go_on(void)
{
	task_lock(&full.lock);
	full.go_on = true;
	task_broadcast(&full.news);
	task_unlock(&full.lock);
}

static int fill_teardown(void **state)
{
	go_on();
	api_stop(full.api);
	store_close(full.store);
	api_free(full.api);
	task_cond_fini(&full.news);
	return 0;
}

static void come(const char *const *users)
{
	for (size_t i = 0; users[i]; i++)
		submit(users[i], answer);
}

static void who_floods_makes_room_for_others(void **state)
{
	come((const char *const[]){ "flood", "flood", "flood", "anna", NULL });
	come((const char *const[]){ "bob", NULL });
	assert_string_equal(full.log, "-flood ");
	come((const char *const[]){ "flood", NULL });
	assert_string_equal(full.log, "-flood -flood ");
	come((const char *const[]){ "carl", NULL });
	assert_string_equal(full.log, "-flood -flood -flood ");
	full.log[0] = 0;
	go_on();
	lanes_stop(full.api->lanes);
	assert_string_equal(full.log, "flood anna bob carl ");
}

/* Nobody has more than he would have: whoever was there first stays. */
static void equals_do_not_push_each_other_out(void **state)
{
	come((const char *const[]){ "anna", "bob", "anna", "bob", NULL });
	come((const char *const[]){ "anna", "bob", NULL });
	assert_string_equal(full.log, "-anna -bob ");
	come((const char *const[]){ "carl", "dora", NULL });
	assert_string_equal(full.log, "-anna -bob -anna -bob ");
	come((const char *const[]){ "emil", "anna", NULL });
	assert_string_equal(full.log, "-anna -bob -anna -bob -emil -anna ");
}

/* ---- whose client is gone -------------------------------------------------------------------- */

static struct http_request *_Atomic taken;

static void begin(struct rq *rq)
{
	task_lock(&full.lock);
	note("", STR("begun"));
	task_unlock(&full.lock);
	answer(rq);
}

static void take(void *arg, struct http_request *r)
{
	struct rq *rq = rq_new(full.api);

	rq->http = r;
	rq->run = begin;
	lanes_submit(full.api->lanes, rq);
	atomic_store(&taken, r);
}

/* A socket whose request waits in the lane. */
static int ask(const struct http_server *s)
{
	static const char text[] = "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
	struct sockaddr_in at = { .sin_family = AF_INET,
		.sin_port = htons((uint16_t)http_server_port(s)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	atomic_store(&taken, NULL);
	assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
	while (!atomic_load(&taken))
		usleep(1000);
	return fd;
}

static void what_nobody_waits_for_is_not_begun(void **state)
{
	struct net_loop *loop = net_loop_new("lanes");
	struct http_server_opts o = { .address = "127.0.0.1", .loops = &loop, .n_loops = 1, .handle = take };
	struct http_server *s = NULL;
	char said[100] = "";
	struct err e;

	err_init(&e);
	if (http_server_new(&o, &s, &e) < 0)
		fail_msg("%s", e.message);
	int stays = ask(s), goes = ask(s);
	setsockopt(goes, SOL_SOCKET, SO_LINGER, &(struct linger){ 1, 0 }, sizeof(struct linger));
	close(goes);
	while (!http_gone(atomic_load(&taken)))
		usleep(1000);
	go_on();
	lanes_stop(full.api->lanes);
	assert_string_equal(full.log, "begun ");
	assert_true(read(stays, said, sizeof(said) - 1) > 0);
	assert_memory_equal(said, "HTTP/1.1 200 ", 13);
	close(stays);
	http_server_free(s);
	net_loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(who_floods_makes_room_for_others, fill_setup, fill_teardown),
		cmocka_unit_test_setup_teardown(equals_do_not_push_each_other_out, fill_setup, fill_teardown),
		cmocka_unit_test_setup_teardown(what_nobody_waits_for_is_not_begun, fill_setup, fill_teardown),
		cmocka_unit_test(the_cluster_goes_before_its_users),
		cmocka_unit_test(only_the_clusters_own_leases_do),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
