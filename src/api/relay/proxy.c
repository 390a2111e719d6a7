/* The proxy sub-resource: a request handed on to a pod, a service's endpoint or a node. */
#include "api/relay/relay.h"
#include <arpa/inet.h>
#include <stdio.h>
#define LOG_MODULE "relay"

/* "name", "name:port", "scheme:name:port"; scheme and port may be empty. */
static void split_name(struct str s, struct str *scheme, struct str *name, struct str *port)
{
	struct str a, b, rest = str_cut(s, ':', &a);

	*scheme = *port = STR_NULL;
	*name = a;
	if (!rest.p)
		return;
	struct str last = str_cut(rest, ':', &b);
	if (last.p) {
		*scheme = a;
		*name = b;
		*port = last;
	} else {
		*port = b;
	}
}

static int pod_port(struct doc *pod, struct str port, int64_t *ret)
{
	if (str_i64(port, ret))
		return 0;
	for (struct val_iter c = val_iter(doc_get(pod, "spec.containers")); val_next(&c);)
		for (struct val_iter p = val_iter(val_get(c.val, "ports")); val_next(&p);)
			if (!port.n || str_eq(val_str(val_get(p.val, "name")), port)) {
				*ret = val_int(val_get(p.val, "containerPort"), 0);
				return 0;
			}
	*ret = 80;
	return port.n ? -1 : 0;
}

static int to_pod(struct rq *rq, struct str name, struct str port, struct str *host, int64_t *ret_port, struct err *e)
{
	struct doc *pod = api_get(rq->api, "", "pods", rq->ns, name);
	int rc = 0;

	if (!pod)
		return err_set(e, ERR_NOT_FOUND, "pods \"%.*s\" not found", STR_ARG(name));
	*host = arena_str(rq->a, doc_str(pod, "status.podIP"));
	if (pod_port(pod, port, ret_port) < 0)
		rc = err_set(
			e, ERR_BAD_REQUEST, "pod \"%.*s\" has no port named \"%.*s\"", STR_ARG(name), STR_ARG(port));
	else if (!host->n)
		rc = err_set(e, ERR_UNAVAILABLE, "pod \"%.*s\" has no address yet", STR_ARG(name));
	doc_unref(pod);
	return rc;
}

/* Whether an address is the pod's that it names. Who writes Endpoints by hand must not lead our connections where he likes. */
static bool is_of_pod(struct api *api, struct str ns, struct val address)
{
	struct val ref = val_get(address, "targetRef");
	struct str ip = val_str(val_get(address, "ip"));

	if (!val_has(ref) || !str_eq(val_str(val_get(ref, "namespace")), ns))
		return false;
	auto_(doc_unref) struct doc *pod = api_get(api, "", "pods", ns, val_str(val_get(ref, "name")));
	return pod &&
		(str_eq(doc_str(pod, "status.podIP"), ip) ||
			val_has(val_find(doc_get(pod, "status.podIPs"), "ip", ip)));
}

/* Some address of the list, of a pod alone or any; empty: none. */
static struct str choose_address(struct api *api, struct str ns, struct val list, bool of_pods)
{
	size_t n = val_len(list), first = n ? rand_below(n) : 0;

	for (size_t i = 0; i < n; i++) {
		struct val address = val_at(list, (first + i) % n);

		if (!of_pods || is_of_pod(api, ns, address))
			return val_str(val_get(address, "ip"));
	}
	return STR_NULL;
}

/* An address behind the port of that name. */
static void find_endpoint(struct api *api, struct arena *a, struct str ns, struct str name, struct str port,
	bool of_pods, struct str *host, int64_t *ret_port)
{
	auto_(doc_unref) struct doc *ep = api_get(api, "", "endpoints", ns, name);

	for (struct val_iter s = val_iter(ep ? doc_get(ep, "subsets") : VAL_NONE); val_next(&s);)
		for (struct val_iter p = val_iter(val_get(s.val, "ports")); val_next(&p);) {
			struct str ip = STR_NULL;

			if (str_eq(val_str(val_get(p.val, "name")), port))
				ip = choose_address(api, ns, val_get(s.val, "addresses"), of_pods);
			if (!ip.n)
				continue;
			*host = arena_str(a, ip);
			*ret_port = val_int(val_get(p.val, "port"), 0);
		}
}

int relay_service(struct api *api, struct arena *a, struct str ns, struct str name, struct str port, bool of_pods,
	struct str *host, int64_t *ret_port, struct err *e)
{
	auto_(doc_unref) struct doc *svc = api_get(api, "", "services", ns, name);
	struct str port_name = STR_NULL;
	int64_t number;

	if (!svc)
		return err_set(e, ERR_NOT_FOUND, "services \"%.*s\" not found", STR_ARG(name));
	bool by_number = str_i64(port, &number), found = false;
	for (struct val_iter p = val_iter(doc_get(svc, "spec.ports")); !found && val_next(&p);) {
		struct str n = val_str(val_get(p.val, "name"));
		found = !port.n || (by_number ? val_int(val_get(p.val, "port"), 0) == number : str_eq(n, port));
		port_name = found ? n : port_name;
	}
	if (!found)
		return err_set(e, ERR_UNAVAILABLE, "no service port \"%.*s\" found for service \"%.*s\"", STR_ARG(port),
			STR_ARG(name));
	if (by_number && !of_pods && val_is(doc_get(svc, "spec.type"), "ExternalName")) {
		*host = arena_str(a, doc_str(svc, "spec.externalName"));
		*ret_port = number;
	}
	if (!host->n)
		find_endpoint(api, a, ns, name, port_name, of_pods, host, ret_port);
	return host->n ? 0 : err_set(e, ERR_UNAVAILABLE, "no endpoints available for service \"%.*s\"", STR_ARG(name));
}

