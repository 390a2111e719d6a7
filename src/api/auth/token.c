/* Tokens of ServiceAccounts (TokenRequest) and bootstrap tokens: made here, checked here.
 * Source of the claims: the Kubernetes documentation, "Managing Service Accounts". */
#include "api/auth/auth.h"

#include <openssl/crypto.h>

#define LOG_MODULE "token"
#define DEFAULT_S 3600
#define LEAST_S 600
#define MOST_S (1LL << 32)
#define PROJECTED_S 3607 /* what old clients of ours ask for: they get a year, and a warning after this time */
#define EXTENDED_S (365 * 24 * 3600)
#define LEEWAY_S 10
#define CACHE_MAX 1024
#define DELETED_S 60

/* ---- payloads whose signature was right: checking one costs more than everything else of a request ---- */

struct token_cache {
	struct task_mutex lock;
	struct map *payloads; /* token → struct doc */
};

struct token_cache *token_cache_new(void)
{
	struct token_cache *c = xcalloc(1, sizeof(*c));

	task_mutex_init(&c->lock);
	c->payloads = map_new(doc_end);
	return c;
}

struct token_cache *token_cache_free(struct token_cache *c)
{
	if (!c)
		return NULL;
	map_free(c->payloads);
	task_mutex_fini(&c->lock);
	free(c);
	return NULL;
}

/* Own: one reference. */
static int payload_of(struct auth *auth, struct str token, struct doc **ret, struct err *e)
{
	auto_buf struct buf text = BUF_INIT;
	struct doc *d;

	task_lock(&auth->tokens->lock);
	d = map_get(auth->tokens->payloads, token);
	if (d)
		doc_ref(d);
	task_unlock(&auth->tokens->lock);
	if (!d) {
		if (pki_verify_token(auth->signer, token, &text, e) < 0 || doc_parse(buf_view(&text), &d, e) < 0)
			return err_set(e, ERR_UNAUTHORIZED, "the token is not one of ours");
		task_lock(&auth->tokens->lock);
		if (map_len(auth->tokens->payloads) >= CACHE_MAX)
			map_clear(auth->tokens->payloads);
		map_put(auth->tokens->payloads, token, doc_ref(d));
		task_unlock(&auth->tokens->lock);
	}
	*ret = d;
	return 0;
}

/* ---- checking -------------------------------------------------------------------------------- */

static int check_times(struct doc *claims, struct err *e)
{
	int64_t now = wall_s(wall_now());

	if (doc_int(claims, "exp", 0) <= now - LEEWAY_S)
		return err_set(e, ERR_UNAUTHORIZED, "the token has expired");
	if (doc_int(claims, "nbf", 0) > now + LEEWAY_S)
		return err_set(e, ERR_UNAUTHORIZED, "the token is not valid yet");
	return 0;
}

static bool list_has(struct val list, struct val v)
{
	for (struct val_iter it = val_iter(list); val_next(&it);)
		if (val_equal(it.val, v))
			return true;
	return false;
}

static bool lists_meet(struct val a, struct val b)
{
	for (struct val_iter it = val_iter(a); val_next(&it);)
		if (list_has(b, it.val))
			return true;
	return false;
}

static int check_audience(struct auth *auth, struct doc *claims, const struct val *audiences, struct err *e)
{
	struct val aud = doc_get(claims, "aud");

	if (audiences && val_len(*audiences) && lists_meet(aud, *audiences))
		return 0;
	if (!audiences || !val_len(*audiences))
		for (struct val_iter it = val_iter(aud); val_next(&it);)
			if (str_is(val_str(it.val), auth->issuer))
				return 0;
	return err_set(e, ERR_UNAUTHORIZED, "the token is for another audience");
}

/* What waits for its finalizers for more than a minute vouches for nobody any more. */
static bool long_deleted(struct doc *d)
{
	struct wall w;

	return wall_parse(doc_str(d, "metadata.deletionTimestamp"), &w) && wall_s(wall_now()) > wall_s(w) + DELETED_S;
}

static bool data_is(struct val data, const char *key, struct str want)
{
	auto_buf struct buf text = BUF_INIT;

	return base64_decode(val_str(val_get(data, key)), &text) == 0 && text.n == want.n && want.n &&
		CRYPTO_memcmp(text.p, want.p, want.n) == 0;
}

/* What stands in a Secret for good counts only as long as it stands there, as with the oldest kind of token: who takes it
 * out or puts another in its place has revoked it. Others that are bound to such a Secret live shorter. */
