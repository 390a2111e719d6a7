/* serviceaccount and root-ca: what every namespace has, a ServiceAccount "default" and the cluster's certificate
 * authority. */
#include "controllers/controllers_internal.h"

#define ROOT_CA "kube-root-ca.crt"

static bool is_active(struct ctl *c, struct str ns)
{
	auto_(doc_unref) struct doc *d = informer_get(ctl_informer(c, res_namespaces), STR_NULL, ns);

	return d && !is_deleting(d);
}

/* Somebody else was as fast, or the namespace is going: both are fine. */
static int forgive(struct err *e)
{
	if (e->code != ERR_EXISTS && e->code != ERR_NOT_FOUND && !namespace_ends(e))
		return -e->code;
	err_init(e);
	return 0;
}

static int need_account(struct ctl *c, struct arena *a, struct str ns, struct err *e)
{
	auto_(doc_unref) struct doc *have = informer_get(ctl_informer(c, res_serviceaccounts), ns, STR("default")),
				    *body = NULL;

	if (have || !is_active(c, ns))
		return 0;
	body = node_publish(
		node_pack(a, "{apiVersion:'v1', kind:'ServiceAccount', metadata:{name:'default', namespace:S}}", ns));
	return client_create(c->client, res_serviceaccounts, ns, body, NULL, e) < 0 ? forgive(e) : 0;
}

static int need_root_ca(struct ctl *c, struct arena *a, struct str ns, struct err *e)
{
	auto_(doc_unref) struct doc *have = NULL, *body = NULL;

	if (!c->opts->ca_pem.n || !is_active(c, ns))
		return 0;
	have = informer_get(ctl_informer(c, res_configmaps), ns, STR(ROOT_CA));
	if (have && str_eq(val_str(val_get(doc_get(have, "data"), "ca.crt")), c->opts->ca_pem))
		return 0;
	body = node_publish(node_pack(a,
		"{apiVersion:'v1', kind:'ConfigMap', metadata:{name:'" ROOT_CA "', namespace:S, annotations:"
		"{'kubernetes.io/description':'Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints.'}}, "
		"data:{'ca.crt':S}}",
		ns, c->opts->ca_pem));
	if ((have ? client_update(c->client, res_configmaps, body, NULL, e) :
		    client_create(c->client, res_configmaps, ns, body, NULL, e)) < 0)
		return forgive(e);
	return 0;
}

static void key_namespace(struct ctl *c, struct doc *before, struct doc *after)
{
	(void)before;
	if (after && !is_deleting(after))
		ctl_add(c, doc_name(after));
}

static void key_account(struct ctl *c, struct doc *before, struct doc *after)
{
	if (before && !after && str_is(doc_name(before), "default"))
		ctl_add(c, doc_ns(before));
}

static void key_root_ca(struct ctl *c, struct doc *before, struct doc *after)
{
	struct doc *d = after ? after : before;

	if (str_is(doc_name(d), ROOT_CA))
		ctl_add(c, doc_ns(d));
}

const struct controller serviceaccount_controller = {
	.name = "service-account-controller",
	.help = "gives every namespace the ServiceAccount \"default\"",
	.handles = "/serviceaccounts",
	.watches = { { &res_namespaces, key_namespace }, { &res_serviceaccounts, key_account } },
	.reconcile = need_account,
};

const struct controller root_ca_controller = {
	.name = "root-ca-cert-publisher",
	.help = "gives every namespace the cluster's certificate authority",
	.watches = { { &res_namespaces, key_namespace }, { &res_configmaps, key_root_ca } },
	.reconcile = need_root_ca,
};
