#include "node/server_auth.h"
#include "base/log.h"
#include "base/map.h"
#include "base/task.h"
#include "node/content.h"
#include <stdio.h>

#define LOG_MODULE "node"
#define KNOWN_MAX 256 /* of each kind */
#define ASKING_MAX 16 /* tasks: strangers with tokens of their own making must not get a thread for each */
#define ASKING_SHARE (ASKING_MAX / 2)

/* Kept apart, so that whoever tries many bad tokens pushes no good ones out. */
enum kind { TOKEN_GOOD, TOKEN_BAD, USER_MAY, USER_MAY_NOT, KINDS };
static const int64_t kept_ms[] = {
	[TOKEN_GOOD] = 120000,
	[TOKEN_BAD] = 10000,
	[USER_MAY] = 300000,
	[USER_MAY_NOT] = 30000,
};

struct known {
	struct doc *user; /* own; TOKEN_GOOD only */
	struct mono until;
};

struct server_auth {
	struct client *client;
	const char *node_name;
	struct task_mutex lock;
	struct map *known[KINDS];    /* under lock: SHA-256 of the token or of the review → struct known */
	char asking[ASKING_MAX][48]; /* under lock: from which addresses; "": free */
};

static void known_end(void *p)
{
	struct known *k = p;

	doc_unref(k->user);
	free(k);
}

struct server_auth *server_auth_new(struct client *client, const char *node_name)
{
	struct server_auth *s = xcalloc(1, sizeof(*s));

	s->client = client;
	s->node_name = node_name;
	task_mutex_init(&s->lock);
	for (size_t i = 0; i < KINDS; i++)
		s->known[i] = map_new(known_end);
	return s;
}

struct server_auth *server_auth_free(struct server_auth *s)
{
	if (!s)
		return NULL;
	for (size_t i = 0; i < KINDS; i++)
		map_free(s->known[i]);
	task_mutex_fini(&s->lock);
	free(s);
	return NULL;
}

/* ---- what is remembered ---------------------------------------------------------------------- */

static bool recall(struct server_auth *s, enum kind kind, const char *key, struct mono now, struct doc **ret_user)
{
	struct known *k;
	bool found;

	task_lock(&s->lock);
	k = map_get(s->known[kind], str_c(key));
	found = k && mono_before(now, k->until);
	if (found && k->user)
		*ret_user = doc_ref(k->user);
	else if (k && !found)
		map_del(s->known[kind], str_c(key));
	task_unlock(&s->lock);
	return found;
}

/* All of a kind are kept equally long: the first is the one that would be forgotten next. */
static void remember(struct server_auth *s, enum kind kind, const char *key, struct mono now, struct doc *user)
{
	struct known *k = xcalloc(1, sizeof(*k));
	struct map *m = s->known[kind];
	struct str first;
	void *value;
	size_t i = 0;

	k->user = user ? doc_ref(user) : NULL;
	k->until = mono_add_ms(now, kept_ms[kind]);
	task_lock(&s->lock);
	map_del(m, str_c(key));
	if (map_len(m) == KNOWN_MAX && map_next(m, &i, &first, &value))
		map_del(m, first);
	map_put(m, str_c(key), k);
	task_unlock(&s->lock);
}

int server_auth_may_ask(struct server_auth *s, struct str address)
{
	int place = -1, same = 0;

	if (str_empty(address)) /* it went before we could ask whose it is */
		address = STR("?");
	task_lock(&s->lock);
	for (int i = 0; i < ASKING_MAX; i++) {
		same += str_is(address, s->asking[i]);
		place = s->asking[i][0] ? place : i;
	}
	if (same >= ASKING_SHARE)
		place = -1;
	if (place >= 0)
		snprintf(s->asking[place], sizeof(s->asking[place]), "%.*s", STR_ARG(address));
	task_unlock(&s->lock);
	return place;
}

void server_auth_answered(struct server_auth *s, int place)
{
	task_lock(&s->lock);
	s->asking[place][0] = 0;
	task_unlock(&s->lock);
}

/* ---- who it is ------------------------------------------------------------------------------- */

/* Own: as a TokenReview would say it. */
static struct doc *user_of(const struct http_peer *peer, struct arena *a)
{
	struct node *groups = node_list(a);

	for (size_t i = 0; i < peer->n_orgs; i++)
		node_add(groups, node_str(a, peer->orgs[i]));
	node_add(groups, node_str(a, STR("system:authenticated")));
	return node_publish(node_pack(a, "{username:S, groups:o}", peer->cn, groups));
}

static struct str bearer(struct str authorization)
{
	struct str scheme, rest = str_cut(str_trim(authorization), ' ', &scheme);

	return str_eq_nocase(scheme, STR("bearer")) ? str_trim(rest) : STR_NULL;
}

/* An API that does not answer is no proof that the token is bad: nothing is remembered of it. */
static enum verdict review_token(
	struct server_auth *s, struct str token, const char *key, struct mono now, struct arena *a, struct doc **ret)
{
	auto_(doc_unref) struct doc *body = node_publish(
		node_pack(a, "{apiVersion:'authentication.k8s.io/v1', kind:'TokenReview', spec:{token:S}}", token));
	auto_(doc_unref) struct doc *reply = NULL;
	struct err e;

