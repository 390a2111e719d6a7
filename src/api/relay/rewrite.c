/* Links in HTML and redirects that come through the proxy sub-resource: a path of the server behind it becomes one of ours. */
#include "api/relay/relay.h"

/* Attributes that hold one URL. */
static bool holds_url(struct str name)
{
	static const char *const names[] = { "action", "background", "cite", "data", "formaction", "href", "icon",
		"longdesc", "manifest", "poster", "src" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (str_eq_nocase(name, str_c(names[i])))
			return true;
	return false;
}

static bool is_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* The word that ends right before at, when a blank stands in front of it. */
static struct str word_before(struct str html, size_t at)
{
	size_t from = at;

	while (from && is_word(html.p[from - 1]))
		from--;
	if (!from || !strchr(" \t\r\n", html.p[from - 1]))
		return STR_NULL;
	return str_sub(html, from, at - from);
}

/* at: behind '='. Whether a path begins there, quoted or not; *skip: the quote. */
static bool path_begins(struct str html, size_t at, size_t *skip)
{
	*skip = at < html.n && (html.p[at] == '"' || html.p[at] == '\'');
	at += *skip;
	return at < html.n && html.p[at] == '/' && !(at + 1 < html.n && html.p[at + 1] == '/');
}

void rewrite_links(struct str html, struct str prefix, struct buf *out)
{
	size_t done = 0, skip;
	bool in_tag = false;

	for (size_t i = 0; i < html.n; i++) {
		if (html.p[i] == '<')
			in_tag = true;
		else if (html.p[i] == '>')
			in_tag = false;
		if (!in_tag || html.p[i] != '=' || !path_begins(html, i + 1, &skip) || !holds_url(word_before(html, i)))
			continue;
		buf_str(out, str_sub(html, done, i + 1 + skip - done));
		buf_str(out, prefix);
		done = i + 1 + skip;
	}
	buf_str(out, str_sub(html, done, html.n - done));
}

/* Where the host of a URL begins; 0: it has none. */
static size_t host_at(struct str url)
{
	return str_starts(url, STR("http://"))   ? 7 :
		str_starts(url, STR("https://")) ? 8 :
		str_starts(url, STR("//"))       ? 2 :
						   0;
}

struct str rewrite_location(struct arena *a, struct str to, const struct rewrite_hosts *h, struct str prefix)
{
	size_t from = host_at(to), at = from;

	while (from && at < to.n && !strchr("/?#", to.p[at]))
		at++;
	struct str host = str_sub(to, from, at - from), path = str_sub(to, at, to.n);
	bool kept = from && str_eq(host, h->ours);

	if (!str_starts(path, STR("/")) || (from && !kept && !str_eq(host, h->theirs)))
		return to;
	return arena_strf(a, "%.*s%.*s%.*s", kept ? (int)at : 0, to.p, str_starts(path, prefix) ? 0 : (int)prefix.n,
		prefix.p, STR_ARG(path));
}
