/* An index of a tar archive: names, kinds, where the bytes are. Reads ustar, GNU long names and pax paths; nothing is
 * unpacked. */
#pragma once
#include "base/arena.h"
#include "base/err.h"

struct tar_entry {
	struct str name; /* without a leading "./" */
	struct str link; /* target of a symbolic or hard link */
	char type;       /* '0' file, '1' hard link, '2' symbolic link, '5' directory */
	int64_t offset, size;
};
struct tar_index {
	struct tar_entry *v;
	size_t n, cap;
};
/* read_at fills n bytes or fails; total is the archive's size. */
struct tar_source {
	int (*read_at)(void *arg, int64_t offset, void *to, size_t n);
	void *arg;
	int64_t total;
};
int tar_read(const struct tar_source *s, struct arena *a, struct tar_index *ret, struct err *e);
/* Follows links inside the archive. NULL: not there. */
const struct tar_entry *tar_find(const struct tar_index *t, struct str name);
