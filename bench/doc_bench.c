/* Documents against jansson, on objects as the API gives them (bench/corpus): parsing with duplicate keys and invalid
 * UTF-8 refused, one edit and the text of the result, looking at every value, and the memory a parsed one takes.
 *
 * usage: doc_bench FILE... */
#include "base/clock.h"
#include "base/file.h"
#include "doc/doc.h"
#include <jansson.h>
#include <malloc.h>
#include <math.h>
#include <stdio.h>

#define ROUNDS 5
#define ROUND_NS 20000000

static size_t sink; /* so that nothing is left out as unused */

struct object {
	struct str text;
	struct doc *doc;
	json_t *json;
};

/* ---- ours ------------------------------------------------------------------------------------ */

static void doc_parse_it(const struct object *o)
{
	auto_(doc_unref) struct doc *d = NULL;

	PRE(doc_parse(o->text, &d, NULL) == 0);
	sink += doc_text(d).n;
}

static size_t visit(struct val v)
{
	size_t n = val_str(v).n + 1;

	for (struct val_iter it = val_iter(v); val_next(&it);)
		n += it.key.n + visit(it.val);
	return n;
}

static void doc_visit(const struct object *o)
{
	sink += visit(doc_root(o->doc));
}

static void doc_edit(const struct object *o)
{
	auto_(arena_free) struct arena *a = arena_new();
	auto_(doc_unref) struct doc *d = NULL;
	struct node *n = node_from(a, doc_root(o->doc));

	node_set_path(n, "metadata.resourceVersion", node_c(a, "7"));
	d = node_publish(n);
	sink += doc_text(d).n;
}

/* ---- jansson --------------------------------------------------------------------------------- */

static json_t *load(struct str text)
{
	json_t *j = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, NULL);

	PRE(j);
	return j;
}

static void jansson_parse(const struct object *o)
{
	json_t *j = load(o->text);

	sink += json_object_size(j);
	json_decref(j);
}

static size_t jansson_visit_value(json_t *j)
{
	size_t n = json_string_length(j) + 1, i;
	const char *key;
	json_t *child;

	json_object_foreach(j, key, child) n += strlen(key) + jansson_visit_value(child);
	json_array_foreach(j, i, child) n += jansson_visit_value(child);
	return n;
}

static void jansson_visit(const struct object *o)
{
	sink += jansson_visit_value(o->json);
}

/* In place: a tree that others read would have to be copied first. */
static void jansson_edit(const struct object *o)
{
	char *text;

	json_object_set_new(json_object_get(o->json, "metadata"), "resourceVersion", json_string("7"));
	text = json_dumps(o->json, JSON_COMPACT);
	sink += strlen(text);
	free(text);
}

/* ---- both, in turn --------------------------------------------------------------------------- */

static const struct step {
	const char *name;
	void (*ours)(const struct object *o), (*theirs)(const struct object *o);
} steps[] = {
	{ "parse", doc_parse_it, jansson_parse },
	{ "edit and print", doc_edit, jansson_edit },
	{ "visit", doc_visit, jansson_visit },
};

static double once_us(void (*run)(const struct object *o), const struct object *o)
{
	struct mono from = mono_now();
	int64_t n = 0, ns;

	do {
		run(o);
		n++;
	} while ((ns = mono_now().ns - from.ns) < ROUND_NS);
	return (double)ns / (double)n / 1e3;
}

static double compare(const struct step *s, const struct object *o)
{
	double ours = INFINITY, theirs = INFINITY;

	for (int i = 0; i < ROUNDS; i++) {
		ours = fmin(ours, once_us(s->ours, o));
		theirs = fmin(theirs, once_us(s->theirs, o));
	}
	printf(" | %.2f / %.2f µs, %.1f ×", ours, theirs, theirs / ours);
	return theirs / ours;
}

static size_t heap_bytes(void)
{
	struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd;
}

static double measure(const char *path, double ratio[ARRAY_LEN(steps)])
{
	auto_buf struct buf file = BUF_INIT;
	const char *name = strrchr(path, '/');
	struct object o = { 0 };
	size_t before, ours, theirs;

	if (file_read(path, &file, NULL) < 0) {
		fprintf(stderr, "doc_bench: cannot read %s\n", path);
		exit(1);
	}
	o.text = buf_view(&file);
	before = heap_bytes();
	PRE(doc_parse(o.text, &o.doc, NULL) == 0);
	ours = heap_bytes() - before;
	before = heap_bytes();
	o.json = load(o.text);
	theirs = heap_bytes() - before;
	printf("| %s | %zu", name ? name + 1 : path, o.text.n);
	for (size_t i = 0; i < ARRAY_LEN(steps); i++)
		ratio[i] *= compare(&steps[i], &o);
	printf(" | %.2f / %.2f × the text, %.1f × |\n", (double)ours / (double)o.text.n,
		(double)theirs / (double)o.text.n, (double)theirs / (double)ours);
	doc_unref(o.doc);
	json_decref(o.json);
	return (double)theirs / (double)ours;
}

int main(int argc, char **argv)
{
	double ratio[ARRAY_LEN(steps)], memory = 1;

	if (argc < 2) {
		fprintf(stderr, "usage: doc_bench FILE...\n");
		return 2;
	}
	printf("ours / jansson's, and by how much ours is less\n\n| object | bytes");
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		ratio[i] = 1;
		printf(" | %s", steps[i].name);
	}
	printf(" | memory |\n| --- | --- | --- | --- | --- | --- |\n");
	for (int i = 1; i < argc; i++)
		memory *= measure(argv[i], ratio);
	printf("| geometric mean |");
	for (size_t i = 0; i < ARRAY_LEN(steps); i++)
		printf(" | %.1f ×", pow(ratio[i], 1.0 / (argc - 1)));
	printf(" | %.1f × |\n", pow(memory, 1.0 / (argc - 1)));
	return sink == 0;
}
