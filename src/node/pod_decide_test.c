#include "base/test.h"

#include "node/pod_decide.h"
#include <stdio.h>

/* A row: what is, and what should be done. Containers are written as "KIND RESTART STATE", see parse(). */
struct row {
	const char *what;
	struct decide_pod p;
	const char *
		containers; /* "I=init S=sidecar M=main E=ephemeral; A/F/N restart; - none, c created, r running, R running and started, 0 or 1 exited" */
	const char *actions; /* "sandbox start:0 kill:1 stop:2 stop-old stop-sandbox clean" */
	enum pod_verdict verdict;
};

static size_t parse(const char *text, struct decide_container *list)
{
	size_t n = 0;

	for (const char *s = text; *s; s += s[3] == ' ' ? 4 : 3) {
		struct decide_container *c = &list[n++];
		*c = (struct decide_container){ .kind = s[0] == 'I' ? KIND_INIT :
				s[0] == 'S'                         ? KIND_SIDECAR :
				s[0] == 'E'                         ? KIND_EPHEMERAL :
								      KIND_MAIN };
		c->restart = s[1] == 'A' ? RESTART_ALWAYS : s[1] == 'F' ? RESTART_ON_FAILURE : RESTART_NEVER;
		switch (s[2]) {
		case 'c':
			c->state = INST_CREATED;
			break;
		case 'R':
			c->started = true;
			c->state = INST_RUNNING;
			break;
		case 'r':
			c->state = INST_RUNNING;
			break;
		case 'k': /* running, must restart */
			c->state = INST_RUNNING;
			c->started = c->must_restart = true;
			break;
		case 'b': /* exited, in back-off */
			c->state = INST_EXITED;
			c->exit_code = 1;
			c->not_before = (struct mono){ 5000 };
			break;
		case 'p': /* its image is being pulled */
			c->blocked = true;
			break;
		case '0':
		case '1':
			c->state = INST_EXITED;
			c->exit_code = s[2] - '0';
			break;
		default:
			break;
		}
	}
	return n;
}

static void print_actions(const struct decision *d, char *out, size_t cap)
{
	static const char *const names[] = { "sandbox", "start", "kill", "stop", "stop-old", "stop-sandbox", "clean" };
	size_t n = 0;

	out[0] = 0;
	for (size_t i = 0; i < d->n; i++) {
		enum action_kind k = d->actions[i].kind;
		n += (size_t)snprintf(out + n, cap - n, "%s%s", i ? " " : "", names[k]);
		if (k == ACT_START || k == ACT_RESTART_KILL || k == ACT_STOP)
			n += (size_t)snprintf(out + n, cap - n, ":%zu", d->actions[i].container);
	}
}

