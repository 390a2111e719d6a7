/* OpenAPI documents as JSON. */
#include "schema/openapi.h"

static void paths(const struct oa *o, const char *group, const char *version, struct buf *out)
{
	char path[512];
	bool any = false;

	buf_c(out, "\"paths\":{");
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
	buf_byte(out, '}');
}

static void definitions(const struct oa *o, struct buf *out)
{
	for (size_t i = 0; i < o->n_types; i++) {
		buf_printf(out, "%s\"%s\":", i ? "," : "", o->types[i]->name);
		oa_definition(o, o->types[i], out);
	}
}

static void head(const char *word, const char *number, const char *server_version, struct buf *out)
{
	buf_printf(out, "{\"%s\":\"%s\",\"info\":{\"title\":\"Kubernetes\",\"version\":", word, number);
	oa_string(out, server_version);
	buf_c(out, "},");
}

int openapi_v2_json(const struct openapi_resource *r, size_t n, const char *server_version, struct buf *out)
{
	struct oa o;

	oa_init(&o, r, n, false, NULL, NULL);
	head("swagger", "2.0", server_version, out);
	paths(&o, NULL, NULL, out);
	buf_c(out, ",\"definitions\":{");
	definitions(&o, out);
	buf_c(out,
		"},\"securityDefinitions\":{\"BearerToken\":{\"description\":\"Bearer Token "
		"authentication\",\"type\":\"apiKey\","
		"\"name\":\"authorization\",\"in\":\"header\"}},\"security\":[{\"BearerToken\":[]}]}");
	oa_fini(&o);
	return out->full ? -ERR_TOO_LARGE : 0;
}

int openapi_v3_json(const struct openapi_resource *r, size_t n, const char *group, const char *version,
	const char *server_version, struct buf *out)
{
	struct oa o;

	oa_init(&o, r, n, true, group, version);
	head("openapi", "3.0.0", server_version, out);
	paths(&o, group, version, out);
	buf_c(out, ",\"components\":{\"schemas\":{");
	definitions(&o, out);
	buf_c(out,
		"},\"securitySchemes\":{\"BearerToken\":{\"description\":\"Bearer Token "
		"authentication\",\"type\":\"apiKey\","
		"\"name\":\"authorization\",\"in\":\"header\"}}}}");
	oa_fini(&o);
	return out->full ? -ERR_TOO_LARGE : 0;
}
