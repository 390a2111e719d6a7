/* The dictionary that SPDY/3 primes its header compression with (draft 3, section 2.6.10.1): names with their lengths,
 * then a run of text. Its Adler-32 is 0xe3c6a7c2; the test checks it. */
#include "net/spdy_internal.h"

static const char *const words[] = { "options", "head", "post", "put", "delete", "trace", "accept", "accept-charset",
	"accept-encoding", "accept-language", "accept-ranges", "age", "allow", "authorization", "cache-control",
	"connection", "content-base", "content-encoding", "content-language", "content-length", "content-location",
	"content-md5", "content-range", "content-type", "date", "etag", "expect", "expires", "from", "host", "if-match",
	"if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "last-modified", "location",
	"max-forwards", "pragma", "proxy-authenticate", "proxy-authorization", "range", "referer", "retry-after",
	"server", "te", "trailer", "transfer-encoding", "upgrade", "user-agent", "vary", "via", "warning",
	"www-authenticate", "method", "get", "status", "200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie",
	"keep-alive", "origin" };
static const char tail[] =
	"100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
	"203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden"
	"404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
	"Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
	"chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,public"
	"privatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

static char dictionary[1423];

static void make(void)
{
	size_t at = 0;

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		size_t n = strlen(words[i]);

		memcpy(dictionary + at, (char[]){ 0, 0, 0, (char)n }, 4);
		memcpy(dictionary + at + 4, words[i], n);
		at += 4 + n;
	}
	PRE(at + sizeof(tail) - 1 == sizeof(dictionary));
	memcpy(dictionary + at, tail, sizeof(tail) - 1);
}

struct str spdy_dictionary(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, make);
	return str_n(dictionary, sizeof(dictionary));
}
