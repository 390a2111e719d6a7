/* What the files of src/doc share: how a document lies in memory, and the builder that lays it there.
 *
 * One allocation:
 *
 *     struct doc │ nodes, preorder │ extra: decoded copies │ JSON text │ NUL
 *
 * The builder works with nodes of 16 bytes. A finished doc whose offsets all fit in 16 bits keeps them in 8, and that
 * is nearly every object there is: dn_at() reads both.
 *
 * A node knows its key and its value by one offset: the text is compact, so the value of "key" starts two bytes after
 * the key's last one (`"key":value`). A list's element (and the root) has no key, its offset is the value's own.
 * Keys and strings with escapes have a decoded copy in extra. */
#pragma once
#include "doc/doc.h"
#include <stdatomic.h>

struct dnode {
	uint32_t pos;  /* first byte of the key in text; no key: of the value. DN_KEY_ESC: of a key record in extra */
	uint32_t bits; /* key length << 8, DN_ flags, enum val_kind */
	uint32_t len;  /* bytes of the value's text */
	uint32_t aux;  /* containers: nodes in this subtree, itself included. DN_ESC: a string record in extra */
};
struct dnode_small {
	uint16_t pos, bits, len, aux;
};
_Static_assert(sizeof(struct dnode) == 16 && sizeof(struct dnode_small) == 8, "the index of a value");
#define DN_SMALL_MAX UINT16_MAX

#define DN_KIND 0x07u
#define DN_HAS_KEY 0x08u
#define DN_KEY_ESC 0x10u /* extra at pos: uint32 offset of the value in text, then the decoded key */
#define DN_ESC 0x20u     /* strings. extra at aux: uint32 length, then the decoded bytes */
#define DN_FLAT 0x40u    /* containers: no child has children, so the i-th child is i + 1 nodes on */
#define DN_DEAD 0x80u    /* an earlier duplicate while parsing leniently; never in a finished doc */
#define DN_KEY_BITS (DN_HAS_KEY | DN_KEY_ESC)
#define DN_KEY_MAX 0xffffffu

/* metadata.resourceVersion of a versioned doc: two quotes and room for 20 digits; blanks follow the closing quote. */
#define DOC_SLOT_MAX 22

struct doc {
	atomic_uint refs;
	uint32_t nodes_n, text_n, extra_n;
	uint32_t meta; /* node of the root's "metadata" map, 0: none */
	uint32_t slot; /* node of the resourceVersion that has a slot, 0: none */
	uint32_t item; /* offset of what follows the leading members apiVersion and kind */
	bool small;    /* the index holds struct dnode_small, else struct dnode */
	int64_t revision;
	char *text, *extra;
	_Alignas(struct dnode) unsigned char index[];
};

static inline struct dnode dn_at(const struct doc *d, uint32_t i)
{
	const struct dnode_small *n;

	if (!d->small)
		return ((const struct dnode *)d->index)[i];
	n = (const struct dnode_small *)d->index + i;
	return (struct dnode){ n->pos, n->bits, n->len, n->aux };
}
static inline void dn_put(struct doc *d, uint32_t i, const struct dnode *n)
{
	if (d->small)
		((struct dnode_small *)d->index)[i] =
			(struct dnode_small){ (uint16_t)n->pos, (uint16_t)n->bits, (uint16_t)n->len, (uint16_t)n->aux };
	else
		((struct dnode *)d->index)[i] = *n;
}

static inline enum val_kind dn_kind(const struct dnode *n)
{
	return (enum val_kind)(n->bits & DN_KIND);
}
static inline bool dn_is_container(const struct dnode *n)
{
	return dn_kind(n) >= VAL_LIST;
}
static inline uint32_t dn_skip(const struct dnode *n)
{
	return dn_is_container(n) ? n->aux : 1;
}
static inline uint32_t dn_skip_at(const struct doc *d, uint32_t i)
{
	struct dnode n = dn_at(d, i);

	return dn_skip(&n);
}
static inline uint32_t load_u32(const char *p)
{
	uint32_t u;

	memcpy(&u, p, sizeof(u));
	return u;
}
static inline uint32_t dn_value_at(const char *extra, const struct dnode *n)
{
	if (!(n->bits & DN_HAS_KEY))
		return n->pos;
	if (n->bits & DN_KEY_ESC)
		return load_u32(extra + n->pos);
	return n->pos + (n->bits >> 8) + 2;
}
static inline struct str dn_key(const char *text, const char *extra, const struct dnode *n)
{
	const char *p = n->bits & DN_KEY_ESC ? extra + n->pos + 4 : text + n->pos;

	return (struct str){ p, n->bits >> 8 };
}
static inline struct str dn_str(const char *text, const char *extra, const struct dnode *n)
{
	if (n->bits & DN_ESC)
		return (struct str){ extra + n->aux + 4, load_u32(extra + n->aux) };
	return (struct str){ text + dn_value_at(extra, n) + 1, n->len - 2 };
}

