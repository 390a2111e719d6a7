/* tokens: Secrets of type kubernetes.io/service-account-token get a token of the ServiceAccount that they name, bound
 * to the Secret, and go with the account. With --legacy-token-secrets every ServiceAccount gets one such Secret by
 * itself, as before Kubernetes 1.24. */
#include "controllers/controllers_internal.h"

#include <stdio.h>

#define TYPE "kubernetes.io/service-account-token"
#define ACCOUNT "kubernetes.io/service-account.name"
#define ACCOUNT_UID "kubernetes.io/service-account.uid"
#define LIVES_S (INT64_C(1) << 32) /* the longest that the API gives: such a token ends with its Secret */

static struct str account_of(const struct doc *secret)
{
	return val_str(val_get(doc_get(secret, "metadata.annotations"), ACCOUNT));
}

static bool holds_token(const struct doc *secret)
{
	return str_is(doc_str(secret, "type"), TYPE) && account_of(secret).n;
}

static int ask_token(struct ctl *c, struct arena *a, struct doc *secret, struct str *ret, struct err *e)
{
	auto_(doc_unref) struct doc *body = NULL, *answer = NULL;
	struct client_request rq = { .verb = VERB_CREATE,
		.res = res_serviceaccounts,
		.ns = doc_ns(secret),
		.name = account_of(secret),
		.sub = "token" };

	body = node_publish(node_pack(a,
		"{apiVersion:'authentication.k8s.io/v1', kind:'TokenRequest', spec:{expirationSeconds:I, "
		"boundObjectRef:{apiVersion:'v1', kind:'Secret', name:S, uid:S}}}",
		LIVES_S, doc_name(secret), doc_uid(secret)));
	rq.body = body;
	if (client_call(c->client, &rq, &answer, e) < 0)
		return -e->code;
	*ret = arena_str(a, doc_str(answer, "status.token"));
	return 0;
}

static struct node *base64_node(struct arena *a, struct str bytes)
{
	auto_free char *text = base64_encode(bytes);

	return node_c(a, text);
}

static bool is_full(struct ctl *c, struct doc *secret, struct doc *account)
{
	struct val data = doc_get(secret, "data");

	return val_has(val_get(data, "token")) && val_has(val_get(data, "namespace")) &&
		(!c->opts->ca_pem.n || val_has(val_get(data, "ca.crt"))) &&
		str_eq(val_str(val_get(doc_get(secret, "metadata.annotations"), ACCOUNT_UID)), doc_uid(account));
}

static int fill(struct ctl *c, struct arena *a, struct doc *secret, struct doc *account, struct err *e)
{
	struct node *annotations = node_map(a), *data = node_map(a), *patch;
	struct str token;

	if (is_full(c, secret, account))
		return 0;
	if (ask_token(c, a, secret, &token, e) < 0)
		return err_wrap(e, "token for Secret %.*s", STR_ARG(doc_name(secret)));
	node_setc(annotations, ACCOUNT_UID, node_str(a, doc_uid(account)));
	node_setc(data, "token", base64_node(a, token));
	node_setc(data, "namespace", base64_node(a, doc_ns(secret)));
	if (c->opts->ca_pem.n)
		node_setc(data, "ca.crt", base64_node(a, c->opts->ca_pem));
	patch = node_pack(a, "{metadata:{uid:S, annotations:o}, data:o}", doc_uid(secret), annotations, data);
	return merge_patch(c, res_secrets, secret, NULL, patch, NULL, e);
}

/* The account is gone, or another of its name has come. */
static int drop(struct ctl *c, struct doc *secret, struct err *e)
{
	struct client_delete o = { .uid = doc_uid(secret), .grace_s = -1 };

	if (client_delete(c->client, res_secrets, doc_ns(secret), doc_name(secret), o, e) < 0 &&
		e->code != ERR_NOT_FOUND && e->code != ERR_CONFLICT)
		return -e->code;
	return 0;
}

