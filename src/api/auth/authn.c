/* Who sends a request: client certificate, bearer token, impersonation, or nobody in particular. */
#include "api/auth/auth.h"

#define LOG_MODULE "authn"
#define WEBSOCKET_TOKEN STR("base64url.bearer.authorization.k8s.io.")

int auth_new(struct api *api, struct err *e)
{
	struct auth *auth = xcalloc(1, sizeof(*auth));

	api->auth = auth;
	task_mutex_init(&auth->lock);
	auth->issuer = api->opts.issuer ? api->opts.issuer : "https://kubernetes.default.svc";
	auth->tokens = token_cache_new();
	policy_new(api);
	if (api->opts.pki_dir) {
		auto_free char *key = xasprintf("%s/sa.key", api->opts.pki_dir);

		if (pki_signer_new(key, &auth->signer, e) < 0)
			return err_wrap(e, "signing key of ServiceAccount tokens");
	}
	return 0;
}

void auth_free(struct api *api)
{
	struct auth *auth = api->auth;

	if (!auth)
		return;
	policy_free(auth);
	token_cache_free(auth->tokens);
	pki_signer_free(auth->signer);
	task_mutex_fini(&auth->lock);
	free(auth);
	api->auth = NULL;
}

void identity_add_group(struct arena *a, struct identity *id, struct str group)
{
	struct str *more = ARENA_ARRAY(a, struct str, id->n_groups + 1);

	if (id->n_groups)
		memcpy(more, id->groups, id->n_groups * sizeof(*more));
	more[id->n_groups++] = group;
	id->groups = more;
}

bool identity_in_group(const struct identity *id, const char *group)
{
	for (size_t i = 0; i < id->n_groups; i++)
		if (str_is(id->groups[i], group))
			return true;
	return false;
}

static struct node *extra_tree(struct arena *a, const struct identity *id)
{
	struct node *map = id->n_extra ? node_map(a) : NULL;

	for (size_t i = 0; i < id->n_extra; i++) {
		struct node *list = node_get(map, id->extra[i].key);

		if (!list) {
			list = node_list(a);
			node_set(map, id->extra[i].key, list);
		}
		node_add(list, node_str(a, id->extra[i].value));
	}
	return map;
}

struct node *identity_node_tree(struct arena *a, const struct identity *id)
{
	struct node *groups = id->n_groups ? node_list(a) : NULL;

	for (size_t i = 0; i < id->n_groups; i++)
		node_add(groups, node_str(a, id->groups[i]));
	return node_pack(a, "{username:S, uid:S, groups:o, extra:o}", id->user, id->uid.n ? id->uid : STR_NULL, groups,
		extra_tree(a, id));
}

int authn_certificate(struct arena *a, const struct http_peer *peer, int64_t now_s, struct identity *ret, struct err *e)
{
	if (peer && (peer->rejected || (peer->cn.n && peer->not_after_s && peer->not_after_s < now_s)))
		return err_set(e, ERR_UNAUTHORIZED, "the certificate is not valid");
	if (!peer || !peer->cn.n)
		return 0;
	ret->user = arena_str(a, peer->cn);
	for (size_t i = 0; i < peer->n_orgs; i++)
		identity_add_group(a, ret, arena_str(a, peer->orgs[i]));
	identity_add_group(a, ret, STR("system:authenticated"));
	return 1;
}

static void anonymous(struct arena *a, struct identity *ret)
{
	ret->user = STR("system:anonymous");
	identity_add_group(a, ret, STR("system:unauthenticated"));
}

/* Browsers cannot set Authorization on a WebSocket: the token travels as a sub-protocol. */
static struct str websocket_token(struct arena *a, struct str protocols)
{
	for (struct str part, rest = protocols; str_next(&rest, ',', &part);) {
		struct str word = str_trim(part);
		auto_buf struct buf text = BUF_INIT;
		char *padded;

		if (!str_starts(word, WEBSOCKET_TOKEN))
			continue;
		word = str_sub(word, WEBSOCKET_TOKEN.n, word.n);
		padded = arena_printf(a, "%.*s%s", STR_ARG(word), word.n % 4 == 2 ? "==" : word.n % 4 == 3 ? "=" : "");
		for (char *p = padded; *p; p++)
			*p = *p == '-' ? '+' : *p == '_' ? '/' : *p;
		return base64_decode(str_c(padded), &text) < 0 ? STR_NULL : arena_str(a, buf_view(&text));
	}
	return STR_NULL;
}

static int from_token(struct api *api, struct arena *a, struct str token, struct identity *ret, struct err *e)
{
	if (token.n == 23 && token.p[6] == '.')
		return bootstrap_token_identity(api, a, token, ret, e);
	return token_identity(api, a, token, NULL, ret, e);
}

int authn_http(struct api *api, const struct http_request *r, struct arena *a, struct identity *ret,
	struct authz_attrs *refused, struct err *e)
{
	const struct http_peer *peer = http_peer(r);
	struct str authorization = http_header(r, "authorization"), token = STR_NULL, scheme;
	const struct http_header *headers;
	struct identity id = { 0 };
	size_t n;
	int known;

