/* Private: protobuf's wire format, both ways. */
#pragma once
#include "base/buf.h"

enum pb_wire { PB_VARINT = 0, PB_FIXED64 = 1, PB_BYTES = 2, PB_FIXED32 = 5 };

void pb_varint(struct buf *b, uint64_t v);
static inline void pb_tag(struct buf *b, uint32_t number, enum pb_wire w)
{
	pb_varint(b, (uint64_t)number << 3 | w);
}
void pb_bytes(struct buf *b, uint32_t number, struct str s);
static inline void pb_int(struct buf *b, uint32_t number, int64_t v)
{
	pb_tag(b, number, PB_VARINT);
	pb_varint(b, (uint64_t)v);
}
/* A message inside a message: begin gives a mark for end, which puts the length before what was written since. */
size_t pb_begin(struct buf *b, uint32_t number);
void pb_end(struct buf *b, size_t mark);

/* Reading: a cursor that remembers that something was wrong. */
struct pb {
	const unsigned char *p, *end;
	bool bad;
};
static inline struct pb pb_of(struct str s)
{
	const unsigned char *p = (const unsigned char *)(s.p ? s.p : "");

	return (struct pb){ p, p + s.n, false };
}
struct pb_field {
	uint32_t number;
	enum pb_wire wire;
	uint64_t value;   /* varints and fixed ones */
	struct str bytes; /* PB_BYTES */
};
bool pb_next(struct pb *c, struct pb_field *f); /* false: the end, or bad */
uint64_t pb_read_varint(struct pb *c);
