/* The machine's end, as systemd-logind announces it, which then waits for us.
 *
 *   PrepareForShutdown ─► the node is NotReady, nothing new starts
 *                      ─► pods of ordinary priority end, within --shutdown-grace-period less the critical ones' part
 *                      ─► critical pods end, within --shutdown-grace-period-critical-pods
 *                      ─► their statuses are written, logind goes on
 *
 * A pod that never restarts has failed then. Any other waits for the machine's return (or for the shutdown to be
 * called off) with the reason in its status, and runs again: no other node would take it over. */
#include "node/logind.h"
#include "node/node_internal.h"

#include <stdio.h>
#include <unistd.h>

#define LOG_MODULE "node"
#define AGAIN_MS 60000 /* until logind is asked again that did not answer */
#define WRITE_MS 3000  /* for the last statuses, which are a part of no grace period */
#define KILL_MS 1500   /* what the runtime needs beyond a grace period that a pod used up */
#define LOOK_MS 100
#define SPARE_MS 3000 /* of logind's patience: for kills and the last statuses */

static bool is_critical(const struct doc *d)
{
	return doc_int(d, "spec.priority", 0) >= CRITICAL_PRIORITY;
}

static size_t tell_pods(struct node_agent *n, bool critical, int64_t grace_s)
{
	struct str key;
	void *value;
	size_t told = 0;

	task_lock(&n->lock);
	for (size_t i = 0; map_next(n->pods, &i, &key, &value);) {
		struct pod *p = value;
		if (is_critical(p->doc) != critical || p->gone || pod_is_over(p->doc))
			continue;
		p->shutdown = true;
		p->shutdown_grace_s = grace_s;
		p->shutdown_done = false;
		queue_add(n->wake, key);
		told++;
	}
	task_unlock(&n->lock);
	return told;
}

/* How many of those that were told still run, or have a status that is not written. */
static size_t count(struct node_agent *n, bool unwritten)
{
	struct str key;
	void *value;
	size_t left = 0;

	task_lock(&n->lock);
	for (size_t i = 0; map_next(n->pods, &i, &key, &value);) {
		struct pod *p = value;
		left += p->shutdown && !p->closed && (unwritten ? p->write.want != NULL : !p->shutdown_done);
	}
	task_unlock(&n->lock);
	return left;
}

static size_t wait_for_pods(struct node_agent *n, bool unwritten, int64_t ms)
{
	struct mono until = mono_add_ms(mono_now(), ms);
	size_t left;

	while ((left = count(n, unwritten)) && mono_before(mono_now(), until) && stop_sleep_ms(n->stop, LOOK_MS))
		;
	return left;
}

/* How many have not ended. */
static size_t end_group(struct node_agent *n, bool critical, int64_t grace_s)
{
	size_t told = tell_pods(n, critical, grace_s);

	log_info("the machine shuts down: %zu %s pods end within %lld s", told, critical ? "critical" : "ordinary",
		(long long)grace_s);
	return wait_for_pods(n, false, grace_s * 1000 + KILL_MS);
}

static void set_shutting_down(struct node_agent *n, bool is)
{
	struct str key;
	void *value;

	task_lock(&n->lock);
	n->shutting_down = is;
	for (size_t i = 0; !is && map_next(n->pods, &i, &key, &value);) {
		((struct pod *)value)->shutdown = false;
		queue_add(n->wake, key);
	}
	task_unlock(&n->lock);
	node_status_wake(n);
}

/* logind waits no longer than it is configured to: both groups get less then, in the same proportion. */
void shutdown_shares(
	int64_t total_s, int64_t critical_s, int64_t most_s, int64_t *ret_ordinary_s, int64_t *ret_critical_s)
{
	int64_t all = MIN(total_s, most_s), critical = MIN(critical_s, total_s);

	*ret_critical_s = total_s ? (critical * all + total_s - 1) / total_s : 0;
	*ret_ordinary_s = all - *ret_critical_s;
}

static void end_pods(struct node_agent *n, int64_t most_s)
{
	int64_t ordinary, critical;

	shutdown_shares(n->o.shutdown_grace_s, n->o.shutdown_grace_critical_s, most_s, &ordinary, &critical);
	set_shutting_down(n, true);
	size_t left = end_group(n, false, ordinary);
	left += end_group(n, true, critical);
	if (wait_for_pods(n, true, WRITE_MS))
		log_warn("the API was not told of all pods' end");
	if (left)
		log_warn("the machine goes on shutting down, though %zu pods had not ended in time", left);
	else
		log_info("all pods have ended: the machine may go on shutting down");
}

/* Until logind is lost or the node stops. */
static int follow(struct node_agent *n, struct logind *l, struct err *e)
{
	int64_t most_ms;
	int r = logind_delay_ms(l, &most_ms, e);

	if (r < 0 || (r = logind_hold(l, "pods end within their grace periods", e)) < 0)
		return r;
	most_ms = MAX(most_ms - SPARE_MS, (int64_t)1000);
	if (most_ms < n->o.shutdown_grace_s * 1000)
		log_warn("at a shutdown pods have %lld s, as long as logind waits, not %lld s: set InhibitDelayMaxSec= "
			 "in logind.conf",
			(long long)most_ms / 1000, (long long)n->o.shutdown_grace_s);
	enum logind_news news = logind_shuts_down(l) ? LOGIND_SHUTDOWN : logind_wait(l, n->shutdown_wake);
	for (; !stop_raised(n->stop); news = logind_wait(l, n->shutdown_wake)) {
		if (news == LOGIND_LOST)
			return err_set(e, ERR_UNAVAILABLE, "the connection to logind ended");
		if (news == LOGIND_SHUTDOWN) {
			end_pods(n, most_ms / 1000);
			logind_release(l);
		} else if (news == LOGIND_CALLED_OFF) {
			log_info("the shutdown was called off: pods run again");
			set_shutting_down(n, false);
			logind_release(l);
			if ((r = logind_hold(l, "pods end within their grace periods", e)) < 0)
				return r;
		}
	}
	return 0;
}

void shutdown_run(void *agent)
{
	struct node_agent *n = agent;
	struct err e;

	do {
		auto_(logind_close) struct logind *l = NULL;
		err_init(&e);
		if (logind_open(&l, &e) < 0 || follow(n, l, &e) < 0)
			log_warn("a shutdown of the machine will not wait for pods: %s; trying again in a minute",
				e.message);
	} while (stop_sleep_ms(n->stop, AGAIN_MS));
	node_task_end(n);
}
