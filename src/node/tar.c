#include "node/tar.h"
#include <string.h>

#define BLOCK 512
#define ENTRIES_MAX 100000
#define NAME_MAX_BYTES 65536
#define LINKS_MAX 8

static bool number(const char *p, size_t n, int64_t *ret)
{
	int64_t v = 0;
	size_t i = 0;

	if ((unsigned char)p[0] == 0x80) { /* GNU: binary, big-endian */
		for (i = n > 9 ? n - 8 : 1; i < n; i++)
			v = (int64_t)(((uint64_t)v << 8) | (unsigned char)p[i]);
		*ret = v;
		return v >= 0;
	}
	while (i < n && p[i] == ' ')
		i++;
	for (; i < n && p[i] >= '0' && p[i] <= '7'; i++) {
		if (v > INT64_MAX / 8 - 8)
			return false;
		v = v * 8 + (p[i] - '0');
	}
	*ret = v;
	return i == n || p[i] == 0 || p[i] == ' ';
}

static bool checksum_ok(const unsigned char *h)
{
	int64_t want;
	unsigned sum = 0;

	for (size_t i = 0; i < BLOCK; i++)
		sum += i >= 148 && i < 156 ? ' ' : h[i];
	return number((const char *)h + 148, 8, &want) && want == sum;
}

static struct str field(struct arena *a, const char *p, size_t n)
{
	return arena_str(a, str_n(p, strnlen(p, n)));
}

static struct str plain(struct str name)
{
	while (str_starts(name, STR("./")))
		name = str_sub(name, 2, name.n);
	while (name.n > 1 && name.p[name.n - 1] == '/')
		name.n--;
	return name;
}

/* "27 path=some/name\n" records */
static void pax(struct str text, struct arena *a, struct str *path, struct str *link)
{
	while (text.n) {
		struct str len, rest = str_cut(text, ' ', &len), key, value;
		int64_t n;
		if (!rest.p || !str_i64(len, &n) || n <= (int64_t)len.n + 1 || (size_t)n > text.n)
			return;
		value = str_cut(str_n(rest.p, (size_t)n - len.n - 2), '=', &key);
		if (str_is(key, "path"))
			*path = arena_str(a, value);
		else if (str_is(key, "linkpath"))
			*link = arena_str(a, value);
		text = str_sub(text, (size_t)n, text.n);
	}
}

static void push(struct arena *a, struct tar_index *t, struct tar_entry entry)
{
	ARENA_GROW(a, t->v, t->n, t->cap, 64);
	t->v[t->n++] = entry;
}

static int long_text(
	const struct tar_source *s, int64_t at, int64_t size, struct arena *a, struct str *ret, struct err *e)
{
	char *p;

	if (size <= 0 || size > NAME_MAX_BYTES)
		return err_set(e, ERR_INVALID, "tar: a name of %lld bytes", (long long)size);
	p = arena_alloc(a, (size_t)size + 1);
	if (s->read_at(s->arg, at, p, (size_t)size) < 0)
		return err_set(e, ERR_IO, "tar: cut short at byte %lld", (long long)at);
	p[size] = 0;
	*ret = str_n(p, (size_t)size);
	return 0;
}

int tar_read(const struct tar_source *s, struct arena *a, struct tar_index *ret, struct err *e)
{
	struct tar_index t = { 0 };
	struct str path = STR_NULL, link = STR_NULL, text;
	unsigned char h[BLOCK];
	int64_t at = 0;

	while (at + BLOCK <= s->total && t.n < ENTRIES_MAX) {
		int64_t size, data = at + BLOCK;
		char type;
		if (s->read_at(s->arg, at, h, BLOCK) < 0)
			return err_set(e, ERR_IO, "tar: cut short at byte %lld", (long long)at);
		if (h[0] == 0 && h[1] == 0 && h[257] == 0)
			break; /* the end */
		if (!checksum_ok(h) || !number((char *)h + 124, 12, &size) || size < 0 || size > s->total - data)
			return err_set(e, ERR_INVALID, "this is not a tar archive (byte %lld)", (long long)at);
		type = (char)(h[156] ? h[156] : '0');
		at = data + (size + BLOCK - 1) / BLOCK * BLOCK;
		if (type == 'L' || type == 'K' || type == 'x') {
			if (long_text(s, data, size, a, &text, e) < 0)
				return -ERR_INVALID;
			if (type == 'x')
				pax(text, a, &path, &link);
			else if (type == 'L')
				path = str_c(text.p);
			else
				link = str_c(text.p);
			continue;
		}
		if (type == 'g')
			continue;
		struct tar_entry entry = { .type = type == '7' ? '0' : type, .offset = data, .size = size };
		if (!path.p && memcmp(h + 257, "ustar", 5) == 0 && h[345])
			path = arena_strf(a, "%.155s/%.100s", (char *)h + 345, (char *)h);
		entry.name = plain(path.p ? path : field(a, (char *)h, 100));
		entry.link = link.p ? link : field(a, (char *)h + 157, 100);
		push(a, &t, entry);
		path = link = STR_NULL;
	}
	*ret = t;
	return 0;
}

static const struct tar_entry *find(const struct tar_index *t, struct str name, int links)
{
	for (size_t i = t->n; i-- > 0;) { /* the last of several wins */
		const struct tar_entry *x = &t->v[i];
		char joined[4096];
		size_t dir;
		if (!str_eq(x->name, name))
			continue;
		if (x->type == '0')
			return x;
		if (links >= LINKS_MAX || (x->type != '1' && x->type != '2'))
			return NULL;
		if (x->type == '1')
			return find(t, plain(x->link), links + 1);
		/* relative to the directory of the link; ".." of one level is what old archives of docker have */
		dir = name.n;
		while (dir && name.p[dir - 1] != '/')
			dir--;
		struct str target = x->link;
		while (str_starts(target, STR("../")) && dir) {
			target = str_sub(target, 3, target.n);
			dir--;
			while (dir && name.p[dir - 1] != '/')
				dir--;
		}
		if (dir + target.n >= sizeof(joined))
			return NULL;
		memcpy(joined, name.p, dir);
		memcpy(joined + dir, target.p ? target.p : "", target.n);
		return find(t, str_n(joined, dir + target.n), links + 1);
	}
	return NULL;
}

const struct tar_entry *tar_find(const struct tar_index *t, struct str name)
{
	return find(t, plain(name), 0);
}
