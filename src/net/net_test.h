/* What the tests of net/ share: certificates, a raw blocking client, a server that answers simple questions. */
#pragma once
#include "base/test.h"

#include "net/net_internal.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#pragma GCC diagnostic ignored "-Wshadow" /* OK() names its own error e, as the calls in it do */
#define OK(call)                                                 \
	do {                                                     \
		struct err ok_e_;                                \
		err_init(&ok_e_);                                \
		struct err *oke = &ok_e_;                        \
		if ((call) < 0)                                  \
			fail_msg("%s: %s", #call, oke->message); \
	} while (0)

/* ---- certificates ---------------------------------------------------------------------------- */

struct certs {
	char dir[64];
	char ca[96], server[96], server_key[96], client[96], client_key[96], other_ca[96];
};

UNUSED static void put_name(X509_NAME *n, const char *field, const char *text)
{
	X509_NAME_add_entry_by_txt(n, field, MBSTRING_UTF8, (const unsigned char *)text, -1, -1, 0);
}

UNUSED static void put_ext(X509 *x, int nid, const char *text)
{
	X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, nid, text);

	X509_add_ext(x, ext, -1);
	X509_EXTENSION_free(ext);
}

/* A P-256 certificate, signed by issuer (NULL: by itself), and its key, as files. */
UNUSED static X509 *make_cert(const char *cn, const char *org, X509 *issuer, EVP_PKEY *issuer_key, const char *file,
	const char *key_file, EVP_PKEY **ret_key)
{
	static long serial = 1;
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = X509_new();

	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), serial++);
	X509_gmtime_adj(X509_getm_notBefore(x), -3600);
	X509_gmtime_adj(X509_getm_notAfter(x), 3600);
	X509_set_pubkey(x, key);
	put_name(X509_get_subject_name(x), "CN", cn);
	if (org)
		put_name(X509_get_subject_name(x), "O", org);
	if (org)
		put_name(X509_get_subject_name(x), "O", "second");
	X509_set_issuer_name(x, X509_get_subject_name(issuer ? issuer : x));
	put_ext(x, NID_basic_constraints, issuer ? "critical,CA:FALSE" : "critical,CA:TRUE");
	if (issuer)
		put_ext(x, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1");
	X509_sign(x, issuer ? issuer_key : key, EVP_sha256());

	FILE *f = fopen(file, "w");
	PEM_write_X509(f, x);
	fclose(f);
	if (key_file) {
		f = fopen(key_file, "w");
		PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
		fclose(f);
	}
	if (ret_key)
		*ret_key = key;
	else
		EVP_PKEY_free(key);
	return x;
}

UNUSED static void certs_make(struct certs *c)
{
	EVP_PKEY *ca_key;

	snprintf(c->dir, sizeof(c->dir), "/tmp/kogge-net-XXXXXX");
	assert_non_null(mkdtemp(c->dir));
	snprintf(c->ca, sizeof(c->ca), "%s/ca", c->dir);
	snprintf(c->other_ca, sizeof(c->other_ca), "%s/other", c->dir);
	snprintf(c->server, sizeof(c->server), "%s/server", c->dir);
	snprintf(c->server_key, sizeof(c->server_key), "%s/server.key", c->dir);
	snprintf(c->client, sizeof(c->client), "%s/client", c->dir);
	snprintf(c->client_key, sizeof(c->client_key), "%s/client.key", c->dir);
	X509 *ca = make_cert("test-ca", NULL, NULL, NULL, c->ca, NULL, &ca_key);
	X509_free(make_cert("other-ca", NULL, NULL, NULL, c->other_ca, NULL, NULL));
	X509_free(make_cert("server", NULL, ca, ca_key, c->server, c->server_key, NULL));
	X509_free(make_cert("alice", "first", ca, ca_key, c->client, c->client_key, NULL));
	X509_free(ca);
	EVP_PKEY_free(ca_key);
}

UNUSED static void certs_remove(struct certs *c)
{
	char path[128];
	static const char *const names[] = { "ca", "other", "server", "server.key", "client", "client.key", "sock" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", c->dir, names[i]);
		unlink(path);
	}
	rmdir(c->dir);
}

/* ---- a raw client ---------------------------------------------------------------------------- */

UNUSED static int raw_connect(int port)
{
	struct sockaddr_in sa = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)
	};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	struct timeval tv = { .tv_sec = 60 }; /* ends what hangs; a busy machine may be slow */

	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	return fd;
}

UNUSED static void raw_send(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Reads until the text ends with `until` (NULL: until the end). The buffer is static. */
UNUSED static const char *raw_read(int fd, const char *until)
{
	static char text[1 << 20];
	size_t n = 0;

	while (n + 1 < sizeof(text)) {
		ssize_t r = recv(fd, text + n, until ? 1 : sizeof(text) - 1 - n, 0);

		if (r <= 0)
			break;
		n += (size_t)r;
		text[n] = 0;
		if (until && n >= strlen(until) && strcmp(text + n - strlen(until), until) == 0)
			break;
	}
	text[n] = 0;
	return text;
}

UNUSED static const char *raw_ask(int port, const char *request)
{
	int fd = raw_connect(port);

	raw_send(fd, request);
	const char *r = raw_read(fd, NULL);
	close(fd);
	return r;
}

UNUSED static void assert_starts(const char *text, const char *start)
{
	if (strncmp(text, start, strlen(start)) != 0)
		fail_msg("expected \"%s\", got \"%.200s\"", start, text);
}

UNUSED static void assert_has(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("expected \"%s\" in \"%.400s\"", part, text);
}

/* Waits until *flag is at least n. */
UNUSED static void wait_for(atomic_int *flag, int n)
{
	for (int i = 0; i < 60000 && atomic_load(flag) < n; i++)
		usleep(1000);
	if (atomic_load(flag) < n)
		fail_msg("waited too long: %d of %d", atomic_load(flag), n);
}
