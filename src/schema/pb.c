#include "schema/pb.h"

void pb_varint(struct buf *b, uint64_t v)
{
	char bytes[10];
	size_t n = 0;

	for (; v >= 0x80; v >>= 7)
		bytes[n++] = (char)((v & 0x7f) | 0x80);
	bytes[n++] = (char)v;
	buf_add(b, bytes, n);
}

void pb_bytes(struct buf *b, uint32_t number, struct str s)
{
	pb_tag(b, number, PB_BYTES);
	pb_varint(b, s.n);
	buf_str(b, s);
}

size_t pb_begin(struct buf *b, uint32_t number)
{
	pb_tag(b, number, PB_BYTES);
	buf_byte(b, 0); /* most messages are shorter than 128 bytes */
	return b->n;
}

void pb_end(struct buf *b, size_t mark)
{
	char bytes[10];
	size_t len = b->n - mark, n = 0;

	if (b->full)
		return;
	for (uint64_t v = len; v >= 0x80; v >>= 7)
		bytes[n++] = (char)((v & 0x7f) | 0x80);
	bytes[n] = (char)(len >> (7 * n));
	if (n) {
		if (!buf_reserve(b, n))
			return;
		memmove(b->p + mark + n, b->p + mark, len);
		b->n += n;
	}
	memcpy(b->p + mark - 1, bytes, n + 1);
}

/* ---- reading --------------------------------------------------------------------------------- */

static uint64_t bad(struct pb *c)
{
	c->bad = true;
	c->p = c->end;
	return 0;
}

uint64_t pb_read_varint(struct pb *c)
{
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 64; shift += 7) {
		unsigned char byte;

		if (c->p == c->end)
			return bad(c);
		byte = *c->p++;
		v |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return v;
	}
	return bad(c);
}

static uint64_t read_fixed(struct pb *c, size_t n)
{
	uint64_t v = 0;

	if ((size_t)(c->end - c->p) < n)
		return bad(c);
	for (size_t i = 0; i < n; i++)
		v |= (uint64_t)c->p[i] << (8 * i);
	c->p += n;
	return v;
}

bool pb_next(struct pb *c, struct pb_field *f)
{
	uint64_t tag, len;

	if (c->p == c->end)
		return false;
	tag = pb_read_varint(c);
	f->number = (uint32_t)(tag >> 3);
	f->wire = (enum pb_wire)(tag & 7);
	if (c->bad || !f->number || tag >> 3 > UINT32_MAX / 8)
		return bad(c);
	switch (f->wire) {
	case PB_VARINT:
		f->value = pb_read_varint(c);
		break;
	case PB_FIXED64:
		f->value = read_fixed(c, 8);
		break;
	case PB_FIXED32:
		f->value = read_fixed(c, 4);
		break;
	case PB_BYTES:
		len = pb_read_varint(c);
		if (c->bad || len > (uint64_t)(c->end - c->p))
			return bad(c);
		f->bytes = str_n((const char *)c->p, (size_t)len);
		c->p += len;
		break;
	default: /* groups: nobody writes them */
		return bad(c);
	}
	return !c->bad;
}
