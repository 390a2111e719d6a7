/* For tests: documents of texts that the test has written. A text that cannot be read fails the test.
 * Own: one reference to what comes back. */
#pragma once
#include "base/test.h"
#include "doc/doc.h"

/* JSON. */
UNUSED static struct doc *json_doc(const char *text)
{
	struct doc *d = NULL;
	struct err e;

	err_init(&e);
	if (doc_parse(str_c(text), &d, &e) < 0)
		fail_msg("%s in %s", e.message, text);
	return d;
}

/* The same text with " where it has ', for JSON without backslashes. Own: end it with free(). */
UNUSED static char *quoted(const char *text)
{
	char *json = xstrdup(text);

	for (char *p = json; *p; p++)
		*p = *p == '\'' ? '"' : *p;
	return json;
}

/* JSON with ' for ". */
UNUSED static struct doc *quoted_doc(const char *text)
{
	auto_free char *json = quoted(text);

	return json_doc(json);
}

/* YAML. */
UNUSED static struct doc *yaml_doc(const char *text)
{
	struct doc *d = NULL;
	struct err e;

	err_init(&e);
	if (doc_parse_yaml(str_c(text), NULL, NULL, &d, &e) < 0)
		fail_msg("%s in %s", e.message, text);
	return d;
}
