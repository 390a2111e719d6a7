/* Regular expressions of custom kinds. Clients write them for Go's RE2; PCRE2 reads the same dialect once what only one
 * of the two knows is refused, and its limits give the bound in time that RE2 has by design. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "schema/rules.h"
#include <pcre2.h>

#define STEPS_MAX 200000
#define HEAP_KIB_MAX 2048
#define PATTERN_MAX ((size_t)16 << 10)

struct pattern {
	pcre2_code *code;
};

/* What PCRE2 would accept and Go does not: looking around, atomic groups, back references, possessive quantifiers. */
static const char *foreign(struct str s)
{
	static const char *const groups[] = { "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?#", "(?|", "(?R", "(?(", "(*" };
	bool set = false;

	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '\\') {
			i++;
			if (!set && i < s.n && s.p[i] >= '1' && s.p[i] <= '9')
				return "invalid escape sequence: a back reference";
			if (i < s.n && strchr("GKXRhHNVgk", s.p[i]))
				return "invalid escape sequence";
			continue;
		}
		if (set) {
			set = s.p[i] != ']';
			continue;
		}
		if (s.p[i] == '[') {
			set = true;
			i += i + 1 < s.n && s.p[i + 1] == '^';
			i += i + 1 < s.n && s.p[i + 1] == ']';
			continue;
		}
		for (size_t k = 0; k < ARRAY_LEN(groups); k++)
			if (str_starts(str_sub(s, i, s.n), str_c(groups[k])))
				return "invalid or unsupported Perl syntax";
		if (s.p[i] == '+' && i && strchr("*+?}", s.p[i - 1]) && !(i > 1 && s.p[i - 2] == '\\'))
			return "invalid nested repetition operator";
	}
	return NULL;
}

int pattern_new(struct str text, struct pattern **ret, struct err *e)
{
	const char *wrong = text.n > PATTERN_MAX ? "expression is too long" : foreign(text);
	PCRE2_UCHAR why[128];
	pcre2_code *code;
	PCRE2_SIZE at;
	int number;

	if (wrong)
		return err_set(e, ERR_INVALID, "error parsing regexp: %s", wrong);
	code = pcre2_compile((PCRE2_SPTR)(text.n ? text.p : ""), text.n,
		PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_BACKSLASH_C, &number, &at, NULL);
	if (!code) {
		pcre2_get_error_message(number, why, sizeof(why));
		return err_set(e, ERR_INVALID, "error parsing regexp: %s at offset %zu", (const char *)why, (size_t)at);
	}
	*ret = xcalloc(1, sizeof(**ret));
	(*ret)->code = code;
	return 0;
}

struct pattern *pattern_free(struct pattern *p)
{
	if (!p)
		return NULL;
	pcre2_code_free(p->code);
	free(p);
	return NULL;
}

enum pattern_verdict pattern_match(const struct pattern *p, struct str s)
{
	pcre2_match_data *m = pcre2_match_data_create_from_pattern(p->code, NULL);
	pcre2_match_context *limits = pcre2_match_context_create(NULL);
	int rc;

	pcre2_set_match_limit(limits, STEPS_MAX);
	pcre2_set_heap_limit(limits, HEAP_KIB_MAX);
	rc = pcre2_match(p->code, (PCRE2_SPTR)(s.n ? s.p : ""), s.n, 0, PCRE2_NO_UTF_CHECK, m, limits);
	pcre2_match_context_free(limits);
	pcre2_match_data_free(m);
	return rc >= 0 ? PATTERN_YES : rc == PCRE2_ERROR_NOMATCH ? PATTERN_NO : PATTERN_TOO_EXPENSIVE;
}
