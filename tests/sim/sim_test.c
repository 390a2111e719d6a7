/* sim_test [SEED…]: a cluster's bad week in about a second, once a seed. One line a seed: its trace hash, or what went
 * wrong.
 * KOGGE_SIM_TRACE=1 shows every step of it on stderr. */
#include "base/log.h"
#include "sim.h"
#include <inttypes.h>
#include <stdio.h>

#define WEEK_MS (INT64_C(7) * 24 * 3600 * 1000)

static void week(void *arg)
{
	struct world *w = arg;

	w->n_nodes = 3 + (size_t)rand_below(NODES_MAX - 2);
	cluster_start(w);
	story(w);
	cluster_stop(w);
}

static bool run(uint64_t seed)
{
	struct world w = { .seed = seed };
	uint64_t hash = task_sim_run(seed, WEEK_MS, week, &w);

	if (failed(&w))
		printf("seed %" PRIu64 ": FAILED: %s\n", seed, w.failure);
	else
		printf("seed %" PRIu64 ": %016" PRIx64 ", %" PRId64 " pod events\n", seed, hash, w.events);
	fflush(stdout);
	return !failed(&w);
}

int main(int argc, char **argv)
{
	bool ok = true;
	uint64_t seed;

	log_setup("sim", getenv("KOGGE_SIM_LOG") ? LOG_DEBUG : LOG_ERROR, false);
	for (int i = 1; i < argc; i++) {
		if (!str_u64(str_c(argv[i]), &seed)) {
			fprintf(stderr, "usage: sim_test SEED...\n");
			return 2;
		}
		ok &= run(seed);
	}
	return ok ? 0 : 1;
}