static int check_own_secret(struct doc *claims, struct doc *secret, struct str token, struct err *e)
{
	struct val labels = doc_get(secret, "metadata.labels");

	if (doc_int(claims, "exp", 0) - doc_int(claims, "iat", 0) != MOST_S ||
		!str_is(doc_str(secret, "type"), "kubernetes.io/service-account-token"))
		return 0;
	if (doc_str(secret, "metadata.deletionTimestamp").n || !data_is(doc_get(secret, "data"), "token", token))
		return err_set(e, ERR_UNAUTHORIZED, "the token is not the one that its Secret holds");
	if (val_has(val_get(labels, "kubernetes.io/legacy-token-invalid-since")))
		return err_set(e, ERR_UNAUTHORIZED, "the token's Secret says that it counts no more");
	return 0;
}

/* The object that a claim {name, uid} names still is, and is the same. Own: *ret, where there is such a claim; or NULL. */
static int check_bound(
	struct api *api, const char *resource, struct str ns, struct val claim, struct doc **ret, struct err *e)
{
	auto_(doc_unref) struct doc *d = NULL;

	if (!val_has(claim))
		return 0;
	d = api_get(api, "", resource, ns, val_str(val_get(claim, "name")));
	if (d && str_eq(doc_uid(d), val_str(val_get(claim, "uid"))) && !long_deleted(d)) {
		if (ret)
			*ret = TAKE(d);
		return 0;
	}
	return err_set(e, ERR_UNAUTHORIZED, "the token was made for %s %.*s, which is gone", resource,
		STR_ARG(val_str(val_get(claim, "name"))));
}

static void add_extra(struct arena *a, struct identity *id, const char *key, struct str value)
{
	struct identity_extra *more;

	if (!value.n)
		return;
	more = ARENA_ARRAY(a, struct identity_extra, id->n_extra + 1);
	if (id->n_extra)
		memcpy(more, id->extra, id->n_extra * sizeof(*more));
	more[id->n_extra++] = (struct identity_extra){ str_c(key), arena_str(a, value) };
	id->extra = more;
}

static void fill_identity(
	struct arena *a, struct doc *claims, struct val kube, struct str ns, struct str name, struct identity *ret)
{
	struct identity id = { .uid = arena_str(a, val_str(val_path(kube, "serviceaccount.uid"))) };

	id.user = arena_strf(a, "system:serviceaccount:%.*s:%.*s", STR_ARG(ns), STR_ARG(name));
	identity_add_group(a, &id, STR("system:serviceaccounts"));
	identity_add_group(a, &id, arena_strf(a, "system:serviceaccounts:%.*s", STR_ARG(ns)));
	identity_add_group(a, &id, STR("system:authenticated"));
	if (doc_str(claims, "jti").n)
		add_extra(a, &id, "authentication.kubernetes.io/credential-id",
			arena_strf(a, "JTI=%.*s", STR_ARG(doc_str(claims, "jti"))));
	add_extra(a, &id, "authentication.kubernetes.io/pod-name", val_str(val_path(kube, "pod.name")));
	add_extra(a, &id, "authentication.kubernetes.io/pod-uid", val_str(val_path(kube, "pod.uid")));
	add_extra(a, &id, "authentication.kubernetes.io/node-name", val_str(val_path(kube, "node.name")));
	add_extra(a, &id, "authentication.kubernetes.io/node-uid", val_str(val_path(kube, "node.uid")));
	*ret = id;
}

int token_identity(struct api *api, struct arena *a, struct str token, const struct val *audiences,
	struct identity *ret, struct err *e)
{
	struct auth *auth = api->auth;
	auto_(doc_unref) struct doc *claims = NULL, *secret = NULL;
	struct val kube;
	struct str ns, name;

	if (!auth->signer)
		return err_set(e, ERR_UNAUTHORIZED, "this server knows no tokens");
	if (payload_of(auth, token, &claims, e) < 0)
		return -e->code;
	if (!str_is(doc_str(claims, "iss"), auth->issuer))
		return err_set(e, ERR_UNAUTHORIZED, "the token is not one of ours");
	if (check_times(claims, e) < 0 || check_audience(auth, claims, audiences, e) < 0)
		return -e->code;
	kube = val_get(doc_root(claims), "kubernetes.io");
	ns = val_str(val_get(kube, "namespace"));
	name = val_str(val_path(kube, "serviceaccount.name"));
	if (!name.n ||
		!str_eq(doc_str(claims, "sub"),
			arena_strf(a, "system:serviceaccount:%.*s:%.*s", STR_ARG(ns), STR_ARG(name))))
		return err_set(e, ERR_UNAUTHORIZED, "the token names no ServiceAccount");
	if (check_bound(api, "serviceaccounts", ns, val_get(kube, "serviceaccount"), NULL, e) < 0 ||
		check_bound(api, "pods", ns, val_get(kube, "pod"), NULL, e) < 0 ||
		check_bound(api, "secrets", ns, val_get(kube, "secret"), &secret, e) < 0 ||
		(secret && check_own_secret(claims, secret, token, e) < 0))
		return -e->code;
	if (!val_has(val_get(kube, "pod")) && check_bound(api, "nodes", STR_NULL, val_get(kube, "node"), NULL, e) < 0)
		return -e->code;
	fill_identity(a, claims, kube, ns, name, ret);
	return 0;
}