static bool is_of_another(struct doc *secret, struct doc *account)
{
	struct str uid = val_str(val_get(doc_get(secret, "metadata.annotations"), ACCOUNT_UID));

	return !account || (uid.n && !str_eq(uid, doc_uid(account)));
}

/* Asks the server: the informer may not show yet what was made a moment ago. */
static int any_stands(struct ctl *c, struct doc *account, bool *ret, struct err *e)
{
	*ret = false;
	for (struct val_iter it = val_iter(doc_get(account, "secrets")); val_next(&it) && !*ret;) {
		auto_(doc_unref) struct doc *secret = NULL;

		if (client_get(c->client, res_secrets, doc_ns(account), val_str(val_get(it.val, "name")), &secret, e) <
				0 &&
			e->code != ERR_NOT_FOUND)
			return -e->code;
		*ret = secret != NULL;
		err_init(e);
	}
	return 0;
}

/* --legacy-token-secrets: the Secret first, then its name in the account. A name without Secret is never seen. */
static int need_secret(struct ctl *c, struct arena *a, struct doc *account, struct doc *have, struct err *e)
{
	auto_(doc_unref) struct doc *body = NULL, *made = NULL;
	struct node *annotations = node_map(a), *patch;
	bool stands;

	if (is_deleting(account))
		return 0;
	if (any_stands(c, account, &stands, e) < 0)
		return -e->code;
	if (stands)
		return 0;
	if (!have) {
		node_setc(annotations, ACCOUNT, node_str(a, doc_name(account)));
		node_setc(annotations, ACCOUNT_UID, node_str(a, doc_uid(account)));
		body = node_publish(node_pack(a,
			"{apiVersion:'v1', kind:'Secret', metadata:{generateName:o, namespace:S, annotations:o}, type:'" TYPE
			"'}",
			node_strf(a, "%.*s-token-", STR_ARG(doc_name(account))), doc_ns(account), annotations));
		if (client_create(c->client, res_secrets, doc_ns(account), body, &made, e) < 0)
			return namespace_ends(e) ? 0 : -e->code;
		have = made;
	}
	patch = node_pack(a, "{metadata:{uid:S, resourceVersion:S}, secrets:[{name:S}]}", doc_uid(account),
		doc_str(account, "metadata.resourceVersion"), doc_name(have));
	return merge_patch(c, res_serviceaccounts, account, NULL, patch, NULL, e);
}

static int reconcile(struct ctl *c, struct arena *a, struct str key, struct err *e)
{
	struct str ns, name;
	auto_(doc_unref) struct doc *account = NULL;
	struct informer_list all;
	struct doc *first = NULL;
	int rc = 0;

	key_split(key, &ns, &name);
	account = informer_get(ctl_informer(c, res_serviceaccounts), ns, name);
	all = informer_list(ctl_informer(c, res_secrets), a, "ns", ns);
	for (size_t i = 0; i < all.n && rc >= 0; i++) {
		if (!holds_token(all.items[i]) || !str_eq(account_of(all.items[i]), name))
			continue;
		if (is_of_another(all.items[i], account)) {
			rc = drop(c, all.items[i], e);
			continue;
		}
		first = first ? first : all.items[i];
		rc = fill(c, a, all.items[i], account, e);
	}
	return rc >= 0 && account && c->opts->legacy_token_secrets ? need_secret(c, a, account, first, e) : rc;
}

static void key_account_of(struct ctl *c, struct doc *before, struct doc *after)
{
	struct doc *d = after ? after : before;
	char room[KEY_ROOM];

	if (holds_token(d))
		ctl_add(c, key_join(room, doc_ns(d), account_of(d)));
}

const struct controller token_controller = {
	.name = "token-controller",
	.help = "fills Secrets with tokens of ServiceAccounts",
	.watches = { { &res_serviceaccounts, key_self }, { &res_secrets, key_account_of } },
	.reconcile = reconcile,
};
