/* Images of containers: present, pulled, or why not; and archives that appear in images_dir. */
#include "node/node_internal.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_MODULE "node"

/* docker.io/library/busybox:latest of "busybox", as every runtime completes a name. */
char *image_normalize(struct str ref)
{
	struct str first, rest = str_cut(ref, '/', &first), name = ref, tail;
	bool has_host = rest.p &&
		(memchr(first.p, '.', first.n) || memchr(first.p, ':', first.n) || str_is(first, "localhost"));
	const char *prefix = has_host ? "" : rest.p ? "docker.io/" : "docker.io/library/";
	const char *slash, *tag;

	if (str_starts(ref, STR("sha256:")))
		return str_dup(ref);
	slash = memrchr(name.p, '/', name.n);
	tail = slash ? str_n(slash + 1, name.n - (size_t)(slash + 1 - name.p)) : name;
	tag = memchr(tail.p, ':', tail.n) || memchr(tail.p, '@', tail.n) ? "" : ":latest";
	return xasprintf("%s%.*s%s", prefix, STR_ARG(ref), tag);
}

static bool tag_is_latest(const char *normal)
{
	size_t n = strlen(normal);

	return !strchr(normal, '@') && n > 7 && strcmp(normal + n - 7, ":latest") == 0;
}

static void sync_images(void *arg)
{
	struct node_agent *n = arg;
	int fd = open(n->o.data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* on the runtime's file system, as a rule */

	if (fd < 0 || syncfs(fd) < 0)
		log_warn(
			"unpacked images may be lost with the power: syncfs of %s: %s", n->o.data_dir, strerror(errno));
	if (fd >= 0)
		close(fd);
	node_task_end(n);
}

void image_unpacked(struct node_agent *n, const char *image)
{
	bool first;

	task_lock(&n->lock);
	first = !map_get(n->images_synced, str_c(image));
	if (first)
		map_put(n->images_synced, str_c(image), n);
	task_unlock(&n->lock);
	if (first)
		node_task(n, "sync-images", sync_images, n);
}

void image_ensure(struct pod *p, struct doc *d, struct container *c, struct val spec)
{
	auto_free char *ref = image_normalize(val_str(val_get(spec, "image")));
	struct str policy = val_str(val_get(spec, "imagePullPolicy"));
	auto_reply Cri__ImageStatusReply *reply = NULL;
	struct err e;

	if (c->image == IMAGE_READY || c->image == IMAGE_BUSY)
		return;
	err_init(&e);
	if (cri_image_status(&p->n->cri, ref, &reply, &e) < 0) {
		image_failed(p, c, "ImageInspectError", e.message);
		return;
	}
	if (str_is(policy, "Always") || (str_empty(policy) && tag_is_latest(ref))) {
		image_pull(p, d, c, spec, ref);
		return;
	}
	if (reply->image && *reply->image->id) {
		if (c->image != IMAGE_READY)
			node_event(p, str_c(c->name), "Normal", "Pulled",
				"Container image \"%.*s\" already present on machine",
				STR_ARG(val_str(val_get(spec, "image"))));
		image_ready(p, c, reply->image->id);
		return;
	}
	if (str_is(policy, "Never")) {
		auto_free char *why = xasprintf("Container image \"%s\" is not present with pull policy of Never", ref);
		node_event(p, str_c(c->name), "Warning", "ErrImageNeverPull", "%s", why);
		image_failed(p, c, "ErrImageNeverPull", why);
		return;
	}
	image_pull(p, d, c, spec, ref);
}

/* ---- an image came ---------------------------------------------------------------------------- */

static bool waits_for(struct pod *p, struct container *c, const char *name) /* locked */
{
	auto_free char *wanted = NULL;

	if ((c->image != IMAGE_FAILED && c->image != IMAGE_BUSY) || !p->doc)
		return false;
	wanted = image_normalize(val_str(val_get(pod_container_spec(p->doc, str_c(c->name)), "image")));
	return strcmp(wanted, name) == 0;
}

void images_came(struct node_agent *n, const char *name)
{
	struct str key;
	void *value;

	task_lock(&n->lock);
	for (size_t i = 0; map_next(n->pods, &i, &key, &value);) {
		struct pod *p = value;
		for (size_t k = 0; k < p->n_containers; k++) {
			struct container *c = p->containers[k];

			if (!waits_for(p, c, name))
				continue;
			log_debug("pod %s/%s: image %s came", p->ns, p->name, name);
			c->image_came = IMAGE_CAME_TRIES;
			c->image_retry = mono_add_ms(mono_now(), IMAGE_KNOWN_AFTER_MS);
			queue_add(n->wake, str_c(p->uid));
		}
	}
	task_unlock(&n->lock);
}

/* ---- archives in images_dir ------------------------------------------------------------------ */

static bool is_archive(const char *name)
{
	static const char *const ends[] = { ".tar", ".tar.gz", ".tgz" };

	for (size_t i = 0; i < ARRAY_LEN(ends); i++)
		if (name[0] != '.' && str_ends(str_c(name), str_c(ends[i])))
			return true;
	return false;
}

static void load(struct node_agent *n, const char *dir, const char *name, struct map *done)
{
	auto_free char *path = xasprintf("%s/%s", dir, name), *stamp = NULL;
	struct stat st;
	struct err e;
	const char *had = map_get(done, str_c(name));

	if (!is_archive(name) || stat(path, &st) < 0 || !S_ISREG(st.st_mode))
		return;
	stamp = xasprintf("%lld.%ld %lld", (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec, (long long)st.st_size);
	if (had && strcmp(had, stamp) == 0)
		return;
	err_init(&e);
	if (image_import(&n->cri, path, NULL, NULL, &e) < 0) {
		log_error("image archive %s is not loaded: %s", path, e.message);
	} else {
		log_info("image archive %s is loaded", path);
		task_lock(&n->lock);
		n->status_news++;
		task_broadcast(&n->status_changed);
		task_unlock(&n->lock);
	}
	map_put(done, str_c(name), TAKE(stamp));
}

static void scan(struct node_agent *n, const char *dir, struct map *done)
{
	DIR *d = opendir(dir);
	struct dirent *entry;

	while (d && (entry = readdir(d)) && !stop_raised(n->stop))
		load(n, dir, entry->d_name, done);
	if (d)
		(void)closedir(d);
}

struct images_look {
	struct node_agent *n;
	struct map *done; /* file name → the state of it that was loaded */
};

static bool look(void *arg)
{
	struct images_look *l = arg;

	scan(l->n, l->n->o.images_dir, l->done);
	return true;
}

static void dir_task(void *arg)
{
	struct node_agent *n = arg;
	auto_(map_free) struct map *done = map_new(free);
	struct images_look l = { n, done };

	dir_watch(n, n->o.images_dir, n->images_wake, look, &l);
	node_task_end(n);
}

int images_dir_run(struct node_agent *n)
{
	if (!n->o.images_dir)
		return 0;
	(void)mkdirs(n->o.images_dir, 0755, NULL);
	return node_task(n, "images", dir_task, n) ? 0 : -ERR_CANCELED;
}
