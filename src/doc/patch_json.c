/* JSON patch, RFC 6902. */
#include "doc/doc_internal.h"

#define OPERATIONS_MAX 10000
#define WORK_MAX 50000000 /* list elements moved and values looked at, all operations together */

struct jp {
	struct arena *a;
	struct node **root;
	size_t copied, copy_max, work;
	const char *op;
	struct str path; /* of the operation, for messages */
	struct err *e;
};

/* Where a pointer leads: the container and the name in it. parent NULL: the root itself. */
struct place {
	struct node *parent;
	struct str name;
	size_t depth; /* steps below the root */
};

static int missing(struct jp *p, struct str path)
{
	return err_set(
		p->e, ERR_INVALID, "%s operation does not apply: doc is missing path: \"%.*s\"", p->op, STR_ARG(path));
}

/* One step of a pointer without its escapes ~0 and ~1. */
static int decode(struct jp *p, struct str raw, struct str *ret)
{
	char *to = arena_alloc(p->a, raw.n + 1);
	size_t n = 0;

	for (size_t i = 0; i < raw.n; i++) {
		char c = raw.p[i];

		if (c == '~') {
			if (++i == raw.n || (raw.p[i] != '0' && raw.p[i] != '1'))
				return err_set(p->e, ERR_INVALID, "invalid JSON pointer \"%.*s\"", STR_ARG(p->path));
			c = raw.p[i] == '0' ? '~' : '/';
		}
		to[n++] = c;
	}
	*ret = str_n(to, n);
	return 0;
}

static bool list_index(struct str name, size_t len, size_t *ret)
{
	size_t i = 0;

	if (!name.n || name.n > 9 || (name.n > 1 && name.p[0] == '0'))
		return false;
	for (size_t k = 0; k < name.n; k++) {
		if (name.p[k] < '0' || name.p[k] > '9')
			return false;
		i = i * 10 + (size_t)(name.p[k] - '0');
	}
	*ret = i;
	return i < len;
}

static struct node *child_of(struct node *n, struct str name)
{
	size_t i;

	if (node_kind(n) == VAL_MAP)
		return node_get(n, name);
	return node_kind(n) == VAL_LIST && list_index(name, node_len(n), &i) ? node_at(n, i) : NULL;
}

static int locate(struct jp *p, struct str path, struct place *ret)
{
	struct node *n = *p->root;
	struct str rest;

	*ret = (struct place){ 0 };
	if (!path.n)
		return 0;
	if (path.p[0] != '/')
		return err_set(
			p->e, ERR_INVALID, "invalid JSON pointer \"%.*s\": it has to start with \"/\"", STR_ARG(path));
	rest = str_n(path.p + 1, path.n - 1);
	for (;;) {
		const char *slash = memchr(rest.p, '/', rest.n);
		struct str step = str_n(rest.p, slash ? (size_t)(slash - rest.p) : rest.n), name;

		if (decode(p, step, &name) < 0)
			return -ERR_BAD_REQUEST;
		ret->depth++;
		if (!slash) {
			ret->parent = n;
			ret->name = name;
			return node_kind(n) >= VAL_LIST ? 0 : missing(p, path);
		}
		n = child_of(n, name);
		if (!n)
			return missing(p, path);
		rest = str_n(slash + 1, rest.n - step.n - 1);
	}
}

static struct node *look(struct jp *p, const struct place *at)
{
	return at->parent ? child_of(at->parent, at->name) : *p->root;
}

/* An operation near the front of a long list, or on a large part, is cheap to write; ten thousand are not to do. */
static int spend(struct jp *p, size_t work)
{
	p->work += work;
	if (p->work <= WORK_MAX)
		return 0;
	return err_set(p->e, ERR_TOO_LARGE, "the JSON patch takes too much work on large lists or objects");
}

static int check_depth(struct jp *p, const struct place *at, struct node *value)
{
	if (at->depth + node_depth(value, &p->work) > DOC_DEPTH_MAX)
		return err_set(p->e, ERR_INVALID, "%s operation makes the document nest too deep", p->op);
	return spend(p, 0);
}

static int add(struct jp *p, struct str path, struct node *value)
{
	struct place at;
	size_t i = 0;
	int r = locate(p, path, &at);

	if (r < 0)
		return r;
	if ((r = check_depth(p, &at, value)) < 0)
		return r;
	if (!at.parent) {
		*p->root = value;
		return 0;
	}
	if (at.parent->kind == VAL_MAP) {
		if (at.name.n > DN_KEY_MAX)
			return err_set(p->e, ERR_INVALID, "%s operation: key is too long", p->op);
		node_set(at.parent, at.name, value);
		return 0;
	}
	if (str_is(at.name, "-"))
		i = node_len(at.parent);
	else if (!list_index(at.name, node_len(at.parent) + 1, &i))
		return err_set(p->e, ERR_INVALID, "%s operation does not apply: \"%.*s\" is not an index of the list",
			p->op, STR_ARG(path));
	if ((r = spend(p, node_len(at.parent) - i)) < 0)
		return r;
	node_insert(at.parent, i, value);
	return 0;
}

