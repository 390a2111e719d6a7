/* How long the stages of the store's work take. */
#include "store/store_internal.h"

#define FIRST_NS INT64_C(500000)

int64_t store_bound_ns(size_t i)
{
	return FIRST_NS << i;
}

const char *store_stage_name(enum store_stage stage)
{
#define STAGE_NAME(id, name) [id] = name,
	static const char *const names[] = { STORE_STAGES(STAGE_NAME) };
#undef STAGE_NAME
	return names[stage];
}

void stage_note(struct stage *t, int64_t ns)
{
	size_t i = 0;

	while (i < STORE_BOUNDS && ns > store_bound_ns(i))
		i++;
	atomic_fetch_add_explicit(&t->count[i], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&t->sum_ns, ns, memory_order_relaxed);
}

void stage_read(struct stage *t, struct store_times *ret)
{
	for (size_t i = 0; i <= STORE_BOUNDS; i++)
		ret->count[i] = atomic_load_explicit(&t->count[i], memory_order_relaxed);
	ret->sum_ns = atomic_load_explicit(&t->sum_ns, memory_order_relaxed);
}
