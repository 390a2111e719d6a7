/* statefulset: pods with names and volumes of their own, made, changed and taken away in order.
 *
 *      set-0  set-1  set-2 │ set-3 …                each has claims TEMPLATE-set-N, which outlive it
 *      ── made in this order ──►  ◄── taken away, and brought to a new revision, in this one ──
 *
 * OrderedReady: one step at a time, and none while a pod is not ready. Parallel: all at once; updates stay in order.
 * Source of the semantics: the Kubernetes documentation, "StatefulSets". */
#include "controllers/history.h"

#define POD_NAME_LABEL "statefulset.kubernetes.io/pod-name"
#define INDEX_LABEL "apps.kubernetes.io/pod-index"

struct counts {
	int64_t replicas, ready, available, current, updated;
};
struct stateful {
	struct ctl *c;
	struct arena *a;
	struct doc *set;
	struct str key;
	int64_t start, wanted, partition, min_ready;
	bool in_order, rolling;
	struct doc **slots;     /* start … start + wanted; NULL: missing */
	struct doc **condemned; /* highest ordinal first */
	size_t n_condemned;
	struct revisions revisions;
	struct doc *current; /* the revision that pods below the partition have */
	struct counts n;
	int64_t next_ms;
};

/* ---- pods ------------------------------------------------------------------------------------ */

/* -1: not a name of this set's pods. */
static int64_t ordinal_of(const struct doc *set, struct str pod)
{
	struct str name = doc_name(set), digits = str_sub(pod, name.n + 1, pod.n);
	int64_t n;

	if (!str_starts(pod, name) || pod.n < name.n + 2 || pod.p[name.n] != '-' ||
		(digits.n > 1 && digits.p[0] == '0') || !str_i64(digits, &n) || n < 0)
		return -1;
	return n;
}

static int by_ordinal_down(const void *x, const void *y)
{
	struct doc *const *a = x, *const *b = y;
	struct str m = doc_name(*a), n = doc_name(*b);

	/* the same prefix: a longer name is a higher number */
	return m.n != n.n ? (m.n > n.n ? -1 : 1) : -str_cmp(m, n);
}

static struct str revision_of(const struct doc *pod)
{
	return val_str(val_get(doc_get(pod, "metadata.labels"), REVISION_LABEL));
}

static bool is_healthy(struct stateful *s, struct doc *pod)
{
	int64_t wait_ms = 0;
	bool ok = str_is(doc_str(pod, "status.phase"), "Running") && pod_available(pod, s->min_ready, &wait_ms) &&
		!is_deleting(pod);

	if (wait_ms)
		s->next_ms = s->next_ms ? MIN(s->next_ms, wait_ms) : wait_ms;
	return ok;
}

static void count_pod(struct stateful *s, struct doc *pod)
{
	s->n.replicas++;
	s->n.ready += str_is(doc_str(pod, "status.phase"), "Running") && pod_ready(pod);
	s->n.available += is_healthy(s, pod);
	if (is_deleting(pod))
		return;
	s->n.current += str_eq(revision_of(pod), doc_name(s->current));
	s->n.updated += str_eq(revision_of(pod), doc_name(s->revisions.update));
}

static void sort_pods(struct stateful *s, struct informer_list pods)
{
	s->slots = ARENA_ARRAY(s->a, struct doc *, (size_t)s->wanted + 1);
	s->condemned = ARENA_ARRAY(s->a, struct doc *, pods.n + 1);
	for (size_t i = 0; i < pods.n; i++) {
		int64_t n = ordinal_of(s->set, doc_name(pods.items[i]));

		if (n < 0)
			continue;
		count_pod(s, pods.items[i]);
		if (n >= s->start && n < s->start + s->wanted)
			s->slots[n - s->start] = pods.items[i];
		else
			s->condemned[s->n_condemned++] = pods.items[i];
	}
	qsort(s->condemned, s->n_condemned, sizeof(*s->condemned), by_ordinal_down);
}

/* ---- claims ---------------------------------------------------------------------------------- */

static struct str claim_name(struct stateful *s, struct val template, int64_t ordinal)
{
	return arena_strf(s->a, "%.*s-%.*s-%lld", STR_ARG(val_str(val_path(template, "metadata.name"))),
		STR_ARG(doc_name(s->set)), (long long)ordinal);
}

static bool deletes_when(struct stateful *s, const char *when)
{
	return val_is(val_get(doc_get(s->set, "spec.persistentVolumeClaimRetentionPolicy"), when), "Delete");
}