/* Takes out what is at path. */
static int take(struct jp *p, struct str path, struct node **ret)
{
	struct place at;
	size_t i = 0;
	int r = locate(p, path, &at);

	if (r < 0)
		return r;
	if (!at.parent)
		return err_set(p->e, ERR_INVALID, "%s operation: the whole document cannot be removed", p->op);
	*ret = look(p, &at);
	if (!*ret)
		return missing(p, path);
	if (at.parent->kind == VAL_MAP) {
		node_del(at.parent, at.name);
	} else {
		list_index(at.name, node_len(at.parent), &i);
		if ((r = spend(p, node_len(at.parent) - i)) < 0)
			return r;
		node_remove_at(at.parent, i);
	}
	return 0;
}

static int replace(struct jp *p, struct str path, struct node *value)
{
	struct place at;
	size_t i = 0;
	int r = locate(p, path, &at);

	if (r < 0)
		return r;
	if (at.parent && at.parent->kind == VAL_LIST) {
		if (!list_index(at.name, node_len(at.parent), &i))
			return missing(p, path);
		if ((r = check_depth(p, &at, value)) < 0)
			return r;
		node_replace_at(at.parent, i, value);
		return 0;
	}
	if (!look(p, &at))
		return missing(p, path);
	return add(p, path, value);
}

static int copy(struct jp *p, struct str from, struct str path)
{
	auto_buf struct buf text = BUF_INIT;
	struct place at;
	struct node *n;
	int r = locate(p, from, &at);

	if (r < 0)
		return r;
	n = look(p, &at);
	if (!n)
		return missing(p, from);
	node_write(n, &text);
	p->copied += text.n;
	if (text.full || p->copied > p->copy_max)
		return err_set(
			p->e, ERR_TOO_LARGE, "copy operations of the JSON patch add more than %zu bytes", p->copy_max);
	return add(p, path, node_copy(p->a, n));
}

/* As upstream: a missing place equals null. */
static int test(struct jp *p, struct str path, struct node *value)
{
	struct place at;
	struct node *n;
	int r = locate(p, path, &at);

	if (r < 0)
		return r;
	n = look(p, &at);
	if (n ? node_equal(n, value) : node_kind(value) == VAL_NULL)
		return 0;
	return err_set(p->e, ERR_INVALID, "testing path \"%.*s\" failed: the value is another", STR_ARG(path));
}

static int apply(struct jp *p, struct val op)
{
	struct val name = val_get(op, "op"), path = val_get(op, "path"), from = val_get(op, "from");
	struct val value = val_get(op, "value");
	bool needs_value = val_is(name, "add") || val_is(name, "replace") || val_is(name, "test");
	bool needs_from = val_is(name, "move") || val_is(name, "copy");
	struct node *n = NULL;
	int r;

	p->op = arena_cstr(p->a, val_str(name));
	p->path = val_str(path);
	if (!needs_value && !needs_from && !val_is(name, "remove"))
		return err_set(p->e, ERR_INVALID, "unknown JSON patch operation \"%s\"", p->op);
	if (val_kind(path) != VAL_STR)
		return err_set(p->e, ERR_INVALID, "JSON patch operation %s has no \"path\"", p->op);
	if (needs_from && val_kind(from) != VAL_STR)
		return err_set(p->e, ERR_INVALID, "JSON patch operation %s has no \"from\"", p->op);
	if (needs_value) /* none is null, as upstream: Go's clients leave out empty values */
		n = value.d ? node_view(p->a, value) : node_null(p->a);
	switch (p->op[0]) {
	case 'a':
		return add(p, p->path, n);
	case 't':
		return test(p, p->path, n);
	case 'c':
		return copy(p, val_str(from), p->path);
	case 'm':
		r = take(p, val_str(from), &n);
		return r < 0 ? r : add(p, p->path, n);
	default:
		return n ? replace(p, p->path, n) : take(p, p->path, &n);
	}
}

int patch_json(struct arena *a, struct node **target, struct val patch, size_t copy_max, struct err *e)
{
	struct jp p = { .a = a, .root = target, .copy_max = copy_max, .e = e };
	size_t len = val_len(patch);

	if (val_kind(patch) != VAL_LIST)
		return err_set(e, ERR_BAD_REQUEST, "a JSON patch is a list of operations");
	if (len > OPERATIONS_MAX)
		return err_set(e, ERR_TOO_LARGE, "The allowed maximum operations in a JSON patch is %d, got %zu",
			OPERATIONS_MAX, len);
	node_hold(a, patch.d);
	for (struct val_iter it = val_iter(patch); val_next(&it);) {
		int r = apply(&p, it.val);

		if (r < 0)
			return r;
	}
	return 0;
}
