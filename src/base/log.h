/* Log lines for people and machines: one line an event, to stderr, level first, then the module, then a sentence
 * that names its object. Secrets and tokens are never logged. Any thread. */
#pragma once
#include "base/util.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
void log_setup(const char *process, enum log_level least, bool json); /* process: "control", "node" … */
void log_at(enum log_level level, const char *module, const char *fmt, ...) PRINTF(3, 4);
/* Each .c file that logs does `#define LOG_MODULE "store"` first. */
#define log_debug(...) log_at(LOG_DEBUG, LOG_MODULE, __VA_ARGS__)
#define log_info(...) log_at(LOG_INFO, LOG_MODULE, __VA_ARGS__)
#define log_warn(...) log_at(LOG_WARN, LOG_MODULE, __VA_ARGS__)
#define log_error(...) log_at(LOG_ERROR, LOG_MODULE, __VA_ARGS__)
