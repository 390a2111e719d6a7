/* The key file: a line each, "recovery PUBLIC" and "key SECRET" in base64; the first key writes. Replaced whole, 0600.
 */
#include "base/file.h"
#include "doc/doc.h"
#include "seal/seal_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#define FILE_BYTES_MAX 65536

void keys_fini(struct keys *k)
{
	wipe(k, sizeof(*k));
}

static bool read_key(struct str text, uint8_t ret[KEY_BYTES])
{
	auto_buf struct buf b = BUF_INIT;
	bool ok = base64_decode(str_trim(text), &b) == 0 && b.n == KEY_BYTES;

	if (ok)
		memcpy(ret, b.p, KEY_BYTES);
	if (b.n)
		wipe(b.p, b.n);
	return ok;
}

static bool read_line(struct str line, struct keys *k)
{
	struct str word, rest = str_cut(str_trim(line), ' ', &word);

	if (!word.n || word.p[0] == '#')
		return true;
	if (str_is(word, "recovery"))
		return k->has_recovery = read_key(rest, k->recovery);
	if (!str_is(word, "key") || k->n == KEYS_MAX || !read_key(rest, k->key[k->n].bytes))
		return false;
	key_id(k->key[k->n].bytes, k->key[k->n].id);
	k->n++;
	return true;
}

int keys_read(const char *file, struct keys *ret, struct err *e)
{
	auto_buf struct buf text = { .max = FILE_BYTES_MAX };
	struct keys k = { 0 };
	int number = 0, bad = 0;

	if (file_read(file, &text, e) < 0)
		return -e->code;
	for (struct str line, rest = buf_view(&text); str_next(&rest, '\n', &line);) {
		number++;
		if (!read_line(line, &k) && !bad)
			bad = number;
	}
	wipe(text.p, text.n);
	if (!bad && k.n) {
		*ret = k;
		return 0;
	}
	keys_fini(&k);
	return err_set(e, ERR_INVALID,
		"%s: %s %d: put the file back from a copy; or move it away and restore a snapshot with the recovery key",
		file, bad ? "no \"key BASE64\" of 32 bytes in line" : "no key, lines read:", bad ? bad : number);
}

static void add_line(struct buf *b, const char *word, const uint8_t key[KEY_BYTES])
{
	auto_free char *text = base64_encode(str_n((const char *)key, KEY_BYTES));

	buf_printf(b, "%s %s\n", word, text);
	wipe(text, strlen(text));
}

int keys_write(const char *file, const struct keys *k, struct err *e)
{
	auto_buf struct buf b = BUF_INIT;
	int r;

	buf_c(&b,
		"# Keys of Kogge's encryption at rest. The first one writes, all read. Not in any snapshot: keep "
		"this file private.\n");
	if (k->has_recovery)
		add_line(&b, "recovery", k->recovery);
	for (size_t i = 0; i < k->n; i++)
		add_line(&b, "key", k->key[i].bytes);
	r = file_write(file, buf_view(&b), 0600, e);
	wipe(b.p, b.n);
	return r < 0 ? r : file_sync_name(file, e);
}

static void add_first(struct keys *k)
{
	PRE(k->n < KEYS_MAX);
	memmove(&k->key[1], &k->key[0], k->n * sizeof(k->key[0]));
	rand_bytes(k->key[0].bytes, KEY_BYTES);
	key_id(k->key[0].bytes, k->key[0].id);
	k->n++;
}

/* Groups of four letters of base32, as people can read to each other. */
static void recovery_text(const uint8_t key[KEY_BYTES], struct buf *out)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
	uint32_t bits = 0;
	int have = 0, shown = 0;

	for (size_t i = 0; i < KEY_BYTES + 1; i++) { /* one more zero byte fills the last letter */
		bits = bits << 8 | (i < KEY_BYTES ? key[i] : 0);
		for (have += 8; have >= 5 && shown < 52; have -= 5, shown++) {
			if (shown && shown % 4 == 0)
				buf_byte(out, '-');
			buf_byte(out, letters[bits >> (have - 5) & 31]);
		}
	}
}

