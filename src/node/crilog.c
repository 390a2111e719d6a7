/* The runtime's log lines: "2026-11-23T10:00:00.123456789Z stdout F text". */
#include "node/node_internal.h"

bool log_parse(struct str line, struct log_line *ret)
{
	struct str time, stream, tag, text;
	struct wall t;

	text = str_cut(line, ' ', &time);
	text = str_cut(text, ' ', &stream);
	text = str_cut(text, ' ', &tag);
	if (!wall_parse(time, &t) || (!str_is(stream, "stdout") && !str_is(stream, "stderr")))
		return false;
	if (!text.p && !str_starts(tag, STR("F")) && !str_starts(tag, STR("P")))
		return false;
	*ret = (struct log_line){ .time_ns = t.ns,
		.time_text = time,
		.is_stderr = str_is(stream, "stderr"),
		.partial = str_starts(tag, STR("P")),
		.text = text };
	return true;
}
