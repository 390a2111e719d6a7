/* Inside spdy*.c and their tests. */
#pragma once
#include "net/net_internal.h"

struct str spdy_dictionary(void);
