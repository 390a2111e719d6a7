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

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(links_lead_back_through_us) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
