/* How much memory this process may use.
 *
 * Thread: any; reads small files of the kernel's, so not in a simulation. */
#pragma once
#include <stdint.h>

/* Bytes: the least of what the machine has and what its control group and those above it allow (v1 or v2). */
int64_t memory_limit(void);
/* The same for a list like /proc/self/cgroup and the folder where control groups are mounted. 0: no limit. */
int64_t memory_limit_of(const char *cgroups_file, const char *mounted);
