/* YAML out, as Kubernetes writes it: keys in order, lists not indented, texts of several lines as such. */
#include "doc/doc_internal.h"
#include <stdlib.h>
#include <yaml.h>

struct writer {
	struct arena *a;
	yaml_emitter_t yaml;
	bool failed;
};

static int take(void *to, unsigned char *bytes, size_t n)
{
	buf_str(to, str_n((const char *)bytes, n));
	return 1;
}

static void emit(struct writer *w, yaml_event_t *ev)
{
	if (!yaml_emitter_emit(&w->yaml, ev))
		w->failed = true;
}

static void write_text(struct writer *w, struct str s, yaml_scalar_style_t style)
{
	yaml_event_t ev;
	bool plain = style == YAML_PLAIN_SCALAR_STYLE || style == YAML_ANY_SCALAR_STYLE;

	if (yaml_scalar_event_initialize(&ev, NULL, NULL, (const yaml_char_t *)(s.n ? s.p : ""), (int)s.n, plain,
		    style != YAML_PLAIN_SCALAR_STYLE, style))
		emit(w, &ev);
	else
		w->failed = true;
}

static void write_str(struct writer *w, struct str s)
{
	write_text(w, s,
		memchr(s.n ? s.p : "", '\n', s.n) ? YAML_LITERAL_SCALAR_STYLE :
			yaml_plain_is_text(w->a, s) ? YAML_ANY_SCALAR_STYLE :
						      YAML_DOUBLE_QUOTED_SCALAR_STYLE);
}

struct member {
	struct str key; /* first: str_order() */
	struct val val;
};

static void write_val(struct writer *w, struct val v);

static void write_map(struct writer *w, struct val v)
{
	size_t n = val_len(v), i = 0;
	struct member *list = ARENA_ARRAY(w->a, struct member, n + 1);
	yaml_event_t ev;

	for (struct val_iter it = val_iter(v); val_next(&it);)
		list[i++] = (struct member){ it.key, it.val };
	qsort(list, n, sizeof(*list), str_order);
	yaml_mapping_start_event_initialize(&ev, NULL, NULL, 1, YAML_BLOCK_MAPPING_STYLE);
	emit(w, &ev);
	for (i = 0; i < n; i++) {
		write_str(w, list[i].key);
		write_val(w, list[i].val);
	}
	yaml_mapping_end_event_initialize(&ev);
	emit(w, &ev);
}

static void write_list(struct writer *w, struct val v)
{
	yaml_event_t ev;

	yaml_sequence_start_event_initialize(&ev, NULL, NULL, 1, YAML_BLOCK_SEQUENCE_STYLE);
	emit(w, &ev);
	for (struct val_iter it = val_iter(v); val_next(&it);)
		write_val(w, it.val);
	yaml_sequence_end_event_initialize(&ev);
	emit(w, &ev);
}

static void write_val(struct writer *w, struct val v)
{
	if (val_kind(v) == VAL_MAP)
		write_map(w, v);
	else if (val_kind(v) == VAL_LIST)
		write_list(w, v);
	else if (val_kind(v) == VAL_STR)
		write_str(w, val_str(v));
	else
		write_text(w, val_text(v), YAML_PLAIN_SCALAR_STYLE);
}

bool val_write_yaml(struct val v, struct buf *out)
{
	struct writer w = { .a = arena_new() };
	yaml_event_t ev;

	if (!yaml_emitter_initialize(&w.yaml)) {
		arena_free(w.a);
		return false;
	}
	yaml_emitter_set_output(&w.yaml, take, out);
	yaml_emitter_set_unicode(&w.yaml, 1);
	yaml_stream_start_event_initialize(&ev, YAML_UTF8_ENCODING);
	emit(&w, &ev);
	yaml_document_start_event_initialize(&ev, NULL, NULL, NULL, 1);
	emit(&w, &ev);
	write_val(&w, v);
	yaml_document_end_event_initialize(&ev, 1);
	emit(&w, &ev);
	yaml_stream_end_event_initialize(&ev);
	emit(&w, &ev);
	yaml_emitter_delete(&w.yaml);
	arena_free(w.a);
	return !w.failed && !out->full;
}
