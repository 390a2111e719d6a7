#include "base/base_internal.h"

static bool earlier(const struct heap_node *a, const struct heap_node *b)
{
	return a->at != b->at ? a->at < b->at : a->seq < b->seq;
}

static void put(struct heap *h, size_t i, struct heap_node *node)
{
	h->nodes[i] = node;
	node->pos = i + 1;
}

static void up(struct heap *h, size_t i)
{
	struct heap_node *node = h->nodes[i];

	for (; i > 0 && earlier(node, h->nodes[(i - 1) / 2]); i = (i - 1) / 2)
		put(h, i, h->nodes[(i - 1) / 2]);
	put(h, i, node);
}

static void down(struct heap *h, size_t i)
{
	struct heap_node *node = h->nodes[i];

	for (size_t child; (child = 2 * i + 1) < h->n; i = child) {
		if (child + 1 < h->n && earlier(h->nodes[child + 1], h->nodes[child]))
			child++;
		if (!earlier(h->nodes[child], node))
			break;
		put(h, i, h->nodes[child]);
	}
	put(h, i, node);
}

void heap_fini(struct heap *h)
{
	free(h->nodes);
	*h = (struct heap){ 0 };
}

void heap_add(struct heap *h, struct heap_node *node)
{
	PRE(node->pos == 0);
	GROW(h->nodes, h->n, h->cap, 16);
	h->n++;
	put(h, h->n - 1, node);
	up(h, h->n - 1);
}

void heap_remove(struct heap *h, struct heap_node *node)
{
	size_t i = node->pos;
	struct heap_node *last;

	if (i-- == 0)
		return;
	node->pos = 0;
	last = h->nodes[--h->n];
	if (last == node)
		return;
	put(h, i, last);
	up(h, i);
	down(h, last->pos - 1);
}
