/* What keeps a configuration from being applied: fields that its type does not declare, elements of a list without
 * their key, or there twice. Told as structured-merge-diff tells it; it looks into atomic lists and maps, too. */
#include "base/buf.h"
#include "base/map.h"
#include "schema/fieldset.h"

struct step { /* linked on the stack, printed only when something is wrong */
	const struct step *up;
	struct str elem; /* as in a field set, or i:0 */
};
struct misfits {
	struct arena *a;
	struct buf text; /* "\n  .spec.x: what is wrong" */
	size_t n;
};

static void walk(struct misfits *m, const struct schema_type *t, const struct schema_field *f, struct node *n,
	const struct step *at);

static void print_path(struct buf *b, const struct step *at)
{
	if (!at)
		return;
	print_path(b, at->up);
	fs_print(b, at->elem);
}

/* No more of them than a message holds. */
static void misfit(struct misfits *m, const struct step *at, const char *what)
{
	m->n++;
	if (m->text.n > ERR_MESSAGE_MAX)
		return;
	buf_c(&m->text, "\n  ");
	print_path(&m->text, at);
	buf_printf(&m->text, ": %s", what);
}

/* An object of which nothing is declared takes anything; what is read later prunes it. */
static void walk_entries(struct misfits *m, const struct schema_type *t, struct node *n, const struct step *at)
{
	bool open = t->kind == SCHEMA_OBJECT && !t->n_fields;

	for (size_t i = 0; i < node_len(n); i++) {
		const struct schema_field *f;
		const struct schema_type *type = typed_entry(t, node_key_at(n, i), &f);
		struct step here = { at, ARENA_JOIN(m->a, STR("f:"), node_key_at(n, i)) };

		if (type)
			walk(m, type, f, node_at(n, i), &here);
		else if (!open)
			misfit(m, &here, "field not declared in schema");
	}
}

static bool has_keys(struct misfits *m, const struct schema_type *t, const struct schema_field *f, struct node *item,
	size_t i, const struct step *at)
{
	for (size_t k = 0; f->list_keys[k]; k++) {
		if (typed_key(m->a, t->element, item, f->list_keys[k]))
			continue;
		misfit(m, at,
			arena_printf(m->a,
				"element %zu: associative list with keys has an element that omits key field \"%s\" (and doesn't have default value)",
				i, f->list_keys[k]));
		return false;
	}
	return true;
}

static void once(struct misfits *m, struct map *seen, struct str elem, const struct step *at)
{
	auto_buf struct buf b = BUF_INIT;

	if (!map_get(seen, elem)) {
		map_put(seen, elem, m);
		return;
	}
	fs_print(&b, elem);
	misfit(m, at, arena_printf(m->a, "duplicate entries for key %.*s", STR_ARG(buf_view(&b))));
}

static void walk_elements(struct misfits *m, const struct schema_type *t, const struct schema_field *f, struct node *n,
	const struct step *at)
{
	uint8_t list = f ? f->list : SCHEMA_LIST_ATOMIC;
	auto_(map_free) struct map *seen = list == SCHEMA_LIST_ATOMIC ? NULL : map_new(NULL);

	for (size_t i = 0; i < node_len(n); i++) {
		struct node *item = node_at(n, i);
		struct step here = { at, STR_NULL };

		if (list == SCHEMA_LIST_MAP && !has_keys(m, t, f, item, i, at))
			continue;
		here.elem = seen ? typed_item(m->a, t, f, item) : arena_strf(m->a, "i:%zu", i);
		if (seen)
			once(m, seen, here.elem, at);
		walk(m, t->element, t->element_field, item, &here);
	}
}

/* Values of a wrong kind are told when the configuration is read. */
static void walk(struct misfits *m, const struct schema_type *t, const struct schema_field *f, struct node *n,
	const struct step *at)
{
	if (t->kind == SCHEMA_LIST && node_kind(n) == VAL_LIST)
		walk_elements(m, t, f, n, at);
	if ((t->kind == SCHEMA_OBJECT || t->kind == SCHEMA_MAP) && node_kind(n) == VAL_MAP)
		walk_entries(m, t, n, at);
}

const char *typed_misfits(struct arena *a, const struct schema_type *t, struct node *n)
{
	struct misfits m = { .a = a, .text = BUF_INIT };
	const char *text = NULL;

	walk(&m, t, NULL, n, NULL);
	if (m.n == 1)
		text = arena_cstr(a, str_sub(buf_view(&m.text), 3, m.text.n));
	else if (m.n)
		text = arena_printf(a, "errors:%.*s", STR_ARG(buf_view(&m.text)));
	buf_fini(&m.text);
	return text;
}
