/* What one request pays: parse a pod, read fields, edit one, publish; against jansson doing the same. */
#include "base/clock.h"
#include "doc/doc.h"
#include <jansson.h>
#include <stdio.h>

static const char head[] =
	"{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"web-5d9c7b9f4c-abcde\",\"namespace\":"
	"\"default\","
	"\"uid\":\"3f1c9a52-6f5c-4d3c-9b0e-6a6f3b0f2d11\",\"resourceVersion\":\"123456\",\"creationTimestamp\":"
	"\"2026-01-01T00:00:00Z\",\"labels\":{\"app\":\"web\",\"pod-template-hash\":\"5d9c7b9f4c\"},"
	"\"ownerReferences\":["
	"{\"apiVersion\":\"apps/v1\",\"kind\":\"ReplicaSet\",\"name\":\"web-5d9c7b9f4c\",\"uid\":"
	"\"0b7f3b6e-8a53-4b7b-8f3a-2f6f3b0f2d11\",\"controller\":true,\"blockOwnerDeletion\":true}]},\"spec\":{"
	"\"containers\":[";
static const char container[] =
	"{\"name\":\"c%d\",\"image\":\"docker.invalid/library/web:1.2%d\",\"command\":[\"/bin/server\",\"--port=80\","
	"\"--log=info\"],\"ports\":[{\"name\":\"http\",\"containerPort\":80%02d,\"protocol\":\"TCP\"}],\"env\":["
	"{\"name\":\"MODE\",\"value\":\"production\"},{\"name\":\"POD_IP\",\"valueFrom\":{\"fieldRef\":{\"apiVersion\":"
	"\"v1\","
	"\"fieldPath\":\"status.podIP\"}}}],\"resources\":{\"limits\":{\"cpu\":\"500m\",\"memory\":\"128Mi\"},"
	"\"requests\":"
	"{\"cpu\":\"250m\",\"memory\":\"64Mi\"}},\"volumeMounts\":[{\"name\":\"kube-api-access\",\"readOnly\":true,"
	"\"mountPath\":"
	"\"/var/run/secrets/kubernetes.io/serviceaccount\"}],\"terminationMessagePath\":\"/dev/termination-log\","
	"\"terminationMessagePolicy\":\"File\",\"imagePullPolicy\":\"IfNotPresent\",\"livenessProbe\":{\"httpGet\":{"
	"\"path\":"
	"\"/"
	"healthz\",\"port\":8080,\"scheme\":\"HTTP\"},\"timeoutSeconds\":1,\"periodSeconds\":10,\"successThreshold\":1,"
	"\"failureThreshold\":3}}";
static const char tail[] = "],\"restartPolicy\":\"Always\",\"terminationGracePeriodSeconds\":30,\"dnsPolicy\":"
			   "\"ClusterFirst\",\"nodeName\":"
			   "\"node-17\",\"tolerations\":[{\"key\":\"node.kubernetes.io/"
			   "not-ready\",\"operator\":\"Exists\",\"effect\":\"NoExecute\","
			   "\"tolerationSeconds\":300}]},\"status\":{\"phase\":\"Running\",\"podIP\":\"10.1.2.3\","
			   "\"conditions\":[{\"type\":\"Ready\","
			   "\"status\":\"True\",\"lastTransitionTime\":\"2026-01-01T00:00:10Z\"}]}}";

static void make_pod(struct buf *b)
{
	buf_c(b, head);
	for (int i = 0; i < 3; i++) {
		if (i)
			buf_byte(b, ',');
		buf_printf(b, container, i, i, i);
	}
	buf_c(b, tail);
}

static size_t sink;

static void ours_parse(struct str text)
{
	struct doc *d = NULL;

	PRE(doc_parse(text, &d, NULL) == 0);
	sink += doc_str(d, "spec.nodeName").n;
	doc_unref(d);
}

static void ours_edit(struct str text)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct doc *d = NULL, *out;
	struct node *n;

	PRE(doc_parse(text, &d, NULL) == 0);
	n = node_from(a, doc_root(d));
	doc_unref(d);
	node_set_path(n, "status.phase", node_c(a, "Failed"));
	out = node_publish_versioned(n);
	doc_stamp(out, 7);
	sink += doc_str(out, "spec.nodeName").n + doc_text(out).n;
	doc_unref(out);
}

static void theirs_parse(struct str text)
{
	json_t *j = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, NULL);

	sink += strlen(json_string_value(json_object_get(json_object_get(j, "spec"), "nodeName")));
	json_decref(j);
}

static void theirs_edit(struct str text)
{
	json_t *j = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, NULL);
	char *out;

	json_object_set_new(json_object_get(j, "status"), "phase", json_string("Failed"));
	json_object_set_new(json_object_get(j, "metadata"), "resourceVersion", json_string("7"));
	out = json_dumps(j, JSON_COMPACT);
	sink += strlen(out) + strlen(json_string_value(json_object_get(json_object_get(j, "spec"), "nodeName")));
	free(out);
	json_decref(j);
}

static void time_it(const char *name, void (*run)(struct str), struct str text)
{
	int64_t ns, best = INT64_MAX;
	enum { TIMES = 2000 };

	for (int round = 0; round < 5; round++) {
		struct mono from = mono_now();

		for (int i = 0; i < TIMES; i++)
			run(text);
		ns = (mono_now().ns - from.ns) / TIMES;
		best = MIN(best, ns);
	}
	printf("%-28s %7.2f us  %7.1f MB/s\n", name, (double)best / 1e3, (double)text.n * 1e3 / (double)best);
}

int main(void)
{
	auto_buf struct buf b = BUF_INIT;
	auto_(doc_unref) struct doc *d = NULL;
	struct str text;

	make_pod(&b);
	text = buf_view(&b);
	PRE(doc_parse(text, &d, NULL) == 0);
	printf("pod of %zu bytes; doc takes %zu bytes, %.2f times its text\n", text.n, doc_bytes(d),
		(double)doc_bytes(d) / (double)doc_text(d).n);
	time_it("doc parse+read", ours_parse, text);
	time_it("jansson parse+read", theirs_parse, text);
	time_it("doc parse+edit+publish", ours_edit, text);
	time_it("jansson parse+edit+dump", theirs_edit, text);
	return sink == 0;
}
