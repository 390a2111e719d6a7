#include "hostports/hostports.h"
#include "base/file.h"

#include <arpa/inet.h>
#include <stdio.h>

#define TCP_LISTEN 0x0a
#define UDP_UNCONNECTED 0x07
#define EPHEMERAL_FROM 32768 /* where the kernel's file cannot be read */

/* ---- the kernel's files ----------------------------------------------------------------------- */

static bool hex(struct str s, uint32_t *ret)
{
	uint32_t v = 0;

	if (!s.n || s.n > 8)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		int d = c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
		if (d < 0)
			return false;
		v = v << 4 | (uint32_t)d;
	}
	*ret = v;
	return true;
}

/* The kernel prints an address as words of the machine's byte order. */
static bool address(struct str s, uint32_t ret[4], size_t *ret_words)
{
	size_t words = s.n / 8;

	if ((words != 1 && words != 4) || s.n % 8)
		return false;
	for (size_t i = 0; i < words; i++)
		if (!hex(str_n(s.p + 8 * i, 8), &ret[i]))
			return false;
	*ret_words = words;
	return true;
}

static bool concerns(const uint32_t *at, size_t words, const char *const *ips, size_t n_ips)
{
	static const uint32_t every[4];
	uint32_t own[4];

	if (memcmp(at, every, words * 4) == 0)
		return true;
	for (size_t i = 0; i < n_ips; i++)
		if (inet_pton(words == 1 ? AF_INET : AF_INET6, ips[i], own) == 1 && memcmp(at, own, words * 4) == 0)
			return true;
	return false;
}

/* "  0: 00000000:0016 00000000:0000 0A …": number, local address, remote address, state. */
static bool listens(struct str line, int want_state, const char *const *ips, size_t n_ips, int *ret_port)
{
	struct str word[4], local, port;
	uint32_t at[4], state, value;
	size_t n = 0, words;

	for (struct str one, rest = line; n < 4 && str_next(&rest, ' ', &one);)
		if (!str_empty(one))
			word[n++] = one;
	if (n < 4)
		return false;
	port = str_cut(word[1], ':', &local);
	if (!address(local, at, &words) || !hex(port, &value) || !value || value > 65535 || !hex(word[3], &state))
		return false;
	*ret_port = (int)value;
	return (int)state == want_state && concerns(at, words, ips, n_ips);
}

void hostports_parse(struct str text, const char *proto, int udp_below, const char *const *ips, size_t n_ips,
	void (*add)(void *arg, int port, const char *proto), void *arg)
{
	bool udp = strcmp(proto, "UDP") == 0;
	int port;

	for (struct str line, rest = text; str_next(&rest, '\n', &line);)
		if (listens(line, udp ? UDP_UNCONNECTED : TCP_LISTEN, ips, n_ips, &port) && (!udp || port < udp_below))
			add(arg, port, proto);
}

/* ---- the list ---------------------------------------------------------------------------------- */

struct ports {
	uint8_t tcp[65536 / 8], udp[65536 / 8];
};

static void note(void *arg, int port, const char *proto)
{
	struct ports *p = arg;

	(*proto == 'T' ? p->tcp : p->udp)[port / 8] |= (uint8_t)(1 << port % 8);
}

static int ephemeral_from(void)
{
	auto_buf struct buf text = BUF_INIT;
	struct str first;
	int64_t from;
	struct err e;

	err_init(&e);
	if (file_read("/proc/sys/net/ipv4/ip_local_port_range", &text, &e) < 0)
		return EPHEMERAL_FROM;
	(void)str_cut(buf_view(&text), '\t', &first);
	return str_i64(str_trim(first), &from) && from > 0 && from < 65536 ? (int)from : EPHEMERAL_FROM;
}

static void list(struct buf *out, const struct ports *p)
{
	for (int port = 1; port < 65536; port++) {
		if (p->tcp[port / 8] >> port % 8 & 1)
			buf_printf(out, "%s%d/TCP", out->n ? "," : "", port);
		if (p->udp[port / 8] >> port % 8 & 1)
			buf_printf(out, "%s%d/UDP", out->n ? "," : "", port);
	}
}

void hostports_listening(const char *const *ips, size_t n_ips, struct buf *out)
{
	static const struct {
		const char *path, *proto;
	} files[] = { { "/proc/net/tcp", "TCP" }, { "/proc/net/tcp6", "TCP" }, { "/proc/net/udp", "UDP" },
		{ "/proc/net/udp6", "UDP" } };
	auto_free struct ports *found = xcalloc(1, sizeof(*found));
	int below = ephemeral_from();

	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		auto_buf struct buf text = BUF_INIT;
		struct err e;

		err_init(&e);
		if (file_read(files[i].path, &text, &e) == 0) /* without IPv6 there is no such file */
			hostports_parse(buf_view(&text), files[i].proto, below, ips, n_ips, note, found);
	}
	list(out, found);
}

bool hostports_has(struct str note, struct str proto, int64_t port)
{
	int64_t n;

	for (struct str one, rest = note; str_next(&rest, ',', &one);) {
		struct str number, of = str_cut(one, '/', &number);
		if (str_eq(of, proto) && str_i64(number, &n) && n == port)
			return true;
	}
	return false;
}
