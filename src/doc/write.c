/* From the mutable tree to text and published documents. */
#include "doc/doc_internal.h"

static void write_node(struct build *b, struct node *n, size_t depth);

static void write_scalar(struct build *b, struct node *n)
{
	char digits[FLOAT_TEXT_MAX];
	struct str s;

	switch (node_kind(n)) {
	case VAL_BOOL:
		build_scalar(b, VAL_BOOL, n->b ? STR("true") : STR("false"));
		break;
	case VAL_INT:
		build_scalar(b, VAL_INT, int_text(n->i, digits));
		break;
	case VAL_FLOAT:
		s = float_text(n->f, digits);
		build_scalar(b, memchr(s.p, '.', s.n) || memchr(s.p, 'e', s.n) ? VAL_FLOAT : VAL_INT, s);
		break;
	case VAL_STR:
		build_str(b, n->s);
		break;
	default:
		build_scalar(b, VAL_NULL, STR("null"));
	}
}

static void write_entry(struct build *b, struct node *parent, const struct entry *en, uint32_t *children, size_t depth)
{
	if ((*children)++)
		build_byte(b, ',');
	if (parent->kind == VAL_MAP)
		build_key(b, str_n(en->key, en->key_n));
	if (en->node)
		write_node(b, en->node, depth + 1);
	else
		build_val(b, parent->d, en->at);
}

static void write_node(struct build *b, struct node *n, size_t depth)
{
	uint32_t at, children = 0;

	PRE(depth <= DOC_DEPTH_MAX);
	if (n->view) {
		build_val(b, n->d, n->at);
		return;
	}
	if (n->kind < VAL_LIST) {
		write_scalar(b, n);
		return;
	}
	at = build_open(b, node_kind(n));
	for (uint32_t i = 0; i < n->n; i++)
		if (!entry_gone(&n->e[i]))
			write_entry(b, n, &n->e[i], &children, depth);
	build_close(b, at, children);
}

static size_t text_guess(struct node *n)
{
	return (n->d ? n->d->text_n : 256) + 256;
}

void node_write(struct node *n, struct buf *out)
{
	struct build b;

	build_init(&b, text_guess(n));
	write_node(&b, n, 0);
	buf_add(out, b.text, b.text_n);
	build_fini(&b);
}

/* metadata with room for a revision of any length; the name of the key has no escapes, so its value is text's end. */
static void write_versioned_meta(struct build *b, struct node *meta, size_t depth)
{
	static const char blanks[DOC_SLOT_MAX - 2] = "                    ";
	uint32_t at = build_open(b, VAL_MAP), children = 0;
	bool done = false;

	node_expand(meta);
	for (uint32_t i = 0; i <= meta->n; i++) {
		const struct entry *en = i < meta->n ? &meta->e[i] : NULL;
		bool here = en ? str_is(str_n(en->key, en->key_n), "resourceVersion") : !done;

		if (en && entry_gone(en))
			continue;
		if (!here) {
			if (en)
				write_entry(b, meta, en, &children, depth);
			continue;
		}
		if (children++)
			build_byte(b, ',');
		build_key(b, STR("resourceVersion"));
		b->slot = b->n;
		build_str(b, STR(""));
		build_bytes(b, blanks, sizeof(blanks));
		done = true;
	}
	build_close(b, at, children);
}

/* A root map: apiVersion, kind, then the others in their order. */
static void write_root(struct build *b, struct node *n, bool versioned)
{
	static const struct str lead[] = { { "apiVersion", 10 }, { "kind", 4 } };
	uint32_t at = build_open(b, VAL_MAP), children = 0;

	for (size_t pass = 0; pass <= ARRAY_LEN(lead); pass++) {
		for (uint32_t i = 0; i < n->n; i++) {
			const struct entry *en = &n->e[i];
			struct str key = str_n(en->key, en->key_n);
			size_t rank = str_eq(key, lead[0]) ? 0 : str_eq(key, lead[1]) ? 1 : 2;

			if (rank != pass || entry_gone(en))
				continue;
			if (!versioned || !str_is(key, "metadata")) {
				write_entry(b, n, en, &children, 0);
				continue;
			}
			if (children++)
				build_byte(b, ',');
			build_key(b, key);
			write_versioned_meta(b, en->node, 1);
		}
	}
	build_close(b, at, children);
}

/* A view whose text can be taken as it is. */
static bool begins_well(const struct node *n)
{
	struct val api = val_get(node_val(n), "apiVersion"), kind = val_get(node_val(n), "kind");
	uint32_t next = n->at + 1;

	if (api.d && api.at != next)
		return false;
	if (api.d)
		next += dn_skip_at(n->d, api.at);
	return !kind.d || kind.at == next;
}

struct doc *node_publish(struct node *n)
{
	struct build b;

	build_init(&b, text_guess(n));
	if (n->kind != VAL_MAP || (n->view && begins_well(n))) {
		write_node(&b, n, 0);
	} else {
		node_expand(n);
		write_root(&b, n, false);
	}
	return build_finish(&b);
}

struct doc *node_publish_versioned(struct node *n)
{
	struct build b;

	PRE(n->kind == VAL_MAP);
	node_need_map(n, "metadata");
	build_init(&b, text_guess(n));
	write_root(&b, n, true);
	return build_finish(&b);
}