/* The file's changes take turns. The lock's descriptor, or an error. */
static int lock_keys(const char *file, struct err *e)
{
	auto_free char *name = xasprintf("%s-lock", file);
	int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd >= 0 && flock(fd, LOCK_EX) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return err_errno(e, errno, "lock %s", name);
}

/* Reads, changes and writes the file under its lock. */
static int change_keys(const char *file, int (*change)(struct keys *k, const struct keys *arg, struct err *e),
	const struct keys *arg, struct err *e)
{
	struct keys k = { 0 };
	int fd = lock_keys(file, e), r;

	if (fd < 0)
		return fd;
	r = keys_read(file, &k, e);
	if (r == 0)
		r = change(&k, arg, e);
	if (r == 0)
		r = keys_write(file, &k, e);
	close(fd);
	keys_fini(&k);
	return r;
}

/* What was written under any of them may still be there. */
static int add_new(struct keys *k, const struct keys *arg, struct err *e)
{
	if (k->n == KEYS_MAX)
		return err_set(e, ERR_FULL,
			"there are %d keys, and values may be under each of them: let the server run, which writes all "
			"under the newest and drops the others in about 10 minutes",
			KEYS_MAX);
	add_first(k);
	return 0;
}

int seal_keys_rotate(const char *keys_file, struct err *e)
{
	return change_keys(keys_file, add_new, NULL, e);
}

static bool only_reads(const struct keys *used, const char *id)
{
	for (size_t i = 1; i < used->n; i++)
		if (!strcmp(used->key[i].id, id))
			return true;
	return false;
}

static int drop_readers(struct keys *k, const struct keys *used, struct err *e)
{
	size_t n = 0;

	for (size_t i = 0; i < k->n; i++)
		if (!only_reads(used, k->key[i].id))
			k->key[n++] = k->key[i];
	k->n = n;
	return 0;
}

int seal_keys_retire(const struct seal *s, struct err *e)
{
	return s->keys.n > 1 ? change_keys(s->keys_file, drop_readers, &s->keys, e) : 0;
}

static int make_recovery_key(const char *file, uint8_t ret[KEY_BYTES], struct err *e)
{
	auto_buf struct buf text = BUF_INIT;
	int r;

	rand_bytes(ret, KEY_BYTES);
	recovery_text(ret, &text);
	buf_byte(&text, '\n');
	r = file_write(file, buf_view(&text), 0600, e);
	wipe(text.p, text.n);
	return r < 0 ? r : file_sync_name(file, e);
}

/* It opens older snapshots, too. */
static int old_recovery_key(const char *file, uint8_t ret[KEY_BYTES], struct err *e)
{
	auto_buf struct buf text = { .max = FILE_BYTES_MAX };
	int r = file_read(file, &text, e);

	if (r == 0 && !recovery_key_read(buf_view(&text), ret))
		r = err_set(e, ERR_INVALID, "%s holds no recovery key: move it away", file);
	if (text.n)
		wipe(text.p, text.n);
	return r;
}

/* The recovery key first: without it nothing may be encrypted, and who is interrupted here begins again. */
int seal_keys_make(const char *keys_file, const char *recovery_file, bool *ret_made, struct err *e)
{
	uint8_t private_key[KEY_BYTES];
	struct keys k = { .has_recovery = true };
	bool made;
	int r;

	*ret_made = false;
	if (access(keys_file, F_OK) == 0)
		return 0;
	made = access(recovery_file, F_OK) < 0;
	r = (made ? make_recovery_key : old_recovery_key)(recovery_file, private_key, e);
	if (r == 0) {
		x25519_public(private_key, k.recovery);
		add_first(&k);
		r = keys_write(keys_file, &k, e);
	}
	wipe(private_key, sizeof(private_key));
	keys_fini(&k);
	*ret_made = r == 0 && made;
	return r;
}
