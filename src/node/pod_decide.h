/* What to do next for a pod: a pure function of (specification, what runs, time).
 *
 *      ┌────────── no sandbox ──────────┐
 *      ▼                                │ it died
 *   sandbox ─► init 1 ─► init 2 … ─► containers ─► all ended ─► finish
 *                 └─ sidecars stay ──────┘            ▲
 *   deleted, failed or finished: containers stop ─► sidecars, last first ─► sandbox stops ─► removed ─► gone
 *
 * The worker observes, asks, acts and asks again until nothing is left to do or only time can change it. */
#pragma once
#include "base/clock.h"
#include "base/util.h"

enum container_kind { KIND_INIT, KIND_SIDECAR, KIND_MAIN, KIND_EPHEMERAL };
enum restart_policy { RESTART_ALWAYS, RESTART_ON_FAILURE, RESTART_NEVER };
enum instance_state { INST_NONE, INST_CREATED, INST_RUNNING, INST_EXITED };

struct decide_container { /* in the order of the specification: init containers and sidecars first, ephemeral ones last */
	enum container_kind kind;
	enum restart_policy restart;
	enum instance_state state; /* of the newest instance in the current sandbox */
	int exit_code;
	bool started;      /* running and its startup probe (if any) has passed */
	bool must_restart; /* running, but a probe failed or its specification changed */
	bool blocked; /* its image is being pulled, or configuration cannot be read: nothing to do before not_before or a wake */
	bool stopping;          /* a stop is under way */
	struct mono not_before; /* back-off; 0: none */
};

enum sandbox_view { SANDBOX_MISSING, SANDBOX_UP, SANDBOX_DOWN };
struct decide_pod {
	bool deleting;       /* deletionTimestamp, or the object is gone */
	bool failed;         /* to be ended by a verdict: deadline passed, evicted, rejected */
	bool suspended;      /* the machine shuts down: what runs ends, nothing starts, for now */
	bool was_terminal;   /* the API already says Succeeded or Failed */
	bool withdraw_wait;  /* the service proxy still sends connections */
	bool ready_to_start; /* specification is accepted; volumes may be set up */
	enum sandbox_view sandbox;
	bool sandboxes_left;        /* any sandbox (also a dead one) is still known to the runtime */
	bool any_running_elsewhere; /* containers of an older sandbox still run */
	struct mono sandbox_not_before;
	struct decide_container *containers;
	size_t n;
};

enum action_kind {
	ACT_SANDBOX,      /* make a sandbox */
	ACT_START,        /* create (unless created) and start a container */
	ACT_RESTART_KILL, /* stop one container because it must restart */
	ACT_STOP,         /* stop one container because the pod ends */
	ACT_STOP_OLD,     /* stop what still runs in older sandboxes */
	ACT_STOP_SANDBOX,
	ACT_CLEAN, /* deleting and nothing runs: remove everything, then tell the API */
};
struct action {
	enum action_kind kind;
	size_t container;
};
#define ACTIONS_MAX 64
enum pod_verdict { POD_GOES_ON, POD_SUCCEEDED, POD_FAILED };
struct decision {
	struct action actions[ACTIONS_MAX];
	size_t n;
	struct mono wake; /* look again at this time; MONO_NEVER: only when something happens */
	enum pod_verdict verdict;
	bool initialized; /* all init containers are done, sidecars started */
};
void pod_decide(const struct decide_pod *p, struct mono now, struct decision *ret);

/* Back-off of restarts: 10 s doubling to 5 min; a container that ran for 10 min starts anew. */
#define BACKOFF_FIRST_MS 10000
#define BACKOFF_MOST_MS 300000
#define BACKOFF_RESET_MS 600000
int64_t pod_backoff_next(int64_t current_ms, int64_t ran_ms);
