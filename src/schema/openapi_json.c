/* OpenAPI documents as JSON. */
#include "schema/openapi.h"

/* True: there is one. */
static bool paths(const struct oa *o, const char *group, const char *version, struct buf *out)
{
	char path[512];
	bool any = false;

	for (size_t i = 0; i < o->n; i++) {
		if (group && (strcmp(o->r[i].group, group) != 0 || strcmp(o->r[i].version, version) != 0))
			continue;
		for (int p = 0; p < OA_PATHS; p++) {
			if (!oa_path_name(&o->r[i], (enum oa_path)p, path, sizeof(path)))
				continue;
			buf_printf(out, "%s\"%s\":", any ? "," : "", path);
			any = true;
			oa_path_item(o, &o->r[i], (enum oa_path)p, out);
		}
	}
	return any;
}

static bool definitions(const struct oa *o, struct buf *out)
{
	for (size_t i = 0; i < o->n_types; i++) {
		buf_printf(out, "%s\"%s\":", i ? "," : "", o->types[i]->name);
		oa_definition(o, o->types[i], out);
	}
	return o->n_types > 0;
}

static void head(const char *word, const char *number, const char *server_version, struct buf *out)
{
	buf_printf(out, "{\"%s\":\"%s\",\"info\":{\"title\":\"Kubernetes\",\"version\":", word, number);
	oa_string(out, server_version);
	buf_c(out, "},");
}

/* In front of a brace that closes what was written before them. */
static void pieces(const struct oa_pieces *p, bool *any, struct buf *out)
{
	for (size_t i = 0; i < p->n; i++) {
		oa_key(out, any, p->v[i].name);
		buf_str(out, p->v[i].json);
	}
}

int openapi_v2_json(const struct openapi_source *s, struct buf *out)
{
	struct oa_others others;
	struct oa o;

	oa_init(&o, s->r, s->n, false, NULL, NULL);
	oa_others_init(&others, &o, s->others, s->n_others);
	head("swagger", "2.0", s->server_version, out);
	buf_c(out, "\"paths\":{");
	bool any = paths(&o, NULL, NULL, out);
	pieces(&others.paths, &any, out);
	buf_c(out, "},\"definitions\":{");
	any = definitions(&o, out);
	pieces(&others.definitions, &any, out);
	buf_c(out,
		"},\"securityDefinitions\":{\"BearerToken\":{\"description\":\"Bearer Token "
		"authentication\",\"type\":\"apiKey\","
		"\"name\":\"authorization\",\"in\":\"header\"}},\"security\":[{\"BearerToken\":[]}]}");
	oa_others_fini(&others);
	oa_fini(&o);
	return out->full ? -ERR_TOO_LARGE : 0;
}

int openapi_v3_json(const struct openapi_resource *r, size_t n, const char *group, const char *version,
	const char *server_version, struct buf *out)
{
	struct oa o;

	oa_init(&o, r, n, true, group, version);
	head("openapi", "3.0.0", server_version, out);
	buf_c(out, "\"paths\":{");
	paths(&o, group, version, out);
	buf_c(out, "},\"components\":{\"schemas\":{");
	definitions(&o, out);
	buf_c(out,
		"},\"securitySchemes\":{\"BearerToken\":{\"description\":\"Bearer Token "
		"authentication\",\"type\":\"apiKey\","
		"\"name\":\"authorization\",\"in\":\"header\"}}}}");
	oa_fini(&o);
	return out->full ? -ERR_TOO_LARGE : 0;
}
