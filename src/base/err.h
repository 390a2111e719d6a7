/* Errors as values: a code, a sentence a person can act on, and causes by field.
 *
 * A function returns 0 or a negative code (-ERR_X) and fills the caller's struct err; each layer
 * adds what only it knows with err_wrap(). Libraries return, edges log, once. `ret` arguments
 * change on success only. Filling an err allocates nothing. */
#pragma once
#include "base/str.h"
#include "base/util.h"
#include <stdarg.h>

/*        code                 HTTP gRPC reason in the API's Status object */
#define ERR_TABLE(X)                                                                \
	X(ERR_BAD_REQUEST, 400, "BadRequest")                                       \
	X(ERR_UNAUTHORIZED, 401, "Unauthorized")                                    \
	X(ERR_FORBIDDEN, 403, "Forbidden")                                          \
	X(ERR_NOT_FOUND, 404, "NotFound")                                           \
	X(ERR_METHOD, 405, "MethodNotAllowed")                                      \
	X(ERR_NOT_ACCEPTABLE, 406, "NotAcceptable")                                 \
	X(ERR_EXISTS, 409, "AlreadyExists")                                         \
	X(ERR_CONFLICT, 409, "Conflict")                                            \
	X(ERR_EXPIRED, 410, "Expired")                                              \
	X(ERR_TOO_LARGE, 413, "RequestEntityTooLarge")                              \
	X(ERR_MEDIA_TYPE, 415, "UnsupportedMediaType")                              \
	X(ERR_INVALID, 422, "Invalid")                                              \
	X(ERR_TOO_MANY, 429, "TooManyRequests")                                     \
	X(ERR_INTERNAL, 500, "InternalError")                                       \
	X(ERR_UNAVAILABLE, 503, "ServiceUnavailable")                               \
	X(ERR_TIMEOUT, 504, "Timeout")                                              \
	X(ERR_FULL, 507, "InsufficientStorage")                                     \
	X(ERR_CANCELED, 499, "Canceled") /* our own side gave up: stop, shutdown */ \
	X(ERR_IO, 500, "InternalError")  /* a file, socket or peer failed */        \
	X(ERR_UNSUPPORTED, 501, "NotImplemented")

enum err_code {
	ERR_OK = 0,
#define ERR_ENUM(code, http, reason) code,
	ERR_TABLE(ERR_ENUM)
#undef ERR_ENUM
};

#define ERR_MESSAGE_MAX 2048
#define ERR_CAUSES_MAX 4096

struct err {
	int code;                      /* enum err_code */
	int retry_after_s;             /* 0: none */
	uint16_t causes_len;           /* bytes used in causes */
	uint16_t causes_lost;          /* causes that did not fit */
	char message[ERR_MESSAGE_MAX]; /* NUL-terminated, cut with "..." when too long */
	char causes[ERR_CAUSES_MAX];   /* records "reason\0field\0message\0" */
};

/* Cheap: leaves the buffers unwritten. Declare as `struct err e; err_init(&e);`. */
static inline void err_init(struct err *e)
{
	e->code = 0;
	e->retry_after_s = 0;
	e->causes_len = 0;
	e->causes_lost = 0;
	e->message[0] = 0;
}

/* All return -code, so that `return err_set(e, ERR_CONFLICT, "...")` reads well. e may be NULL.
 * err_set replaces what was there. */
int err_set(struct err *e, enum err_code code, const char *fmt, ...) PRINTF(3, 4);
int err_setv(struct err *e, enum err_code code, const char *fmt, va_list ap) PRINTF(3, 0);
/* errno and its text: "open /x: Permission denied". ENOSPC/EDQUOT become ERR_FULL, ENOENT ERR_NOT_FOUND,
 * EACCES/EPERM ERR_FORBIDDEN, ETIMEDOUT ERR_TIMEOUT, all others ERR_IO. */
int err_errno(struct err *e, int errnum, const char *fmt, ...) PRINTF(3, 4);
/* Puts "fmt: " before the message and keeps code and causes. */
int err_wrap(struct err *e, const char *fmt, ...) PRINTF(2, 3);
/* Adds one cause: reason is a metav1.CauseType such as "FieldValueInvalid", field a path "spec.replicas". */
void err_cause(struct err *e, const char *reason, const char *field, const char *fmt, ...) PRINTF(4, 5);
/* Walks causes: *pos starts at 0; false at the end. Pointers are borrowed from e. */
bool err_next_cause(const struct err *e, size_t *pos, const char **reason, const char **field, const char **message);
void err_copy(struct err *to, const struct err *from);

int err_http(enum err_code code);
const char *err_reason(enum err_code code);
/* The code for an HTTP status and (may be NULL) a Status reason as received from a server. */
enum err_code err_from_http(int http, struct str reason);
