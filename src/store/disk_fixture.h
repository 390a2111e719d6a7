/* For tests: SQLite's files with functions of the test's own in between. Databases, their logs and their journals have a table of
 * methods each, which is the system's but for what the test puts in. Everything that a process opens between disk_begin() and
 * disk_end() goes through them. */
#pragma once
#include "base/util.h"
#include <pthread.h>
#include <sqlite3.h>

enum disk_file { DISK_DATABASE, DISK_LOG, DISK_JOURNAL, DISK_FILES };

static struct {
	sqlite3_vfs vfs, *system;
	void (*hook)(sqlite3_io_methods *m);
	void (*opening)(const char *name, enum disk_file kind); /* may be NULL */
	pthread_mutex_t lock;
	const sqlite3_io_methods *real[DISK_FILES]; /* what the test's functions go on with */
	sqlite3_io_methods ours[DISK_FILES];
} disk = { .lock = PTHREAD_MUTEX_INITIALIZER };

static enum disk_file disk_file(const sqlite3_file *f)
{
	return (enum disk_file)((const sqlite3_io_methods *)f->pMethods - disk.ours);
}

static const sqlite3_io_methods *disk_real(const sqlite3_file *f)
{
	return disk.real[disk_file(f)];
}

static void disk_hook(sqlite3_file *f, enum disk_file kind)
{
	pthread_mutex_lock(&disk.lock);
	if (!disk.real[kind]) {
		disk.real[kind] = f->pMethods;
		disk.ours[kind] = *f->pMethods;
		disk.hook(&disk.ours[kind]);
	}
	pthread_mutex_unlock(&disk.lock);
	f->pMethods = &disk.ours[kind];
}

static int disk_open(sqlite3_vfs *v, sqlite3_filename name, sqlite3_file *f, int flags, int *ret_flags)
{
	enum disk_file kind = flags & SQLITE_OPEN_WAL ? DISK_LOG :
		flags & SQLITE_OPEN_MAIN_DB           ? DISK_DATABASE :
							DISK_JOURNAL;
	bool ours = flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL);
	int r;

	if (ours && disk.opening)
		disk.opening(name, kind);
	r = disk.system->xOpen(disk.system, name, f, flags, ret_flags);
	if (r == SQLITE_OK && ours)
		disk_hook(f, kind);
	return r;
}

/* hook() replaces some methods. */
static void disk_begin(void (*hook)(sqlite3_io_methods *m))
{
	sqlite3_initialize();
	disk.hook = hook;
	disk.system = sqlite3_vfs_find(NULL);
	disk.vfs = *disk.system;
	disk.vfs.zName = "test";
	disk.vfs.xOpen = disk_open;
	sqlite3_vfs_register(&disk.vfs, 1);
}

static void disk_end(void)
{
	sqlite3_vfs_unregister(&disk.vfs);
	sqlite3_vfs_register(disk.system, 1);
}
