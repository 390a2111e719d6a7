/* What the files of `load` share: the server to ask, and many clients at one thing. */
#pragma once
#include "base/clock.h"
#include "base/task.h"
#include "client/remote_internal.h"
#include "net/net.h"
#include <inttypes.h>

struct bench {
	struct remote_config config;
	struct arena *a;
	char *url;
	struct tls *tls;
	struct net_loop *loop;
	struct http_client *http;
	const char *bearer; /* NULL: a certificate tells who we are */
	const char *pids, *ns, *probe, *kind, *trace;
	int64_t clients, seconds, count, size, rate, cached, nodes, trace_ms; /* options, by name in `options` */
	char *path;        /* of the collection: /api/v1/namespaces/NS/configmaps */
	char run[20];      /* distinguishes the names of this run */
	struct buf filler; /* size bytes */
};

struct worker {
	struct bench *b;
	void (*once)(struct worker *w);
	struct mono until;
	int64_t id, n, most, *us; /* most 0: until the time is over */
	struct task *t;
};

_Noreturn void die(const char *what, const struct err *e); /* ends the program */
/* Sums over --pids. */
int64_t of_pids(const struct bench *b, int64_t (*what)(struct str pid));
int64_t cpu_us_of(struct str pid);
int64_t pss_bytes_of(struct str pid);
size_t headers(const struct bench *b, struct http_header h[3]);
/* The size of the answer's body; ends the program unless the status is the wanted one; want 0: whatever it is. */
size_t request(struct bench *b, const char *method, const char *path, struct str body, int want);
struct http_client *connect_to(struct bench *b);
/* --clients of them, --count / --clients times each. */
void create_many(struct bench *b, void (*once)(struct worker *w));

/* load_gap.c */
void mode_gap(struct bench *b);

/* load_bindings.c */
void mode_nodes(struct bench *b);
void mode_pods(struct bench *b);
void mode_bindings(struct bench *b);
