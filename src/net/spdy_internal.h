#pragma once
#include "net/net.h"

/* Appends the 1423 bytes of the dictionary. */
void spdy_dictionary(struct buf *out);