struct node *token_audiences(struct api *api, struct arena *a, struct str token, struct val asked)
{
	auto_(doc_unref) struct doc *claims = NULL;
	struct node *list = node_list(a);
	struct err e;

	err_init(&e);
	if (!val_len(asked)) {
		node_add(list, node_c(a, api->auth->issuer));
		return list;
	}
	if (payload_of(api->auth, token, &claims, &e) < 0)
		return list;
	for (struct val_iter it = val_iter(asked); val_next(&it);)
		if (list_has(doc_get(claims, "aud"), it.val))
			node_add(list, node_from(a, it.val));
	return list;
}

/* ---- bootstrap tokens ------------------------------------------------------------------------ */

static bool data_expired(struct val data)
{
	auto_buf struct buf text = BUF_INIT;
	struct wall until;

	if (!val_has(val_get(data, "expiration")))
		return false;
	return base64_decode(val_str(val_get(data, "expiration")), &text) < 0 || !wall_parse(buf_view(&text), &until) ||
		until.ns <= wall_now().ns;
}

/* Small letters, digits, ':' and '-', and no '-' or ':' at the end. */
static bool is_bootstrap_group(struct str s)
{
	const struct str prefix = STR("system:bootstrappers:");
	struct str rest = str_sub(s, prefix.n, s.n);

	if (!str_starts(s, prefix) || !rest.n || rest.n > 256)
		return false;
	for (size_t i = 0; i < rest.n; i++) {
		char c = rest.p[i];
		bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');

		if (!word && (i + 1 == rest.n || (c != ':' && c != '-')))
			return false;
	}
	return true;
}

/* False: one that no bootstrap token may give; then it gives none. */
static bool add_extra_groups(struct arena *a, struct val data, struct identity *id)
{
	auto_buf struct buf text = BUF_INIT;

	if (base64_decode(val_str(val_get(data, "auth-extra-groups")), &text) < 0)
		return false;
	for (struct str part, rest = buf_view(&text); str_next(&rest, ',', &part);) {
		if (!part.n)
			continue;
		if (!is_bootstrap_group(part))
			return false;
		identity_add_group(a, id, arena_str(a, part));
	}
	return true;
}

int bootstrap_token_identity(struct api *api, struct arena *a, struct str token, struct identity *ret, struct err *e)
{
	struct str id_part, secret_part = str_cut(token, '.', &id_part);
	auto_(doc_unref) struct doc *secret = api_get(
		api, "", "secrets", STR("kube-system"), arena_strf(a, "bootstrap-token-%.*s", STR_ARG(id_part)));
	struct val data = secret ? doc_get(secret, "data") : VAL_NONE;
	struct identity id = { 0 };

	if (!secret || !str_is(doc_str(secret, "type"), "bootstrap.kubernetes.io/token") ||
		doc_str(secret, "metadata.deletionTimestamp").n || !data_is(data, "token-id", id_part) ||
		!data_is(data, "token-secret", secret_part) ||
		!data_is(data, "usage-bootstrap-authentication", STR("true")) || data_expired(data))
		return err_set(e, ERR_UNAUTHORIZED, "the bootstrap token is unknown or has expired");
	id.user = arena_strf(a, "system:bootstrap:%.*s", STR_ARG(id_part));
	identity_add_group(a, &id, STR("system:bootstrappers"));
	if (!add_extra_groups(a, data, &id))
		return err_set(e, ERR_UNAUTHORIZED, "the bootstrap token gives groups that are none of its kind");
	identity_add_group(a, &id, STR("system:authenticated"));
	*ret = id;
	return 0;
}

/* ---- making ---------------------------------------------------------------------------------- */

struct bound {
	struct node *pod, *secret, *node; /* {name, uid} */
};

static struct node *name_and_uid(struct arena *a, struct doc *d)
{
	return node_pack(a, "{name:S, uid:S}", doc_name(d), doc_uid(d));
}

static struct node *node_of_pod(struct rq *rq, struct doc *pod)
{
	struct str name = doc_str(pod, "spec.nodeName");
	auto_(doc_unref) struct doc *node = name.n ? api_get(rq->api, "", "nodes", STR_NULL, name) : NULL;

