/* The decisions of a rollout: counts, shares, status. Nothing here writes or waits. */
#include "controllers/deployment.h"

void int_or_percent_text(const char *text, int64_t total, bool up, int64_t *ret)
{
	int64_t percent = strtol(text, NULL, 10);

	*ret = (total * percent + (up ? 99 : 0)) / 100;
}

static int64_t sum_spec(const struct rollout *r)
{
	int64_t n = 0;

	for (size_t i = 0; i < r->all.n; i++)
		n += doc_int(r->all.items[i], "spec.replicas", 1);
	return n;
}

int64_t rollout_new_count(const struct rollout *r, int64_t now)
{
	int64_t room;

	if (!r->rolling)
		return r->wanted;
	if (now > r->wanted)
		return r->wanted;
	room = r->wanted + r->surge - sum_spec(r);
	if (room <= 0)
		return now;
	return now + MIN(room, r->wanted - now);
}

int64_t rollout_share(int64_t has, int64_t set_most, int64_t most, int64_t to_add, int64_t added)
{
	double part;
	int64_t share, left = to_add - added;

	if (!set_most)
		set_most = most ? most : 1;
	/* the set's part of what there was, applied to what there will be */
	part = (double)has * (double)most / (double)set_most - (double)has;
	share = (int64_t)(part < 0 ? part - 0.5 : part + 0.5);
	return to_add >= 0 ? MAX(MIN(share, left), (int64_t)0) : MIN(MAX(share, left), (int64_t)0);
}

/* ---- status ---------------------------------------------------------------------------------- */

static int64_t sum_status(const struct rollout *r, const char *path)
{
	int64_t n = 0;

	for (size_t i = 0; i < r->all.n; i++)
		n += doc_int(r->all.items[i], path, 0);
	return n;
}

static int64_t count_of(struct node *status, const char *field)
{
	return node_int_of(node_getc(status, field), 0);
}

bool rollout_complete(const struct rollout *r, struct node *status)
{
	return r->new_set && count_of(status, "updatedReplicas") == r->wanted &&
		count_of(status, "replicas") == r->wanted && count_of(status, "availableReplicas") == r->wanted &&
		doc_int(r->d, "metadata.generation", 0) <= count_of(status, "observedGeneration");
}

static bool moved(const struct rollout *r, struct node *status)
{
	struct val old = doc_get(r->d, "status");
	int64_t updated = val_int(val_get(old, "updatedReplicas"), 0),
		old_pods = val_int(val_get(old, "replicas"), 0) - updated;

	return count_of(status, "updatedReplicas") > updated ||
		count_of(status, "replicas") - count_of(status, "updatedReplicas") < old_pods ||
		count_of(status, "readyReplicas") > val_int(val_get(old, "readyReplicas"), 0) ||
		count_of(status, "availableReplicas") > val_int(val_get(old, "availableReplicas"), 0);
}

static struct node *condition_in(struct node *conditions, const char *type)
{
	for (size_t i = 0; i < node_len(conditions); i++)
		if (str_is(node_text_str(node_getc(node_at(conditions, i), "type")), type))
			return node_at(conditions, i);
	return NULL;
}

static bool has_reason(struct node *condition, const char *reason)
{
	return str_is(node_text_str(node_getc(condition, "reason")), reason);
}

/* The time of the last progress is kept in lastUpdateTime: moving it must not wait for a change of the reason. */
static void touch(struct rollout *r, struct node *conditions, const char *reason, const char *message)
{
	struct node *p;

	set_condition(r->a, conditions, "Progressing", "True", reason, message, true);
	p = condition_in(conditions, "Progressing");
	node_setc(p, "lastUpdateTime", node_c(r->a, now_text(r->a)));
	node_setc(p, "message", node_c(r->a, message));
}

static int64_t deadline_left_ms(struct rollout *r, struct node *progressing)
{
	int64_t seconds = doc_int(r->d, "spec.progressDeadlineSeconds", 600);
	struct wall since;

	if (!wall_parse(node_text_str(node_getc(progressing, "lastUpdateTime")), &since))
		return seconds * 1000;
	return seconds * 1000 - (wall_now().ns - since.ns) / 1000000;
}

static const char *set_name(const struct rollout *r)
{
	return r->new_set ? arena_cstr(r->a, doc_name(r->new_set)) : "";
}