static int need_claim(struct stateful *s, struct val template, int64_t ordinal, struct err *e)
{
	struct str name = claim_name(s, template, ordinal), ns = doc_ns(s->set);
	auto_(doc_unref) struct doc *have = informer_get(ctl_informer(s->c, res_persistentvolumeclaims), ns, name),
				    *body = NULL;
	struct node *labels = node_map(s->a), *owners = NULL;

	if (have)
		return 0;
	for (struct val_iter it = val_iter(val_path(template, "metadata.labels")); val_next(&it);)
		node_set(labels, it.key, node_from(s->a, it.val));
	for (struct val_iter it = val_iter(doc_get(s->set, "spec.selector.matchLabels")); val_next(&it);)
		node_set(labels, it.key, node_from(s->a, it.val));
	if (deletes_when(s, "whenDeleted"))
		owners = node_pack(s->a, "[{apiVersion:S, kind:S, name:S, uid:S}]", doc_str(s->set, "apiVersion"),
			doc_str(s->set, "kind"), doc_name(s->set), doc_uid(s->set));
	body = node_publish(node_pack(s->a,
		"{apiVersion:'v1', kind:'PersistentVolumeClaim', metadata:{name:S, namespace:S, labels:o, annotations:v, "
		"ownerReferences:o}, spec:v}",
		name, ns, labels, val_path(template, "metadata.annotations"), owners, val_get(template, "spec")));
	int code = client_create(s->c->client, res_persistentvolumeclaims, ns, body, NULL, e);
	if (code < 0 && code != -ERR_EXISTS) {
		recorder_event(s->c->recorder, s->set, "Warning", "FailedCreate",
			"create Claim %.*s for Pod %.*s-%lld in StatefulSet %.*s failed error: %s", STR_ARG(name),
			STR_ARG(doc_name(s->set)), (long long)ordinal, STR_ARG(doc_name(s->set)), e->message);
		return err_wrap(e, "create claim %.*s", STR_ARG(name));
	}
	if (code == 0)
		recorder_event(s->c->recorder, s->set, "Normal", "SuccessfulCreate",
			"create Claim %.*s Pod %.*s-%lld in StatefulSet %.*s success", STR_ARG(name),
			STR_ARG(doc_name(s->set)), (long long)ordinal, STR_ARG(doc_name(s->set)));
	err_init(e);
	return 0;
}

/* whenScaled Delete: claims of a pod that goes belong to it from then on. */
static int hand_over_claims(struct stateful *s, struct doc *pod, struct err *e)
{
	int64_t ordinal = ordinal_of(s->set, doc_name(pod));

	if (!deletes_when(s, "whenScaled"))
		return 0;
	for (struct val_iter it = val_iter(doc_get(s->set, "spec.volumeClaimTemplates")); val_next(&it);) {
		auto_(doc_unref) struct doc *have = informer_get(
			ctl_informer(s->c, res_persistentvolumeclaims), doc_ns(s->set), claim_name(s, it.val, ordinal));

		if (!have || val_has(val_find(doc_get(have, "metadata.ownerReferences"), "uid", doc_uid(pod))))
			continue;
		if (merge_patch(s->c, res_persistentvolumeclaims, have, NULL,
			    node_pack(s->a,
				    "{metadata:{uid:S, ownerReferences:[{apiVersion:'v1', kind:'Pod', name:S, uid:S}]}}",
				    doc_uid(have), doc_name(pod), doc_uid(pod)),
			    NULL, e) < 0 &&
			e->code != ERR_NOT_FOUND)
			return err_wrap(e, "claim %.*s", STR_ARG(doc_name(have)));
		err_init(e);
	}
	return 0;
}

/* Volumes of the template; those of claims take the place of others with their name. */
static struct node *volumes_of(struct stateful *s, struct node *spec, int64_t ordinal)
{
	struct node *out = node_list(s->a), *given = node_getc(spec, "volumes");
	struct val templates = doc_get(s->set, "spec.volumeClaimTemplates");

	for (struct val_iter it = val_iter(templates); val_next(&it);)
		node_add(out,
			node_pack(s->a, "{name:v, persistentVolumeClaim:{claimName:S}}",
				val_path(it.val, "metadata.name"), claim_name(s, it.val, ordinal)));
	for (size_t i = 0; i < node_len(given); i++) {
		struct str name = node_text_str(node_getc(node_at(given, i), "name"));
		bool claimed = false;

		for (struct val_iter it = val_iter(templates); val_next(&it);)
			claimed |= str_eq(val_str(val_path(it.val, "metadata.name")), name);
		if (!claimed)
			node_add(out, node_at(given, i));
	}
	return out;
}

/* ---- writes ---------------------------------------------------------------------------------- */

static struct doc *revision_for(const struct stateful *s, int64_t ordinal)
{
	return s->rolling && ordinal < s->start + s->partition ? s->current : s->revisions.update;
}

