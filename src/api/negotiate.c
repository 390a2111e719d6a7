/* What the client wants to read (Accept) and what it sent (Content-Type). */
#include "api/api_internal.h"
#define LOG_MODULE "api"

struct accept {
	struct str type, as, v, g;
};

/* One element of the list: "application/json;as=Table;v=v1;g=meta.k8s.io". */
static struct accept accept_parse(struct str part)
{
	struct accept a = { 0 };
	struct str p;

	part = str_trim(part);
	for (size_t i = 0; str_next(&part, ';', &p); i++) {
		struct str key, value;
		p = str_trim(p);
		if (!i) {
			a.type = p;
			continue;
		}
		value = str_cut(p, '=', &key);
		if (str_is(key, "as"))
			a.as = value;
		else if (str_is(key, "v"))
			a.v = value;
		else if (str_is(key, "g"))
			a.g = value;
	}
	return a;
}

static bool media_known(struct str type, enum media *ret)
{
	if (str_is(type, "application/json") || str_is(type, "*/*") || str_is(type, "application/*") || !type.n)
		*ret = MEDIA_JSON;
	else if (str_is(type, "application/yaml"))
		*ret = MEDIA_YAML;
	else if (str_is(type, "application/vnd.kubernetes.protobuf"))
		*ret = MEDIA_PROTOBUF;
	else
		return false;
	return true;
}

static bool accept_take(struct rq *rq, struct accept a, bool discovery)
{
	enum media m;

	if (!media_known(a.type, &m))
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

int negotiate(struct rq *rq, bool discovery, struct err *e)
{
	struct str ua = rq->user_agent;
	struct str pretty = rq_param(rq, "pretty");

	rq->pretty = pretty.p ?
		str_is(pretty, "true") || str_is(pretty, "1") :
		str_starts(ua, STR("curl")) || str_starts(ua, STR("Wget")) || str_starts(ua, STR("Mozilla/5.0"));
	rq->include_object = rq_param(rq, "includeObject");
	if (!rq->accept.n)
		return 0;
	for (struct str part, rest = rq->accept; str_next(&rest, ',', &part);)
		if (accept_take(rq, accept_parse(part), discovery))
			return 0;
	return err_set(e, ERR_NOT_ACCEPTABLE,
		"only the following media types are accepted: application/json, application/yaml%s",
		rq->res && rq->res->custom ? "" : ", application/vnd.kubernetes.protobuf");
}

int media_of_body(struct rq *rq, enum media *ret, struct err *e)
{
	struct str type;

	str_cut(rq->content_type, ';', &type);
	type = str_trim(type);
	if (media_known(type, ret))
		return 0;
	return err_set(e, ERR_MEDIA_TYPE,
		"the body of the request was in an unknown format - accepted media types include: application/json, "
		"application/yaml, application/vnd.kubernetes.protobuf");
}
