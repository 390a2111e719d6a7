/* What systemd-logind tells of the machine's end. Its library is loaded when it is asked for the first time: it is
 * there wherever logind is, and nobody else needs it. Thread: one task at a time. */
#pragma once
#include "base/err.h"
#include "base/util.h"

#include <stdint.h>

enum logind_news { LOGIND_STOPPED, LOGIND_LOST, LOGIND_SHUTDOWN, LOGIND_CALLED_OFF };

struct logind;
/* True when this machine has a logind that could be asked. */
bool logind_is_here(void);
/* Own: logind_close(). Fails: ERR_UNAVAILABLE. */
int logind_open(struct logind **ret, struct err *e);
struct logind *logind_close(struct logind *l);
AUTO(struct logind, logind_close)
/* For how long logind lets a shutdown wait for us, at most. */
int logind_delay_ms(struct logind *l, int64_t *ret, struct err *e);
bool logind_shuts_down(struct logind *l); /* it has begun before we asked */
/* From now on a shutdown waits for logind_release(), also called by logind_close(). */
int logind_hold(struct logind *l, const char *why, struct err *e);
void logind_release(struct logind *l);
/* Until there are news, or wake (an eventfd) is written to. */
enum logind_news logind_wait(struct logind *l, int wake);
