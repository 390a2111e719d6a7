/* kubeconfig: puts the cluster into kubectl's file, with a backup of what was there, and takes it out again. */
#include "base/clock.h"
#include "base/file.h"
#include "cmd/process.h"
#include "doc/doc.h"

#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define BACKUP ".before-kogge-"

static const char *const lists[] = { "clusters", "users", "contexts" };

static const char *default_kubeconfig(struct arena *a)
{
	const char *home = getenv("HOME"), *env = getenv("KUBECONFIG");

	if (env && *env && !strchr(env, ':'))
		return env;
	return arena_printf(a, "%s/.kube/config", home ? home : "/root");
}

/* A file as a tree; one that is empty or missing is a kubeconfig without entries. text: the bytes, may be NULL. */
static int read_config(struct arena *a, const char *path, struct buf *text, struct node **ret, struct err *e)
{
	auto_buf struct buf own = BUF_INIT;
	auto_(doc_unref) struct doc *d = NULL;

	text = text ? text : &own;
	if (access(path, F_OK) == 0 && file_read(path, text, e) < 0)
		return -e->code;
	if (str_trim(buf_view(text)).n && doc_parse_yaml(buf_view(text), NULL, NULL, &d, e) < 0)
		return err_wrap(e, "%s", path);
	*ret = d && val_kind(doc_root(d)) == VAL_MAP ? node_from(a, doc_root(d)) :
						       node_pack(a, "{apiVersion:'v1', kind:'Config'}");
	return 0;
}

static int write_config(const char *path, struct node *whole, struct err *e)
{
	auto_buf struct buf out = BUF_INIT;

	node_write(whole, &out); /* JSON is YAML */
	buf_byte(&out, '\n');
	return file_write(path, buf_view(&out), 0600, e);
}

static const char *current_context(struct arena *a, struct node *whole)
{
	return arena_cstr(a, node_text_str(node_getc(whole, "current-context")));
}

static struct str name_at(struct node *list, size_t i)
{
	return node_text_str(node_getc(node_at(list, i), "name"));
}

/* ---- in -------------------------------------------------------------------------------------- */

/* Entries of one list: ours replace those of their names. */
static void merge_list(struct arena *a, struct node *into, struct node *from, const char *name)
{
	struct node *have = node_need_list(into, name), *ours = node_getc(from, name);

	for (size_t k = 0; k < node_len(ours); k++) {
		for (size_t i = node_len(have); i-- > 0;)
			if (str_eq(name_at(have, i), name_at(ours, k)))
				node_remove_at(have, i);
		node_add(have, node_copy(a, node_at(ours, k)));
	}
}

static mode_t mode_of(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? st.st_mode & 0777 : 0600;
}

/* The names of backups sort by age, also those of one second. */
static int keep_backup(struct arena *a, const char *path, struct str text, const char **ret_backup, struct err *e)
{
	char now[TIME_TEXT_MAX];
	const char *name;

	wall_rfc3339(wall_now(), now);
	name = arena_printf(a, "%s" BACKUP "%s", path, now);
	for (int i = 2; access(name, F_OK) == 0; i++)
		name = arena_printf(a, "%s" BACKUP "%s-%04d", path, now, i);
	*ret_backup = name;
	return file_write(name, text, mode_of(path), e);
}

static int make_folder_of(struct arena *a, const char *path, struct err *e)
{
	char *dir = arena_strdup(a, path), *slash = strrchr(dir, '/');

	if (!slash || slash == dir)
		return 0;
	*slash = 0;
	return mkdir(dir, 0700) < 0 && errno != EEXIST ? err_errno(e, errno, "make folder %s", dir) : 0;
}

static int put_in(struct arena *a, const struct settings *s, const char *path, struct node *ours, struct err *e)
{
	auto_buf struct buf text = BUF_INIT;
	const char *context = current_context(a, ours), *backup = NULL;
	struct node *before, *whole;
	bool exists = access(path, F_OK) == 0;

	if (read_config(a, path, &text, &before, e) < 0)
		return -e->code;
	whole = node_copy(a, before);
	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		merge_list(a, whole, ours, lists[i]);
	node_setc(whole, "current-context", node_c(a, context));
	if (node_equal(before, whole)) {
		say(s, "kubectl's current context is %s already (%s)", context, path);
		return 0;
	}
	if (exists && keep_backup(a, path, buf_view(&text), &backup, e) < 0)
		return -e->code;
	if (make_folder_of(a, path, e) < 0 || write_config(path, whole, e) < 0)
		return -e->code;
	say(s, "kubectl's current context is now %s (%s)%s%s", context, path,
		backup ? "; the old file is kept as " : "", backup ? backup : "");
	return 0;
}

/* ---- out ------------------------------------------------------------------------------------- */

