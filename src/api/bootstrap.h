/* The table of default roles (bootstrap_roles.c) as bootstrap.c reads it. */
#pragma once
#include "api/api_internal.h"

struct boot_role {
	const char *name;       /* "NAMESPACE/NAME" for roles */
	const char *rules;      /* lines, see bootstrap_roles.c */
	const char *aggregates; /* its rules are those of all roles labelled aggregate-to-THIS */
	const char *part_of;    /* it is labelled aggregate-to-THIS */
};
struct boot_binding {
	const char *name, *role, *kind, *subjects; /* subjects: commas; a ServiceAccount is NAMESPACE:NAME */
};
extern const struct boot_role boot_cluster_roles[]; /* ended by a NULL name */
extern const struct boot_role boot_roles[];
extern const struct boot_binding boot_bindings[];
