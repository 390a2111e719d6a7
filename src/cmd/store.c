/* store: what an administrator does with the data of a server: check, snapshot, restore, rotate-key. All of it works on
 * the file; only restore wants the server stopped. */
#include "store/store.h"
#include "base/file.h"
#include "cmd/cmd.h"
#include "doc/doc.h"
#include "seal/seal.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ROTATE_WAIT_S 60

static int store_check(struct arena *a, const struct settings *s, const struct layout *l, struct err *e)
{
	const char *path = s->n_args > 1 ? s->args[1] : l->store;
	int64_t rows = 0;

	if (store_check_sqlite(path, &rows, e) < 0)
		return -e->code;
	if (!strcmp(s->output, "json"))
		printf("{\"path\":\"%s\",\"rows\":%lld,\"ok\":true}\n", path, (long long)rows);
	else
		say(s, "%s: structure, %lld rows and their checksums are whole", path, (long long)rows);
	return 0;
}

static int store_snapshot(struct arena *a, const struct settings *s, const struct layout *l, struct err *e)
{
	struct stat st;

	if (store_snapshot_sqlite(l->store, s->args[1], e) < 0)
		return -e->code;
	if (stat(s->args[1], &st) < 0)
		return err_errno(e, errno, "%s", s->args[1]);
	say(s, "%s: %lld KiB. Secrets in it stay encrypted: restoring it on another machine asks for the recovery key",
		s->args[1], (long long)(st.st_size / 1024));
	return 0;
}

/* ---- restore --------------------------------------------------------------------------------- */

static void find_recovery_text(void *arg, struct str key, struct str value)
{
	if (str_is(key, SEAL_RECOVERY_KEY)) {
		buf_reset(arg);
		buf_str(arg, value);
	}
}

static int ask_recovery_key(struct buf *out, struct err *e)
{
	char line[256];

	if (!isatty(STDIN_FILENO))
		return err_set(e, ERR_UNAUTHORIZED, "give it with --recovery-key-file FILE");
	fputs("Recovery key: ", stdout);
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		return err_set(e, ERR_UNAUTHORIZED, "no recovery key was given");
	buf_c(out, line);
	return 0;
}

/* Puts the keys of the snapshot into the key file, before anything else is changed. */
static int need_keys(const struct settings *s, const struct layout *l, const char *snapshot, struct err *e)
{
	auto_buf struct buf text = BUF_INIT, key = BUF_INIT;
	size_t added = 0;

	if (store_scan_sqlite(snapshot, false, find_recovery_text, &text, e) < 0)
		return -e->code;
	if (s->recovery_key_file[0]) {
		if (file_read(s->recovery_key_file, &key, e) < 0)
			return -e->code;
	} else if (seal_recover(l->sealing_keys, buf_view(&text), STR(""), &added, e) == -ERR_UNAUTHORIZED) {
		if (access(l->recovery_key, R_OK) == 0 ? file_read(l->recovery_key, &key, e) < 0 :
							 ask_recovery_key(&key, e) < 0)
			return -e->code;
	}
	if (seal_recover(l->sealing_keys, buf_view(&text), str_trim(buf_view(&key)), &added, e) < 0)
		return -e->code;
	if (added)
		say(s, "%zu encryption key%s recovered", added, added == 1 ? " is" : "s are");
	return 0;
}

/* A name that neither a store nor a log has. */
static const char *name_aside(struct arena *a, const struct layout *l)
{
	char now[TIME_TEXT_MAX];
	const char *name;

	wall_rfc3339(wall_now(), now);
	name = arena_printf(a, "%s.before-%s", l->store, now);
	for (int i = 2; access(name, F_OK) == 0 || access(arena_printf(a, "%s-wal", name), F_OK) == 0; i++)
		name = arena_printf(a, "%s.before-%s-%04d", l->store, now, i);
	return name;
}

/* The old store keeps its bytes under another name, store.db.before-TIME. Where it still has a log, that one has its new name
 * before it loses the old one, so that whoever is interrupted parts no store from its log. */
static int set_aside(struct arena *a, const struct settings *s, const struct layout *l, struct err *e)
{
	const char *aside = name_aside(a, l), *log = arena_printf(a, "%s-wal", l->store);
	bool is_there = access(l->store, F_OK) == 0;

	if (is_there && link(log, arena_printf(a, "%s-wal", aside)) < 0 && errno != ENOENT)
		return err_errno(e, errno, "set %s aside", log);
	if (is_there && rename(l->store, aside) < 0)
		return err_errno(e, errno, "set %s aside", l->store);
	if (file_sync_name(l->store, e) < 0)
		return -e->code;
	unlink(log);
	unlink(arena_printf(a, "%s-shm", l->store));
	if (is_there)
		say(s, "the store that was there is %s now", aside);
	return 0;
}

static void give_to_control(const char *path)
{
	if (geteuid() == 0 && lchown(path, CONTROL_UID, CONTROL_UID) < 0)
		fail("cannot hand %s to the control process: %s", path, strerror(errno));
}

static int put_snapshot(
	struct arena *a, const struct settings *s, const struct layout *l, const char *snapshot, struct err *e)
{
	const char *fresh = arena_printf(a, "%s.new", l->restoring);