static int create_at(struct stateful *s, int64_t ordinal, struct err *e)
{
	struct doc *revision = revision_for(s, ordinal);
	struct node *template = revision_template(s->a, revision), *spec = node_need_map(template, "spec"),
		    *labels = node_map(s->a);
	char *name = arena_printf(s->a, "%.*s-%lld", STR_ARG(doc_name(s->set)), (long long)ordinal);
	auto_(doc_unref) struct doc *published = NULL, *made = NULL;

	for (struct val_iter it = val_iter(doc_get(s->set, "spec.volumeClaimTemplates")); val_next(&it);)
		if (need_claim(s, it.val, ordinal, e) < 0)
			return -e->code;
	node_setc(labels, REVISION_LABEL, node_str(s->a, doc_name(revision)));
	node_setc(labels, POD_NAME_LABEL, node_c(s->a, name));
	node_setc(labels, INDEX_LABEL, node_strf(s->a, "%lld", (long long)ordinal));
	node_setc(spec, "hostname", node_c(s->a, name));
	if (doc_str(s->set, "spec.serviceName").n)
		node_setc(spec, "subdomain", node_str(s->a, doc_str(s->set, "spec.serviceName")));
	if (val_len(doc_get(s->set, "spec.volumeClaimTemplates")))
		node_setc(spec, "volumes", volumes_of(s, spec, ordinal));
	published = node_publish(template);
	if (create_pod(s->c, s->a, s->set, doc_root(published), labels, name, &made, e) < 0)
		return e->code == ERR_EXISTS ?
			err_set(e, ERR_CONFLICT, "pod %s belongs to somebody else, or is not gone yet", name) :
			-e->code;
	ctl_wrote(s->c, s->key, made);
	s->n.replicas++;
	s->n.current += revision == s->current;
	s->n.updated += revision == s->revisions.update;
	return 0;
}

static int take_away(struct stateful *s, struct doc *pod, struct err *e)
{
	if (delete_pod(s->c, s->a, s->set, s->key, pod, e) < 0)
		return -e->code;
	s->n.current -= str_eq(revision_of(pod), doc_name(s->current));
	s->n.updated -= str_eq(revision_of(pod), doc_name(s->revisions.update));
	return 0;
}

/* ---- the steps: each returns 1 when the rest has to wait ------------------------------------- */

static int fill_slot(struct stateful *s, int64_t i, struct err *e)
{
	struct doc *pod = s->slots[i];

	if (pod && pod_ended(pod) && !is_deleting(pod)) {
		recorder_event(s->c->recorder, s->set, "Warning", "RecreatingTerminatedPod",
			"StatefulSet %.*s/%.*s is recreating terminated Pod %.*s", STR_ARG(doc_ns(s->set)),
			STR_ARG(doc_name(s->set)), STR_ARG(doc_name(pod)));
		return take_away(s, pod, e) < 0 ? -e->code : s->in_order; /* its end brings us back */
	}
	if (!pod)
		return create_at(s, s->start + i, e) < 0 ? -e->code : s->in_order;
	return s->in_order && !is_healthy(s, pod);
}

static int fill_slots(struct stateful *s, struct err *e)
{
	for (int64_t i = 0; i < s->wanted; i++) {
		int rc = fill_slot(s, i, e);

		if (rc)
			return rc;
	}
	return 0;
}

static struct doc *first_unhealthy(struct stateful *s)
{
	for (int64_t i = 0; i < s->wanted; i++)
		if (s->slots[i] && !is_healthy(s, s->slots[i]))
			return s->slots[i];
	for (size_t i = s->n_condemned; i-- > 0;)
		if (!is_healthy(s, s->condemned[i]))
			return s->condemned[i];
	return NULL;
}

static int take_away_condemned(struct stateful *s, struct err *e)
{
	struct doc *unhealthy = first_unhealthy(s);

	for (size_t i = 0; i < s->n_condemned; i++) {
		struct doc *pod = s->condemned[i];

		if (is_deleting(pod)) {
			if (s->in_order)
				return 1;
			continue;
		}
		/* while another one is not well, none goes but that one itself */
		if (s->in_order && !is_healthy(s, pod) && pod != unhealthy)
			return 1;
		if (hand_over_claims(s, pod, e) < 0 || take_away(s, pod, e) < 0)
			return -e->code;
		if (s->in_order)
			return 1;
	}
	return 0;
}

/* From the highest ordinal down to the partition, one that is not well at a time. */
static int update_pods(struct stateful *s, struct err *e)
{
	for (int64_t i = s->wanted - 1; s->rolling && i >= MAX(s->partition, (int64_t)0); i--) {
		struct doc *pod = s->slots[i];

		if (!pod)
			return 1;
		if (!str_eq(revision_of(pod), doc_name(s->revisions.update)) && !is_deleting(pod))
			return take_away(s, pod, e) < 0 ? -e->code : 1;
		if (!is_healthy(s, pod))
			return 1;
	}
	return 0;
}

/* ---- status ---------------------------------------------------------------------------------- */

