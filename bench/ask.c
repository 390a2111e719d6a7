#include "ask.h"
#include "base/task.h"
#include <stdio.h>
#include <time.h>

struct answer {
	struct task_mutex lock;
	struct task_cond came;
	int status;
};

int64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void on_reply(void *arg, int status, const struct http_header *headers, size_t n_headers,
	const struct net_piece *pieces, size_t n)
{
	struct answer *a = arg;

	for (size_t i = 0; i < n && status >= 300; i++)
		fwrite(pieces[i].bytes.p, 1, pieces[i].bytes.n, stderr);
	for (size_t i = 0; i < n; i++)
		if (pieces[i].end)
			pieces[i].end(pieces[i].owner);
	task_lock(&a->lock);
	a->status = status;
	task_signal(&a->came);
	task_unlock(&a->lock);
}

int ask(struct api *api, struct api_call *c)
{
	static const struct api_sink sink = { .reply = on_reply };
	struct answer a = { 0 };

	task_mutex_init(&a.lock);
	task_cond_init(&a.came);
	c->sink = &sink;
	c->sink_arg = &a;
	api_call(api, c);
	task_lock(&a.lock);
	while (!a.status)
		task_wait(&a.came, &a.lock);
	task_unlock(&a.lock);
	task_mutex_fini(&a.lock);
	task_cond_fini(&a.came);
	return a.status;
}