static void progress(struct rollout *r, struct node *status, struct node *conditions, int64_t *next_ms)
{
	struct node *p = condition_in(conditions, "Progressing");
	const char *name = arena_cstr(r->a, doc_name(r->d));
	int64_t left;

	if (r->paused) {
		if (!has_reason(p, "DeploymentPaused"))
			set_condition(r->a, conditions, "Progressing", "Unknown", "DeploymentPaused",
				"Deployment is paused", true);
		return;
	}
	if (has_reason(p, "DeploymentPaused"))
		set_condition(
			r->a, conditions, "Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed", true);
	if (rollout_complete(r, status)) {
		if (!has_reason(p, "NewReplicaSetAvailable") ||
			!val_is(val_get(condition_of(doc_root(r->d), "Progressing"), "status"), "True"))
			touch(r, conditions, "NewReplicaSetAvailable",
				arena_printf(r->a, "ReplicaSet \"%s\" has successfully progressed.", set_name(r)));
		return;
	}
	if (!p) {
		touch(r, conditions, "NewReplicaSetCreated",
			arena_printf(r->a, "Created new replica set \"%s\"", set_name(r)));
	} else if (moved(r, status) ||
		(has_reason(p, "NewReplicaSetAvailable") && count_of(status, "updatedReplicas") < r->wanted)) {
		touch(r, conditions, "ReplicaSetUpdated",
			r->new_set ? arena_printf(r->a, "ReplicaSet \"%s\" is progressing.", set_name(r)) :
				     arena_printf(r->a, "Deployment \"%s\" is progressing.", name));
	}
	p = condition_in(conditions, "Progressing");
	/* one that had finished may lose pods for other reasons: that is no rollout that fails */
	if (has_reason(p, "NewReplicaSetAvailable") || has_reason(p, "ProgressDeadlineExceeded"))
		return;
	left = deadline_left_ms(r, p);
	if (left > 0) {
		*next_ms = left;
		return;
	}
	set_condition(r->a, conditions, "Progressing", "False", "ProgressDeadlineExceeded",
		arena_printf(r->a, "ReplicaSet \"%s\" has timed out progressing.", set_name(r)), true);
}

static void availability(struct rollout *r, struct node *status, struct node *conditions)
{
	bool enough = count_of(status, "availableReplicas") >= r->wanted - r->unavailable;

	if (enough)
		set_condition(r->a, conditions, "Available", "True", "MinimumReplicasAvailable",
			"Deployment has minimum availability.", true);
	else
		set_condition(r->a, conditions, "Available", "False", "MinimumReplicasUnavailable",
			"Deployment does not have minimum availability.", true);
}

/* A set that cannot make its pods is shown on the Deployment. */
static void failure(struct rollout *r, struct node *conditions)
{
	struct val c = VAL_NONE;

	for (size_t i = 0; i < r->all.n && !val_has(c); i++)
		c = condition_of(doc_root(r->all.items[i]), "ReplicaFailure");
	if (r->new_set && val_has(condition_of(doc_root(r->new_set), "ReplicaFailure")))
		c = condition_of(doc_root(r->new_set), "ReplicaFailure");
	if (val_has(c)) {
		set_condition(r->a, conditions, "ReplicaFailure", arena_cstr(r->a, val_str(val_get(c, "status"))),
			arena_cstr(r->a, val_str(val_get(c, "reason"))),
			arena_cstr(r->a, val_str(val_get(c, "message"))), true);
		return;
	}
	for (size_t i = 0; i < node_len(conditions); i++)
		if (str_is(node_text_str(node_getc(node_at(conditions, i), "type")), "ReplicaFailure"))
			node_remove_at(conditions, i);
}

static void set_count(struct rollout *r, struct node *status, const char *field, int64_t n)
{
	if (n)
		node_setc(status, field, node_int(r->a, n));
}

struct node *rollout_status(struct rollout *r, int64_t *next_ms)
{
	struct node *status = node_pack(r->a, "{observedGeneration:I}", doc_int(r->d, "metadata.generation", 0)),
		    *conditions = node_list(r->a);
	int64_t all = sum_spec(r), available = sum_status(r, "status.availableReplicas");

	*next_ms = 0;
	for (struct val_iter it = val_iter(doc_get(r->d, "status.conditions")); val_next(&it);)
		node_add(conditions, node_copy(r->a, node_from(r->a, it.val)));
	set_count(r, status, "replicas", sum_status(r, "status.replicas"));
	set_count(r, status, "updatedReplicas", r->new_set ? doc_int(r->new_set, "status.replicas", 0) : 0);
	set_count(r, status, "readyReplicas", sum_status(r, "status.readyReplicas"));
	set_count(r, status, "availableReplicas", available);
	set_count(r, status, "unavailableReplicas", MAX(all - available, (int64_t)0));
	set_count(r, status, "collisionCount", doc_int(r->d, "status.collisionCount", 0));
	availability(r, status, conditions);
	progress(r, status, conditions, next_ms);
	failure(r, conditions);
	node_setc(status, "conditions", conditions);
	return status;
}
