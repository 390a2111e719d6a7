/* What the kernel lists is what was meant: every map, both families. In a network namespace of its own; skips (77)
 * without root. */
#include "base/buf.h"
#include "base/test.h"
#include "network/nft.h"
#include <nftables/libnftables.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

static struct nft_opts opts = { .table = "kogge-test", .pod_links = "kp-" };
static struct nft *nft;
static struct arena *a;

/* ---- elements -------------------------------------------------------------------------------- */

static struct ip address(unsigned family, int n)
{
	struct ip ip;

	ip_parse(family == 4 ? STR("10.1.2.3") : STR("fd00:1::2:3"), &ip);
	return ip_plus(ip, (uint32_t)n);
}

static struct cidr range(unsigned family, int n)
{
	struct cidr c;

	cidr_parse(family == 4 ? arena_strf(a, "%d.16.0.0/12", n) : arena_strf(a, "fd%02x:8000::/17", n), &c);
	return c;
}

static void add_field(struct fields *f, char field, unsigned family, int n)
{
	switch (field) {
	case 'a':
		fields_add_ip(f, address(family, n));
		break;
	case 'p':
		fields_add_proto(f, PROTOS[n % 3]);
		break;
	case 'd':
		fields_add_port(f, 8000 + n);
		break;
	case 'n':
		fields_add_number(f, 258 + (uint32_t)n); /* another number when its bytes are turned */
		break;
	default:
		fields_add_range(f, range(family, n));
	}
}

static struct str bytes(const char *fields, unsigned family, int n)
{
	struct fields f = { 0 };

	for (; *fields; fields++)
		add_field(&f, *fields, family, n);
	return arena_str(a, fields_view(&f));
}

static const char *pick_of(unsigned map, unsigned family, int n)
{
	struct pick p = { FRONTEND_KINDS[map - MAP_SVC_C], 't', (uint8_t)family, n % 2 ? 1 : 4, 0 };
	char name[PICK_NAME_MAX];

	nft_need_picks(nft, &p, 1);
	pick_name(p, name);
	return arena_strdup(a, name);
}

/* The nth element of a map; frontends in turn of two picks. */
static struct change add(unsigned map, unsigned family, char proto, int n)
{
	const struct element_map_info *info = &element_maps[map];
	struct element e = { (uint8_t)map, (uint8_t)family, proto, bytes(info->key, family, n), STR_NULL };

	if (info->gives == GIVES_ENDPOINT)
		e.val = bytes("ad", family, n + 50);
	else if (info->gives == GIVES_VERDICT)
		e.val = STR("refuse");
	else if (map <= MAP_SVC_Y) /* a map of frontends; its kind is its place */
		e.val = str_c(pick_of(map, family, n));
	return (struct change){ CHANGE_ADD, e };
}

static struct change delete (struct change c)
{
	c.op = CHANGE_DELETE;
	return c;
}

#define EACH 3
#define ALL_MAX (MAPS * 2 * 3 * EACH)

static size_t all(struct change ret[ALL_MAX])
{
	size_t k = 0;

	for (unsigned map = 0; map < MAPS; map++) {
		for (unsigned family = 4; family <= 6; family += 2) {
			bool split = element_maps[map].gives == GIVES_ENDPOINT;

			for (size_t p = 0; p < (split ? 3 : 1); p++) {
				for (int n = 1; n <= EACH; n++)
					ret[k++] = add(map, family, split ? PROTOS[p] : 0, n);
			}
		}
	}
	return k;
}

/* ---- what is there --------------------------------------------------------------------------- */

static int by_text(const void *x, const void *y)
{
	return strcmp(*(char *const *)x, *(char *const *)y);
}

static const char *sorted(char **lines, size_t n)
{
	auto_buf struct buf out = BUF_INIT;

	qsort(lines, n, sizeof(*lines), by_text);
	for (size_t i = 0; i < n; i++)
		buf_printf(&out, "%s\n", lines[i]);
	return arena_cstr(a, buf_view(&out));
}

static const char *meant(const struct change *changes, size_t n)
{
	char **lines = ARENA_ARRAY(a, char *, n + 1), map[MAP_NAME_MAX];

	for (size_t i = 0; i < n; i++) {
		element_map_name(&changes[i].e, map);
		lines[i] = arena_printf(a, "%s %.*s", map, STR_ARG(element_text(a, &changes[i].e)));
	}
	return sorted(lines, n);
}

