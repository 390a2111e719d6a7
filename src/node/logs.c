/* Container logs on disk: their last lines, and rotation when they are large. log_serve.c hands them out. */
#include "node/node_internal.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOG_MODULE "node"
#define ROTATE_BYTES ((off_t)10 << 20)
#define ROTATE_KEEP 4
#define ROTATE_LOOK_MS 10000

/* Own. The end of a file: at most max_lines lines in max_bytes; runtime log lines are reduced to their text. NULL: no
 * file. */
char *log_tail(const char *path, size_t max_bytes, size_t max_lines)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	auto_buf struct buf out = BUF_INIT;
	auto_free char *text = NULL;
	struct stat st;
	ssize_t n;

	if (fd < 0)
		return NULL;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		(void)close(fd);
		return NULL;
	}
	off_t from = st.st_size > (off_t)max_bytes * 2 ? st.st_size - (off_t)max_bytes * 2 : 0;
	text = xmalloc(max_bytes * 2 + 1);
	n = pread(fd, text, max_bytes * 2, from);
	(void)close(fd);
	if (n <= 0)
		return xstrdup("");
	if (max_lines == SIZE_MAX) { /* a termination message: as it is, from the start */
		struct str s = str_n(text, MIN((size_t)n, max_bytes));
		return str_dup(s);
	}
	struct str rest = str_n(text, (size_t)n), line;
	struct str lines[256];
	size_t k = 0, first, bytes = 0;
	while (str_next(&rest, '\n', &line))
		lines[k++ % ARRAY_LEN(lines)] = line;
	first = k > MIN(max_lines, ARRAY_LEN(lines)) ? k - MIN(max_lines, ARRAY_LEN(lines)) : 0;
	for (size_t i = first; i < k; i++) {
		struct log_line l;
		if (!log_parse(lines[i % ARRAY_LEN(lines)], &l) || (bytes += l.text.n + 1) > max_bytes)
			continue;
		buf_str(&out, l.text);
		if (!l.partial)
			buf_byte(&out, '\n');
	}
	return str_dup(buf_view(&out));
}

/* ---- rotation -------------------------------------------------------------------------------- */

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void drop_old(const char *dir, const char *base)
{
	struct dirent **list;
	int n = scandir(dir, &list, NULL, by_name), kept = 0;
	size_t len = strlen(base);

	for (int i = n; i-- > 0;) {
		bool rotated = strncmp(list[i]->d_name, base, len) == 0 && list[i]->d_name[len] == '.';
		if (rotated && ++kept > ROTATE_KEEP) {
			auto_free char *path = xasprintf("%s/%s", dir, list[i]->d_name);
			(void)unlink(path);
		}
		free(list[i]);
	}
	if (n >= 0)
		free(list);
}

static void rotate(struct node_agent *n, const char *id, const char *path)
{
	auto_free char *to = NULL, *dir = xstrdup(path);
	char stamp[32], *slash = strrchr(dir, '/');
	time_t now = (time_t)wall_s(wall_now());
	struct tm tm;
	struct stat st;
	struct err e;

	if (!slash || stat(path, &st) < 0 || st.st_size < ROTATE_BYTES)
		return;
	(void)gmtime_r(&now, &tm);
	(void)strftime(stamp, sizeof(stamp), "%Y%m%d-%H%M%S", &tm);
	to = xasprintf("%s.%s", path, stamp);
	if (rename(path, to) < 0)
		return;
	err_init(&e);
	if (cri_reopen_log(&n->cri, id, &e) < 0) {
		log_warn("log %s cannot be rotated: %s", path, e.message);
		(void)rename(to, path);
		return;
	}
	*slash = 0;
	drop_old(dir, path + (slash - dir) + 1);
}

void logs_rotate_run(void *agent)
{
	struct node_agent *n = agent;

	while (stop_sleep_ms(n->stop, ROTATE_LOOK_MS)) {
		auto_reply Cri__ListContainersReply *l = NULL;
		struct err e;
		err_init(&e);
		if (cri_list_containers(&n->cri, NULL, &l, &e) < 0)
			continue;
		for (size_t i = 0; i < l->n_containers; i++) {
			Cri__Container *k = l->containers[i];
			const char *name = cri_map_get(k->labels, k->n_labels, LABEL_CONTAINER),
				   *uid = cri_map_get(k->labels, k->n_labels, LABEL_POD_UID);
			const char *pod = cri_map_get(k->labels, k->n_labels, LABEL_POD_NAME),
				   *ns = cri_map_get(k->labels, k->n_labels, LABEL_POD_NS);
			if (k->state != CONTAINER_RUNNING || !name || !uid || !pod || !ns || !k->metadata)
				continue;
			auto_free char *path = xasprintf(
				"%s/%s_%s_%s/%s/%u.log", n->o.log_dir, ns, pod, uid, name, k->metadata->attempt);
			rotate(n, k->id, path);
		}
	}
	node_task_end(n);
}
