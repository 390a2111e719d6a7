#include "load_pace.h"

#include "base/task.h"
#include "base/util.h"
#include <stdlib.h>
#include <string.h>

#define MULTIPLICATIONS 2000 /* some 2 µs */
#define NEAR_PAGES 64
#define FAR_PAGES 32768 /* 128 MiB: half a second goes by until one is read again */
#define FAR_STEPS 32
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
	struct page *near, *far; /* rings through all of them, in no order: each read waits for the one before */
	uint32_t far_at;
	uint64_t sum;
	struct pace_sample *samples;
	size_t n, max;
};

static struct page *pages_new(uint32_t n)
{
	struct page *pages = xcalloc(n, sizeof(*pages));
	auto_free uint32_t *order = xcalloc(n, sizeof(*order));

	for (uint32_t i = 0; i < n; i++)
		order[i] = i;
	for (uint32_t i = n - 1; i > 0; i--) {
		uint32_t k = (uint32_t)rand_below(i + 1), was = order[i];

		order[i] = order[k];
		order[k] = was;
	}
	for (uint32_t i = 0; i < n; i++)
		pages[order[i]].lines[order[i] % ARRAY_LEN(pages->lines)].next = order[(i + 1) % n];
	return pages;
}

struct pace *pace_new(size_t samples_max)
{
	struct pace *p = xcalloc(1, sizeof(*p));

	p->near = pages_new(NEAR_PAGES);
	p->far = pages_new(FAR_PAGES);
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

static uint32_t walk(const struct page *pages, uint32_t at, int steps)
{
	for (int i = 0; i < steps; i++)
		at = ((const volatile struct page *)pages)[at].lines[at % ARRAY_LEN(pages->lines)].next;
	return at;
}

void pace_note(struct pace *p, int64_t at)
{
	struct mono t[4] = { mono_now() };

	if (p->n == p->max)
		return;
	p->sum = multiply(p->sum);
	t[1] = mono_now();
	(void)walk(p->near, 0, NEAR_PAGES);
	t[2] = mono_now();
	p->far_at = walk(p->far, p->far_at, FAR_STEPS);
	t[3] = mono_now();
	p->samples[p->n++] = (struct pace_sample){ at, { t[1].ns - t[0].ns, t[2].ns - t[1].ns, t[3].ns - t[2].ns } };
}

struct pace *pace_free(struct pace *p)
{
	if (!p)
		return NULL;
	free(p->near);
	free(p->far);
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
	size_t all = 0;

	for (size_t i = 0; i < n; i++)
		all += p[i]->n;
	if (!all)
		return ret;
	auto_free int64_t *v = xcalloc(all, sizeof(*v));
	for (size_t work = 0; work < PACE_WORKS_N; work++) {
		size_t k = 0;

		for (size_t i = 0; i < n; i++)
			for (size_t j = 0; j < p[i]->n; j++)
				v[k++] = p[i]->samples[j].ns[work];
		ret.ns[work] = rank(v, all, part);
	}
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
			for (size_t work = 0; work < PACE_WORKS_N; work++)
				ret.ns[work] += s->ns[work];
			all++;
		}
	for (size_t work = 0; all && work < PACE_WORKS_N; work++)
		ret.ns[work] /= all;
	return ret;
}
