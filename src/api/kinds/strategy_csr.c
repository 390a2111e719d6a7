/* CertificateSigningRequests: who asks is written down by the API, what is asked for never changes, and approval and
 * certificate come once.
 */
#include "api/auth/auth.h"
#include "pki/pki.h"

#define SECONDS_MIN 600

/* text: spec.request. Fails when it is no request, and says why. */
static int read_request(struct rq *rq, struct str text, struct pki_request *ret, struct err *e)
{
	auto_buf struct buf pem = BUF_INIT;

	if (base64_decode(text, &pem) < 0)
		return err_set(e, ERR_INVALID, "must be base64");
	return pki_request_read(rq->a, buf_view(&pem), ret, e);
}

/* ---- admission ------------------------------------------------------------------------------- */

bool csr_fits_node(struct rq *rq, struct val csr, struct str node)
{
	struct val signer = val_path(csr, "spec.signerName");
	struct pki_request request;
	struct err ignored;

	if (!val_is(signer, "kubernetes.io/kube-apiserver-client-kubelet") &&
		!val_is(signer, "kubernetes.io/kubelet-serving"))
		return true;
	err_init(&ignored);
	return read_request(rq, val_str(val_path(csr, "spec.request")), &request, &ignored) == 0 &&
		str_eq(request.cn, arena_strf(rq->a, "system:node:%.*s", STR_ARG(node)));
}

static int admit_subject(struct rq *rq, struct val csr, struct err *e)
{
	struct pki_request request;
	struct err ignored;

	err_init(&ignored);
	if (!val_is(val_path(csr, "spec.signerName"), "kubernetes.io/kube-apiserver-client") ||
		read_request(rq, val_str(val_path(csr, "spec.request")), &request, &ignored) < 0)
		return 0;
	for (size_t i = 0; i < request.n_orgs; i++)
		if (str_is(request.orgs[i], "system:masters"))
			return admit_forbid(rq, rq->name, e,
				"use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed");
	return 0;
}

/* A signer may be named exactly or by its whole domain. */
static bool may(struct rq *rq, const char *verb, struct str signer)
{
	struct str domain;
	struct authz_attrs at = { .verb = str_c(verb),
		.resource_request = true,
		.group = STR("certificates.k8s.io"),
		.version = STR("*"),
		.resource = STR("signers"),
		.name = signer };

	if (authz_allowed(rq->api, &rq->id, &at, NULL, 0))
		return true;
	str_cut(signer, '/', &domain);
	at.name = arena_strf(rq->a, "%.*s/*", STR_ARG(domain));
	return authz_allowed(rq->api, &rq->id, &at, NULL, 0);
}

/* Whether a status says something new of the certificate or the conditions, which only the signer may. */
static bool status_says(struct val status, struct val was)
{
	struct val conditions = val_get(status, "conditions"), had = val_get(was, "conditions");

	return !str_eq(val_str(val_get(status, "certificate")), val_str(val_get(was, "certificate"))) ||
		((val_len(conditions) || val_len(had)) && !val_equal(conditions, had));
}

int csr_admit(struct rq *rq, struct val csr, struct val old, struct err *e)
{
	struct str signer = val_str(val_path(old, "spec.signerName")), name = rq->name;

	if (!val_has(old))
		return admit_subject(rq, csr, e);
	if (str_is(rq->sub, "approval") && !may(rq, "approve", signer))
		return admit_forbid(rq, name, e,
			arena_printf(rq->a, "user not permitted to approve requests with signerName \"%.*s\"",
				STR_ARG(signer)));
	if (str_is(rq->sub, "status") && status_says(val_get(csr, "status"), val_get(old, "status")) &&
		!may(rq, "sign", signer))
		return admit_forbid(rq, name, e,
			arena_printf(rq->a, "user not permitted to sign requests with signerName \"%.*s\"",
				STR_ARG(signer)));
	return 0;
}

/* ---- prepare --------------------------------------------------------------------------------- */

/* Approvers believe it: nothing stays of what the asker says of himself. */
static void note_who(struct rq *rq, struct node *spec)
{
	static const char *const facts[] = { "username", "uid", "groups", "extra" };
	struct node *who = identity_node_tree(rq->a, &rq->id);

	for (size_t i = 0; i < ARRAY_LEN(facts); i++) {
		struct node *fact = node_getc(who, facts[i]);

		node_delc(spec, facts[i]);
		if (fact)
			node_setc(spec, facts[i], fact);
	}
}