static bool is_global(uint32_t v4)
{
	return v4 && v4 != INADDR_BROADCAST && !IN_MULTICAST(v4) && v4 >> 24 != IN_LOOPBACKNET && v4 >> 16 != 0xa9fe;
}

int relay_check_address(struct str host, struct err *e)
{
	char text[INET6_ADDRSTRLEN + 1];
	struct in_addr v4;
	struct in6_addr v6;
	bool ok = false;

	snprintf(text, sizeof(text), "%.*s", STR_ARG(host));
	if (inet_pton(AF_INET, text, &v4) == 1)
		ok = is_global(ntohl(v4.s_addr));
	else if (inet_pton(AF_INET6, text, &v6) == 1 && IN6_IS_ADDR_V4MAPPED(&v6))
		ok = is_global(ntohl(v6.s6_addr32[3]));
	else if (inet_pton(AF_INET6, text, &v6) == 1)
		ok = !IN6_IS_ADDR_UNSPECIFIED(&v6) && !IN6_IS_ADDR_LOOPBACK(&v6) && !IN6_IS_ADDR_LINKLOCAL(&v6) &&
			!IN6_IS_ADDR_MULTICAST(&v6);
	return ok ? 0 : err_set(e, ERR_BAD_REQUEST, "address not allowed");
}

static int target(struct rq *rq, struct http_client **client, struct err *e)
{
	struct str scheme, name, port, host = STR_NULL;
	int64_t number = 80;
	int rc;

	split_name(rq->name, &scheme, &name, &port);
	if (!strcmp(rq->res->def.resource, "nodes"))
		return relay_node_at(rq, name, scheme, port, client, e);
	rc = !strcmp(rq->res->def.resource, "pods") ?
		to_pod(rq, name, port, &host, &number, e) :
		relay_service(rq->api, rq->a, rq->ns, name, port, true, &host, &number, e);
	if (rc < 0 || (rc = relay_check_address(host, e)) < 0)
		return rc;
	return relay_client(rq->api->relays, str_is(scheme, "https") ? "https" : "http", host, number, client, e);
}

static bool hop_by_hop(struct str name)
{
	static const char *const names[] = { "connection", "keep-alive", "proxy-authenticate", "proxy-authorization",
		"te", "trailer", "transfer-encoding", "upgrade", "host", "authorization", "content-length", "date",
		"accept-encoding" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (str_is(name, names[i]))
			return true;
	return str_starts(name, STR("impersonate-"));
}

size_t relay_pass_headers(struct rq *rq, const struct http_header *from, size_t n, struct http_header *to)
{
	struct http_header *cookie = NULL;
	size_t k = 0;

	for (size_t i = 0; i < n; i++) {
		if (hop_by_hop(from[i].name))
			continue;
		if (str_is(from[i].name, "cookie") && cookie) { /* HTTP/2 may cut it in parts */
			cookie->value = arena_strf(rq->a, "%.*s; %.*s", STR_ARG(cookie->value), STR_ARG(from[i].value));
			continue;
		}
		if (str_is(from[i].name, "cookie"))
			cookie = &to[k];
		to[k++] = (struct http_header){ arena_str(rq->a, from[i].name),
			str_is(from[i].name, "sec-websocket-protocol") ? relay_without_token(rq, from[i].value) :
									 arena_str(rq->a, from[i].value) };
	}
	return k;
}

/* Relative links of a page mean what they say only below a slash. */
static void redirect_to_root(struct rq *rq)
{
	struct http_header h = { STR("location"),
		arena_strf(rq->a, "%.*s/%s%.*s", STR_ARG(rq->path), rq->query.n ? "?" : "", STR_ARG(rq->query)) };

	reply_bytes(rq, 301, NULL, &h, 1, STR_NULL);
}

void relay_proxy(struct rq *rq)
{
	struct http_client *client;
	struct err e;

	err_init(&e);
	struct str path = arena_strf(rq->a, "%s%.*s%s%.*s", rq->sub_path.n ? "" : "/", STR_ARG(rq->sub_path),
		rq->query.n ? "?" : "", STR_ARG(rq->query));
	if (target(rq, &client, &e) < 0) {
		reply_error(rq, &e);
		return;
	}
	bool upgrade = rq_header(rq, "upgrade").n && http_version(rq->http) == 1;
	if (!upgrade && !rq->sub_path.n && (str_is(rq->method, "GET") || str_is(rq->method, "HEAD"))) {
		redirect_to_root(rq);
		return;
	}
	const struct http_header *in;
	size_t n_in = http_headers(rq->http, &in);
	struct http_header *h = ARENA_ARRAY(rq->a, struct http_header, n_in + 1);
	struct relay_call call = { .client = client,
		.method = arena_cstr(rq->a, rq->method),
		.path = path,
		.headers = h,
		.n_headers = relay_pass_headers(rq, in, n_in, h),
		.body = rq->body };
	(upgrade ? relay_upgrade : relay_answer)(rq, &call);
}