/* ---- builder: text, index and decoded copies in one pass ------------------------------------- */

struct build {
	char *text, *extra;
	struct dnode *nodes;
	size_t text_n, text_cap, extra_n, extra_cap;
	uint32_t n, cap;
	uint32_t key_pos, key_bits; /* of the next value; key_bits 0: it has none */
	uint32_t slot;
};
void build_init(struct build *b, size_t text_guess);
void build_fini(struct build *b);
void build_text_room(struct build *b, size_t n);
void build_grow_nodes(struct build *b);
static inline void build_byte(struct build *b, char c)
{
	if (b->text_n == b->text_cap)
		build_text_room(b, 1);
	b->text[b->text_n++] = c;
}
void build_bytes(struct build *b, const char *p, size_t n);
/* A node for the value whose text starts at value_at; takes the pending key. */
uint32_t build_node(struct build *b, enum val_kind kind, size_t value_at, size_t len);
void build_key(struct build *b, struct str key);                             /* writes "key": */
void build_key_escaped(struct build *b, struct str decoded, struct str raw); /* raw: as it stands in the text */
void build_str(struct build *b, struct str s);
void build_str_escaped(struct build *b, struct str decoded, struct str raw);
void build_scalar(struct build *b, enum val_kind kind, struct str text);
uint32_t build_open(struct build *b, enum val_kind kind);
void build_close(struct build *b, uint32_t node, uint32_t children);
/* Copies a value that another doc has: text and index as they are, offsets moved. */
void build_val(struct build *b, const struct doc *d, uint32_t at);
/* The same value by value: drops the blanks of a slot, and duplicates that lenient parsing marked. */
void build_val_live(struct build *b, const struct doc *d, uint32_t at);
/* Own: one reference. The builder is empty afterwards. */
struct doc *build_finish(struct build *b);

/* Appends s with the escapes JSON needs, without quotes. */
void json_escape(struct build *b, struct str s);
bool json_needs_escape(struct str s);
/* Bytes of the valid UTF-8 sequence at s (which starts at 0x80 or above), 0: invalid. */
size_t utf8_step(const unsigned char *s, const unsigned char *end);
bool utf8_valid(struct str s);
/* Decodes a valid JSON string's inside into to (room for raw.n); returns its length. */
size_t json_unescape(struct str raw, char *to);
#define FLOAT_TEXT_MAX 40
struct str float_text(double f, char to[FLOAT_TEXT_MAX]);
struct str int_text(int64_t i, char to[FLOAT_TEXT_MAX]);

/* Seeded per process, so that a client cannot choose keys that collide. Orders nothing. */
uint64_t key_hash(struct str s);

/* ---- the mutable tree ------------------------------------------------------------------------ */

struct entry { /* of a map or list; node NULL: still only in the doc, at node index at; both 0: deleted */
	const char *key;
	uint32_t key_n, at;
	struct node *node;
};

struct node_index; /* key -> entry of a large map */

struct node {
	uint8_t kind;    /* enum val_kind */
	bool view;       /* untouched: d and at say all */
	uint32_t n, cap; /* entries, deleted ones included */
	uint32_t gone;   /* deleted entries */
	uint32_t at;
	const struct doc *d; /* of a view, and of entries that have no node yet */
	struct arena *a;
	union {
		bool b;
		int64_t i;
		double f;
		struct str s;
		struct {
			struct entry *e;
			struct node_index *ix;
		};
	};
};

void node_hold(struct arena *a, const struct doc *d);  /* until the arena ends */
struct node *node_view(struct arena *a, struct val v); /* node_from() for a doc that is held already */
void node_expand(struct node *n);                      /* a view of a container gets its entries */
struct node *entry_node(struct node *parent, struct entry *en);
static inline bool entry_gone(const struct entry *en)
{
	return !en->node && !en->at;
}
static inline struct val node_val(const struct node *n) /* of a view */
{
	return (struct val){ n->d, n->at };
}
/* 1: a scalar or an empty container. Adds the values it looked at to *work. */
size_t node_depth(struct node *n, size_t *work);

/* Whether a reader of YAML takes these bytes, without quotes, for the same text. */
bool yaml_plain_is_text(struct arena *a, struct str s);