/* An approver writes conditions and nothing else; times that it leaves out are now. */
static void keep_but_conditions(struct rq *rq, struct node *o, struct val old)
{
	struct val was = val_get(old, "status");
	struct node *conditions = node_path(o, "status.conditions");
	struct node *status = val_has(was) ? node_copy(rq->a, node_from(rq->a, was)) : node_map(rq->a);

	if (conditions)
		node_setc(status, "conditions", conditions);
	else
		node_delc(status, "conditions");
	node_setc(o, "status", status);
}

/* Since when: since it was first said. */
static struct str since(struct rq *rq, struct node *c, struct val old_conditions)
{
	struct val was = val_find(old_conditions, "type", node_text_str(node_getc(c, "type")));
	struct str time = val_str(val_get(was, "lastTransitionTime"));

	return time.n && str_eq(val_str(val_get(was, "status")), node_text_str(node_getc(c, "status"))) ? time :
													  rq_now(rq);
}

static void stamp_conditions(struct rq *rq, struct node *conditions, struct val old_conditions)
{
	for (size_t i = 0; i < node_len(conditions); i++) {
		struct node *c = node_at(conditions, i);
		if (!node_text_str(node_getc(c, "lastUpdateTime")).n)
			node_setc(c, "lastUpdateTime", node_str(rq->a, rq_now(rq)));
		if (!node_text_str(node_getc(c, "lastTransitionTime")).n)
			node_setc(c, "lastTransitionTime", node_str(rq->a, since(rq, c, old_conditions)));
	}
}

static size_t count(struct val conditions, const char *type)
{
	size_t n = 0;

	for (struct val_iter it = val_iter(conditions); val_next(&it);)
		n += val_is(val_get(it.val, "type"), type);
	return n;
}

/* A signer changes no word of a verdict that is there; whether he took one away or made one is a rule. */
static void keep_verdict(struct rq *rq, struct node *conditions, struct val old_conditions, const char *type)
{
	struct val was = val_find(old_conditions, "type", str_c(type));
	size_t n = 0, at = 0;

	for (size_t i = 0; i < node_len(conditions); i++)
		if (str_is(node_text_str(node_getc(node_at(conditions, i), "type")), type)) {
			n++;
			at = i;
		}
	if (n == 1 && count(old_conditions, type) == 1)
		node_replace_at(conditions, at, node_from(rq->a, was));
}

static int csr_prepare(struct rq *rq, struct node *o, struct val old, struct err *e)
{
	struct val had = val_path(old, "status.conditions");

	(void)e;
	if (!val_has(old)) {
		note_who(rq, node_need_map(o, "spec"));
		node_setc(o, "status", node_map(rq->a));
		return 0;
	}
	if (val_has(val_get(old, "spec")))
		node_setc(o, "spec", node_from(rq->a, val_get(old, "spec")));
	if (str_is(rq->sub, "approval"))
		keep_but_conditions(rq, o, old);
	if (str_is(rq->sub, "status")) {
		keep_verdict(rq, node_path(o, "status.conditions"), had, "Approved");
		keep_verdict(rq, node_path(o, "status.conditions"), had, "Denied");
	}
	if (rq->sub.n)
		stamp_conditions(rq, node_path(o, "status.conditions"), had);
	return 0;
}

/* ---- spec ------------------------------------------------------------------------------------ */

static void validate_request(struct rq *rq, struct val request, struct err *e)
{
	struct pki_request ignored;
	struct err why;

	err_init(&why);
	if (read_request(rq, val_str(request), &ignored, &why) < 0)
		v_invalid(e, "spec.request", request, why.message);
}

static void validate_signer(struct val signer, struct err *e)
{
	struct str name = val_str(signer), domain, path = str_cut(name, '/', &domain);

	if (!name.n)
		v_required(e, "spec.signerName", "");
	else if (str_is(name, "kubernetes.io/legacy-unknown"))
		v_invalid(e, "spec.signerName", signer, "the legacy signerName is not allowed via this API version");
	else if (!path.n || !str_has(domain, STR(".")))
		v_invalid(e, "spec.signerName", signer,
			"must be a fully qualified domain and path of the form 'example.com/signer-name'");
}

