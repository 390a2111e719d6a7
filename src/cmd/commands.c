/* The small commands: server, version, kubeconfig, image; and how all of them speak. */
#include "base/file.h"
#include "cmd/process.h"
#include "doc/doc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int fail(const char *fmt, ...)
{
	va_list ap;

	fputs("kogge: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return 1;
}

void say(const struct settings *s, const char *fmt, ...)
{
	va_list ap;

	if (s->quiet)
		return;
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
}

static int no_arguments(const struct settings *s, const char *command)
{
	return s->n_args ? fail("kogge %s takes no argument (\"%s\"); --help shows its flags", command, s->args[0]) : 0;
}

int cmd_version(struct arena *a, const struct settings *s)
{
	(void)a;
	if (no_arguments(s, "version"))
		return 2;
	if (!strcmp(s->output, "json"))
		printf("{\"version\":\"%s\",\"kubernetes\":\"v1.34.0\"}\n", KOGGE_VERSION);
	else
		printf("kogge %s (Kubernetes API v1.34.0)\n", KOGGE_VERSION);
	return 0;
}

int cmd_server(struct arena *a, const struct settings *s)
{
	struct layout l;
	struct err e;

	err_init(&e);
	if (no_arguments(s, "server"))
		return 2;
	if (layout_of(a, s, &l, &e) < 0)
		return fail("%s", e.message);
	supervisor_await_end(&l);
	if (check_machine(a, s, &l, false))
		return fail("not started: see above (kogge check looks again)");
	return supervise(a, s, &l);
}

/* ---- kubeconfig --------------------------------------------------------------------------------------------------------- */

/* Entries of one of the three lists of a kubeconfig: ours replaces the one of its name. */
static void merge_list(struct arena *a, struct node *into, struct val from, const char *list)
{
	struct node *have = node_need_list(into, list);

	for (struct val_iter it = val_iter(val_get(from, list)); val_next(&it);) {
		struct str name = val_str(val_get(it.val, "name"));

		for (size_t i = node_len(have); i-- > 0;)
			if (str_eq(node_text_str(node_getc(node_at(have, i), "name")), name))
				node_remove_at(have, i);
		node_add(have, node_from(a, it.val));
	}
}

static int keep_backup(const char *path, struct str text, char **ret_backup, struct err *e)
{
	char now[TIME_TEXT_MAX];

	wall_rfc3339(wall_now(), now);
	*ret_backup = xasprintf("%s.before-kogge-%s", path, now);
	return file_write(*ret_backup, text, 0600, e);
}

static const char *default_kubeconfig(struct arena *a)
{
	const char *home = getenv("HOME"), *env = getenv("KUBECONFIG");

	if (env && *env && !strchr(env, ':'))
		return env;
	return arena_printf(a, "%s/.kube/config", home ? home : "/root");
}

static int make_folder_of(const char *path, struct err *e)
{
	auto_free char *dir = xstrdup(path);
	char *slash = strrchr(dir, '/');

	if (!slash || slash == dir)
		return 0;
	*slash = 0;
	return mkdir(dir, 0700) < 0 && errno != EEXIST ? err_errno(e, errno, "make folder %s", dir) : 0;
}

static int merge_kubeconfig(struct arena *a, const struct settings *s, const char *path, struct doc *ours, struct err *e)
{
	auto_buf struct buf text = BUF_INIT, out = BUF_INIT;
	auto_(doc_unref) struct doc *theirs = NULL;
	auto_free char *backup = NULL;
	struct node *whole;
	bool exists = access(path, F_OK) == 0;

	if (exists && (file_read(path, &text, e) < 0 || keep_backup(path, buf_view(&text), &backup, e) < 0))
		return -e->code;
	if (str_trim(buf_view(&text)).n && doc_parse_yaml(buf_view(&text), NULL, NULL, &theirs, e) < 0)
		return err_wrap(e, "%s", path);
	whole = theirs && val_kind(doc_root(theirs)) == VAL_MAP ? node_from(a, doc_root(theirs)) : node_pack(a, "{apiVersion:'v1', kind:'Config'}");
	merge_list(a, whole, doc_root(ours), "clusters");
	merge_list(a, whole, doc_root(ours), "users");
	merge_list(a, whole, doc_root(ours), "contexts");
	node_setc(whole, "current-context", node_from(a, doc_get(ours, "current-context")));
	node_write(whole, &out); /* JSON is YAML */
	buf_byte(&out, '\n');
	if (make_folder_of(path, e) < 0 || file_write(path, buf_view(&out), 0600, e) < 0)
		return -e->code;
	say(s, "kubectl's current context is now %.*s (%s)%s%s", STR_ARG(doc_str(ours, "current-context")), path, backup ? "; the old file is kept as " : "",
		backup ? backup : "");
	return 0;
}

int cmd_kubeconfig(struct arena *a, const struct settings *s)
{
	auto_buf struct buf text = BUF_INIT;
	auto_(doc_unref) struct doc *ours = NULL;
	const char *source = arena_printf(a, "%s/admin.kubeconfig", s->data_dir);
	struct err e;

	err_init(&e);
	if (no_arguments(s, "kubeconfig"))
		return 2;
	if (file_read(source, &text, &e) < 0)
		return fail("%s (is the server running? it writes this file when it starts)", e.message);
	if (s->print)
		return fwrite(text.p, 1, text.n, stdout) == text.n ? 0 : 1;
	if (doc_parse_yaml(buf_view(&text), NULL, NULL, &ours, &e) < 0)
		return fail("%s: %s", source, e.message);
	if (merge_kubeconfig(a, s, s->kubeconfig[0] ? s->kubeconfig : default_kubeconfig(a), ours, &e) < 0)
		return fail("%s", e.message);
	return 0;
}

/* ---- image -------------------------------------------------------------------------------------------------------------- */

static void show_progress(void *arg, const char *what, int64_t done, int64_t total)
{
	const struct settings *s = arg;

	if (total > 0)
		say(s, "  %s (%lld of %lld bytes)", what, (long long)done, (long long)total);
	else
		say(s, "  %s", what);
}

static int image_import(const struct settings *s, const struct layout *l)
{
	struct err e;

	if (s->n_args < 2)
		return fail("kogge image import wants archives: kogge image import web.tar"), 2;
	for (size_t i = 1; i < s->n_args; i++) {
		err_init(&e);
		say(s, "%s", s->args[i]);
		if (node_image_import(l->containerd_socket, "k8s.io", s->args[i], show_progress, (void *)s, &e) < 0)
			return fail("%s: %s", s->args[i], e.message);
	}
	return 0;
}

static int image_list(const struct settings *s, const struct layout *l)
{
	struct node_image *images = NULL;
	bool json = !strcmp(s->output, "json");
	size_t n = 0;
	struct err e;

	err_init(&e);
	if (node_image_list(l->containerd_socket, &images, &n, &e) < 0)
		return fail("%s", e.message);
	if (json)
		putchar('[');
	else
		printf("%-60s %-22s %s\n", "IMAGE", "DIGEST", "SIZE");
	for (size_t i = 0; i < n; i++) {
		if (json)
			printf("%s{\"name\":\"%s\",\"digest\":\"%s\",\"sizeBytes\":%lld}", i ? "," : "", images[i].name, images[i].digest, (long long)images[i].size_bytes);
		else
			printf("%-60s %-22.22s %.1f MB\n", images[i].name, images[i].digest, (double)images[i].size_bytes / 1e6);
	}
	if (json)
		puts("]");
	node_images_free(images, n);
	return 0;
}

int cmd_image(struct arena *a, const struct settings *s)
{
	struct layout l;
	struct err e;

	err_init(&e);
	if (layout_of(a, s, &l, &e) < 0)
		return fail("%s", e.message);
	if (s->n_args && !strcmp(s->args[0], "import"))
		return image_import(s, &l);
	if (s->n_args == 1 && !strcmp(s->args[0], "list"))
		return image_list(s, &l);
	return fail("kogge image wants \"import FILE…\" or \"list\""), 2;
}
