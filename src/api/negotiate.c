/* What the client wants to read (Accept) and what it sent (Content-Type). */
#include "api/api_internal.h"
#define LOG_MODULE "api"

#define CHOICES_MAX 32 /* of an Accept header; what comes after them is not looked at */

struct accept {
	struct str type, as, v, g, stream;
	double q;
};

/* "0.5"; what is no number counts as 1. */
static double quality(struct str s)
{
	char text[16], *end;

	if (!s.n || s.n >= sizeof(text))
		return 1;
	memcpy(text, s.p, s.n);
	text[s.n] = 0;
	double q = strtod(text, &end);
	return *end ? 1 : q;
}

/* One element of the list: "application/json;as=Table;v=v1;g=meta.k8s.io". */
static struct accept accept_parse(struct str part)
{
	struct accept a = { .q = 1 };
	struct str p;

	part = str_trim(part);
	for (size_t i = 0; str_next(&part, ';', &p); i++) {
		struct str key, value;
		p = str_trim(p);
		if (!i) {
			a.type = str_is(p, "*") ? STR("*/*") : p;
			continue;
		}
		value = str_trim(str_cut(p, '=', &key));
		key = str_trim(key);
		if (str_is(key, "q"))
			a.q = quality(value);
		else if (str_is(key, "stream"))
			a.stream = value;
		else if (str_is(key, "as"))
			a.as = value;
		else if (str_is(key, "v"))
			a.v = value;
		else if (str_is(key, "g"))
			a.g = value;
	}
	return a;
}

static bool media_named(struct str type, enum media *ret)
{
	if (str_is(type, "application/json"))
		*ret = MEDIA_JSON;
	else if (str_is(type, "application/yaml"))
		*ret = MEDIA_YAML;
	else if (str_is(type, "application/vnd.kubernetes.protobuf"))
		*ret = MEDIA_PROTOBUF;
	else
		return false;
	return true;
}

static bool media_wanted(struct str type, enum media *ret)
{
	*ret = MEDIA_JSON;
	return str_is(type, "*/*") || str_is(type, "application/*") || media_named(type, ret);
}

static bool accept_take(struct rq *rq, struct accept a, bool discovery)
{
	enum media m;

	if (!media_wanted(a.type, &m))
		return false;
	/* Only JSON and protobuf say where an event ends. */
	if (m == MEDIA_YAML ? rq->verb == V_WATCH || a.stream.n : a.stream.n && !str_is(a.stream, "watch"))
		return false;
	if (m == MEDIA_PROTOBUF && !a.as.n && rq->res && rq->res->custom) /* its fields have no numbers */
		return false;
	if (!a.as.n) {
		rq->media = m;
		rq->render = RENDER_OBJECT;
		return true;
	}
	if (discovery) {
		if (!str_is(a.as, "APIGroupDiscoveryList") || !str_is(a.g, "apidiscovery.k8s.io") ||
			!str_is(a.v, "v2") || m != MEDIA_JSON)
			return false;
		rq->render = RENDER_DISCOVERY;
		rq->media = m;
		return true;
	}
	if (!str_is(a.g, "meta.k8s.io") || (!str_is(a.v, "v1") && !str_is(a.v, "v1beta1")))
		return false;
	rq->table_beta = str_is(a.v, "v1beta1");
	if (str_is(a.as, "Table") && m != MEDIA_PROTOBUF) {
		rq->render = RENDER_TABLE;
	} else if (str_is(a.as, "PartialObjectMetadata") || str_is(a.as, "PartialObjectMetadataList")) {
		rq->render = RENDER_METADATA;
	} else {
		return false;
	}
	rq->media = m;
	return true;
}

/* Upstream's order: a higher q, and what is named before what stands for anything. */
static bool accept_before(const struct accept *a, const struct accept *b)
{
	return a->q > b->q || (!str_starts(a->type, STR("*/")) && str_starts(b->type, STR("*/"))) ||
		(!str_ends(a->type, STR("/*")) && str_ends(b->type, STR("/*")));
}

/* The best first, equals in their order. Elements without a type are none. */
static size_t accept_list(struct str header, struct accept *list)
{
	size_t n = 0;

	for (struct str part, rest = header; n < CHOICES_MAX && str_next(&rest, ',', &part);) {
		struct accept a = accept_parse(part);
		size_t to = n;

		if (!a.type.n)
			continue;
		for (; to && accept_before(&a, &list[to - 1]); to--)
			list[to] = list[to - 1];
		list[to] = a;
		n++;
	}
	return n;
}

bool accepts(struct rq *rq, const char *type)
{
	struct accept list[CHOICES_MAX];
	size_t n = accept_list(rq->accept, list);

	for (size_t i = 0; i < n; i++)
		if (str_is(list[i].type, type) || str_is(list[i].type, "*/*") || str_is(list[i].type, "application/*"))
			return true;
	return !str_trim(rq->accept).n;
}

/* Nobody but a table asks for it. */
static int check_include(struct rq *rq, struct err *e)
{
	struct str s = rq->include_object;
	auto_buf struct buf b = BUF_INIT;

	if (rq->render != RENDER_TABLE || !s.n || str_is(s, "Metadata") || str_is(s, "Object") || str_is(s, "None"))
		return 0;
	buf_go_quoted(&b, s);
	return err_set(e, ERR_BAD_REQUEST,
		"Unable to convert to Table as requested: includeObject: Invalid value: %.*s: must be 'Metadata', 'Object', 'None', or empty",
		STR_ARG(buf_view(&b)));
}

int negotiate(struct rq *rq, bool discovery, struct err *e)
{
	struct str ua = rq->user_agent;
	struct str pretty = rq_param(rq, "pretty");
	struct accept list[CHOICES_MAX];

	rq->pretty = pretty.p ?
		str_is(pretty, "true") || str_is(pretty, "1") :
		str_starts(ua, STR("curl")) || str_starts(ua, STR("Wget")) || str_starts(ua, STR("Mozilla/5.0"));
	rq->include_object = rq_param(rq, "includeObject");
	if (!str_trim(rq->accept).n)
		return 0;
	size_t n = accept_list(rq->accept, list);
	for (size_t i = 0; i < n; i++)
		if (accept_take(rq, list[i], discovery))
			return check_include(rq, e);
	return err_set(e, ERR_NOT_ACCEPTABLE,
		"only the following media types are accepted: application/json, application/yaml%s",
		rq->res && rq->res->custom ? "" : ", application/vnd.kubernetes.protobuf");
}

int media_of_body(struct rq *rq, enum media *ret, struct err *e)
{
	struct str type;

	str_cut(rq->content_type, ';', &type);
	type = str_c(rq_lower(rq, str_trim(type)));
	*ret = MEDIA_JSON;
	if (!type.n || media_named(type, ret))
		return 0;
	return err_set(e, ERR_MEDIA_TYPE,
		"the body of the request was in an unknown format - accepted media types include: application/json, "
		"application/yaml, application/vnd.kubernetes.protobuf");
}
