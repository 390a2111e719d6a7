/* JSON merge patch, RFC 7386. Recursion is as deep as the patch, DOC_DEPTH_MAX. */
#include "doc/doc_internal.h"

static struct node *merge(struct arena *a, struct node *target, struct val patch)
{
	if (val_kind(patch) != VAL_MAP)
		return node_view(a, patch);
	if (node_kind(target) != VAL_MAP)
		target = node_map(a);
	for (struct val_iter it = val_iter(patch); val_next(&it);) {
		if (val_kind(it.val) == VAL_NULL) {
			node_del(target, it.key);
			continue;
		}
		node_set(target, it.key, merge(a, node_get(target, it.key), it.val));
	}
	return target;
}

void patch_merge(struct arena *a, struct node **target, struct val patch)
{
	if (!patch.d)
		return;
	node_hold(a, patch.d);
	*target = merge(a, *target, patch);
}