static const char *nft_says(const char *command)
{
	struct nft_ctx *ctx = nft_ctx_new(NFT_CTX_DEFAULT);

	nft_ctx_buffer_output(ctx);
	nft_ctx_buffer_error(ctx);
	int rc = nft_run_cmd_from_buffer(ctx, command);
	const char *out = arena_strdup(a, rc == 0 ? nft_ctx_get_output_buffer(ctx) : nft_ctx_get_error_buffer(ctx));
	nft_ctx_free(ctx);
	return out;
}

/* Adds the elements of one block "set NAME { …\n elements = { A, B }" as lines "NAME A". */
static size_t add_lines(char **lines, struct str name, struct str list)
{
	size_t n = 0;

	for (struct str part; str_next(&list, ',', &part);) {
		if (str_trim(part).n == 0)
			continue; /* behind the last comma of a line */
		lines[n++] = arena_printf(a, "%.*s %.*s", STR_ARG(name), STR_ARG(str_trim(part)));
	}
	return n;
}

static const char *listed(const char *table)
{
	struct str text = str_c(nft_says(arena_printf(a, "list table inet %s", table))), line, name = STR_NULL;
	char **lines = ARENA_ARRAY(a, char *, text.n / 4 + 1);
	size_t n = 0;
	bool inside = false;

	while (str_next(&text, '\n', &line)) {
		struct str word, rest = str_cut(str_trim(line), ' ', &word);

		if (str_is(word, "set") || str_is(word, "map"))
			str_cut(rest, ' ', &name);
		if (str_is(word, "elements")) {
			inside = true;
			line = str_sub(rest, strlen("= {"), rest.n);
		}
		if (!inside)
			continue;
		inside = !str_has(line, STR("}"));
		str_cut(line, '}', &line);
		n += add_lines(lines + n, name, str_trim(line));
	}
	return sorted(lines, n);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void apply(const struct change *changes, size_t n)
{
	struct err e;

	err_init(&e);
	if (nft_apply(nft, changes, n, &e) < 0)
		fail_msg("%s", e.message);
}

static void rebuild(const struct change *changes, size_t n)
{
	struct err e;

	err_init(&e);
	if (nft_rebuild(nft, changes, n, &e) < 0)
		fail_msg("%s", e.message);
}

static void expect_refused(const struct change *changes, size_t n, const char *message)
{
	struct err e;

	err_init(&e);
	assert_true(nft_apply(nft, changes, n, &e) < 0);
	if (!str_starts(str_c(e.message), str_c(message)))
		fail_msg("%s", e.message); /* which errno differs between kernels */
}

static void kernel_has_what_was_meant(void **state)
{
	struct change changes[ALL_MAX], some[ALL_MAX];
	size_t n = all(changes), kept = 0;

	rebuild(NULL, 0);
	assert_string_equal(listed("kogge-test"), "");
	apply(changes, n);
	assert_string_equal(listed("kogge-test"), meant(changes, n));
	/* Every third goes, another gets a new value in the same transaction. */
	size_t m = 0;
	for (size_t i = 0; i < n; i++) {
		if (i % EACH != 0)
			changes[kept++] = changes[i];
		else
			some[m++] = delete (changes[i]);
	}
	struct change *moved = &changes[0];
	assert_int_equal(moved->e.map, MAP_SVC_C);
	some[m++] = delete (*moved);
	moved->e.val = str_c(pick_of(MAP_SVC_C, 4, 1));
	some[m++] = *moved;
	apply(some, m);
	assert_string_equal(listed("kogge-test"), meant(changes, kept));
}

static void names_what_is_refused(void **state)
{
	struct change changes[3] = { add(MAP_SVC_C, 4, 0, 7), add(MAP_ALLOWED, 6, 0, 8), add(MAP_EP_N, 4, 'u', 9) };
	const char *before = listed("kogge-test");

	changes[1].op = CHANGE_DELETE;
	expect_refused(changes, 3, "nftables refused to delete fd00:1::2:b . sctp . 8008 . fd08:8000::/17 in allowed6");
	changes[1] = add(MAP_EP_N, 4, 'u', 2); /* another value for a key that is there */
	changes[1].e.val = bytes("ad", 4, 1);
	expect_refused(changes, 3, "nftables refused to add 8002 . 260 : 10.1.2.4 . 8001 in ep_n4u");
	changes[1] = add(MAP_ISO_IN, 4, 0, 2);
	changes[1].e.val = STR("nowhere");
	expect_refused(changes, 3, "nftables refused to add 10.1.2.5 : goto nowhere in iso_in4");
	changes[1] = add(MAP_SVC_C, 4, 0, 2);
	changes[1].e.val = STR("nowhere");
	expect_refused(changes, 3, "nftables refused to add 10.1.2.5 . sctp . 8002 in nowhere");
	assert_string_equal(listed("kogge-test"), before);
}

#define MANY 20000
static void finds_one_among_many(void **state)
{
	struct change *changes = ARENA_ARRAY(a, struct change, MANY);

	rebuild(NULL, 0);
	for (int i = 0; i < MANY; i++)
		changes[i] = add(MAP_REMOTE, 6, 0, i);
	apply(changes, MANY);
	for (int i = 0; i < MANY; i++)
		changes[i].op = CHANGE_DELETE;
	apply(&changes[12345], 1);
	expect_refused(changes, MANY,
		arena_printf(
			a, "nftables refused to delete %.*s in remote6", STR_ARG(element_text(a, &changes[12345].e))));
}

static void replaces_the_table(void **state)
{
	struct change first = add(MAP_ISO_IN, 4, 0, 1), second = add(MAP_ISO_IN, 6, 0, 2), bad = second;
	struct err e;

	rebuild(&first, 1);
	assert_string_equal(nft_says("list tables"), "table inet kogge-test\n");
	/* What fails on the way leaves the old one, which another process finds. */
	bad.e.val = STR("nowhere");
	err_init(&e);
	assert_true(nft_rebuild(nft, &bad, 1, &e) < 0);
	nft_free(nft);
	assert_int_equal(nft_new(&opts, &nft, &e), 0);
	assert_true(nft_present(nft));
	assert_string_equal(listed("kogge-test"), meant(&first, 1));
	rebuild(&second, 1);
	assert_string_equal(nft_says("list tables"), "table inet kogge-test.2\n");
	assert_string_equal(listed("kogge-test.2"), meant(&second, 1));
	nft_free(nft);
	assert_int_equal(nft_new(&opts, &nft, &e), 0);
	assert_true(nft_present(nft));
	nft_says("flush ruleset");
	assert_false(nft_present(nft));
	rebuild(&first, 1);
	rebuild(&second, 1);
	assert_true(nft_present(nft));
	assert_string_equal(listed("kogge-test.2"), meant(&second, 1));
	assert_int_equal(nft_purge("kogge-test", &e), 0);
	assert_string_equal(nft_says("list tables"), "");
	assert_false(nft_present(nft));
}

/* People keep `nft list ruleset` for their next boot: one rule of ours that nft cannot read would cost them all of
 * theirs. */
static void lists_what_nft_reads(void **state)
{
	struct pick sticky = { 'c', 't', 4, 3, 10800 };
	struct change changes[ALL_MAX];
	size_t n = all(changes);

	nft_need_picks(nft, &sticky, 1);
	rebuild(changes, n);
	const char *text = nft_says("list table inet kogge-test");
	nft_says("flush ruleset");
	assert_string_equal(nft_says(text), "");
	assert_string_equal(nft_says("list table inet kogge-test"), text);
}

static int set_up(void **state)
{
	struct err e;

	err_init(&e);
	a = arena_new();
	return nft_new(&opts, &nft, &e);
}

static int tear_down(void **state)
{
	nft_free(nft);
	arena_free(a);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kernel_has_what_was_meant),
		cmocka_unit_test(names_what_is_refused),
		cmocka_unit_test(finds_one_among_many),
		cmocka_unit_test(replaces_the_table),
		cmocka_unit_test(lists_what_nft_reads),
	};

	if (unshare(CLONE_NEWNET) < 0) {
		puts("needs root: skipped");
		return 77;
	}
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
