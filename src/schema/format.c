/* The string formats that Kubernetes checks. Formats that are not in the table are not checked, as upstream does. */
#include "schema/rules.h"
#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>

static bool c_text(struct str s, char *to, size_t cap)
{
	if (s.n >= cap || memchr(s.n ? s.p : "", 0, s.n))
		return false;
	snprintf(to, cap, "%.*s", STR_ARG(s));
	return true;
}

static bool is_ipv4(struct str s)
{
	char text[INET6_ADDRSTRLEN + 1];
	struct in_addr a;

	return c_text(s, text, sizeof(text)) && inet_pton(AF_INET, text, &a) == 1;
}

static bool is_ipv6(struct str s)
{
	char text[INET6_ADDRSTRLEN + 1];
	struct in6_addr a;

	return c_text(s, text, sizeof(text)) && inet_pton(AF_INET6, text, &a) == 1;
}

static bool is_cidr(struct str s)
{
	struct str ip, bits = str_cut(s, '/', &ip);
	uint64_t n;

	if (!bits.n || !str_u64(bits, &n) || (bits.n > 1 && bits.p[0] == '0'))
		return false;
	return (is_ipv4(ip) && n <= 32) || (is_ipv6(ip) && n <= 128);
}

/* Groups of hexadecimal digits: "8-4-4-4-12". at most one separator. */
static bool hex_groups(struct str s, const char *shape, char sep, bool sep_optional)
{
	size_t i = 0;

	for (const char *p = shape; *p;) {
		long n = strtol(p, (char **)&p, 10);

		for (; n > 0; n--, i++)
			if (i >= s.n || !isxdigit((unsigned char)s.p[i]))
				return false;
		if (!*p)
			break;
		p++;
		if (i < s.n && s.p[i] == sep)
			i++;
		else if (!sep_optional)
			return false;
	}
	return i == s.n;
}

static bool uuid_version(struct str s, char version)
{
	bool dashes = s.n == 36;

	if (!hex_groups(s, "8-4-4-4-12", '-', true))
		return false;
	return !version || s.p[dashes ? 14 : 12] == version;
}

static bool is_uuid(struct str s)
{
	return uuid_version(s, 0);
}
static bool is_uuid3(struct str s)
{
	return uuid_version(s, '3');
}
static bool is_uuid4(struct str s)
{
	return uuid_version(s, '4');
}
static bool is_uuid5(struct str s)
{
	return uuid_version(s, '5');
}

static bool is_mac(struct str s)
{
	return hex_groups(s, "2:2:2:2:2:2", ':', false) || hex_groups(s, "2-2-2-2-2-2", '-', false) ||
		hex_groups(s, "4.4.4", '.', false) || hex_groups(s, "2:2:2:2:2:2:2:2", ':', false);
}

static bool is_date(struct str s)
{
	char text[24];
	struct instant w;

	snprintf(text, sizeof(text), "%.*sT00:00:00Z", (int)MIN(s.n, (size_t)10), s.n ? s.p : "");
	return s.n == 10 && instant_parse(str_c(text), &w);
}

static bool is_date_time(struct str s)
{
	struct instant w;

	return instant_parse(s, &w);
}

static bool is_duration(struct str s)
{
	int64_t ns;

	return duration_parse(s, &ns);
}

static bool is_byte(struct str s)
{
	auto_buf struct buf b = BUF_INIT;

	return base64_decode(s, &b) == 0;
}

/* Of more than one label the last is a word of letters: an address is no name. Letters may be of any alphabet. */
static bool is_hostname(struct str s)
{
	struct str label;
	size_t n = 0;
	bool word = true;

	if (!s.n || s.n > 255)
		return false;
	for (struct str rest = s; rest.p; n++) {
		rest = str_cut(rest, '.', &label);
		if (!label.n || label.n > 63 || label.p[0] == '-' || label.p[label.n - 1] == '-')
			return false;
		word = label.n > 1;
		for (size_t i = 0; i < label.n; i++) {
			unsigned char c = (unsigned char)label.p[i];

			if (!isalnum(c) && c != '-' && c < 0x80)
				return false;
			word &= isalpha(c) || c >= 0x80;
		}
	}
	return n == 1 || word;
}

