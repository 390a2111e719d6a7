/* TLS between the HTTP server and client: handshakes, who is who, certificates that change. */
#include "net/http_fixture.h"

static int set_up(void **state)
{
	return servers_start(answer, 2);
}

/* The first record of a handshake is gathered until it is whole. */
static void takes_a_handshake_in_pieces(void **state)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(ctx);
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
	int fd = raw_connect(http_server_port(secure));
	char hello[4096] = "";

	(void)state;
	SSL_set_bio(ssl, in, out);
	SSL_set_connect_state(ssl);
	(void)SSL_do_handshake(ssl);
	int n = BIO_read(out, hello, sizeof(hello));
	assert_true(n > 100);
	for (int at = 0; at < n; at += 61) {
		size_t part = (size_t)MIN(61, n - at);
		assert_int_equal(send(fd, hello + at, part, MSG_NOSIGNAL), (ssize_t)part);
		task_sleep_ms(1);
	}
	assert_int_equal(recv(fd, hello, 1, 0), 1);
	assert_int_equal(hello[0], 22); /* the server's part of the handshake */
	close(fd);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
}

static void knows_strangers(void **state)
{
	auto_(http_client_free) struct http_client *c = client(true, false, nobody_tls);
	auto_(http_client_free) struct http_client *d = NULL;
	auto_(tls_free) struct tls *wrong = NULL, *forged = NULL;
	struct http_reply r;
	struct err e;
	char url[64];

	ask(c, "GET", "/x", STR_NULL, 200, "cn= rejected=0");
	err_init(&e);
	OK(tls_new(&(struct tls_opts){ .ca_file = certs.other_ca }, &wrong, oke));
	d = client(true, false, wrong);
	assert_int_equal(http_call(d, "GET", STR("/"), NULL, 0, STR_NULL, 0, 60000, &r, &e), -ERR_UNAVAILABLE);
	assert_has(e.message, "not trusted");

	/* The right authority, the wrong name. */
	http_client_free(d);
	snprintf(url, sizeof(url), "https://127.0.0.1:%d", http_server_port(secure));
	OK(http_client_new(
		&(struct http_client_opts){
			.url = url, .tls = client_tls, .loop = loops[0], .server_name = "elsewhere" },
		&d, oke));
	assert_int_equal(http_call(d, "GET", STR("/"), NULL, 0, STR_NULL, 0, 60000, &r, &e), -ERR_UNAVAILABLE);

	/* A client certificate from an authority that the server does not know: no handshake error, but no identity. */
	EVP_PKEY *key;
	X509_free(make_cert("root", "system:masters", NULL, NULL, certs.other_ca, certs.client_key, &key));
	EVP_PKEY_free(key);
	OK(tls_new(&(struct tls_opts){ certs.other_ca, certs.client_key, certs.ca, false, false }, &forged, oke));
	http_client_free(d);
	d = client(true, false, forged);
	ask(d, "GET", "/x", STR_NULL, 200, "cn= rejected=1");
}

/* What a server agrees on with a client that offers these, each at most once. */
static const char *cipher_for(const char *suites, const char *list, int version)
{
	SSL *s, *c;
	BIO *near, *far;
	const char *ret;

	OK((s = tls_session(server_tls, NULL, true, oke)) ? 0 : -1);
	OK((c = tls_session(nobody_tls, NULL, true, oke)) ? 0 : -1);
	SSL_set_verify(c, SSL_VERIFY_NONE, NULL);
	SSL_set_max_proto_version(c, version);
	assert_true(!suites || SSL_set_ciphersuites(c, suites));
	assert_true(!list || SSL_set_cipher_list(c, list));
	assert_true(BIO_new_bio_pair(&near, 0, &far, 0));
	SSL_set_bio(c, near, near);
	SSL_set_bio(s, far, far);
	for (int i = 0; i < 10 && !(SSL_is_init_finished(c) && SSL_is_init_finished(s)); i++) {
		SSL_do_handshake(c);
		SSL_do_handshake(s);
	}
	assert_true(SSL_is_init_finished(c) && SSL_is_init_finished(s));
	ret = SSL_get_cipher_name(c);
	SSL_free(c);
	SSL_free(s);
	return ret; /* static */
}

static void chooses_the_cipher(void **state)
{
	assert_string_equal(cipher_for(NULL, NULL, TLS1_3_VERSION), "TLS_AES_128_GCM_SHA256");
	assert_string_equal(cipher_for("TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256", NULL, TLS1_3_VERSION),
		"TLS_CHACHA20_POLY1305_SHA256");
	assert_string_equal(cipher_for("TLS_AES_256_GCM_SHA384", NULL, TLS1_3_VERSION), "TLS_AES_256_GCM_SHA384");
	assert_string_equal(cipher_for(NULL, NULL, TLS1_2_VERSION), "ECDHE-ECDSA-AES128-GCM-SHA256");
	assert_string_equal(
		cipher_for(NULL, "ECDHE-ECDSA-AES256-SHA:@STRENGTH", TLS1_2_VERSION), "ECDHE-ECDSA-AES256-SHA");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_a_handshake_in_pieces),
		cmocka_unit_test(knows_strangers),
		cmocka_unit_test(chooses_the_cipher),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
