/* The small commands: server, version, image; and how all of them speak. */
#include "base/file.h"
#include "cmd/process.h"
#include "doc/doc.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
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

int no_arguments(const struct settings *s, const char *command)
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

/* ---- image ----------------------------------------------------------------------------------- */

/* Layers in one line that counts, where somebody looks at it; then a line for each image. */
static void show_progress(void *arg, const char *what, int64_t done, int64_t total)
{
	const struct settings *s = arg;
	bool layer = str_starts(str_c(what), STR("sha256:"));

	if (!layer)
		say(s, "%s%s", isatty(STDOUT_FILENO) ? "\r\033[K" : "", what);
	else if (!s->quiet && isatty(STDOUT_FILENO))
		printf("\r\033[K%.19s… %.1f of %.1f MB", what, (double)done / 1e6, (double)total / 1e6), fflush(stdout);
}

static int runtime_fail(const struct err *e)
{
	bool gone = strstr(e->message, "cannot connect");

	return fail("%s%s", e->message,
		gone ? ". Is a server running here, and are you root? (--instance NAME: another server on this machine)" :
		       "");
}

static int image_import(const struct settings *s, const struct layout *l)
{
	struct err e;

	if (s->n_args < 2)
		return fail("kogge image import wants archives: kogge image import web.tar"), 2;
	for (size_t i = 1; i < s->n_args; i++) {
		err_init(&e);
		if (node_image_import(l->containerd_socket, "k8s.io", s->args[i], show_progress, (void *)s, &e) < 0)
			return runtime_fail(&e);
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
		return runtime_fail(&e);
	if (json)
		putchar('[');
	else
		printf("%-60s %-22s %s\n", "IMAGE", "DIGEST", "SIZE");
	for (size_t i = 0; i < n; i++) {
		if (json)
			printf("%s{\"name\":\"%s\",\"digest\":\"%s\",\"sizeBytes\":%lld}", i ? "," : "", images[i].name,
				images[i].digest, (long long)images[i].size_bytes);
		else
			printf("%-60s %-22.22s %.1f MB\n", images[i].name, images[i].digest,
				(double)images[i].size_bytes / 1e6);
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