static bool is_email(struct str s)
{
	struct str user, host = str_cut(s, '@', &user);

	return user.n && host.n && !str_has(s, STR(" ")) && is_hostname(host);
}

static bool is_uri(struct str s)
{
	struct str scheme, rest = str_cut(s, ':', &scheme);

	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] <= ' ' || s.p[i] == 0x7f)
			return false;
	if (s.n && s.p[0] == '/')
		return true;
	if (!rest.n || !scheme.n || !isalpha((unsigned char)scheme.p[0]))
		return false;
	for (size_t i = 0; i < scheme.n; i++)
		if (!isalnum((unsigned char)scheme.p[i]) && !strchr("+-.", scheme.p[i]))
			return false;
	return true;
}

static bool is_hexcolor(struct str s)
{
	if (s.n && s.p[0] == '#')
		s = str_sub(s, 1, s.n);
	return hex_groups(s, "3", 0, false) || hex_groups(s, "6", 0, false);
}

static bool is_bson(struct str s)
{
	return hex_groups(s, "24", 0, false);
}

static bool is_password(struct str s)
{
	(void)s;
	return true;
}

static bool is_quantity(struct str s)
{
	struct quantity q;

	return quantity_parse(s, &q);
}

/* A name's parts, of which one may be all there is. */
static bool is_k8s_name(struct str s, size_t max, bool dots)
{
	struct str label;

	if (!s.n || s.n > max)
		return false;
	for (struct str rest = s; rest.p;) {
		rest = str_cut(rest, '.', &label);
		if (!label.n || label.p[0] == '-' || label.p[label.n - 1] == '-' || (rest.p && !dots))
			return false;
		for (size_t i = 0; i < label.n; i++)
			if (!islower((unsigned char)label.p[i]) && !isdigit((unsigned char)label.p[i]) &&
				label.p[i] != '-')
				return false;
	}
	return true;
}

static bool is_short_name(struct str s)
{
	return is_k8s_name(s, 63, false);
}
static bool is_long_name(struct str s)
{
	return is_k8s_name(s, 253, true);
}

static const struct {
	const char *name;
	bool (*holds)(struct str s);
	uint8_t types; /* of numbers; 0: of text */
} formats[] = {
	{ "", NULL, 0 },
	{ "date-time", is_date_time, 0 },
	{ "datetime", is_date_time, 0 },
	{ "date", is_date, 0 },
	{ "duration", is_duration, 0 },
	{ "byte", is_byte, 0 },
	{ "password", is_password, 0 },
	{ "ipv4", is_ipv4, 0 },
	{ "ipv6", is_ipv6, 0 },
	{ "cidr", is_cidr, 0 },
	{ "mac", is_mac, 0 },
	{ "uuid", is_uuid, 0 },
	{ "uuid3", is_uuid3, 0 },
	{ "uuid4", is_uuid4, 0 },
	{ "uuid5", is_uuid5, 0 },
	{ "hostname", is_hostname, 0 },
	{ "email", is_email, 0 },
	{ "uri", is_uri, 0 },
	{ "hexcolor", is_hexcolor, 0 },
	{ "bsonobjectid", is_bson, 0 },
	{ "quantity", is_quantity, 0 },
	{ "k8s-short-name", is_short_name, 0 },
	{ "k8s-long-name", is_long_name, 0 },
	{ "int32", NULL, RULE_INTEGER },
	{ "int64", NULL, RULE_INTEGER },
	{ "float", NULL, RULE_NUMBER },
	{ "double", NULL, RULE_NUMBER },
};

uint8_t format_find(struct str name, uint8_t types)
{
	bool text = !types || types == RULE_STRING || types == (RULE_INTEGER | RULE_STRING);

	for (uint8_t i = 1; i < ARRAY_LEN(formats); i++)
		if (str_is(name, formats[i].name) && (formats[i].types ? formats[i].types == types : text))
			return i;
	return 0;
}

const char *format_name(uint8_t format)
{
	return formats[format].name;
}

bool format_is_number(uint8_t format)
{
	return formats[format].types;
}

bool format_holds(uint8_t format, struct str s)
{
	return !formats[format].holds || formats[format].holds(s);
}
