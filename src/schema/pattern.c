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

/* What is wrong with an expression in Go's words: why, and of which part. n 0: of all of it. */
struct fault {
	const char *why;
	size_t at, n;
};

/* What PCRE2 would accept and Go does not: looking around, atomic groups, back references, possessive quantifiers. *ret_set:
 * where the last set of characters begins. */
static struct fault foreign(struct str s, size_t *ret_set)
{
	static const char *const groups[] = { "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?#", "(?|", "(?R", "(?(", "(*" };
	bool set = false;

	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '\\') {
			i++;
			if (i < s.n && ((!set && s.p[i] >= '1' && s.p[i] <= '9') || strchr("GKXRhHNVgk", s.p[i])))
				return (struct fault){ "invalid escape sequence", i - 1, 2 };
			continue;
		}
		if (set) {
			set = s.p[i] != ']';
			continue;
		}
		if (s.p[i] == '[') {
			*ret_set = i;
			set = true;
			i += i + 1 < s.n && s.p[i + 1] == '^';
			i += i + 1 < s.n && s.p[i + 1] == ']';
			continue;
		}
		for (size_t k = 0; k < ARRAY_LEN(groups); k++)
			if (str_starts(str_sub(s, i, s.n), str_c(groups[k])))
				return (struct fault){ "invalid or unsupported Perl syntax", i, strlen(groups[k]) };
		if (s.p[i] == '+' && i && strchr("*+?}", s.p[i - 1]) && !(i > 1 && s.p[i - 2] == '\\'))
			return (struct fault){ "invalid nested repetition operator", i - 1, 2 };
	}
	return (struct fault){ NULL, 0, 0 };
}

/* In Go's words where both fail for the same reason. set: where the last set of characters begins. */
static struct fault fault_of(int number, size_t at, size_t set, size_t n)
{
	switch (number) {
	case PCRE2_ERROR_MISSING_CLOSING_PARENTHESIS:
		return (struct fault){ "missing closing )", 0, n };
	case PCRE2_ERROR_UNMATCHED_CLOSING_PARENTHESIS:
		return (struct fault){ "unexpected )", 0, n };
	case PCRE2_ERROR_MISSING_SQUARE_BRACKET:
		return (struct fault){ "missing closing ]", set, n - set };
	case PCRE2_ERROR_QUANTIFIER_INVALID:
		return (struct fault){ "missing argument to repetition operator", at ? at - 1 : 0, 1 };
	case PCRE2_ERROR_CLASS_RANGE_ORDER:
		return (struct fault){ "invalid character class range", at > 3 ? at - 3 : 0, 3 };
	default:
		return (struct fault){ NULL, 0, 0 };
	}
}

static int tell(struct err *e, struct str text, struct fault f)
{
	return err_set(
		e, ERR_INVALID, "error parsing regexp: %s: `%.*s`", f.why, STR_ARG(str_sub(text, f.at, f.at + f.n)));
}

int pattern_new(struct str text, struct pattern **ret, struct err *e)
{
	PCRE2_UCHAR why[128];
	struct fault f;
	pcre2_code *code;
	PCRE2_SIZE at;
	size_t set = 0;
	int number;

	if (text.n > PATTERN_MAX)
		return err_set(e, ERR_INVALID, "error parsing regexp: expression is too long");
	f = foreign(text, &set);
	if (f.why)
		return tell(e, text, f);
	code = pcre2_compile((PCRE2_SPTR)(text.n ? text.p : ""), text.n,
		PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_BACKSLASH_C, &number, &at, NULL);
	if (!code) {
		f = fault_of(number, at, set, text.n);
		if (f.why)
			return tell(e, text, f);
		pcre2_get_error_message(number, why, sizeof(why));
		return err_set(e, ERR_INVALID, "error parsing regexp: %s: `%.*s`", (const char *)why, STR_ARG(text));
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
