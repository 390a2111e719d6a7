#include "pods.h"

#include <string.h>

#define ZONES 10
#define SELECT "\"labelSelector\":{\"matchLabels\":{\"app\":\"app-%d\"}}"
#define ZONE "\"topologyKey\":\"topology.kubernetes.io/zone\""
#define HOST "\"topologyKey\":\"kubernetes.io/hostname\""

static void constraints(struct buf *b, const char *kind, int app)
{
	if (!strcmp(kind, "spread"))
		buf_printf(b,
			"\"topologySpreadConstraints\":[{\"maxSkew\":1,\"whenUnsatisfiable\":\"DoNotSchedule\"," ZONE
			"," SELECT "},{\"maxSkew\":1,\"whenUnsatisfiable\":\"ScheduleAnyway\"," HOST "," SELECT "}],",
			app, app);
	if (!strcmp(kind, "near") || !strcmp(kind, "own"))
		buf_printf(b,
			"\"affinity\":{\"podAffinity\":{\"requiredDuringSchedulingIgnoredDuringExecution\":[{" ZONE
			"," SELECT "}]}},",
			app);
	if (!strcmp(kind, "far"))
		buf_printf(b,
			"\"affinity\":{\"podAntiAffinity\":{\"requiredDuringSchedulingIgnoredDuringExecution\":[{" HOST
			"," SELECT "}]}},",
			app);
	if (!strcmp(kind, "both"))
		buf_printf(b,
			"\"affinity\":{\"podAffinity\":{\"requiredDuringSchedulingIgnoredDuringExecution\":[{" ZONE
			"," SELECT
			"}],\"preferredDuringSchedulingIgnoredDuringExecution\":[{\"weight\":10,\"podAffinityTerm\":{" ZONE
			"," SELECT
			"}}]},\"podAntiAffinity\":{\"requiredDuringSchedulingIgnoredDuringExecution\":[{" HOST
			"," SELECT
			"}],\"preferredDuringSchedulingIgnoredDuringExecution\":[{\"weight\":5,\"podAffinityTerm\":{" ZONE
			"," SELECT "}}]}},",
			app, app, app, (app + 1) % 7);
}

void pod_text(struct buf *b, const char *kind, const char *ns, int i, int app)
{
	buf_printf(b,
		"{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"pod-%d\",\"namespace\":\"%s\",\"uid\":\"u%d\","
		"\"labels\":{\"app\":\"app-%d\"",
		i, ns, i, app);
	if (!strcmp(kind, "own"))
		buf_printf(b, ",\"statefulset.kubernetes.io/pod-name\":\"pod-%d\"", i);
	buf_printf(b,
		"},\"ownerReferences\":[{\"apiVersion\":\"apps/v1\",\"kind\":\"ReplicaSet\",\"name\":\"app-%d\",\"uid\":\"r%d\","
		"\"controller\":true}]},\"spec\":{",
		app, app);
	constraints(b, kind, app);
	buf_printf(b,
		"\"containers\":[{\"name\":\"c\",\"image\":\"registry/app-%d:1\","
		"\"resources\":{\"requests\":{\"cpu\":\"100m\",\"memory\":\"200Mi\"}}}]}}",
		app);
}

void node_text(struct buf *b, int i)
{
	buf_printf(b,
		"{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"metadata\":{\"name\":\"node-%d\",\"labels\":{\"kubernetes.io/"
		"hostname\":\"node-%d\",\"kubernetes.io/os\":\"linux\",\"topology.kubernetes.io/zone\":\"zone-%d\"}},"
		"\"status\":{\"capacity\":{\"cpu\":\"32\",\"memory\":\"128Gi\",\"pods\":\"110\"},"
		"\"allocatable\":{\"cpu\":\"32\",\"memory\":\"128Gi\",\"pods\":\"110\"}}}",
		i, i, i % ZONES);
}