	return node ? name_and_uid(rq->a, node) : NULL;
}

static int bind_object(struct rq *rq, struct node *ref, struct bound *ret, struct err *e)
{
	struct str kind = node_text_str(node_getc(ref, "kind")), name = node_text_str(node_getc(ref, "name"));
	struct str uid = node_text_str(node_getc(ref, "uid"));
	const char *resource = str_is(kind, "Pod") ? "pods" :
		str_is(kind, "Secret")             ? "secrets" :
		str_is(kind, "Node")               ? "nodes" :
						     NULL;
	auto_(doc_unref) struct doc *d = NULL;

	if (!resource) {
		err_cause(e, "FieldValueNotSupported", "spec.boundObjectRef",
			"cannot bind token to object of type %.*s", STR_ARG(kind));
		return err_set(e, ERR_BAD_REQUEST, "cannot bind token to object of type %.*s", STR_ARG(kind));
	}
	d = api_get(rq->api, "", resource, str_is(kind, "Node") ? STR_NULL : rq->ns, name);
	if (!d)
		return err_set(e, ERR_NOT_FOUND, "%s \"%.*s\" not found", resource, STR_ARG(name));
	if (uid.n && !str_eq(uid, doc_uid(d)))
		return err_set(e, ERR_CONFLICT,
			"Operation cannot be fulfilled on %s \"%.*s\": the UID in the bound object reference (%.*s) does not match the UID in record",
			resource, STR_ARG(name), STR_ARG(uid));
	if (str_is(kind, "Pod")) {
		if (!str_eq(doc_str(d, "spec.serviceAccountName"), rq->name))
			return err_set(e, ERR_BAD_REQUEST,
				"cannot bind token for serviceaccount \"%.*s\" to pod running with different serviceaccount name.",
				STR_ARG(rq->name));
		ret->pod = name_and_uid(rq->a, d);
		ret->node = node_of_pod(rq, d);
	} else if (str_is(kind, "Secret")) {
		ret->secret = name_and_uid(rq->a, d);
	} else {
		ret->node = name_and_uid(rq->a, d);
	}
	return 0;
}

static bool mounts_token_for(struct doc *pod, struct str audience)
{
	for (struct val_iter v = val_iter(doc_get(pod, "spec.volumes")); val_next(&v);)
		for (struct val_iter it = val_iter(val_path(v.val, "projected.sources")); val_next(&it);) {
			struct val token = val_get(it.val, "serviceAccountToken");

			if (val_has(token) && str_eq(val_str(val_get(token, "audience")), audience))
				return true;
		}
	return false;
}

/* The right to ask for tokens of an audience that no volume has, for a node's plugins. */
static bool may_ask_for(struct rq *rq, struct str audience)
{
	const struct authz_attrs at = { .verb = STR("request-serviceaccounts-token-audience"),
		.resource_request = true,
		.version = STR("v1"),
		.resource = audience,
		.ns = rq->ns,
		.name = rq->name };

	return authz_allowed(rq->api, &rq->id, &at, NULL, 0);
}

static int check_node_audience(struct rq *rq, struct node *ref, struct node *audiences, struct err *e)
{
	struct str audience = node_text_str(node_at(audiences, 0));
	auto_(doc_unref) struct doc *pod = api_get(rq->api, "", "pods", rq->ns, node_text_str(node_getc(ref, "name")));

	if (node_len(audiences) > 1)
		return err_set(e, ERR_FORBIDDEN,
			"serviceaccounts \"%.*s\" is forbidden: node may only request 0 or 1 audiences",
			STR_ARG(rq->name));
	if ((pod && mounts_token_for(pod, audience)) || may_ask_for(rq, audience))
		return 0;
	return err_set(e, ERR_FORBIDDEN,
		"serviceaccounts \"%.*s\" is forbidden: audience \"%.*s\" not found in pod spec volume, %.*s is not authorized to "
		"request tokens for this audience",
		STR_ARG(rq->name), STR_ARG(audience), STR_ARG(rq->id.user));
}

/* A node asks only for its own pods' tokens, bound to them, and for whom they are there. */
static int check_node_asks(
	struct rq *rq, struct node *ref, struct node *audiences, const struct bound *b, struct err *e)
{
	struct str node = identity_node(&rq->id);

	if (!node.n || rq->api->opts.no_authz)
		return 0;
	if (!b->pod || !node_text_str(node_getc(ref, "uid")).n ||
		!str_eq(node_text_str(node_getc(b->node, "name")), node))
		return err_set(e, ERR_FORBIDDEN,
			"serviceaccounts \"%.*s\" is forbidden: a node may ask only for tokens bound to its pods by their uid",
			STR_ARG(rq->name));
	return check_node_audience(rq, ref, audiences, e);
}

