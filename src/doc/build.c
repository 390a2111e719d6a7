/* The builder: lays text, index and decoded copies down, then packs them into one allocation. */
#include "doc/doc_internal.h"

void build_init(struct build *b, size_t text_guess)
{
	*b = (struct build){ 0 };
	b->text_cap = text_guess + 64;
	b->text = xmalloc(b->text_cap);
	b->cap = (uint32_t)(text_guess / 24 + 8);
	b->nodes = xmalloc(b->cap * sizeof(*b->nodes));
}

void build_fini(struct build *b)
{
	free(b->text);
	free(b->extra);
	free(b->nodes);
	*b = (struct build){ 0 };
}

void build_text_room(struct build *b, size_t n)
{
	if (b->text_cap - b->text_n >= n)
		return;
	while (b->text_cap - b->text_n < n)
		b->text_cap += b->text_cap / 2 + 256;
	PRE(b->text_cap < UINT32_MAX); /* offsets are 32 bits; callers keep input below DOC_TEXT_MAX */
	b->text = xrealloc(b->text, b->text_cap, 1);
}

void build_bytes(struct build *b, const char *p, size_t n)
{
	if (b->text_cap - b->text_n < n)
		build_text_room(b, n);
	if (n)
		memcpy(b->text + b->text_n, p, n);
	b->text_n += n;
}

void build_grow_nodes(struct build *b)
{
	b->cap += b->cap / 2 + 8;
	b->nodes = xrealloc(b->nodes, b->cap, sizeof(*b->nodes));
}

static size_t extra_room(struct build *b, size_t n)
{
	size_t at = b->extra_n;

	if (b->extra_cap - b->extra_n < n) {
		b->extra_cap += MAX(b->extra_cap / 2, n + 64);
		PRE(b->extra_cap < UINT32_MAX);
		b->extra = xrealloc(b->extra, b->extra_cap, 1);
	}
	b->extra_n += n;
	return at;
}

/* A record: a number, then bytes. */
static uint32_t extra_record(struct build *b, uint32_t head, struct str s)
{
	size_t at = extra_room(b, 4 + s.n);

	memcpy(b->extra + at, &head, 4);
	if (s.n)
		memcpy(b->extra + at + 4, s.p, s.n);
	return (uint32_t)at;
}

uint32_t build_node(struct build *b, enum val_kind kind, size_t value_at, size_t len)
{
	uint32_t at = b->n;

	if (b->n == b->cap)
		build_grow_nodes(b);
	b->nodes[b->n++] = (struct dnode){
		.pos = b->key_bits ? b->key_pos : (uint32_t)value_at,
		.bits = b->key_bits | kind,
		.len = (uint32_t)len,
	};
	b->key_bits = 0;
	return at;
}

void build_key(struct build *b, struct str key)
{
	if (json_needs_escape(key)) {
		build_key_escaped(b, key, STR_NULL);
		return;
	}
	PRE(key.n <= DN_KEY_MAX);
	build_text_room(b, key.n + 3);
	b->text[b->text_n++] = '"';
	b->key_pos = (uint32_t)b->text_n;
	b->key_bits = (uint32_t)(key.n << 8) | DN_HAS_KEY;
	if (key.n)
		memcpy(b->text + b->text_n, key.p, key.n);
	b->text_n += key.n;
	b->text[b->text_n++] = '"';
	b->text[b->text_n++] = ':';
}

void build_key_escaped(struct build *b, struct str decoded, struct str raw)
{
	PRE(decoded.n <= DN_KEY_MAX);
	build_byte(b, '"');
	if (raw.p)
		build_bytes(b, raw.p, raw.n);
	else
		json_escape(b, decoded);
	build_bytes(b, "\":", 2);
	b->key_pos = extra_record(b, (uint32_t)b->text_n, decoded);
	b->key_bits = (uint32_t)(decoded.n << 8) | DN_HAS_KEY | DN_KEY_ESC;
}

void build_str(struct build *b, struct str s)
{
	size_t from = b->text_n;

	if (json_needs_escape(s)) {
		build_str_escaped(b, s, STR_NULL);
		return;
	}
	build_text_room(b, s.n + 2);
	b->text[b->text_n++] = '"';
	if (s.n)
		memcpy(b->text + b->text_n, s.p, s.n);
	b->text_n += s.n;
	b->text[b->text_n++] = '"';
	build_node(b, VAL_STR, from, s.n + 2);
}

void build_str_escaped(struct build *b, struct str decoded, struct str raw)
{
	size_t from = b->text_n;
	uint32_t at;

	build_byte(b, '"');
	if (raw.p)
		build_bytes(b, raw.p, raw.n);
	else
		json_escape(b, decoded);
	build_byte(b, '"');
	at = build_node(b, VAL_STR, from, b->text_n - from);
	b->nodes[at].aux = extra_record(b, (uint32_t)decoded.n, decoded);
	b->nodes[at].bits |= DN_ESC;
}

void build_scalar(struct build *b, enum val_kind kind, struct str text)
{
	size_t from = b->text_n;

	build_bytes(b, text.p, text.n);
	build_node(b, kind, from, text.n);
}

uint32_t build_open(struct build *b, enum val_kind kind)
{
	uint32_t at = build_node(b, kind, b->text_n, 0);

	build_byte(b, kind == VAL_MAP ? '{' : '[');
	return at;
}

