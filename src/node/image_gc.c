/* Images that nobody uses go when the disk is filling up: the ones unused for longest first. Those that came from an
 * archive stay: no registry would bring them back. */
#include "node/node_internal.h"

#define LOG_MODULE "node"
#define HIGH_PERCENT 85
#define LOW_PERCENT 80
#define MIN_AGE_MS 120000

struct candidate {
	const Cri__Image *image;
	struct mono since; /* unused since */
};

static int by_since(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	return mono_before(x->since, y->since) ? -1 : mono_before(y->since, x->since);
}

static bool in_use(const Cri__Image *im, Cri__ListContainersReply *l)
{
	for (size_t i = 0; i < l->n_containers; i++) {
		const char *ref = l->containers[i]->image_ref,
			   *name = l->containers[i]->image ? l->containers[i]->image->image : "";
		if (strcmp(ref, im->id) == 0 || strcmp(name, im->id) == 0)
			return true;
		for (size_t k = 0; k < im->n_repo_digests; k++)
			if (strcmp(ref, im->repo_digests[k]) == 0)
				return true;
	}
	return false;
}

/* Pulled images have a digest under their name; loaded archives have none. */
static bool may_come_again(const Cri__Image *im)
{
	return im->n_repo_digests > 0;
}

/* Notes when each image was last used, and returns the ones that may go, the longest unused first. Own: free(). */
static struct candidate *candidates(
	struct node_agent *n, Cri__ListImagesReply *images, Cri__ListContainersReply *used, size_t *ret_n)
{
	struct candidate *list = xcalloc(images->n_images + 1, sizeof(*list));
	struct mono now = mono_now();
	size_t k = 0;

	for (size_t i = 0; i < images->n_images; i++) {
		const Cri__Image *im = images->images[i];
		struct mono *seen = map_get(n->images_used, str_c(im->id));
		if (!seen) {
			seen = xcalloc(1, sizeof(*seen));
			map_put(n->images_used, str_c(im->id), seen);
			*seen = now; /* of unknown age: as if used now */
		}
		if (in_use(im, used))
			*seen = now;
		else if (may_come_again(im) && mono_ms_between(*seen, now) >= MIN_AGE_MS)
			list[k++] = (struct candidate){ im, *seen };
	}
	qsort(list, k, sizeof(*list), by_since);
	*ret_n = k;
	return list;
}

static void forget_gone(struct node_agent *n, Cri__ListImagesReply *images)
{
	struct str key;
	void *value;

	for (size_t i = 0; map_next(n->images_used, &i, &key, &value);) {
		bool there = false;
		for (size_t k = 0; !there && k < images->n_images; k++)
			there = str_is(key, images->images[k]->id);
		if (!there)
			map_del(n->images_used, key);
	}
}

void images_collect(struct node_agent *n, const struct signal_now *disk, bool pressure)
{
	auto_reply Cri__ListImagesReply *images = NULL;
	auto_reply Cri__ListContainersReply *used = NULL;
	int64_t wanted = disk->capacity / 100 * (100 - LOW_PERCENT) - disk->left, freed = 0;
	bool full = disk->capacity && disk->left < disk->capacity / 100 * (100 - HIGH_PERCENT);
	struct err e;
	size_t count;

	err_init(&e);
	if (!full && !pressure)
		return;
	if (cri_list_images(&n->cri, &images, &e) < 0 || cri_list_containers(&n->cri, NULL, &used, &e) < 0)
		return;
	auto_free struct candidate *list = candidates(n, images, used, &count);
	for (size_t i = 0; i < count && (pressure || freed < wanted); i++) {
		if (cri_remove_image(&n->cri, list[i].image->id, &e) < 0) {
			log_warn("image %s is not removed: %s", list[i].image->id, e.message);
			continue;
		}
		freed += (int64_t)list[i].image->size;
		task_lock(&n->lock);
		map_del(n->images_synced, str_c(list[i].image->id));
		task_unlock(&n->lock);
		log_info("image %s is removed: nobody uses it, and the disk fills up",
			list[i].image->n_repo_tags ? list[i].image->repo_tags[0] : list[i].image->id);
	}
	forget_gone(n, images);
}
