/* certificate-controller: requests of nodes that may ask for themselves are approved, what is approved is signed by the
 * cluster's CA when it fits its signer, and what nobody needs any more is deleted.
 * Source: Kubernetes' documentation, "Certificates and Certificate Signing Requests", "Kubernetes signers". */
#include "controllers/controllers_internal.h"
#include "pki/pki.h"

#define SIGNERS "kubernetes.io/"
#define NODE_GROUP "system:nodes"
#define NODE_USER "system:node:"
#define LONGEST_S (365 * 86400)
#define SHORTEST_S 600
#define SWEEP_MS 3600000
#define DECIDED_S 3600
#define PENDING_S 86400

struct work {
	struct ctl *c;
	struct arena *a;
	struct doc *csr;
	struct str pem;
	struct pki_request request;
	unsigned usages;
};

/* ---- what the signers sign ------------------------------------------------------------------- */

/* false: a usage that none of our signers gives */
static bool read_usages(struct val usages, unsigned *ret)
{
	static const struct {
		const char *word;
		enum pki_usage usage;
	} words[] = {
		{ "digital signature", PKI_DIGITAL_SIGNATURE },
		{ "key encipherment", PKI_KEY_ENCIPHERMENT },
		{ "server auth", PKI_SERVER_AUTH },
		{ "client auth", PKI_CLIENT_AUTH },
	};

	*ret = 0;
	for (struct val_iter it = val_iter(usages); val_next(&it);) {
		size_t i = 0;
		while (i < ARRAY_LEN(words) && !str_is(val_str(it.val), words[i].word))
			i++;
		if (i == ARRAY_LEN(words))
			return false;
		*ret |= words[i].usage;
	}
	return true;
}

static bool is_nodes(const struct pki_request *r)
{
	return r->n_orgs == 1 && str_is(r->orgs[0], NODE_GROUP) && str_starts(r->cn, STR(NODE_USER)) && !r->n_emails &&
		!r->n_uris;
}

/* RSA keys may want key encipherment, too. */
static bool usages_are(unsigned usages, unsigned wanted)
{
	return (usages & ~(unsigned)PKI_KEY_ENCIPHERMENT) == wanted;
}

static const char *for_clients(const struct pki_request *r, unsigned usages)
{
	(void)r;
	if (!(usages & PKI_CLIENT_AUTH) || (usages & PKI_SERVER_AUTH))
		return "usages must hold \"client auth\" and may hold \"digital signature\" and \"key encipherment\"";
	return NULL;
}

static const char *for_node_clients(const struct pki_request *r, unsigned usages)
{
	if (!is_nodes(r))
		return "the subject must be of organization " NODE_GROUP
		       " alone, its common name must begin with " NODE_USER;
	if (r->n_dns || r->n_ips)
		return "DNS names and IP addresses are not allowed";
	return usages_are(usages, PKI_DIGITAL_SIGNATURE | PKI_CLIENT_AUTH) ?
		NULL :
		"usages must be \"digital signature\" and \"client auth\", perhaps with \"key encipherment\"";
}

static const char *for_node_servers(const struct pki_request *r, unsigned usages)
{
	if (!is_nodes(r))
		return "the subject must be of organization " NODE_GROUP
		       " alone, its common name must begin with " NODE_USER;
	if (!r->n_dns && !r->n_ips)
		return "a DNS name or an IP address is needed";
	return usages_are(usages, PKI_DIGITAL_SIGNATURE | PKI_SERVER_AUTH) ?
		NULL :
		"usages must be \"digital signature\" and \"server auth\", perhaps with \"key encipherment\"";
}

static const struct signer {
	const char *name;
	const char *(*refuses)(const struct pki_request *r, unsigned usages); /* why; NULL: it signs */
} signers[] = {
	{ SIGNERS "kube-apiserver-client", for_clients },
	{ SIGNERS "kube-apiserver-client-kubelet", for_node_clients },
	{ SIGNERS "kubelet-serving", for_node_servers },
};

static const struct signer *signer_of(struct str name)
{
	for (size_t i = 0; i < ARRAY_LEN(signers); i++)
		if (str_is(name, signers[i].name))
			return &signers[i];
	return NULL;
}

