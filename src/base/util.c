#include "base/util.h"
#include "base/base_internal.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

/* Says why in one write and leaves a core; allocates nothing, for memory may be what is missing. */
void panic_at(const char *file, int line, const char *fmt, ...)
{
	char text[4096], name[TASK_NAME_MAX];
	va_list ap;
	int n;

	task_current_name(name);
	n = snprintf(text, sizeof(text), "kogge: %s:%d: task %s: ", file, line, name);
	va_start(ap, fmt);
	if (n > 0 && (size_t)n < sizeof(text))
		n += vsnprintf(text + n, sizeof(text) - (size_t)n, fmt, ap);
	va_end(ap);
	if (n < 0)
		n = 0;
	if ((size_t)n > sizeof(text) - 1)
		n = (int)sizeof(text) - 1;
	text[n++] = '\n';
	if (write(STDERR_FILENO, text, (size_t)n) < 0)
		errno = 0; /* nobody listens; the abort still tells */
	abort();
}

static void *there(void *p, size_t n)
{
	if (!p)
		PANIC("out of memory: %zu bytes", n);
	return p;
}

static size_t product(size_t n, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes))
		PANIC("out of memory: %zu x %zu bytes", n, size);
	return bytes ? bytes : 1;
}

void *xmalloc(size_t n)
{
	return there(malloc(n ? n : 1), n);
}

void *xcalloc(size_t n, size_t size)
{
	return there(calloc(1, product(n, size)), n);
}

void *xrealloc(void *p, size_t n, size_t size)
{
	return there(realloc(p, product(n, size)), n);
}

char *xstrndup(const char *s, size_t n)
{
	char *copy = xmalloc(n + 1);

	if (n)
		memcpy(copy, s, n);
	copy[n] = 0;
	return copy;
}

char *xstrdup(const char *s)
{
	return xstrndup(s, strlen(s));
}

char *xasprintf(const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0)
		PANIC("out of memory formatting a string");
	return text;
}