static void set_count(struct stateful *s, struct node *status, const char *field, int64_t n)
{
	if (n > 0)
		node_setc(status, field, node_int(s->a, n));
}

static int finish(struct stateful *s, struct err *e)
{
	struct node *status = node_pack(
		s->a, "{observedGeneration:I, replicas:I}", doc_int(s->set, "metadata.generation", 0), s->n.replicas);
	struct doc *update = s->revisions.update;

	/* all have the new revision: it is the current one from now on */
	if (s->rolling && s->n.updated == s->n.replicas && s->n.ready == s->n.replicas && s->n.updated == s->wanted) {
		s->current = update;
		s->n.current = s->n.updated;
	}
	set_count(s, status, "readyReplicas", s->n.ready);
	set_count(s, status, "currentReplicas", s->n.current);
	set_count(s, status, "updatedReplicas", s->n.updated);
	node_setc(status, "availableReplicas", node_int(s->a, s->n.available));
	node_setc(status, "currentRevision", node_str(s->a, doc_name(s->current)));
	node_setc(status, "updateRevision", node_str(s->a, doc_name(update)));
	node_setc(status, "collisionCount", node_int(s->a, s->revisions.collisions));
	if (val_has(doc_get(s->set, "status.conditions")))
		node_setc(status, "conditions", node_from(s->a, doc_get(s->set, "status.conditions")));
	return write_status(s->c, s->a, res_statefulsets, s->set, status, e);
}

static bool is_live(void *arg, struct doc *revision)
{
	struct stateful *s = arg;

	if (revision == s->current)
		return true;
	for (int64_t i = 0; i < s->wanted; i++)
		if (s->slots[i] && str_eq(revision_of(s->slots[i]), doc_name(revision)))
			return true;
	for (size_t i = 0; i < s->n_condemned; i++)
		if (str_eq(revision_of(s->condemned[i]), doc_name(revision)))
			return true;
	return false;
}

static void read_spec(struct stateful *s)
{
	struct val strategy = doc_get(s->set, "spec.updateStrategy");

	s->start = doc_int(s->set, "spec.ordinals.start", 0);
	s->wanted = doc_int(s->set, "spec.replicas", 1);
	s->min_ready = doc_int(s->set, "spec.minReadySeconds", 0);
	s->in_order = !str_is(doc_str(s->set, "spec.podManagementPolicy"), "Parallel");
	s->rolling = !val_is(val_get(strategy, "type"), "OnDelete");
	s->partition = val_int(val_path(strategy, "rollingUpdate.partition"), 0);
}

static int act(struct stateful *s, struct err *e)
{
	int rc;

	rc = fill_slots(s, e);
	if (!rc)
		rc = take_away_condemned(s, e);
	if (!rc)
		rc = update_pods(s, e);
	return MIN(rc, 0);
}

static int reconcile(struct ctl *c, struct arena *a, struct str key, struct err *e)
{
	struct str ns, name;
	struct stateful s = { .c = c, .a = a, .key = key };
	struct informer_list pods;
	struct err failed;

	key_split(key, &ns, &name);
	s.set = informer_get(ctl_informer(c, res_statefulsets), ns, name);
	if (!s.set)
		return 0;
	doc_hold(a, s.set);
	if (!ctl_caught_up(c, key, ctl_informer(c, res_pods)))
		return 0;
	pods = claim(c, a, s.set, doc_get(s.set, "spec.selector"), res_pods, e);
	if (!e->code && is_deleting(s.set)) /* its history may be gone already, and must not be made again */
		return 0;
	if (e->code || revisions_sync(c, a, s.set, &s.revisions, e) < 0)
		return -e->code;
	read_spec(&s);
	s.current = revisions_find(&s.revisions, doc_str(s.set, "status.currentRevision"));
	s.current = s.current ? s.current : s.revisions.update;
	if (str_eq(doc_name(s.current), doc_name(s.revisions.update)))
		s.current = s.revisions.update;
	sort_pods(&s, pods);
	err_init(&failed);
	act(&s, &failed);
	if (finish(&s, e) < 0 || revisions_trim(c, s.set, &s.revisions, is_live, &s, e) < 0)
		return -e->code;
	if (s.next_ms)
		ctl_add_after(c, key, s.next_ms);
	if (!failed.code || namespace_ends(&failed))
		return 0;
	err_copy(e, &failed);
	return -failed.code;
}

const struct controller statefulset_controller = {
	.name = "statefulset-controller",
	.help = "keeps pods with names and volumes of their own, in order",
	.handles = "apps/statefulsets",
	.watches = { { &res_statefulsets, key_self }, { &res_pods, key_claimed },
		{ &res_controllerrevisions, key_claimed }, { &res_persistentvolumeclaims, NULL } },
	.reconcile = reconcile,
};