/* Takes out what is exactly ours: another cluster may have been given our name since. The number of entries. */
static size_t strip(struct arena *a, struct node *whole, struct node *ours)
{
	size_t gone = 0;

	for (size_t l = 0; l < ARRAY_LEN(lists); l++) {
		struct node *have = node_getc(whole, lists[l]), *from = node_getc(ours, lists[l]);

		for (size_t k = 0; k < node_len(from); k++)
			for (size_t i = node_len(have); i-- > 0;)
				if (node_equal(node_at(have, i), node_at(from, k)))
					node_remove_at(have, i), gone++;
	}
	if (gone && !strcmp(current_context(a, whole), current_context(a, ours)))
		node_setc(whole, "current-context", node_c(a, ""));
	return gone;
}

static bool has_entries(struct node *whole)
{
	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		if (node_len(node_getc(whole, lists[i])))
			return true;
	return false;
}

/* Equal but for the current context: that one is ours to change. */
static bool says_the_same(struct arena *a, struct node *x, struct node *y)
{
	struct node *both[] = { node_copy(a, x), node_copy(a, y) };

	for (size_t i = 0; i < ARRAY_LEN(both); i++) {
		node_delc(both[i], "current-context");
		for (size_t l = 0; l < ARRAY_LEN(lists); l++)
			if (!node_len(node_getc(both[i], lists[l])))
				node_delc(both[i], lists[l]);
	}
	return node_equal(both[0], both[1]);
}

/* The backup that says what the file says without us, *ret_text: its bytes. Newer ones were made with us already in the
 * file; from *ret_first on, all are of no use once the file is as it was. false: the file has other entries than before
 * we came. */
static bool find_original(struct arena *a, const glob_t *backups, struct node *rest, struct node *ours,
	size_t *ret_first, struct buf *ret_text)
{
	struct err e;

	*ret_first = backups->gl_pathc;
	for (size_t i = backups->gl_pathc; i-- > 0; *ret_first = i) {
		auto_buf struct buf text = BUF_INIT;
		struct node *old;

		err_init(&e);
		if (read_config(a, backups->gl_pathv[i], &text, &old, &e) < 0)
			return false;
		if (strip(a, old, ours))
			continue;
		if (!says_the_same(a, old, rest))
			return false;
		*ret_first = i;
		buf_str(ret_text, buf_view(&text));
		return true;
	}
	return false;
}

static void remove_file(struct arena *a, const char *path)
{
	char *dir = arena_strdup(a, path), *slash = strrchr(dir, '/');

	unlink(path);
	if (slash && slash != dir) {
		*slash = 0;
		rmdir(dir); /* fails unless it is empty */
	}
}

static int put_back(struct arena *a, const struct settings *s, const char *path, struct node *rest, struct node *ours,
	struct err *e)
{
	auto_buf struct buf text = BUF_INIT;
	glob_t backups = { 0 };
	bool found, empty = !has_entries(rest);
	size_t first;
	int rc = 0;

	glob(arena_printf(a, "%s" BACKUP "*", path), 0, NULL, &backups);
	found = find_original(a, &backups, rest, ours, &first, &text);
	if (found)
		rc = file_write(path, buf_view(&text), mode_of(backups.gl_pathv[first]), e);
	else if (!empty)
		rc = write_config(path, rest, e);
	for (size_t i = first; rc == 0 && (found || empty) && i < backups.gl_pathc; i++)
		unlink(backups.gl_pathv[i]);
	if (rc == 0 && !found && empty)
		remove_file(a, path);
	if (rc == 0)
		say(s, "%s %s", path,
			found         ? "is as it was before" :
				empty ? "is gone: it had nothing else" :
					"has the cluster no more");
	globfree(&backups);
	return rc;
}

static int take_out(struct arena *a, const struct settings *s, const char *path, struct node *ours, struct err *e)
{
	struct node *whole;

	if (read_config(a, path, NULL, &whole, e) < 0)
		return -e->code;
	if (!strip(a, whole, ours)) {
		say(s, "%s does not have the cluster", path);
		return 0;
	}
	return put_back(a, s, path, whole, ours, e);
}

/* ---- the command ----------------------------------------------------------------------------- */

int cmd_kubeconfig(struct arena *a, const struct settings *s)
{
	const char *path = s->kubeconfig[0] ? s->kubeconfig : default_kubeconfig(a);
	const char *source = arena_printf(a, "%s/admin.kubeconfig", s->data_dir);
	auto_buf struct buf text = BUF_INIT;
	struct node *ours;
	struct err e;

	err_init(&e);
	if (no_arguments(s, "kubeconfig"))
		return 2;
	if (access(source, F_OK) < 0)
		return fail("read %s: %s (is the server running? it writes this file when it starts)", source,
			strerror(errno));
	if (read_config(a, source, &text, &ours, &e) < 0)
		return fail("%s", e.message);
	if (s->print)
		return fwrite(text.p, 1, text.n, stdout) == text.n ? 0 : 1;
	if ((s->remove ? take_out : put_in)(a, s, path, ours, &e) < 0)
		return fail("%s", e.message);
	return 0;
}