static void validate_usages(struct rq *rq, struct val usages, struct err *e)
{
	static const char *const known[] = { "any", "cert sign", "client auth", "code signing", "content commitment",
		"crl sign", "data encipherment", "decipher only", "digital signature", "email protection",
		"encipher only", "ipsec end system", "ipsec tunnel", "ipsec user", "key agreement", "key encipherment",
		"microsoft sgc", "netscape sgc", "ocsp signing", "s/mime", "server auth", "signing", "timestamping",
		NULL };

	if (!val_len(usages))
		v_required(e, "spec.usages", "");
	for (size_t i = 0; i < val_len(usages); i++) {
		struct str usage = val_str(val_at(usages, i));
		bool found = false, twice = false;
		for (size_t k = 0; known[k]; k++)
			found |= str_is(usage, known[k]);
		for (size_t k = 0; k < i; k++)
			twice |= str_eq(usage, val_str(val_at(usages, k)));
		if (!found)
			v_unsupported(e, rq_f(rq, "spec.usages[%zu]", i), usage, known);
		else if (twice)
			v_duplicate(e, rq_f(rq, "spec.usages[%zu]", i), usage);
	}
}

/* ---- status ---------------------------------------------------------------------------------- */

static bool seen_before(struct val conditions, size_t i, struct str type)
{
	while (i-- > 0)
		if (str_eq(val_str(val_get(val_at(conditions, i), "type")), type))
			return true;
	return false;
}

static void validate_condition(struct rq *rq, struct val conditions, size_t i, struct err *e)
{
	static const char *const only_true[] = { "True", NULL }, *const any[] = { "False", "True", "Unknown", NULL };
	struct val c = val_at(conditions, i);
	struct str type = val_str(val_get(c, "type")), status = val_str(val_get(c, "status"));
	const char *at = rq_f(rq, "status.conditions[%zu]", i);
	bool approves = str_is(type, "Approved"), denies = str_is(type, "Denied");
	const char *const *known = approves || denies || str_is(type, "Failed") ? only_true : any;

	if (!type.n)
		v_required(e, rq_f(rq, "%s.type", at), "");
	if (!status.n)
		v_required(e, rq_f(rq, "%s.status", at), "");
	else if (!is_one_of(known, status))
		v_unsupported(e, rq_f(rq, "%s.status", at), status, known);
	if ((approves && seen_before(conditions, i, STR("Denied"))) ||
		(denies && seen_before(conditions, i, STR("Approved"))))
		v_invalid_str(
			e, rq_f(rq, "%s.type", at), type, "Approved and Denied conditions are mutually exclusive");
	if (seen_before(conditions, i, type))
		v_duplicate(e, rq_f(rq, "%s.type", at), type);
}

static void validate_verdicts(struct rq *rq, struct val now, struct val old, struct err *e)
{
	static const char *const types[] = { "Approved", "Denied", "Failed" };

	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		if (count(now, types[i]) < count(old, types[i]))
			v_forbidden(e, "status.conditions",
				rq_f(rq, "updates may not remove a condition of type \"%s\"", types[i]));
	for (size_t i = 0; i < 2 && !str_is(rq->sub, "approval"); i++)
		if (count(now, types[i]) > count(old, types[i]))
			v_forbidden(e, "status.conditions",
				rq_f(rq, "updates may not add a condition of type \"%s\"", types[i]));
}

/* Of one that was set already only that it changes is told with what is wrong with it. */
static void validate_certificate(struct val now, struct val old, struct err *e)
{
	auto_buf struct buf pem = BUF_INIT;
	struct err why;

	if (str_eq(val_str(now), val_str(old)))
		return;
	err_init(&why);
	if (base64_decode(val_str(now), &pem) < 0)
		err_set(&why, ERR_INVALID, "must be base64");
	else if (pem.n)
		pki_certificates_check(buf_view(&pem), &why);
	if (why.code)
		v_invalid_str(e, "status.certificate", STR("<certificate data>"), why.message);
	if (val_str(old).n)
		v_forbidden(e, "status.certificate", "updates may not modify existing certificate content");
}

static void csr_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	struct val spec = val_get(o, "spec"), status = val_get(o, "status"), was = val_get(old, "status"),
		   life = val_get(spec, "expirationSeconds");
	struct val conditions = val_get(status, "conditions");

	if (!val_has(old)) {
		validate_request(rq, val_get(spec, "request"), e);
		validate_signer(val_get(spec, "signerName"), e);
		validate_usages(rq, val_get(spec, "usages"), e);
		if (val_has(life) && val_int(life, 0) < SECONDS_MIN)
			v_invalid(e, "spec.expirationSeconds", life,
				"may not specify a duration less than 600 seconds (10 minutes)");
		return;
	}
	if (!rq->sub.n)
		return;
	for (size_t i = 0; i < val_len(conditions); i++)
		validate_condition(rq, conditions, i, e);
	validate_verdicts(rq, conditions, val_get(was, "conditions"), e);
	validate_certificate(val_get(status, "certificate"), val_get(was, "certificate"), e);
}

const struct strategy strategy_csr = { .prepare = csr_prepare, .validate = csr_validate };