	err_init(&e);
	if (client_create(s->client, res_tokenreviews, STR_NULL, body, &reply, &e) < 0) {
		log_warn("whose token asks this node: %s", e.message);
		return VERDICT_UNAUTHORIZED;
	}
	if (!doc_bool(reply, "status.authenticated", false) || str_empty(doc_str(reply, "status.user.username"))) {
		remember(s, TOKEN_BAD, key, now, NULL);
		return VERDICT_UNAUTHORIZED;
	}
	*ret = node_publish(node_from(a, doc_get(reply, "status.user")));
	remember(s, TOKEN_GOOD, key, now, *ret);
	return VERDICT_ALLOWED;
}

static enum verdict identify(struct server_auth *s, const struct server_asker *who, bool ask, struct mono now,
	struct arena *a, struct doc **ret)
{
	struct str token = bearer(who->authorization);
	char key[80];

	if (!str_empty(who->peer->cn)) {
		*ret = user_of(who->peer, a);
		return VERDICT_ALLOWED;
	}
	if (str_empty(token))
		return VERDICT_UNAUTHORIZED;
	sha256_text(token.p, token.n, key);
	if (recall(s, TOKEN_GOOD, key, now, ret))
		return VERDICT_ALLOWED;
	if (recall(s, TOKEN_BAD, key, now, NULL))
		return VERDICT_UNAUTHORIZED;
	return ask ? review_token(s, token, key, now, a, ret) : VERDICT_UNKNOWN;
}

/* ---- whether he may -------------------------------------------------------------------------- */

static bool needs_no_word(const struct http_peer *peer)
{
	if (str_is(peer->cn, "kube-apiserver-kubelet-client"))
		return true;
	for (size_t i = 0; i < peer->n_orgs && !str_empty(peer->cn); i++)
		if (str_is(peer->orgs[i], "system:masters"))
			return true;
	return false;
}

/* Own. */
static struct doc *question(
	const struct server_auth *s, const struct doc *user, const char *verb, const char *sub, struct arena *a)
{
	return node_publish(node_pack(a,
		"{apiVersion:'authorization.k8s.io/v1', kind:'SubjectAccessReview', spec:{user:S, uid:v, groups:v, extra:v,"
		" resourceAttributes:{verb:s, version:'v1', resource:'nodes', subresource:s, name:s}}}",
		doc_str(user, "username"), doc_get(user, "uid"), doc_get(user, "groups"), doc_get(user, "extra"), verb,
		sub, s->node_name));
}

static enum verdict authorize(struct server_auth *s, const struct doc *user, const char *verb, const char *sub,
	bool ask, struct mono now, struct arena *a)
{
	auto_(doc_unref) struct doc *body = question(s, user, verb, sub, a), *reply = NULL;
	char key[80];
	struct err e;
	bool may;

	err_init(&e);
	sha256_text(doc_text(body).p, doc_text(body).n, key);
	if (recall(s, USER_MAY, key, now, NULL))
		return VERDICT_ALLOWED;
	if (recall(s, USER_MAY_NOT, key, now, NULL))
		return VERDICT_FORBIDDEN;
	if (!ask)
		return VERDICT_UNKNOWN;
	if (client_create(s->client, res_subjectaccessreviews, STR_NULL, body, &reply, &e) < 0) {
		log_warn("whether %.*s may %s nodes/%s here: %s", STR_ARG(doc_str(user, "username")), verb, sub,
			e.message);
		return VERDICT_FAILED;
	}
	may = doc_bool(reply, "status.allowed", false);
	remember(s, may ? USER_MAY : USER_MAY_NOT, key, now, NULL);
	return may ? VERDICT_ALLOWED : VERDICT_FORBIDDEN;
}

enum verdict server_auth(struct server_auth *s, const struct server_asker *who, const struct server_want *want,
	bool ask, struct mono now, struct arena *a, struct str *ret_user)
{
	auto_(doc_unref) struct doc *user = NULL;
	enum verdict v;

	if (needs_no_word(who->peer)) {
		*ret_user = arena_str(a, who->peer->cn);
		return VERDICT_ALLOWED;
	}
	v = identify(s, who, ask, now, a, &user);
	if (v != VERDICT_ALLOWED)
		return v;
	*ret_user = arena_str(a, doc_str(user, "username"));
	v = VERDICT_FORBIDDEN;
	for (size_t i = 0; i < ARRAY_LEN(want->subs) && want->subs[i] && v == VERDICT_FORBIDDEN; i++)
		v = authorize(s, user, want->verb, want->subs[i], ask, now, a);
	return v;
}

/* ---- what a request wants -------------------------------------------------------------------- */

static const char *verb_of(struct str method)
{
	static const char *const verbs[][2] = { { "GET", "get" }, { "POST", "create" }, { "PUT", "update" },
		{ "PATCH", "patch" }, { "DELETE", "delete" } };

	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		if (str_is(method, verbs[i][0]))
			return verbs[i][1];
	return "";
}

/* A command in a pod is more than something to read, whichever method its WebSocket comes with: the API asks for
 * "create", too. */
struct server_want server_want(struct str method, struct str first)
{
	static const struct {
		const char *first, *verb, *subs[2];
	} rows[] = {
		{ "stats", NULL, { "stats" } },
		{ "metrics", NULL, { "metrics" } },
		{ "logs", NULL, { "log" } },
		{ "pods", NULL, { "pods", "proxy" } },
		{ "exec", "create", { "proxy" } },
		{ "attach", "create", { "proxy" } },
		{ "portForward", "create", { "proxy" } },
	};
	struct server_want w = { verb_of(method), { "proxy" } };

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (!str_is(first, rows[i].first))
			continue;
		w.verb = rows[i].verb ? rows[i].verb : w.verb;
		w.subs[0] = rows[i].subs[0];
		w.subs[1] = rows[i].subs[1];
	}
	return w;
}
