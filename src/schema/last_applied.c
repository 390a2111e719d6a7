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

void last_applied_refresh(struct arena *a, struct val applied, struct node *object)
{
	struct node *annotations = node_path(object, "metadata.annotations"), *config;
	struct buf text = BUF_INIT;

	if (!node_text_str(node_getc(annotations, LAST_APPLIED)).n)
		return;
	config = node_from(a, applied);
	node_delc(node_path(config, "metadata.annotations"), LAST_APPLIED);
	node_write(config, &text);
	buf_c(&text, "\n"); /* as kubectl's */
	node_setc(annotations, LAST_APPLIED, node_str(a, buf_view(&text)));
	buf_fini(&text);
	if (bytes_of(annotations) > ANNOTATIONS_MAX)
		node_delc(annotations, LAST_APPLIED);
}
