#include "node/node_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct str line, rest = str_n((const char *)data, n);
	struct log_line l;

	while (str_next(&rest, '\n', &line))
		if (log_parse(line, &l) && l.text.n > line.n)
			abort();
	return 0;
}