void build_close(struct build *b, uint32_t node, uint32_t children)
{
	struct dnode *n = &b->nodes[node];

	build_byte(b, dn_kind(n) == VAL_MAP ? '}' : ']');
	n->len = (uint32_t)b->text_n - dn_value_at(b->extra, n);
	n->aux = b->n - node;
	if (n->aux == children + 1)
		n->bits |= DN_FLAT;
}

/* ---- copying from another doc ---------------------------------------------------------------- */

/* The slice holds no slot: text goes over in one piece, then each node's offsets move by the same distance. */
static void copy_slice(struct build *b, const struct doc *d, uint32_t at)
{
	struct dnode root = dn_at(d, at);
	uint32_t count = dn_skip(&root), old_at = dn_value_at(d->extra, &root), new_at = (uint32_t)b->text_n;
	uint32_t shift = new_at - old_at; /* wraps on purpose */
	uint32_t first;

	build_bytes(b, d->text + old_at, root.len);
	first = build_node(b, dn_kind(&root), new_at, root.len);
	b->nodes[first].bits |= root.bits & (DN_ESC | DN_FLAT);
	b->nodes[first].aux = root.aux;
	while (b->cap - b->n < count)
		build_grow_nodes(b);
	for (uint32_t i = 0; i < count; i++) {
		struct dnode from = dn_at(d, at + i), *to = &b->nodes[first + i];

		if (i > 0) {
			*to = from;
			if (to->bits & DN_KEY_ESC)
				to->pos = extra_record(
					b, load_u32(d->extra + to->pos) + shift, dn_key(d->text, d->extra, &from));
			else
				to->pos += shift;
		}
		if (dn_kind(to) == VAL_STR && to->bits & DN_ESC) {
			struct str s = dn_str(d->text, d->extra, &from);

			to->aux = extra_record(b, (uint32_t)s.n, s);
		}
	}
	b->n = first + count;
}

/* Recursion is as deep as a doc, DOC_DEPTH_MAX. */
void build_val_live(struct build *b, const struct doc *d, uint32_t at)
{
	struct dnode from = dn_at(d, at), n;
	uint32_t end = at + dn_skip(&from), to, children = 0;

	if (!dn_is_container(&from)) {
		copy_slice(b, d, at);
		return;
	}
	to = build_open(b, dn_kind(&from));
	for (uint32_t i = at + 1; i < end; i += dn_skip(&n)) {
		n = dn_at(d, i);
		if (n.bits & DN_DEAD)
			continue;
		if (children++)
			build_byte(b, ',');
		if (n.bits & DN_HAS_KEY)
			build_key(b, dn_key(d->text, d->extra, &n));
		build_val_live(b, d, i);
	}
	build_close(b, to, children);
}

void build_val(struct build *b, const struct doc *d, uint32_t at)
{
	if (d->slot && at < d->slot && d->slot < at + dn_skip_at(d, at))
		build_val_live(b, d, at);
	else
		copy_slice(b, d, at);
}

/* ---- the finished doc ------------------------------------------------------------------------ */

/* Whether every number of every node fits into 16 bits: key lengths are the only ones that text, extra and the count of
 * nodes do not bound. */
static bool fits_small(const struct build *b)
{
	uint32_t all = 0;

	if (b->text_n > DN_SMALL_MAX || b->extra_n > DN_SMALL_MAX || b->n > DN_SMALL_MAX)
		return false;
	for (uint32_t i = 0; i < b->n; i++)
		all |= b->nodes[i].bits;
	return all <= DN_SMALL_MAX;
}

static uint32_t item_at(const struct doc *d)
{
	static const struct str lead[] = { { "apiVersion", 10 }, { "kind", 4 } };
	uint32_t at = 1, pos = 1;

	if (val_kind(doc_root(d)) != VAL_MAP)
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(lead) && at < d->nodes_n; i++) {
		struct dnode n = dn_at(d, at);

		if (dn_is_container(&n) || !str_eq(dn_key(d->text, d->extra, &n), lead[i]))
			continue;
		pos = dn_value_at(d->extra, &n) + n.len;
		pos += d->text[pos] == ',';
		at++;
	}
	return pos;
}

struct doc *build_finish(struct build *b)
{
	bool small = fits_small(b);
	size_t nodes_bytes = b->n * (small ? sizeof(struct dnode_small) : sizeof(struct dnode));
	struct doc *d = xmalloc(sizeof(*d) + nodes_bytes + b->extra_n + b->text_n + 1);
	struct val meta;

	*d = (struct doc){
		.nodes_n = b->n,
		.text_n = (uint32_t)b->text_n,
		.extra_n = (uint32_t)b->extra_n,
		.slot = b->slot,
		.small = small,
	};
	atomic_init(&d->refs, 1);
	for (uint32_t i = 0; i < b->n; i++)
		dn_put(d, i, &b->nodes[i]);
	d->extra = (char *)d->index + nodes_bytes;
	if (b->extra_n)
		memcpy(d->extra, b->extra, b->extra_n);
	d->text = d->extra + b->extra_n;
	memcpy(d->text, b->text, b->text_n);
	d->text[b->text_n] = 0;
	build_fini(b);

	d->item = item_at(d);
	meta = val_get_str(doc_root(d), STR("metadata"));
	if (val_kind(meta) == VAL_MAP) {
		d->meta = meta.at;
		if (!str_i64(val_str(val_get_str(meta, STR("resourceVersion"))), &d->revision))
			d->revision = 0;
	}
	return d;
}
