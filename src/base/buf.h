/* A growing byte buffer with a ceiling. Appending past max sets `full` and drops the rest, so a writer
 * checks once at the end. */
#pragma once
#include "base/str.h"
#include "base/util.h"

struct buf {
	char *p;
	size_t n, cap, max;
	bool full;
};
#define BUF_MAX_DEFAULT ((size_t)64 << 20)
#define BUF_INIT ((struct buf){ .max = BUF_MAX_DEFAULT })

void buf_fini(struct buf *b);
static inline void buf_auto_(struct buf *b)
{
	buf_fini(b);
}
#define auto_buf __attribute__((cleanup(buf_auto_)))
void buf_reset(struct buf *b);
char *buf_reserve(struct buf *b, size_t n); /* room for n bytes at the end, NULL when full; then b->n += used */
void buf_add(struct buf *b, const void *p, size_t n);
void buf_str(struct buf *b, struct str s);
void buf_c(struct buf *b, const char *s);
void buf_byte(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF(2, 3);
static inline struct str buf_view(const struct buf *b)
{
	return (struct str){ b->p, b->n };
}
/* Own: free(). NUL-terminated bytes; the buffer is empty afterwards. */
char *buf_take(struct buf *b, size_t *ret_n);
