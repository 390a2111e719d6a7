/* What control and node processes share. */
#pragma once
#include "cmd/cmd.h"
#include "network/network.h"
#include "node/node.h"

#include <signal.h>

void process_begin(const char *name, const struct settings *s); /* log, malloc, SIGPIPE */
void block_end_signals(sigset_t *set);
void say_ready(int fd);
void end_soon(void); /* after a signal: whatever still waits in a moment is cut off */
void node_network_opts(struct arena *a, const struct settings *s, const struct layout *l, struct network_opts *ret);
void node_agent_opts(struct arena *a, const struct settings *s, const struct layout *l, struct node_opts *ret);