	token = str_trim(str_cut(authorization, ' ', &scheme));
	if (!str_eq_nocase(scheme, STR("bearer")))
		token = STR_NULL;
	if (!token.n)
		token = websocket_token(a, http_header(r, "sec-websocket-protocol"));
	/* A token counts beside a certificate that does not; of other schemes upstream knows none either. */
	known = authn_certificate(a, peer, wall_s(wall_now()), &id, e);
	if (known <= 0 && token.n)
		known = from_token(api, a, token, &id, e) < 0 ? -1 : 1;
	if (known < 0)
		return err_set(e, ERR_UNAUTHORIZED, "Unauthorized");
	if (!known)
		anonymous(a, &id);
	*ret = id;
	n = http_headers(r, &headers);
	return authn_impersonate(api, headers, n, a, ret, refused, e);
}

/* ---- impersonation --------------------------------------------------------------------------- */

/* Whose right something is: *refused is it when he lacks it. */
struct impersonator {
	struct api *api;
	const struct identity *id;
	struct authz_attrs *refused;
};

static int may_impersonate(const struct impersonator *who, const char *group, const char *resource, const char *sub,
	struct str ns, struct str name, struct err *e)
{
	const struct authz_attrs at = { .verb = STR("impersonate"),
		.resource_request = true,
		.group = str_c(group),
		.version = STR("v1"),
		.resource = str_c(resource),
		.sub = str_c(sub),
		.ns = ns,
		.name = name };

	if (authz_allowed(who->api, who->id, &at, NULL, 0))
		return 0;
	*who->refused = at;
	return err_set(e, ERR_FORBIDDEN,
		"%s%s%s \"%.*s\" is forbidden: User \"%.*s\" cannot impersonate resource \"%s%s%s\" in API group \"%s\" %s%.*s%s",
		resource, group[0] ? "." : "", group, STR_ARG(name), STR_ARG(who->id->user), resource,
		sub[0] ? "/" : "", sub, group, ns.n ? "in the namespace \"" : "at the cluster scope", STR_ARG(ns),
		ns.n ? "\"" : "");
}

static int impersonate_user(const struct impersonator *who, struct str user, struct err *e)
{
	struct str rest, ns;

	if (!str_starts(user, STR("system:serviceaccount:")))
		return may_impersonate(who, "", "users", "", STR_NULL, user, e);
	rest = str_cut(str_sub(user, strlen("system:serviceaccount:"), user.n), ':', &ns);
	return may_impersonate(who, "", "serviceaccounts", "", ns, rest, e);
}

/* Who names groups of a ServiceAccount has it in those alone. */
static void add_implied_groups(struct arena *a, struct identity *id, bool named)
{
	bool anonymous = str_is(id->user, "system:anonymous");

	if (!named && str_starts(id->user, STR("system:serviceaccount:"))) {
		struct str ns;

		str_cut(str_sub(id->user, strlen("system:serviceaccount:"), id->user.n), ':', &ns);
		identity_add_group(a, id, STR("system:serviceaccounts"));
		identity_add_group(a, id, arena_strf(a, "system:serviceaccounts:%.*s", STR_ARG(ns)));
	}
	if (!identity_in_group(id, "system:authenticated") && !identity_in_group(id, "system:unauthenticated"))
		identity_add_group(a, id, anonymous ? STR("system:unauthenticated") : STR("system:authenticated"));
}

static void add_extra(struct arena *a, struct identity *id, struct str key, struct str value)
{
	struct identity_extra *more = ARENA_ARRAY(a, struct identity_extra, id->n_extra + 1);

	if (id->n_extra)
		memcpy(more, id->extra, id->n_extra * sizeof(*more));
	more[id->n_extra++] = (struct identity_extra){ key, value };
	id->extra = more;
}

int authn_impersonate(struct api *api, const struct http_header *headers, size_t n_headers, struct arena *a,
	struct identity *id, struct authz_attrs *refused, struct err *e)
{
	const struct impersonator who = { api, id, refused };
	struct identity as = { 0 }, *real;
	const struct str extra_prefix = STR("impersonate-extra-");
	bool asked = false, groups = false;

	for (size_t i = 0; i < n_headers; i++) {
		struct str name = headers[i].name, value = headers[i].value;
		int failed = 0;

		if (!str_starts(name, STR("impersonate-")))
			continue;
		asked = true;
		value = arena_str(a, value);
		if (str_is(name, "impersonate-user")) {
			as.user = value;
			failed = impersonate_user(&who, value, e);
		} else if (str_is(name, "impersonate-group")) {
			groups = true;
			identity_add_group(a, &as, value);
			failed = may_impersonate(&who, "", "groups", "", STR_NULL, value, e);
		} else if (str_is(name, "impersonate-uid")) {
			as.uid = value;
			failed = may_impersonate(&who, "authentication.k8s.io", "uids", "", STR_NULL, value, e);
		} else if (str_starts(name, extra_prefix)) {
			struct str key = arena_str(a, url_decode(a, str_sub(name, extra_prefix.n, name.n), false));

			add_extra(a, &as, key, value);
			failed = may_impersonate(
				&who, "authentication.k8s.io", "userextras", arena_cstr(a, key), STR_NULL, value, e);
		}
		if (failed < 0)
			return failed;
	}
	if (!asked)
		return 0;
	if (!as.user.n)
		return err_set(e, ERR_BAD_REQUEST, "requested %s without impersonating a user",
			groups ? "[{Group }]" : "[{UID }]");
	add_implied_groups(a, &as, groups);
	real = ARENA_NEW(a, struct identity);
	*real = *id;
	as.real = real;
	*id = as;
	return 0;
}
