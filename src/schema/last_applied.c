/* Objects on their way from client-side to server-side apply. kubectl's client side keeps what it applied in an
 * annotation: to the manager "kubectl" no field that still is as it stands there is another's (k8s.io/apimachinery,
 * managedfields: lastAppliedManager, lastAppliedUpdater). */
#include "base/buf.h"
#include "schema/fieldset.h"

#define LAST_APPLIED "kubectl.kubernetes.io/last-applied-configuration"
#define ANNOTATIONS_MAX ((size_t)256 << 10)

struct field_set *last_applied_fields(struct arena *a, const struct managed_write *w, struct val live)
{
	struct str text = val_str(val_get(val_path(live, "metadata.annotations"), LAST_APPLIED));
	struct node *then, *now;
	struct doc *d = NULL;
	struct field_set *s;
	struct fs_diff diff;

	if (!text.n || doc_parse(text, &d, NULL))
		return NULL;
	doc_hold(a, d);
	then = node_from(a, doc_root(d));
	if (!val_is(val_get(doc_root(d), "apiVersion"), arena_cstr(a, w->api_version)) ||
		typed_misfits(a, w->type, then))
		return NULL;
	now = node_from(a, live);
	s = typed_fields(a, w->type, then);
	diff = typed_compare(a, w->type, then, now);
	s = fs_difference(a, s, diff.modified);
	return fs_difference(a, s, diff.removed);
}

static size_t bytes_of(struct node *map)
{
	size_t n = 0;

	for (size_t i = 0; i < node_len(map); i++)
		n += node_key_at(map, i).n + node_text_str(node_get(map, node_key_at(map, i))).n;
	return n;
}

static int key_cmp(const void *x, const void *y)
{
	return str_cmp(*(const struct str *)x, *(const struct str *)y);
}

/* As Go marshals maps: in the order of their keys. */
static struct node *sorted(struct arena *a, struct node *n)
{
	bool map = node_kind(n) == VAL_MAP;
	size_t len = node_len(n);
	struct str *keys;
	struct node *out;

	if (!map && node_kind(n) != VAL_LIST)
		return n;
	out = map ? node_map(a) : node_list(a);
	keys = ARENA_ARRAY(a, struct str, len + 1);
	for (size_t i = 0; i < len; i++) {
		if (map)
			keys[i] = node_key_at(n, i);
		else
			node_add(out, sorted(a, node_at(n, i)));
	}
	if (!map)
		return out;
	qsort(keys, len, sizeof(*keys), key_cmp);
	for (size_t i = 0; i < len; i++)
		node_set(out, keys[i], sorted(a, node_get(n, keys[i])));
	return out;
}

/* Go's JSON goes into a script of a page unharmed. In JSON these stand in strings only. */
static void write_escaped(struct str json, struct buf *out)
{
	for (size_t i = 0; i < json.n; i++) {
		struct str rest = str_sub(json, i, json.n);

		if (strchr("<>&", json.p[i])) {
			buf_printf(out, "\\u%04x", (unsigned)json.p[i]);
		} else if (str_starts(rest, STR("\xe2\x80\xa8")) || str_starts(rest, STR("\xe2\x80\xa9"))) {
			buf_printf(out, "\\u202%d", rest.p[2] == '\xa8' ? 8 : 9);
			i += 2;
		} else {
			buf_byte(out, json.p[i]);
		}
	}
}

void last_applied_refresh(struct arena *a, struct val applied, struct node *object)
{
	struct node *annotations = node_path(object, "metadata.annotations"), *config;
	auto_buf struct buf json = BUF_INIT, text = BUF_INIT;

	if (!node_text_str(node_getc(annotations, LAST_APPLIED)).n)
		return;
	config = node_from(a, applied);
	node_delc(node_path(config, "metadata.annotations"), LAST_APPLIED);
	node_write(sorted(a, config), &json);
	write_escaped(buf_view(&json), &text);
	buf_c(&text, "\n"); /* as kubectl's */
	node_setc(annotations, LAST_APPLIED, node_str(a, buf_view(&text)));
	if (bytes_of(annotations) > ANNOTATIONS_MAX)
		node_delc(annotations, LAST_APPLIED);
}