/* Why the signer does not sign it; NULL: it does. */
static const char *refusal(struct work *w, const struct signer *signer)
{
	auto_buf struct buf pem = BUF_INIT;
	struct err e;

	err_init(&e);
	if (base64_decode(doc_str(w->csr, "spec.request"), &pem) < 0)
		return "the request is not base64";
	w->pem = arena_str(w->a, buf_view(&pem));
	if (pki_request_read(w->a, w->pem, &w->request, &e) < 0)
		return arena_strdup(w->a, e.message);
	if (!read_usages(doc_get(w->csr, "spec.usages"), &w->usages))
		return "a usage is none of \"digital signature\", \"key encipherment\", \"client auth\" and \"server auth\"";
	return signer->refuses(&w->request, w->usages);
}

/* ---- conditions ------------------------------------------------------------------------------ */

static bool has(struct doc *csr, const char *type)
{
	return str_is(val_str(val_get(condition_of(doc_root(csr), type), "status")), "True");
}

static struct node *status_of(struct work *w)
{
	struct val status = doc_get(w->csr, "status");

	return val_has(status) ? node_copy(w->a, node_from(w->a, status)) : node_map(w->a);
}

/* With the revision that was looked at: nobody's verdict is written over. */
static int write_sub(struct work *w, struct node *status, const char *sub, struct err *e)
{
	auto_(doc_unref) struct doc *body = NULL;
	struct node *o = node_copy(w->a, node_from(w->a, doc_root(w->csr)));

	node_setc(o, "status", status);
	body = node_publish(o);
	if (client_update_sub(w->c->client, res_certificatesigningrequests, sub, body, NULL, e) < 0)
		return e->code == ERR_NOT_FOUND ? (err_init(e), 0) : -e->code;
	return 0;
}

static int add_condition(
	struct work *w, const char *sub, const char *type, const char *reason, const char *message, struct err *e)
{
	struct node *status = status_of(w);

	set_condition(w->a, node_need_list(status, "conditions"), type, "True", reason, message, true);
	return write_sub(w, status, sub, e);
}

/* ---- approving ------------------------------------------------------------------------------- */

/* Whether the asker may `create` this sub-resource of requests, which is how RBAC says that a node may have a
 * certificate. */
static int may(struct work *w, const char *sub, bool *ret, struct err *e)
{
	auto_(doc_unref) struct doc *body = NULL, *answer = NULL;
	struct gvr reviews = { "authorization.k8s.io", "v1", "subjectaccessreviews" };
	struct node *groups = node_from(w->a, doc_get(w->csr, "spec.groups"));

	body = node_publish(node_pack(w->a,
		"{apiVersion:'authorization.k8s.io/v1', kind:'SubjectAccessReview', spec:{user:S, uid:S, groups:o, "
		"resourceAttributes:{group:'certificates.k8s.io', resource:'certificatesigningrequests', "
		"verb:'create', subresource:s, version:'*'}}}",
		doc_str(w->csr, "spec.username"), doc_str(w->csr, "spec.uid"), groups, sub));
	if (client_create(w->c->client, reviews, STR_NULL, body, &answer, e) < 0)
		return -e->code;
	*ret = doc_bool(answer, "status.allowed", false);
	return 0;
}

static int approve(struct work *w, struct err *e)
{
	bool self = str_eq(doc_str(w->csr, "spec.username"), w->request.cn), allowed = false;

	if (self && may(w, "selfnodeclient", &allowed, e) < 0)
		return -e->code;
	if (allowed)
		return add_condition(w, "approval", "Approved", "AutoApproved",
			"Auto approving self kubelet client certificate after SubjectAccessReview.", e);
	if (may(w, "nodeclient", &allowed, e) < 0)
		return -e->code;
	if (allowed)
		return add_condition(w, "approval", "Approved", "AutoApproved",
			"Auto approving kubelet client certificate after SubjectAccessReview.", e);
	return 0;
}

/* ---- signing --------------------------------------------------------------------------------- */

