/* The frame of tests that are tables: each row is one object or one change, and a part of what is said of it. */
#pragma once
#include "api/api_fixture.h"

#define JOBS "/apis/batch/v1/namespaces/default/jobs"
#define MERGE "application/merge-patch+json"

/* part stands where whole has its @; ' stands for ", so that the texts can be read. */
static inline const char *json(const char *whole, const char *part)
{
	static char text[4096];
	struct str head, tail = str_cut(str_c(whole), '@', &head);

	snprintf(text, sizeof(text), "%.*s%s%.*s", STR_ARG(head), part, STR_ARG(tail));
	for (char *c = text; *c; c++)
		if (*c == '\'')
			*c = '"';
	return text;
}

#define TIMES_5(x) x "," x "," x "," x "," x
#define TIMES_25(x) TIMES_5(TIMES_5(x))
#define QUALIFIED \
	"must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
#define SUBDOMAIN \
	"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
#define LABEL \
	"a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
#define LABEL_VALUE \
	"a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"

struct rule {
	const char *part, *says; /* says NULL: it is right */
};

static inline bool is_said(struct fixture *f, const char *says)
{
	for (struct val_iter it = val_iter(doc_get(f->doc, "details.causes")); val_next(&it);) {
		char *cause = xasprintf("%.*s: %.*s", STR_ARG(val_str(val_get(it.val, "field"))),
			STR_ARG(val_str(val_get(it.val, "message"))));
		bool same = !strcmp(cause, says);
		free(cause);
		if (same)
			return true;
	}
	return false;
}

static inline void judge(struct fixture *f, int right, const struct rule *r)
{
	if (!r->says ? f->last->status != right : f->last->status != 422 || !is_said(f, r->says)) {
		print_message("%s\nwanted: %s\n", r->part, r->says ? r->says : "nothing");
		show(f);
		fail();
	}
}

static inline void of_new(struct fixture *f, const char *path, const char *whole, const struct rule *rules, size_t n)
{
	char *url = xasprintf("%s?dryRun=All", path);

	for (size_t i = 0; i < n; i++) {
		call(f, "POST", url, json(whole, rules[i].part));
		judge(f, 201, &rules[i]);
	}
	free(url);
}

static inline void of_changes(struct fixture *f, const char *path, const struct rule *rules, size_t n)
{
	char *url = xasprintf("%s?dryRun=All", path);

	for (size_t i = 0; i < n; i++) {
		call_as(f, "PATCH", url, MERGE, NULL, json("@", rules[i].part));
		judge(f, 200, &rules[i]);
	}
	free(url);
}
#define OF_NEW(f, path, whole, rules) of_new(f, path, whole, rules, ARRAY_LEN(rules))
#define OF_CHANGES(f, path, rules) of_changes(f, path, rules, ARRAY_LEN(rules))

static const char job[] = "{'metadata':{'name':'j'},'spec':{@,'template':{'spec':{'restartPolicy':'Never',"
			  "'containers':[{'name':'c','image':'i'}]}}}}";
