/* Second half of api_internal.h: what the core's own files call of each other. */
#pragma once
