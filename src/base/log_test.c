#include "base/test.h"

#include "base/base_internal.h"
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static const char *line_of(enum log_level level, const char *message)
{
	static struct log_line l;

	log_format(&l, level, "store", message);
	assert_int_equal(l.text[l.n - 1], '\n');
	l.text[l.n - 1] = 0;
	return l.text;
}

static void speaks_to_people(void *arg)
{
	(void)arg;
	log_setup("control", LOG_INFO, false);
	assert_string_equal(line_of(LOG_INFO, "opened"), "2026-01-01T00:00:00.000Z INFO  control store: opened");
	assert_string_equal(line_of(LOG_ERROR, "a\nb\x1b[2J\xff \xc3\xa4 \"q\""),
		"2026-01-01T00:00:00.000Z ERROR control store: a\\nb\\x1b[2J? \xc3\xa4 \"q\"");
}

static void speaks_to_machines(void *arg)
{
	(void)arg;
	log_setup("node", LOG_INFO, true);
	assert_string_equal(line_of(LOG_WARN, "a\nb\x1b\xff \xc3\xa4 \"q\\\""),
		"{\"time\":\"2026-01-01T00:00:00.000Z\",\"level\":\"warn\",\"process\":\"node\",\"module\":\"store\","
		"\"message\":\"a\\nb\\u001b\\ufffd \xc3\xa4 \\\"q\\\\\\\"\"}");
}

/* Virtual time makes the line exact. */
static void formats_one_line(void **state)
{
	(void)state;
	task_sim_run(1, 10, speaks_to_people, NULL);
	task_sim_run(1, 10, speaks_to_machines, NULL);
}

static void stays_whole_when_too_long(void **state)
{
	char text[20000];
	const char *line;
	size_t n;

	(void)state;
	memset(text, '"', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	log_setup("node", LOG_INFO, true);
	line = line_of(LOG_WARN, text);
	n = strlen(line);
	assert_string_equal(line + n - 2, "\"}");         /* still JSON */
	assert_memory_equal(line + n - 6, "\\\"\\\"", 4); /* no half escape before its end */
}

#define LOG_MODULE "test"

static void writes_to_stderr_above_its_level(void **state)
{
	char got[256];
	int ends[2], err = dup(STDERR_FILENO);
	ssize_t n;

	(void)state;
	assert_int_equal(pipe(ends), 0);
	dup2(ends[1], STDERR_FILENO);
	log_setup("control", LOG_WARN, false);
	log_info("not this %d", 1);
	errno = EBUSY;
	log_warn("but this: %s", "hello");
	assert_int_equal(errno, EBUSY);
	dup2(err, STDERR_FILENO);
	n = read(ends[0], got, sizeof(got) - 1);
	assert_true(n > 0);
	got[n] = 0;
	assert_string_equal(got + 24, " WARN  control test: but this: hello\n");
	close(ends[0]);
	close(ends[1]);
	close(err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(formats_one_line),
		cmocka_unit_test(stays_whole_when_too_long),
		cmocka_unit_test(writes_to_stderr_above_its_level),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
