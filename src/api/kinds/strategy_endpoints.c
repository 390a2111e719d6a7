/* Endpoints and EndpointSlices on their way in. */
#include "api/api_internal.h"

#define HINTS_MAX 8
#define ENDPOINTS_MAX 1000
#define ADDRESSES_MAX 100
#define PORTS_MAX 20000

static void app_protocol_validate(struct rq *rq, struct val port, const char *at, struct err *e)
{
	struct val app = val_get(port, "appProtocol");

	if (val_has(app))
		validate_qualified(e, rq_f(rq, "%s.appProtocol", at), val_str(app));
}

/* ---- Endpoints ------------------------------------------------------------------------------- */

static void addresses_validate(struct rq *rq, struct val subset, const char *field, const char *at, struct err *e)
{
	for (struct val_iter it = val_iter(val_get(subset, field)); val_next(&it);) {
		char *here = rq_f(rq, "%s.%s[%zu]", at, field, it.i);
		struct val node = val_get(it.val, "nodeName");
		struct str host = val_str(val_get(it.val, "hostname"));

		if (host.n)
			validate_name(e, rq_f(rq, "%s.hostname", here), host, NAME_LABEL);
		if (val_has(node))
			validate_name(e, rq_f(rq, "%s.nodeName", here), val_str(node), NAME_SUBDOMAIN);
		validate_endpoint_ip(e, rq_f(rq, "%s.ip", here), val_str(val_get(it.val, "ip")));
	}
}

static void ports_validate(struct rq *rq, struct val ports, const char *at, struct err *e)
{
	for (struct val_iter it = val_iter(ports); val_next(&it);) {
		struct str name = val_str(val_get(it.val, "name"));
		char *here = rq_f(rq, "%s.ports[%zu]", at, it.i), *name_at = rq_f(rq, "%s.name", here);

		if (name.n)
			validate_name(e, name_at, name, NAME_LABEL);
		else if (val_len(ports) > 1)
			v_required(e, name_at, "");
		app_protocol_validate(rq, it.val, here, e);
	}
}

static void endpoints_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	(void)old;
	for (struct val_iter it = val_iter(val_get(o, "subsets")); val_next(&it);) {
		char *at = rq_f(rq, "subsets[%zu]", it.i);

		if (!val_len(val_get(it.val, "addresses")) && !val_len(val_get(it.val, "notReadyAddresses")))
			v_required(e, at, "must specify `addresses` or `notReadyAddresses`");
		addresses_validate(rq, it.val, "addresses", at, e);
		addresses_validate(rq, it.val, "notReadyAddresses", at, e);
		ports_validate(rq, val_get(it.val, "ports"), at, e);
	}
}

/* ---- EndpointSlices -------------------------------------------------------------------------- */

static void address_validate(const char *at, struct str address, struct str type, struct err *e)
{
	bool v6 = str_has(address, STR(":"));
	struct err none;

	err_init(&none);
	if (str_is(type, "FQDN")) {
		validate_name(e, at, address, NAME_SUBDOMAIN);
	} else if (!validate_ip(&none, at, address) || v6 != str_is(type, "IPv6")) {
		v_invalid_str(e, at, address,
			str_is(type, "IPv6") ? "must be a valid IPv6 address" : "must be a valid IPv4 address");
	} else {
		validate_endpoint_ip(e, at, address);
	}
}

static void hint_names_validate(struct rq *rq, struct val list, const char *at, bool labels, struct err *e)
{
	if (val_len(list) > HINTS_MAX) {
		v_too_many(e, at, val_len(list), HINTS_MAX);
		return;
	}
	for (size_t i = 0; i < val_len(list); i++) {
		struct str name = val_str(val_get(val_at(list, i), "name"));
		char *name_at = rq_f(rq, "%s[%zu].name", at, i);

		for (size_t k = 0; k < i; k++)
			if (str_eq(val_str(val_get(val_at(list, k), "name")), name)) {
				v_duplicate(e, name_at, name);
				break;
			}
		if (labels)
			validate_label_value(e, name_at, name);
		else
			validate_name(e, name_at, name, NAME_SUBDOMAIN);
	}
}

static void endpoint_validate(struct rq *rq, struct val endpoint, struct str type, const char *at, struct err *e)
{
	struct val addresses = val_get(endpoint, "addresses"), host = val_get(endpoint, "hostname"),
		   node = val_get(endpoint, "nodeName");
	char *here = rq_f(rq, "%s.addresses", at);

	if (!val_len(addresses))
		v_required(e, here, "must contain at least 1 address");
	else if (val_len(addresses) > ADDRESSES_MAX)
		v_too_many(e, here, val_len(addresses), ADDRESSES_MAX);
	for (struct val_iter it = val_iter(addresses); type.n && val_next(&it);)
		address_validate(rq_f(rq, "%s[%zu]", here, it.i), val_str(it.val), type, e);
	if (val_has(node))
		validate_name(e, rq_f(rq, "%s.nodeName", at), val_str(node), NAME_SUBDOMAIN);
	if (val_has(host))
		validate_name(e, rq_f(rq, "%s.hostname", at), val_str(host), NAME_LABEL);
	hint_names_validate(rq, val_path(endpoint, "hints.forZones"), rq_f(rq, "%s.hints.forZones", at), true, e);
	hint_names_validate(rq, val_path(endpoint, "hints.forNodes"), rq_f(rq, "%s.hints.forNodes", at), false, e);
}

static void slice_ports_validate(struct rq *rq, struct val ports, struct err *e)
{
	if (val_len(ports) > PORTS_MAX) {
		v_too_many(e, "ports", val_len(ports), PORTS_MAX);
		return;
	}
	for (size_t i = 0; i < val_len(ports); i++) {
		struct str name = val_str(val_get(val_at(ports, i), "name"));
		char *at = rq_f(rq, "ports[%zu]", i), *name_at = rq_f(rq, "%s.name", at);

		if (name.n)
			validate_name(e, name_at, name, NAME_LABEL);
		for (size_t k = 0; k < i; k++)
			if (str_eq(val_str(val_get(val_at(ports, k), "name")), name)) {
				v_duplicate(e, name_at, name);
				break;
			}
		app_protocol_validate(rq, val_at(ports, i), at, e);
	}
}

static void slice_validate(struct rq *rq, struct val o, struct val old, struct err *e)
{
	static const char *const types[] = { "FQDN", "IPv4", "IPv6", NULL };
	struct val list = val_get(o, "endpoints");
	struct str type = val_str(val_get(o, "addressType"));

	slice_ports_validate(rq, val_get(o, "ports"), e);
	if (val_has(old) && val_equal(list, val_get(old, "endpoints")))
		return; /* what older rules let in may stay */
	if (!is_one_of(types, type))
		type = STR_NULL; /* the schema says so */
	if (val_len(list) > ENDPOINTS_MAX) {
		v_too_many(e, "endpoints", val_len(list), ENDPOINTS_MAX);
		return;
	}
	for (struct val_iter it = val_iter(list); val_next(&it);)
		endpoint_validate(rq, it.val, type, rq_f(rq, "endpoints[%zu]", it.i), e);
}

const struct strategy strategy_endpoints = { .validate = endpoints_validate, .create_on_update = true };
const struct strategy strategy_slice = { .validate = slice_validate };
