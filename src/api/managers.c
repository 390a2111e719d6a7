/* managedFields of a write: under which name and version it is told, and whether it forgets what was told. Whose a field is then,
 * schema/managed.c finds out. */
#include "api/api_internal.h"

/* An empty list says that managers are to be forgotten, as a list of one empty entry does, which outlives the zeros. Of
 * custom kinds upstream reads it as if left out. */
void write_keep_reset(struct rq *rq, struct node *meta)
{
	struct node *sent = node_getc(meta, "managedFields");

	if (node_kind(sent) != VAL_LIST || node_len(sent))
		return;
	if (rq->res->custom)
		node_delc(meta, "managedFields");
	else
		node_add(sent, node_map(rq->a));
}

static bool is_served(void *arg, struct str api_version)
{
	struct rq *rq = arg;
	struct str group = STR(""), version = api_version;

	if (str_has(api_version, STR("/")))
		version = str_cut(api_version, '/', &group);
	return api_resource(rq->api, group, version, str_c(rq->res->def.resource)) != NULL;
}

struct managed_write write_managed(struct rq *rq)
{
	return (struct managed_write){
		.type = rq->res->type,
		.api_version = str_c(rq->res->api_version),
		.now = rq_now(rq),
		.status_apart = resource_sub(rq->res, STR("status")) != NULL,
		.served = is_served,
		.arg = rq,
	};
}

static struct str manager_of(struct rq *rq)
{
	struct str m;

	if (rq->field_manager.n)
		return rq->field_manager;
	str_cut(rq->user_agent, '/', &m);
	return m.n ? str_sub(m, 0, 128) : STR("unknown");
}

int write_track(struct rq *rq, struct write_job *j, struct val live, struct err *e)
{
	struct node *meta = node_need_map(j->object, "metadata");
	struct managed_write w = write_managed(rq);

	w.manager = manager_of(rq);
	w.subresource = j->scale ? j->scale->sub : rq->sub;
	if (val_has(live) && !node_getc(meta, "managedFields")) {
		struct val mf = val_path(live, "metadata.managedFields");
		if (val_has(mf))
			node_setc(meta, "managedFields", node_from(rq->a, mf));
	}
	return managed_update(rq->a, &w, live, j->object, e);
}
