/* Header fields as they arrive one by one. */
#include "net/net_internal.h"

void fields_fini(struct fields *f)
{
	size_t max = f->text.max;

	buf_fini(&f->text);
	free(f->v);
	*f = (struct fields){ .text = BUF_INIT };
	f->text.max = max;
}

void fields_add(struct fields *f, struct str name, struct str value)
{
	GROW(f->v, f->n, f->cap, 16);
	f->v[f->n++] = (struct field_at){ f->text.n, name.n, value.n };
	buf_add(&f->text, name.p, name.n);
	buf_add(&f->text, value.p, value.n);
	if (f->text.full) /* refused anyway: keep the slices inside the text */
		f->n--;
}

void fields_take(struct fields *f, char **ret_text, struct http_header **ret, size_t *ret_n)
{
	size_t n = f->n;
	struct http_header *h = xcalloc(n + 1, sizeof(*h));
	char *text = buf_take(&f->text, NULL);

	for (size_t i = 0; i < n; i++) {
		h[i].name = str_n(text + f->v[i].at, f->v[i].name_n);
		h[i].value = str_n(text + f->v[i].at + f->v[i].name_n, f->v[i].value_n);
	}
	fields_fini(f);
	*ret_text = text;
	*ret = h;
	*ret_n = n;
}
