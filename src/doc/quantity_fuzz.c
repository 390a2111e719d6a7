/* A quantity's text reads back as the same amount, and prints the same again. */
#include "doc/doc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char text[QUANTITY_TEXT_MAX], text2[QUANTITY_TEXT_MAX];
	struct quantity q, again;

	if (!quantity_parse(str_n((const char *)data, n), &q))
		return 0;
	quantity_text(q, text);
	PRE(quantity_parse(str_c(text), &again));
	PRE(quantity_cmp(q, again) == 0);
	quantity_text(again, text2);
	/* a binary amount without suffix ("1025000") reads as a decimal one ("1025k") */
	PRE(q.format == QUANTITY_BINARY || strcmp(text, text2) == 0);
	PRE(quantity_sub(q, again).value == 0);
	quantity_text(quantity_add(q, q), text);
	(void)quantity_milli(q);
	(void)quantity_whole(q);
	return 0;
}
