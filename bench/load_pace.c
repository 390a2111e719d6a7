#include "load_pace.h"

#include "base/task.h"
#include "base/util.h"
#include <stdlib.h>
#include <string.h>

#define MULTIPLICATIONS 2000 /* some 2 µs */
#define PAGES 64
#define PAGE_BYTES 4096
#define LINE_BYTES 64

/* One line of each page is in use, another one in each: lines of the same place would displace each other. */
struct page {
	struct {
		uint32_t next;
		char rest[LINE_BYTES - sizeof(uint32_t)];
	} lines[PAGE_BYTES / LINE_BYTES];
};

struct pace {
	struct page *pages; /* a ring through all of them, in no order: each read waits for the one before */
	uint64_t sum;
	struct pace_sample *samples;
	size_t n, max;
};

static struct page *pages_new(void)
{
	struct page *pages = xcalloc(PAGES, sizeof(*pages));
	uint32_t order[PAGES];

	for (uint32_t i = 0; i < PAGES; i++)
		order[i] = i;
	for (uint32_t i = PAGES - 1; i > 0; i--) {
		uint32_t k = (uint32_t)rand_below(i + 1), was = order[i];

		order[i] = order[k];
		order[k] = was;
	}
	for (uint32_t i = 0; i < PAGES; i++)
		pages[order[i]].lines[order[i] % ARRAY_LEN(pages->lines)].next = order[(i + 1) % PAGES];
	return pages;
}

struct pace *pace_new(size_t samples_max)
{
	struct pace *p = xcalloc(1, sizeof(*p));

	p->pages = pages_new();
	p->max = samples_max;
	p->samples = xmalloc(samples_max * sizeof(*p->samples));
	memset(p->samples, 0xff, samples_max * sizeof(*p->samples)); /* nobody takes new pages while he measures */
	return p;
}

static uint64_t multiply(uint64_t x)
{
	for (int i = 0; i < MULTIPLICATIONS; i++) {
		x = x * 6364136223846793005 + 1442695040888963407;
		__asm__ volatile("" : "+r"(x));
	}
	return x;
}

static void walk(const struct page *pages)
{
	uint32_t at = 0;

	for (int i = 0; i < PAGES; i++)
		at = ((const volatile struct page *)pages)[at].lines[at % ARRAY_LEN(pages->lines)].next;
}

void pace_note(struct pace *p, int64_t at)
{
	struct mono began = mono_now(), middle, end;

	if (p->n == p->max)
		return;
	p->sum = multiply(p->sum);
	middle = mono_now();
	walk(p->pages);
	end = mono_now();
	p->samples[p->n++] = (struct pace_sample){ at, middle.ns - began.ns, end.ns - middle.ns };
}

struct pace *pace_free(struct pace *p)
{
	if (!p)
		return NULL;
	free(p->pages);
	free(p->samples);
	free(p);
	return NULL;
}

/* ---- what they were -------------------------------------------------------------------------- */

static int shortest_first(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

static int64_t rank(int64_t *v, size_t n, double part)
{
	qsort(v, n, sizeof(*v), shortest_first);
	return v[MIN((size_t)(part * (double)n), n - 1)];
}

struct pace_sample pace_rank(struct pace *const *p, size_t n, double part)
{
	struct pace_sample ret = { 0 };
	size_t all = 0, k = 0;

	for (size_t i = 0; i < n; i++)
		all += p[i]->n;
	if (!all)
		return ret;
	auto_free int64_t *arithmetic = xcalloc(all, sizeof(int64_t)), *memory = xcalloc(all, sizeof(int64_t));
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < p[i]->n; j++, k++) {
			arithmetic[k] = p[i]->samples[j].arithmetic_ns;
			memory[k] = p[i]->samples[j].memory_ns;
		}
	ret.arithmetic_ns = rank(arithmetic, all, part);
	ret.memory_ns = rank(memory, all, part);
	return ret;
}

struct pace_sample pace_mean(struct pace *const *p, size_t n, int64_t from, int64_t to)
{
	struct pace_sample ret = { .at = from };
	int64_t all = 0;

	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < p[i]->n; j++) {
			const struct pace_sample *s = &p[i]->samples[j];

			if (s->at < from || s->at > to)
				continue;
			ret.arithmetic_ns += s->arithmetic_ns;
			ret.memory_ns += s->memory_ns;
			all++;
		}
	if (all) {
		ret.arithmetic_ns /= all;
		ret.memory_ns /= all;
	}
	return ret;
}
