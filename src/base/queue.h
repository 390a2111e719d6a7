/* The rate-limited work queue of controllers, scheduler and pod workers.
 *
 * Keys are byte strings. A key is handed to one worker at a time; adding it while it is worked on queues it once more
 * for afterwards; adding it twice is one visit. queue_add() ends a wait of queue_add_after() or queue_retry(): the
 * visit that it makes is the one. Any task. */
#pragma once
#include "base/str.h"
#include "base/task.h"

struct queue;
struct queue_opts {
	int64_t first_ms, most_ms; /* back-off of queue_retry(): first, doubled each time up to most. 0: 5 and 60000 */
};
struct queue *queue_new(struct queue_opts o);
struct queue *queue_free(struct queue *q);
AUTO(struct queue, queue_free)
void queue_add(struct queue *q, struct str key);
void queue_add_after(struct queue *q, struct str key, int64_t ms); /* the earliest of several wins */
void queue_retry(struct queue *q, struct str key);                 /* after a failure: adds with back-off */
void queue_forget(struct queue *q, struct str key);                /* after a success: back-off starts anew */
int queue_failures(struct queue *q, struct str key);
/* Waits for a key. Own: free() *ret and call queue_done() when worked on. false: stopped and drained. */
bool queue_pop(struct queue *q, char **ret);
void queue_done(struct queue *q, struct str key);
/* Wakes every worker. Keys that are ready are still handed out, then pops return false; keys that wait for their time
 * and keys added from now on are dropped. */
void queue_stop(struct queue *q);
/* A worker's life: visits each key that is ready, one at a time, until the queue is stopped; what is ready then is left. */
void queue_work(struct queue *q, void (*visit)(void *arg, struct str key), void *arg);
size_t queue_len(struct queue *q); /* keys ready now: neither worked on nor waiting for their time */