static struct node *audiences_of(struct rq *rq, struct node *spec)
{
	struct node *given = node_getc(spec, "audiences"), *own;

	if (node_len(given))
		return given;
	own = node_list(rq->a);
	node_add(own, node_c(rq->a, rq->api->auth->issuer));
	return own;
}

/* Whether nobody else is meant. */
static bool is_for_us(const struct rq *rq, struct node *audiences)
{
	for (size_t i = 0; i < node_len(audiences); i++)
		if (!str_is(node_text_str(node_at(audiences, i)), rq->api->auth->issuer))
			return false;
	return true;
}

static int check_seconds(int64_t seconds, struct err *e)
{
	if (seconds >= LEAST_S && seconds <= MOST_S)
		return 0;
	err_cause(e, "FieldValueInvalid", "spec.expirationSeconds",
		"Invalid value: %lld: may not specify a duration %s", (long long)seconds,
		seconds < LEAST_S ? "less than 10 minutes" : "larger than 2^32 seconds");
	return -ERR_INVALID;
}

int token_create(struct rq *rq, struct node **body, struct err *e)
{
	struct auth *auth = rq->api->auth;
	auto_(doc_unref) struct doc *account = api_get(rq->api, "", "serviceaccounts", rq->ns, rq->name);
	struct node *spec = node_need_map(*body, "spec"), *ref = node_getc(spec, "boundObjectRef"), *kube, *claims;
	int64_t asked = node_int_of(node_getc(spec, "expirationSeconds"), DEFAULT_S), lives = asked,
		now = wall_s(wall_now());
	struct bound bound = { 0 };
	auto_free char *token = NULL;
	auto_buf struct buf text = BUF_INIT;
	char expires[TIME_TEXT_MAX], id[UUID_TEXT_MAX];

	if (!account)
		return err_set(e, ERR_NOT_FOUND, "serviceaccounts \"%.*s\" not found", STR_ARG(rq->name));
	if (!auth->signer)
		return err_set(e, ERR_UNAVAILABLE, "this server has no signing key for tokens");
	if (check_seconds(asked, e) < 0)
		return validate_finish_as(rq, "authentication.k8s.io", "TokenRequest", STR_NULL, e);
	if ((ref && bind_object(rq, ref, &bound, e) < 0) ||
		check_node_asks(rq, ref, node_getc(spec, "audiences"), &bound, e) < 0)
		return -e->code;
	kube = node_pack(rq->a, "{namespace:S, node:o, pod:o, secret:o, serviceaccount:o}", rq->ns, bound.node,
		bound.pod, bound.secret, name_and_uid(rq->a, account));
	if (asked == PROJECTED_S && bound.pod && is_for_us(rq, node_getc(spec, "audiences"))) {
		lives = EXTENDED_S;
		node_setc(kube, "warnafter", node_int(rq->a, now + PROJECTED_S));
	}
	rand_uuid(id);
	claims = node_pack(rq->a, "{aud:o, exp:I, iat:I, iss:s, jti:s, nbf:I, sub:o}", audiences_of(rq, spec),
		now + lives, now, auth->issuer, id, now,
		node_strf(rq->a, "system:serviceaccount:%.*s:%.*s", STR_ARG(rq->ns), STR_ARG(rq->name)));
	node_setc(claims, "kubernetes.io", kube);
	node_write(claims, &text);
	if (pki_sign_token(auth->signer, buf_view(&text), &token, e) < 0)
		return -e->code;
	wall_rfc3339((struct wall){ (now + asked) * 1000000000 }, expires);
	node_setc(spec, "audiences", audiences_of(rq, spec));
	node_setc(spec, "expirationSeconds", node_int(rq->a, asked));
	node_setc(*body, "status", node_pack(rq->a, "{token:s, expirationTimestamp:s}", token, expires));
	return 0;
}

bool token_openid(struct api *api, bool jwks, struct buf *out)
{
	const struct auth *auth = api->auth;

	if (!auth->signer)
		return false;
	if (jwks)
		pki_jwks(auth->signer, out);
	else
		buf_printf(out,
			"{\"issuer\":\"%s\",\"jwks_uri\":\"%s/openid/v1/jwks\",\"response_types_supported\":[\"id_token\"],"
			"\"subject_types_supported\":[\"public\"],\"id_token_signing_alg_values_supported\":[\"ES256\"]}",
			auth->issuer, auth->issuer);
	return true;
}
