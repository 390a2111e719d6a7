#include "node/tar.h"

static int from_memory(void *arg, int64_t offset, void *to, size_t n)
{
	struct str *s = arg;

	if (offset < 0 || (uint64_t)offset + n > s->n)
		return -1;
	memcpy(to, s->p + offset, n);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	auto_(arena_free) struct arena *a = arena_new();
	struct str s = str_n((const char *)data, n);
	struct tar_source source = { from_memory, &s, (int64_t)n };
	struct tar_index t;
	struct err e;

	err_init(&e);
	if (tar_read(&source, a, &t, &e) == 0)
		for (size_t i = 0; i < t.n && i < 100; i++)
			(void)tar_find(&t, t.v[i].name);
	return 0;
}
