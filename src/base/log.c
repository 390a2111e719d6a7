#include "base/log.h"
#include "base/base_internal.h"
#include "base/buf.h"
#include "base/clock.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#define MESSAGE_MAX 4096

/* Set once, before threads start, and read by all. */
static struct {
	char process[16];
	enum log_level least;
	bool json;
} settings = { .process = "kogge", .least = LOG_INFO };

static const struct {
	const char *human, *json;
} levels[] = {
	[LOG_DEBUG] = { "DEBUG", "debug" },
	[LOG_INFO] = { "INFO ", "info" },
	[LOG_WARN] = { "WARN ", "warn" },
	[LOG_ERROR] = { "ERROR", "error" },
};

void log_setup(const char *process, enum log_level least, bool json)
{
	snprintf(settings.process, sizeof(settings.process), "%s", process);
	settings.least = least;
	settings.json = json;
}

static void line_add(struct log_line *l, const char *p, size_t n)
{
	if (l->full || n > sizeof(l->text) - l->n - sizeof("\"}\n")) { /* whole pieces, and room for the line's end */
		l->full = true;
		return;
	}
	memcpy(l->text + l->n, p, n);
	l->n += n;
}

static void line_c(struct log_line *l, const char *s)
{
	line_add(l, s, strlen(s));
}

/* Bytes of the UTF-8 character at s, 0 when it is none. */
static size_t utf8_len(const unsigned char *s, size_t n)
{
	size_t len = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : 4;

	if (s[0] >= 0xf5 || (s[0] >= 0x80 && s[0] < 0xc2) || len > n)
		return 0;
	for (size_t i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	}
	return len;
}

/* What a client sent may stand in a message: it can neither end the line nor move the terminal's cursor. */
static void line_escaped(struct log_line *l, const char *text, bool json)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t n = strlen(text), len;
	char hex[8];

	for (size_t i = 0; i < n; i += MAX(len, (size_t)1)) {
		len = utf8_len(s + i, n - i);
		if (len == 0) {
			line_c(l, json ? "\\ufffd" : "?");
		} else if (s[i] == '\n') {
			line_c(l, "\\n");
		} else if (s[i] < 0x20 || s[i] == 0x7f) {
			snprintf(hex, sizeof(hex), json ? "\\u%04x" : "\\x%02x", s[i]);
			line_c(l, hex);
		} else if (json && (s[i] == '"' || s[i] == '\\')) {
			line_c(l, s[i] == '"' ? "\\\"" : "\\\\");
		} else {
			line_add(l, text + i, len);
		}
	}
}

void log_format(struct log_line *l, enum log_level level, const char *module, const char *message)
{
	char when[TIME_TEXT_MAX];

	l->n = 0;
	l->full = false;
	wall_rfc3339_milli(wall_now(), when);
	if (settings.json) {
		line_c(l, "{\"time\":\"");
		line_c(l, when);
		line_c(l, "\",\"level\":\"");
		line_c(l, levels[level].json);
		line_c(l, "\",\"process\":\"");
		line_escaped(l, settings.process, true);
		line_c(l, "\",\"module\":\"");
		line_escaped(l, module, true);
		line_c(l, "\",\"message\":\"");
		line_escaped(l, message, true);
		memcpy(l->text + l->n, "\"}", 2);
		l->n += 2;
	} else {
		line_c(l, when);
		line_c(l, " ");
		line_c(l, levels[level].human);
		line_c(l, " ");
		line_c(l, settings.process);
		line_c(l, " ");
		line_c(l, module);
		line_c(l, ": ");
		line_escaped(l, message, false);
	}
	l->text[l->n++] = '\n';
}

void log_at(enum log_level level, const char *module, const char *fmt, ...)
{
	char message[MESSAGE_MAX];
	struct log_line line;
	int saved = errno, n;
	va_list ap;

	if (level < settings.least)
		return;
	va_start(ap, fmt);
	n = vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	if (n >= (int)sizeof(message))
		text_cut(message, sizeof(message));
	log_format(&line, level, module, n < 0 ? fmt : message);
	/* One write a line: lines of several processes on one stderr do not mix. A closed stderr is nobody's error. */
	while (write(STDERR_FILENO, line.text, line.n) < 0 && errno == EINTR)
		;
	errno = saved;
}
