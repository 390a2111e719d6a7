/* Whole files: read at once, replaced at once.
 *
 * Thread: any; they wait for the disk, so not on a loop and not in a simulation. */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include <sys/types.h>

/* Appends the file. ERR_NOT_FOUND, ERR_FORBIDDEN, ERR_TOO_LARGE (past out->max) …, each with the path. */
int file_read(const char *path, struct buf *out, struct err *e);
/* The whole number that the file begins with; otherwise: there is no file, or no number in it. */
int64_t file_number(const char *path, int64_t otherwise);
/* The file has these bytes or its old ones, whenever the power goes. A new one gets mode; one that root replaces keeps
 * its owner. Which of the two it is after a power loss is certain only after file_sync_name(). */
int file_write(const char *path, struct str bytes, mode_t mode, struct err *e);
/* The same, where it does not have them already: then nothing is written, which a full disk would refuse. */
int file_keep(const char *path, struct str bytes, mode_t mode, struct err *e);
/* Makes a name that was just created, renamed or removed durable: fsync of its folder. */
int file_sync_name(const char *path, struct err *e);
