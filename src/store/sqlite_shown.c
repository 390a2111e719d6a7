/* FILE-shown: the newest revision that was shown. SQLite takes a log that was cut, damaged or removed for the end of a shorter
 * one, and opens an earlier state without a word; with this file the store notices.
 *
 * Written behind the answers, never synced: a power loss leaves it older than the store, which says nothing, and never newer. */
#include "base/log.h"
#include "store/sqlite_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define LOG_MODULE "store"
#define SHOWN_FORMAT 1 /* seed of the sum */

/* One line, of the same length each time: a write over it needs no room on the disk. */
struct line {
	char text[96];
	size_t n;
};

static struct line line_of(const struct sqlite_shown *shown)
{
	struct line l;

	l.n = (size_t)snprintf(l.text, sizeof(l.text), "%s %019" PRId64 " ", shown->uid, shown->revision);
	l.n += (size_t)snprintf(
		l.text + l.n, sizeof(l.text) - l.n, "%016" PRIx64 "\n", store_sum(SHOWN_FORMAT, str_n(l.text, l.n)));
	return l;
}

struct sqlite_shown sqlite_shown_read(const char *path)
{
	auto_free char *name = xasprintf("%s-shown", path);
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	struct sqlite_shown shown = { 0 };
	char text[96] = "";
	struct line l;
	ssize_t n = -1;

	if (fd >= 0) {
		n = pread(fd, text, sizeof(text) - 1, 0);
		close(fd);
	}
	if (n <= 0 || sscanf(text, "%39s %" SCNd64, shown.uid, &shown.revision) != 2)
		return (struct sqlite_shown){ 0 };
	l = line_of(&shown);
	return l.n <= (size_t)n && memcmp(l.text, text, l.n) == 0 ? shown : (struct sqlite_shown){ 0 };
}

int sqlite_shown_check(const struct sqlite_engine *s, sqlite3 *db, struct err *e)
{
	int64_t newest = s->committed + s->base, copied;

	if (strcmp(s->shown.uid, s->uid) != 0 || s->shown.revision <= newest)
		return 0;
	if (sqlite_read_int(db, "SELECT value FROM meta WHERE name='copied'", &copied) == 0)
		return 0; /* meant to be older: it goes on above (become_the_original()) */
	/* What is left of the log, and may be of use to somebody, stays as it is. */
	sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	return err_set(e, ERR_INTERNAL,
		"the store %s lacks writes that were acknowledged: it ends at revision %" PRId64
		", and %s-shown says that %" PRId64
		" was shown. Its log, %s-wal, was cut, damaged or removed, or older "
		"files were put here. Put the right ones back, both; or bring back a newer snapshot: kogge store restore "
		"FILE; or go on without what is missing: kogge store snapshot FILE, then kogge store restore FILE",
		s->path, newest, s->path, s->shown.revision, s->path);
}

/* Nothing of this may fail a write. */
static void say_once(struct sqlite_engine *s)
{
	if (!s->shown_failed)
		log_warn(
			"store %s: cannot write %s-shown: %s (a log that loses its end while no server runs would not be noticed)",
			s->path, s->path, strerror(errno));
	s->shown_failed = true;
}

void sqlite_shown_note(struct sqlite_engine *s)
{
	int64_t newest = s->committed + s->base;
	struct line l;

	if (s->shown_fd < 0 || s->shown.revision == newest)
		return;
	s->shown.revision = newest;
	l = line_of(&s->shown);
	if (pwrite(s->shown_fd, l.text, l.n, 0) == (ssize_t)l.n)
		s->shown_failed = false;
	else
		say_once(s);
}

void sqlite_shown_begin(struct sqlite_engine *s)
{
	auto_free char *name = xasprintf("%s-shown", s->path);

	s->shown_fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (s->shown_fd < 0)
		say_once(s);
	s->shown = (struct sqlite_shown){ 0 };
	snprintf(s->shown.uid, sizeof(s->shown.uid), "%s", s->uid);
	sqlite_shown_note(s);
}
