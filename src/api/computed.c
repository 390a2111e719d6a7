/* Rows without storage that can be read: what they show is computed for each request, on a task that may wait. */
#include "api/relay/relay.h"
#define LOG_MODULE "api"

int computed_collect(
	struct rq *rq, struct str name, const struct filter *f, struct doc ***ret, size_t *ret_n, struct err *e)
{
	struct doc **docs = NULL;
	size_t n = 0, kept = 0;
	int r = rq->res->def.compute(rq, name, &docs, &n, e);

	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		if (!f || filter_matches(f, docs[i]))
			docs[kept++] = docs[i];
	*ret = docs;
	*ret_n = kept;
	return 0;
}

struct computing {
	struct rq *rq;
	struct place *place;
};

static void run(void *arg)
{
	struct rq *rq = ((struct computing *)arg)->rq;
	struct place *place = ((struct computing *)arg)->place;
	struct relays *relays = rq->api->relays;
	struct doc **docs;
	struct filter f;
	struct err e;
	size_t n;

	err_init(&e);
	bool one = rq->verb == V_GET;
	int r = one ? 0 : filter_parse(rq, rq_param(rq, "labelSelector"), rq_param(rq, "fieldSelector"), &f, &e);
	if (r >= 0)
		r = computed_collect(rq, one ? rq->name : STR_NULL, one ? NULL : &f, &docs, &n, &e);
	if (r < 0)
		reply_error(rq, &e);
	else if (one)
		reply_doc(rq, 200, doc_ref(docs[0]));
	else
		list_reply(rq, docs, n);
	relay_end(relays, place);
}

void computed_read(struct rq *rq)
{
	struct computing *c = ARENA_NEW(rq->a, struct computing);
	struct err e;

	err_init(&e);
	c->rq = rq;
	if (relay_begin(rq, run, c, &c->place, &e) < 0)
		reply_error(rq, &e);
}
