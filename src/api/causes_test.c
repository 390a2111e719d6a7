/* Causes of the schema and of a strategy, in the order of the fields. */
#include "api/api_internal.h"
#include "base/test.h"

static void order_is(const struct err *e, const char *const *fields)
{
	const char *reason, *field, *message;
	size_t n = 0;

	for (size_t pos = 0; err_next_cause(e, &pos, &reason, &field, &message); n++) {
		assert_non_null(fields[n]);
		assert_string_equal(field, fields[n]);
	}
	assert_null(fields[n]);
}

static void declared_rules_stand_among_the_others(void **state)
{
	static const char *const want[] = { "metadata.name", "spec.iscsi.iqn", "spec.iscsi.lun", "spec.local.path",
		NULL };
	const struct schema_type *t = schema_builtin(STR(""), STR("v1"), STR("PersistentVolume"));
	struct err declared, e;

	(void)state;
	err_init(&declared);
	err_init(&e);
	v_invalid_str(&declared, "spec.iscsi.lun", STR("300"), "too many");
	v_required(&e, "metadata.name", "");
	v_required(&e, "spec.iscsi.iqn", "");
	v_required(&e, "spec.local.path", "");
	causes_merge(t, &declared, &e);
	order_is(&e, want);
}

static void items_stand_in_their_order(void **state)
{
	static const char *const want[] = { "spec.containers[2].name", "spec.containers[9].image",
		"spec.containers[10].image", NULL };
	const struct schema_type *t = schema_builtin(STR(""), STR("v1"), STR("Pod"));
	struct err declared, e;

	(void)state;
	err_init(&declared);
	err_init(&e);
	v_required(&declared, "spec.containers[9].image", "");
	v_required(&e, "spec.containers[2].name", "");
	v_required(&e, "spec.containers[10].image", "");
	causes_merge(t, &declared, &e);
	order_is(&e, want);
}

/* The strategy's own order is upstream's, and stays, whatever the schema says. */
static void a_strategy_keeps_its_order(void **state)
{
	static const char *const want[] = { "spec.accessModes", "spec.capacity", "spec.mountOptions", NULL };
	const struct schema_type *t = schema_builtin(STR(""), STR("v1"), STR("PersistentVolume"));
	struct err declared, e;

	(void)state;
	err_init(&declared);
	err_init(&e);
	v_required(&declared, "spec.mountOptions", "");
	v_required(&e, "spec.accessModes", "");
	v_required(&e, "spec.capacity", "");
	causes_merge(t, &declared, &e);
	order_is(&e, want);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(declared_rules_stand_among_the_others),
		cmocka_unit_test(items_stand_in_their_order), cmocka_unit_test(a_strategy_keeps_its_order) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
