#include "api/relay/relay.h"
#include "base/test.h"

static void links_lead_back_through_us(void **state)
{
	static const struct {
		const char *in, *out;
	} rows[] = {
		{ "<a href=\"/x\">t</a>", "<a href=\"/p/x\">t</a>" },
		{ "<img alt=a SRC='/i.png'>", "<img alt=a SRC='/p/i.png'>" },
		{ "<form action=/go>", "<form action=/p/go>" },
		{ "<a href=\"//other/x\"><a href=\"rel\"><a href=\"http://h/x\">",
			"<a href=\"//other/x\"><a href=\"rel\"><a href=\"http://h/x\">" },
		{ "href=\"/text\" <b title=\"/x\" nothref=\"/y\">", "href=\"/text\" <b title=\"/x\" nothref=\"/y\">" },
		{ "<a href=", "<a href=" },
		{ "", "" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		auto_buf struct buf out = BUF_INIT;

		rewrite_links(str_c(rows[i].in), STR("/p"), &out);
		assert_true(str_is(buf_view(&out), rows[i].out));
	}
}

static void redirects_lead_back_through_us(void **state)
{
	static const struct {
		const char *in, *out;
	} rows[] = {
		{ "/x?q=/y", "/p/x?q=/y" },
		{ "/p/x", "/p/x" },
		{ "x", "x" },
		{ "../x", "../x" },
		{ "http://10.0.0.1:80/x#f", "/p/x#f" },
		{ "//10.0.0.1:80/x", "/p/x" },
		{ "https://api:6443/x", "https://api:6443/p/x" },
		{ "https://api:6443/p/x", "https://api:6443/p/x" },
		{ "https://example.com/x", "https://example.com/x" },
		{ "//example.com/x", "//example.com/x" },
		{ "http://10.0.0.1:80", "http://10.0.0.1:80" },
		{ "http://10.0.0.1:80@example.com/x", "http://10.0.0.1:80@example.com/x" },
		{ "javascript:/x", "javascript:/x" },
		{ "", "" },
	};
	const struct rewrite_hosts hosts = { STR("10.0.0.1:80"), STR("api:6443") };
	auto_(arena_free) struct arena *a = arena_new();

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct str got = rewrite_location(a, str_c(rows[i].in), &hosts, STR("/p"));

		if (!str_is(got, rows[i].out))
			fail_msg("%s: %.*s", rows[i].in, STR_ARG(got));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(links_lead_back_through_us),
		cmocka_unit_test(redirects_lead_back_through_us) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