	unlink(fresh);
	/* The one that was to come after the store, and was interrupted, knows what that has shown. */
	if (store_snapshot_sqlite(snapshot, fresh, e) < 0 || store_succeed_sqlite(fresh, l->store, e) < 0 ||
		store_succeed_sqlite(fresh, l->restoring, e) < 0) {
		unlink(fresh);
		return err_wrap(e, "nothing is restored");
	}
	give_to_control(fresh);
	if (rename(fresh, l->restoring) < 0)
		return err_errno(e, errno, "rename %s", fresh);
	/* From here on it is finished, or begun again: without a store, and with this file, no server starts. */
	if (file_sync_name(l->restoring, e) < 0 || set_aside(a, s, l, e) < 0)
		return -e->code;
	if (rename(l->restoring, l->store) < 0)
		return err_errno(e, errno, "rename %s", l->restoring);
	return file_sync_name(l->store, e);
}

static int store_restore(struct arena *a, const struct settings *s, const struct layout *l, struct err *e)
{
	const char *snapshot = s->args[1];
	int64_t rows = 0;
	int lock, r;

	if (store_check_sqlite(snapshot, &rows, e) < 0 || layout_make(l, s, e) < 0 ||
		store_lock_sqlite(l->store, &lock, e) < 0)
		return -e->code;
	r = need_keys(s, l, snapshot, e);
	if (r == 0)
		r = put_snapshot(a, s, l, snapshot, e);
	give_to_control(l->sealing_keys);
	give_to_control(arena_printf(a, "%s-lock", l->store));
	close(lock);
	if (r < 0)
		return r;
	say(s, "%s is restored (%lld rows). Start the server: it goes on above every version that was ever shown",
		l->store, (long long)rows);
	return 0;
}

/* ---- rotate-key ------------------------------------------------------------------------------ */

struct left {
	struct str first_key;
	size_t n;
};

static void count_old(void *arg, struct str key, struct str value)
{
	struct left *left = arg;
	struct str used = seal_key_of(value);

	if (str_starts(used, STR("kogge:")) && !str_eq(used, left->first_key))
		left->n++;
}

/* Tells the supervisor to start control again. false: no server runs on this folder. */
static bool restart_control(const struct layout *l)
{
	auto_buf struct buf text = BUF_INIT;
	struct err e;
	int64_t pid;
	int lock;

	err_init(&e);
	if (store_lock_sqlite(l->store, &lock, &e) == 0) {
		close(lock);
		return false;
	}
	return file_read(l->supervisor_lock, &text, &e) == 0 && str_i64(str_trim(buf_view(&text)), &pid) && pid > 1 &&
		kill((pid_t)pid, SIGHUP) == 0;
}

static int wait_resealed(const struct settings *s, const struct layout *l, struct str first_key, struct err *e)
{
	struct left left = { .first_key = first_key };

	for (int i = 0; i < ROTATE_WAIT_S * 10; i++) {
		left.n = 0;
		if (store_scan_sqlite(l->store, false, count_old, &left, e) < 0)
			return -e->code;
		if (!left.n)
			return 0;
		nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL);
	}
	return err_set(e, ERR_TIMEOUT, "%zu values are still under an older key after %d s; the server's log says why",
		left.n, ROTATE_WAIT_S);
}

static int store_rotate(struct arena *a, const struct settings *s, const struct layout *l, struct err *e)
{
	auto_(seal_free) struct seal *seal = NULL;
	auto_buf struct buf first = BUF_INIT;

	if (seal_keys_rotate(l->sealing_keys, e) < 0 || seal_open(l->sealing_keys, NULL, &seal, e) < 0)
		return -e->code;
	seal_first_key(seal, &first);
	say(s, "new encryption key %.*s", STR_ARG(buf_view(&first)));
	if (!restart_control(l)) {
		say(s, "no server runs here: the next one writes everything under the new key");
		return 0;
	}
	if (wait_resealed(s, l, buf_view(&first), e) < 0)
		return -e->code;
	say(s,
		"every value is under the new key; the old one goes from the key file once the history that it wrote is "
		"gone, in about 10 minutes");
	return 0;
}

/* ---- the command ----------------------------------------------------------------------------- */

static const struct {
	const char *name, *wants; /* wants: its argument, where it cannot do without */
	size_t args_max;
	int (*run)(struct arena *a, const struct settings *s, const struct layout *l, struct err *e);
} verbs[] = {
	{ "check", NULL, 2, store_check },
	{ "snapshot", "a file name to write to", 2, store_snapshot },
	{ "restore", "the file of a snapshot", 2, store_restore },
	{ "rotate-key", NULL, 1, store_rotate },
};

int cmd_store(struct arena *a, const struct settings *s)
{
	struct layout l;
	struct err e;

	err_init(&e);
	if (layout_of(a, s, &l, &e) < 0)
		return fail("%s", e.message);
	for (size_t i = 0; s->n_args && i < ARRAY_LEN(verbs); i++) {
		if (strcmp(s->args[0], verbs[i].name))
			continue;
		if (s->n_args > verbs[i].args_max)
			return fail("kogge store %s: what is \"%s\"? (--help shows examples)", verbs[i].name,
				       s->args[verbs[i].args_max]),
			       2;
		if (verbs[i].wants && s->n_args < 2)
			return fail("kogge store %s wants %s (--help shows examples)", verbs[i].name, verbs[i].wants),
			       2;
		return verbs[i].run(a, s, &l, &e) < 0 ? fail("%s", e.message) : 0;
	}
	return fail("kogge store wants one of check, snapshot, restore, rotate-key (--help shows examples)"), 2;
}
