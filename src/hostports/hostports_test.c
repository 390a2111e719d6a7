#include "base/test.h"
#include "hostports/hostports.h"
#include <stdio.h>

struct found {
	char text[200];
};

static void add(void *arg, int port, const char *proto)
{
	struct found *f = arg;
	size_t n = strlen(f->text);

	(void)snprintf(f->text + n, sizeof(f->text) - n, "%d/%s ", port, proto);
}

#define HEAD "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"

static const struct {
	const char *what, *text, *proto, *want;
} rows[] = {
	{ "every address", HEAD "   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000\n", "TCP",
		"22/TCP " },
	{ "one of ours", "0: 0101000A:0050 00000000:0000 0A x\n", "TCP", "80/TCP " },
	{ "somebody else's, loopback", "0: 0201000A:0050 00000000:0000 0A x\n1: 0100007F:0051 00000000:0000 0A x\n",
		"TCP", "" },
	{ "a connection is no listener", "0: 00000000:0050 0201000A:9999 01 x\n", "TCP", "" },
	{ "IPv6, every address",
		"0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A x\n", "TCP",
		"8080/TCP " },
	{ "UDP", "0: 00000000:0044 00000000:0000 07 x\n1: 00000000:0045 0101000A:0044 01 x\n", "UDP", "68/UDP " },
	{ "UDP of clients", "0: 00000000:8000 00000000:0000 07 x\n", "UDP", "" },
	{ "garbage", "0: 0000:0016 x 0A\n0: 00000000:00000 y\n: : : :\n0: 00000000:FFFFFFFF 0:0 0A\n\n   \nno", "TCP",
		"" },
};

static void reads_the_kernels_files(void **state)
{
	static const char *const ips[] = { "10.0.1.1", "fd00::1" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct found f = { "" };

		hostports_parse(str_c(rows[i].text), rows[i].proto, 32768, ips, ARRAY_LEN(ips), add, &f);
		if (strcmp(f.text, rows[i].want))
			fail_msg("%s: %s", rows[i].what, f.text);
	}
}

static void finds_a_port_in_a_note(void **state)
{
	struct str note = STR("22/TCP,68/UDP,8080/TCP");

	(void)state;
	assert_true(hostports_has(note, STR("TCP"), 22));
	assert_true(hostports_has(note, STR("TCP"), 8080));
	assert_false(hostports_has(note, STR("UDP"), 22));
	assert_false(hostports_has(note, STR("TCP"), 80));
	assert_false(hostports_has(STR_NULL, STR("TCP"), 22));
	assert_false(hostports_has(STR(",/,x/TCP"), STR("TCP"), 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_the_kernels_files),
		cmocka_unit_test(finds_a_port_in_a_note),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
