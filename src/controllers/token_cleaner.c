/* token cleaner: bootstrap tokens (Secrets of type bootstrap.kubernetes.io/token in kube-system) go when
 * data.expiration has passed. */
#include "controllers/controllers_internal.h"

#define TYPE "bootstrap.kubernetes.io/token"

static bool is_token(const struct doc *secret)
{
	return str_is(doc_str(secret, "type"), TYPE) && str_is(doc_ns(secret), "kube-system");
}

/* false: it lives for ever, or nobody can read until when: then authentication refuses it and a person has to look. */
static bool expires_at(const struct doc *secret, struct wall *ret)
{
	auto_buf struct buf text = BUF_INIT;

	return base64_decode(doc_str(secret, "data.expiration"), &text) == 0 && wall_parse(buf_view(&text), ret);
}

static int reconcile(struct ctl *c, struct arena *a, struct str key, struct err *e)
{
	struct client_delete o = { .grace_s = -1 };
	auto_(doc_unref) struct doc *secret = NULL;
	struct str ns, name;
	struct wall end;
	int64_t left_ms;

	(void)a;
	key_split(key, &ns, &name);
	secret = informer_get(ctl_informer(c, res_secrets), ns, name);
	if (!secret || !is_token(secret) || is_deleting(secret) || !expires_at(secret, &end))
		return 0;
	left_ms = (end.ns - wall_now().ns + 999999) / 1000000;
	if (left_ms > 0) {
		ctl_add_after(c, key, left_ms);
		return 0;
	}
	o.uid = doc_uid(secret);
	if (client_delete(c->client, res_secrets, ns, name, o, e) < 0 && e->code != ERR_NOT_FOUND &&
		e->code != ERR_CONFLICT)
		return -e->code;
	return 0;
}

static void key_token(struct ctl *c, struct doc *before, struct doc *after)
{
	(void)before;
	if (after && is_token(after))
		ctl_add_doc(c, after);
}

const struct controller token_cleaner_controller = {
	.name = "token-cleaner",
	.help = "deletes bootstrap tokens that have expired",
	.watches = { { &res_secrets, key_token } },
	.reconcile = reconcile,
};