static int sign(struct work *w, struct err *e)
{
	int64_t wanted = doc_int(w->csr, "spec.expirationSeconds", LONGEST_S);
	auto_free char *pem = NULL, *text = NULL;
	struct node *status = status_of(w);

	if (pki_sign_request(w->c->opts->pki_dir, w->c->opts->ca_name, w->pem, MAX(SHORTEST_S, MIN(wanted, LONGEST_S)),
		    w->usages, &pem, e) < 0)
		return err_wrap(e, "certificate for %.*s", STR_ARG(doc_name(w->csr)));
	text = base64_encode(str_c(pem));
	node_setc(status, "certificate", node_c(w->a, text));
	return write_sub(w, status, "status", e);
}

static int look(struct work *w, struct err *e)
{
	const struct signer *signer = signer_of(doc_str(w->csr, "spec.signerName"));
	bool approved = has(w->csr, "Approved");
	const char *why;

	if (!signer || is_deleting(w->csr) || doc_str(w->csr, "status.certificate").n || has(w->csr, "Denied") ||
		has(w->csr, "Failed"))
		return 0;
	why = refusal(w, signer);
	if (!approved)
		return !why && signer->refuses == for_node_clients ? approve(w, e) : 0;
	return why                  ? add_condition(w, "status", "Failed", "SignerValidationFailure", why, e) :
		w->c->opts->pki_dir ? sign(w, e) :
				      0;
}

/* ---- sweeping -------------------------------------------------------------------------------- */

static bool certificate_over(struct doc *csr, int64_t now_s)
{
	auto_buf struct buf pem = BUF_INIT;
	struct err ignored;
	int64_t ends;

	err_init(&ignored);
	return base64_decode(doc_str(csr, "status.certificate"), &pem) >= 0 && pem.n &&
		pki_certificate_ends(buf_view(&pem), &ends, &ignored) == 0 && ends < now_s;
}

static int64_t age_s(struct str since, int64_t now_s)
{
	struct wall t;

	return wall_parse(since, &t) ? now_s - wall_s(t) : 0;
}

/* Decided an hour ago, undecided for a day, or of no use any more. An approved one that waits for another's signer
 * stays. */
static bool is_over(struct doc *csr, int64_t now_s)
{
	struct val conditions = doc_get(csr, "status.conditions");

	if (certificate_over(csr, now_s))
		return true;
	if (!val_len(conditions) && age_s(doc_str(csr, "metadata.creationTimestamp"), now_s) > PENDING_S)
		return true;
	for (struct val_iter it = val_iter(conditions); val_next(&it);) {
		struct str type = val_str(val_get(it.val, "type"));
		bool decided = str_is(type, "Denied") || str_is(type, "Failed") ||
			(str_is(type, "Approved") && doc_str(csr, "status.certificate").n);
		if (decided && age_s(val_str(val_get(it.val, "lastUpdateTime")), now_s) > DECIDED_S)
			return true;
	}
	return false;
}

static int sweep(struct ctl *c, struct arena *a, struct err *e)
{
	struct informer_list all = informer_list(ctl_informer(c, res_certificatesigningrequests), a, NULL, STR_NULL);
	int64_t now_s = wall_s(wall_now());

	for (size_t i = 0; i < all.n; i++) {
		struct client_delete o = { .uid = doc_uid(all.items[i]), .grace_s = -1 };
		if (!is_over(all.items[i], now_s))
			continue;
		if (client_delete(c->client, res_certificatesigningrequests, STR_NULL, doc_name(all.items[i]), o, e) <
				0 &&
			e->code != ERR_NOT_FOUND)
			return -e->code;
		err_init(e);
	}
	return 0;
}

static int reconcile(struct ctl *c, struct arena *a, struct str key, struct err *e)
{
	struct work w = { .c = c, .a = a };
	auto_(doc_unref) struct doc *csr = NULL;

	if (!key.n)
		return sweep(c, a, e);
	csr = informer_get(ctl_informer(c, res_certificatesigningrequests), STR_NULL, key);
	w.csr = csr;
	return csr ? look(&w, e) : 0;
}

const struct controller certificate_controller = {
	.name = "certificate-controller",
	.help = "approves nodes' certificate requests, signs what is approved, forgets old ones",
	.handles = "certificates.k8s.io/certificatesigningrequests",
	.watches = { { &res_certificatesigningrequests, key_self } },
	.reconcile = reconcile,
	.every_ms = SWEEP_MS,
};
