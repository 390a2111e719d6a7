/* What the kernel's scheduler, disk and journal did around a moment: a ring of its events, in an instance of its tracing of
 * our own, that is written to a file when somebody wants to know.
 *
 * Thread: trace_hold() from any, also one before all ordinary programs; what it holds is written by a task of the trace's. */
#pragma once
#include "base/clock.h"

struct trace;
/* Own: end it with trace_free(). Ends the program when the kernel has no tracing, or it is not ours to use. */
struct trace *trace_new(const char *folder);
/* Stops the ring; its events from..to go to FOLDER/NAME, with `about` as first line, and it begins anew. False: it is held
 * already, or does not reach back to from. */
bool trace_hold(struct trace *t, const char *name, struct mono from, struct mono to, const char *about);
struct trace *trace_free(struct trace *t); /* writes what it holds; NULL accepted */