#define UP .ready_to_start = true, .sandbox = SANDBOX_UP
static const struct row rows[] = {
	{ "a new pod gets a sandbox", { .ready_to_start = true }, "MA-", "sandbox", POD_GOES_ON },
	{ "a refused pod gets nothing", { 0 }, "MA-", "", POD_GOES_ON },
	{ "all main containers start", { UP }, "MA- MA-", "start:0 start:1", POD_GOES_ON },
	{ "a created container is started", { UP }, "MAc", "start:0", POD_GOES_ON },
	{ "nothing to do", { UP }, "MAR MAR", "", POD_GOES_ON },
	{ "an ephemeral container starts beside them", { UP }, "MAR EN-", "start:1", POD_GOES_ON },
	{ "an ephemeral container starts while init containers run", { UP }, "IFr MA- EN-", "start:2", POD_GOES_ON },
	{ "an ephemeral container runs once", { UP }, "MAR EN0", "", POD_GOES_ON },
	{ "a pod ends without asking its ephemeral containers", { UP }, "MN0 ENR", "stop:1", POD_SUCCEEDED },
	{ "init containers come first, one by one", { UP }, "IF- IF- MA-", "start:0", POD_GOES_ON },
	{ "the second follows the first", { UP }, "IF0 IF- MA-", "start:1", POD_GOES_ON },
	{ "an init container that runs is waited for", { UP }, "IFR MA-", "", POD_GOES_ON },
	{ "a failed init container runs again", { UP }, "IF1 MA-", "start:0", POD_GOES_ON },
	{ "a failed init container ends a pod that never restarts", { UP }, "IN1 MN-", "stop-sandbox", POD_FAILED },
	{ "a sidecar starts before the next", { UP }, "SA- IF- MA-", "start:0", POD_GOES_ON },
	{ "a sidecar that has not started holds the next", { UP }, "SAr IF- MA-", "", POD_GOES_ON },
	{ "a started sidecar lets the next start", { UP }, "SAR IF- MA-", "start:1", POD_GOES_ON },
	{ "a dead sidecar runs again beside main containers", { UP }, "SA1 MAR", "start:0", POD_GOES_ON },
	{ "forgotten init containers do not run again", { UP }, "IF- MAR MA1", "start:2", POD_GOES_ON },
	{ "Always restarts success", { UP }, "MA0", "start:0", POD_GOES_ON },
	{ "OnFailure restarts failure", { UP }, "MF1", "start:0", POD_GOES_ON },
	{ "OnFailure is content with success", { UP }, "MF0", "stop-sandbox", POD_SUCCEEDED },
	{ "Never leaves failure", { UP }, "MN1", "stop-sandbox", POD_FAILED },
	{ "one of two goes on", { UP }, "MN0 MNR", "", POD_GOES_ON },
	{ "sidecars end after the last main container", { UP }, "SAR SAR MN0", "stop:1", POD_GOES_ON },
	{ "and the pod ends with the last of them", { UP }, "SA0 SA0 MN0", "stop-sandbox", POD_SUCCEEDED },
	{ "back-off is waited for", { UP }, "MAb", "", POD_GOES_ON },
	{ "an image is waited for", { UP }, "MAp MA-", "start:1", POD_GOES_ON },
	{ "a probe asks for a restart", { UP }, "MAk", "kill:0", POD_GOES_ON },
	{ "a dead sandbox is replaced", { .ready_to_start = true, .sandbox = SANDBOX_DOWN }, "MA1", "sandbox",
		POD_GOES_ON },
	{ "what runs in the old one ends first",
		{ .ready_to_start = true, .sandbox = SANDBOX_DOWN, .any_running_elsewhere = true }, "MA-", "stop-old",
		POD_GOES_ON },
	{ "a finished pod needs no sandbox", { .ready_to_start = true, .sandbox = SANDBOX_DOWN }, "MN0", "",
		POD_SUCCEEDED },
	{ "deletion stops main containers", { .deleting = true, UP }, "SAR MAR MAR", "stop:1 stop:2", POD_GOES_ON },
	{ "then sidecars, last first", { .deleting = true, UP }, "SAR SAR MA1", "stop:1", POD_GOES_ON },
	{ "then the sandbox", { .deleting = true, UP }, "MA1", "stop-sandbox", POD_FAILED },
	{ "a pod that goes ends well when its containers do", { .deleting = true, UP }, "MA0 MA0", "stop-sandbox",
		POD_SUCCEEDED },
	{ "but not before", { .deleting = true, UP }, "MA0 MAR", "stop:1", POD_GOES_ON },
	{ "then everything", { .deleting = true, .ready_to_start = true, .sandbox = SANDBOX_DOWN }, "MA1", "clean",
		POD_FAILED },
	{ "a pod that never ran is cleaned at once", { .deleting = true }, "MA-", "clean", POD_GOES_ON },
	{ "clients are sent elsewhere first", { .deleting = true, .withdraw_wait = true, UP }, "MAR", "", POD_GOES_ON },
	{ "a machine that shuts down ends what runs, for now", { .suspended = true, UP }, "MAR", "stop:0",
		POD_GOES_ON },
	{ "and starts nothing", { .suspended = true, .ready_to_start = true }, "MA-", "", POD_GOES_ON },
	{ "a verdict ends the pod", { .failed = true, UP }, "MAR", "stop:0", POD_FAILED },
	{ "an ended pod stays ended", { .was_terminal = true, UP }, "MA-", "stop-sandbox", POD_GOES_ON },
	{ "an orphan's containers are stopped", { .deleting = true, .any_running_elsewhere = true, UP }, "", "stop-old",
		POD_GOES_ON },
};

static void decides_by_table(void **state)
{
	struct decide_container list[16];
	struct decision d;
	char got[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct decide_pod p = rows[i].p;
		p.containers = list;
		p.n = parse(rows[i].containers, list);
		pod_decide(&p, (struct mono){ 1000 }, &d);
		print_actions(&d, got, sizeof(got));
		if (strcmp(got, rows[i].actions) != 0 || d.verdict != rows[i].verdict)
			fail_msg("%s (%s): \"%s\" verdict %d, expected \"%s\" verdict %d", rows[i].what,
				rows[i].containers, got, d.verdict, rows[i].actions, rows[i].verdict);
	}
}

static void wakes_when_back_off_ends(void **state)
{
	struct decide_container list[4];
	struct decide_pod p = { UP, .containers = list };
	struct decision d;

	(void)state;
	p.n = parse("MAb", list);
	pod_decide(&p, (struct mono){ 1000 }, &d);
	assert_int_equal(d.n, 0);
	assert_int_equal(d.wake.ns, 5000);
	pod_decide(&p, (struct mono){ 5000 }, &d);
	assert_int_equal(d.n, 1);
}

static void backs_off_longer_each_time(void **state)
{
	static const int64_t want[] = { 10000, 20000, 40000, 80000, 160000, 300000, 300000 };
	int64_t ms = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		ms = pod_backoff_next(ms, 1000);
		assert_int_equal(ms, want[i]);
	}
	assert_int_equal(pod_backoff_next(ms, BACKOFF_RESET_MS), 10000);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(decides_by_table),
		cmocka_unit_test(wakes_when_back_off_ends),
		cmocka_unit_test(backs_off_longer_each_time),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
