#include "base/err.h"
#include "base/base_internal.h"
#include <errno.h>
#include <stdio.h>

static const struct code {
	int http;
	const char *reason;
} codes[] = {
#define ERR_ROW(code, http, reason) [code] = { http, reason },
	ERR_TABLE(ERR_ROW)
#undef ERR_ROW
};

static const struct code *code_of(enum err_code code)
{
	size_t i = (size_t)code;

	return i > 0 && i < ARRAY_LEN(codes) ? &codes[i] : &codes[ERR_INTERNAL];
}

size_t text_cut(char *text, size_t cap)
{
	size_t n = cap - 4;

	while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80) /* never in the middle of a character */
		n--;
	memcpy(text + n, "...", 4);
	return n + 3;
}

/* The text may quote e itself ("%s", e->message), so it is made aside. */
static void set_text(struct err *e, const char *text, int n)
{
	size_t len = n > 0 ? MIN((size_t)n, sizeof(e->message) - 1) : 0;

	memcpy(e->message, text, len);
	e->message[len] = 0;
	if (n > 0 && (size_t)n >= sizeof(e->message))
		text_cut(e->message, sizeof(e->message));
}

int err_setv(struct err *e, enum err_code code, const char *fmt, va_list ap)
{
	char text[ERR_MESSAGE_MAX];
	int n;

	if (!e)
		return -(int)code;
	n = vsnprintf(text, sizeof(text), fmt, ap);
	err_init(e);
	e->code = (int)code;
	set_text(e, text, n);
	return -e->code;
}

int err_set(struct err *e, enum err_code code, const char *fmt, ...)
{
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = err_setv(e, code, fmt, ap);
	va_end(ap);
	return r;
}

static enum err_code code_of_errno(int errnum)
{
	switch (errnum) {
	case ENOSPC:
	case EDQUOT:
		return ERR_FULL;
	case ENOENT:
		return ERR_NOT_FOUND;
	case EACCES:
	case EPERM:
		return ERR_FORBIDDEN;
	case ETIMEDOUT:
		return ERR_TIMEOUT;
	default:
		return ERR_IO;
	}
}

int err_errno(struct err *e, int errnum, const char *fmt, ...)
{
	char what[ERR_MESSAGE_MAX / 2], why[128];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	return err_set(e, code_of_errno(errnum), "%s: %s", what, strerror_r(errnum, why, sizeof(why)));
}

int err_wrap(struct err *e, const char *fmt, ...)
{
	char text[ERR_MESSAGE_MAX];
	va_list ap;
	int n;

	if (!e)
		return -ERR_INTERNAL;
	if (!e->code) /* a caller wraps what never failed: still an error, never a silent success */
		e->code = ERR_INTERNAL;
	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof(text)) {
		int more = snprintf(text + n, sizeof(text) - (size_t)n, ": %s", e->message);

		n += MAX(more, 0);
	}
	set_text(e, text, n);
	return -e->code;
}

void err_cause(struct err *e, const char *reason, const char *field, const char *fmt, ...)
{
	size_t reason_n = strlen(reason) + 1, field_n = strlen(field) + 1, left, used;
	va_list ap;
	int n;

	if (!e)
		return;
	left = sizeof(e->causes) - e->causes_len;
	if (reason_n + field_n >= left) {
		e->causes_lost++;
		return;
	}
	used = e->causes_len;
	memcpy(e->causes + used, reason, reason_n);
	memcpy(e->causes + used + reason_n, field, field_n);
	used += reason_n + field_n;
	va_start(ap, fmt);
	n = vsnprintf(e->causes + used, sizeof(e->causes) - used, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(e->causes) - used) {
		e->causes_lost++;
		return;
	}
	e->causes_len = (uint16_t)(used + (size_t)n + 1);
}

static const char *next_text(const struct err *e, size_t *pos)
{
	const char *s = e->causes + *pos;

	*pos += strlen(s) + 1;
	return s;
}

bool err_next_cause(const struct err *e, size_t *pos, const char **reason, const char **field, const char **message)
{
	if (*pos >= e->causes_len)
		return false;
	*reason = next_text(e, pos);
	*field = next_text(e, pos);
	*message = next_text(e, pos);
	return true;
}

void err_copy(struct err *to, const struct err *from)
{
	if (!to || to == from)
		return;
	to->code = from->code;
	to->retry_after_s = from->retry_after_s;
	to->causes_len = from->causes_len;
	to->causes_lost = from->causes_lost;
	memcpy(to->message, from->message, strnlen(from->message, sizeof(from->message) - 1) + 1);
	memcpy(to->causes, from->causes, from->causes_len);
}

int err_http(enum err_code code)
{
	return code == ERR_OK ? 200 : code_of(code)->http;
}

const char *err_reason(enum err_code code)
{
	return code == ERR_OK ? "" : code_of(code)->reason;
}

/* Answers of others that our own table does not have, or that several rows share. */
static enum err_code code_of_status(int http)
{
	switch (http) {
	case 502:
		return ERR_UNAVAILABLE;
	case 408:
		return ERR_TIMEOUT;
	default:
		return http >= 400 && http < 500 ? ERR_BAD_REQUEST : ERR_INTERNAL;
	}
}

enum err_code err_from_http(int http, struct str reason)
{
	if (http >= 200 && http < 300)
		return ERR_OK;
	if (str_is(reason, "Gone"))
		return ERR_EXPIRED;
	if (str_is(reason, "ServerTimeout"))
		return ERR_TIMEOUT;
	for (size_t i = 1; i < ARRAY_LEN(codes); i++) {
		if (!str_empty(reason) && str_is(reason, codes[i].reason))
			return (enum err_code)i;
	}
	if (http == 409)
		return ERR_CONFLICT;
	for (size_t i = 1; i < ARRAY_LEN(codes); i++) {
		if (codes[i].http == http)
			return (enum err_code)i;
	}
	return code_of_status(http);
}
