/* JSON for people, indented as upstream does it: piece by piece, so that a long list is nowhere as a whole. */
#include "api/api_internal.h"

static void new_line(const struct pretty *p, struct buf *out)
{
	buf_printf(out, "\n%*s", p->depth * 2, "");
}

static void in_string(struct pretty *p, char c)
{
	if (p->escaped)
		p->escaped = false;
	else if (c == '\\')
		p->escaped = true;
	else if (c == '"')
		p->in_string = false;
}

static void open_or_close(struct pretty *p, char c, struct buf *out)
{
	bool opens = c == '{' || c == '[', empty = p->opened && !opens;

	if (p->opened && !empty)
		new_line(p, out);
	p->depth += opens ? 1 : -1;
	if (!opens && !empty)
		new_line(p, out);
	buf_byte(out, c);
	p->opened = opens;
}

void pretty_text(struct pretty *p, struct str in, struct buf *out)
{
	for (size_t i = 0; i < in.n; i++) {
		char c = in.p[i];

		if (p->in_string) {
			buf_byte(out, c);
			in_string(p, c);
			continue;
		}
		if (c == ' ')
			continue;
		if (c == '{' || c == '[' || c == '}' || c == ']') {
			open_or_close(p, c, out);
			continue;
		}
		if (p->opened)
			new_line(p, out);
		p->opened = false;
		p->in_string = c == '"';
		buf_byte(out, c);
		if (c == ':')
			buf_byte(out, ' ');
		if (c == ',')
			new_line(p, out);
	}
}
