/* TLS contexts that can be replaced while in use, and what a certificate says about the peer. */
#include "net/net_internal.h"
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <time.h>

struct tls {
	SSL_CTX *ctx;
	char *cert_file, *key_file, *ca_file, *ca_pem;
	bool server, insecure;
	atomic_int refs;
};

static int ssl_err(struct err *e, const char *what, const char *file)
{
	char text[256];

	ERR_error_string_n(ERR_peek_error(), text, sizeof(text));
	const char *reason = ERR_reason_error_string(ERR_peek_error());
	ERR_clear_error();
	return err_set(e, ERR_IO, "%s %s: %s", what, file, reason ? reason : text);
}

/* h2 first, but only for those who asked for it. */
static int choose_alpn(
	SSL *ssl, const unsigned char **out, unsigned char *out_n, const unsigned char *in, unsigned in_n, void *arg)
{
	static const unsigned char ours[] = "\x02h2\x08http/1.1";
	unsigned char *chosen;

	if (SSL_select_next_proto(&chosen, out_n, ours, sizeof(ours) - 1, in, in_n) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_NOACK;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

/* A server goes on with a certificate that it cannot verify, and peer.rejected says so: 401 is a better answer than an
 * alert. */
static int accept_any(int ok, X509_STORE_CTX *store)
{
	return 1;
}

/* Every certificate of a bundle; what is no certificate between them is skipped, as in files. */
static int trust_pem(SSL_CTX *ctx, const char *pem, struct err *e)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509_STORE *store = SSL_CTX_get_cert_store(ctx);
	int n = 0;

	for (X509 *cert; bio && (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL)); n++) {
		X509_STORE_add_cert(store, cert);
		X509_free(cert);
	}
	BIO_free(bio);
	ERR_clear_error();
	return n ? 0 : err_set(e, ERR_INVALID, "unable to load root certificates: unable to parse bytes as PEM block");
}

static int set_trust(SSL_CTX *ctx, const struct tls *t, struct err *e)
{
	if (t->insecure) {
		SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
		return 0;
	}
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, t->server ? accept_any : NULL);
	if (t->ca_pem && !t->server)
		return trust_pem(ctx, t->ca_pem, e);
	if (!t->ca_file) {
		if (t->server)
			SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
		else
			SSL_CTX_set_default_verify_paths(ctx);
		return 0;
	}
	if (SSL_CTX_load_verify_file(ctx, t->ca_file) != 1)
		return ssl_err(e, "CA certificates", t->ca_file);
	if (!t->server)
		return 0;
	STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(t->ca_file);
	if (!names)
		return ssl_err(e, "CA certificates", t->ca_file);
	SSL_CTX_set_client_CA_list(ctx, names); /* taken */
	return 0;
}

static int set_identity(SSL_CTX *ctx, const struct tls *t, struct err *e)
{
	if (!t->cert_file)
		return 0;
	if (SSL_CTX_use_certificate_chain_file(ctx, t->cert_file) != 1)
		return ssl_err(e, "certificate", t->cert_file);
	if (SSL_CTX_use_PrivateKey_file(ctx, t->key_file, SSL_FILETYPE_PEM) != 1)
		return ssl_err(e, "private key", t->key_file);
	if (SSL_CTX_check_private_key(ctx) != 1)
		return ssl_err(e, "the certificate does not belong to the private key", t->key_file);
	return 0;
}

/* The server chooses, as Go's does: AES-128-GCM first, which costs least and which every client has; ChaCha20 for who puts
 * that first, for want of AES in hardware. OpenSSL's own order begins with AES-256. */
static int set_ciphers(SSL_CTX *ctx, struct err *e)
{
	SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
	if (SSL_CTX_set_ciphersuites(
		    ctx, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256") != 1 ||
		SSL_CTX_set_cipher_list(
			ctx, "ECDHE+AES128+AESGCM:ECDHE+AESGCM:ECDHE+CHACHA20:ALL:!COMPLEMENTOFDEFAULT:!eNULL") != 1)
		return err_set(e, ERR_INTERNAL, "TLS has none of the ciphers");
	return 0;
}

static int make_ctx(const struct tls *t, SSL_CTX **ret, struct err *e)
{
	SSL_CTX *ctx = SSL_CTX_new(t->server ? TLS_server_method() : TLS_client_method());

	if (!ctx)
		return err_set(e, ERR_INTERNAL, "no memory for TLS");
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_set_mode(
		ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_options(
		ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_num_tickets(ctx, 0);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"kogge", 5);
	if (t->server)
		SSL_CTX_set_alpn_select_cb(ctx, choose_alpn, NULL);
	if ((t->server && set_ciphers(ctx, e) < 0) || set_trust(ctx, t, e) < 0 || set_identity(ctx, t, e) < 0) {
		SSL_CTX_free(ctx);
		return -e->code;
	}
	*ret = ctx;
	return 0;
}

int tls_new(const struct tls_opts *o, struct tls **ret, struct err *e)
{
	struct tls *t = xcalloc(1, sizeof(*t));
	struct err mine;

	if (!e)
		err_init(e = &mine);
	t->cert_file = o->cert_file ? xstrdup(o->cert_file) : NULL;
	t->key_file = o->key_file ? xstrdup(o->key_file) : NULL;
	t->ca_file = o->ca_file ? xstrdup(o->ca_file) : NULL;
	t->ca_pem = o->ca_pem.n ? str_dup(o->ca_pem) : NULL;
	atomic_store(&t->refs, 1);
	t->server = o->server;
	t->insecure = o->insecure;
	if ((t->cert_file && !t->key_file) || (t->server && !t->cert_file))
		err_set(e, ERR_BAD_REQUEST, "TLS needs a certificate and its private key");
	else if (make_ctx(t, &t->ctx, e) == 0) {
		*ret = t;
		return 0;
	}
	tls_free(t);
	return -e->code;
}

struct tls *tls_ref(struct tls *t)
{
	if (t)
		atomic_fetch_add(&t->refs, 1);
	return t;
}

struct tls *tls_free(struct tls *t)
{
	if (!t || atomic_fetch_sub(&t->refs, 1) != 1)
		return NULL;
	SSL_CTX_free(t->ctx);
	free(t->cert_file);
	free(t->key_file);
	free(t->ca_file);
	free(t->ca_pem);
	free(t);
	return NULL;
}

static bool is_address(const char *name)
{
	unsigned char a[16];

	return inet_pton(AF_INET, name, a) == 1 || inet_pton(AF_INET6, name, a) == 1;
}

static bool expect_name(SSL *ssl, const char *name)
{
	if (is_address(name))
		return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1;
	return SSL_set1_host(ssl, name) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1;
}

SSL *tls_session(struct tls *t, const char *server_name, bool h2, struct err *e)
{
	static const unsigned char both[] = "\x02h2\x08http/1.1", one[] = "\x08http/1.1";

	SSL *ssl = SSL_new(t->ctx);
	if (!ssl)
		goto broken;
	if (t->server) {
		SSL_set_accept_state(ssl);
		return ssl;
	}
	SSL_set_connect_state(ssl);
	if (h2 ? SSL_set_alpn_protos(ssl, both, sizeof(both) - 1) : SSL_set_alpn_protos(ssl, one, sizeof(one) - 1))
		goto broken;
	if (server_name && !expect_name(ssl, server_name))
		goto broken;
	return ssl;
broken:
	SSL_free(ssl);
	ERR_clear_error();
	err_set(e, ERR_INTERNAL, "no memory for TLS");
	return NULL;
}

void tls_reason(SSL *ssl, char *ret, size_t cap)
{
	long verify = SSL_get_verify_result(ssl);
	unsigned long code = ERR_peek_error();
	const char *reason = ERR_reason_error_string(code);

	if (!SSL_is_server(ssl) && verify != X509_V_OK && ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED)
		snprintf(
			ret, cap, "the server's certificate is not trusted: %s", X509_verify_cert_error_string(verify));
	else
		snprintf(ret, cap, "%s", reason ? reason : "the connection broke");
	ERR_clear_error();
}

/* ---- the peer -------------------------------------------------------------------------------- */

static char *entry_text(X509_NAME_ENTRY *entry)
{
	unsigned char *utf8 = NULL;
	int n = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(entry));
	char *ret = NULL;

	if (n >= 0 && !memchr(utf8, 0, (size_t)n)) /* a NUL would make two names of one */
		ret = xstrndup((const char *)utf8, (size_t)n);
	OPENSSL_free(utf8);
	return ret;
}

static void read_subject(struct peer *p, X509_NAME *name)
{
	int n = X509_NAME_entry_count(name);

	p->orgs = xcalloc((size_t)n + 1, sizeof(*p->orgs));
	for (int i = 0; i < n; i++) {
		X509_NAME_ENTRY *entry = X509_NAME_get_entry(name, i);
		int nid = OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry));
		char *text = nid == NID_commonName || nid == NID_organizationName ? entry_text(entry) : NULL;

		if (!text)
			continue;
		if (nid == NID_organizationName) {
			p->orgs[p->facts.n_orgs++] = str_c(text);
			continue;
		}
		free(p->cn);
		p->cn = text;
	}
	p->facts.orgs = p->orgs;
	p->facts.cn = str_c(p->cn);
}

/* What clients send beside their own certificate was of use until that was verified: OpenSSL would keep it, 4 KiB each. */
static void forget_chain(SSL *ssl)
{
	STACK_OF(X509) *chain = SSL_get_peer_cert_chain(ssl);

	while (SSL_is_server(ssl) && sk_X509_num(chain) > 0)
		X509_free(sk_X509_pop(chain));
}

static void read_certificate(struct peer *p, SSL *ssl)
{
	X509 *cert = SSL_get0_peer_certificate(ssl);
	struct tm tm = { 0 };

	if (!cert)
		return;
	forget_chain(ssl);
	p->facts.rejected = SSL_get_verify_result(ssl) != X509_V_OK || SSL_get_verify_mode(ssl) == SSL_VERIFY_NONE;
	if (p->facts.rejected)
		return;
	read_subject(p, X509_get_subject_name(cert));
	if (ASN1_TIME_to_tm(X509_get0_notAfter(cert), &tm) == 1)
		p->facts.not_after_s = timegm(&tm);
}

struct peer *peer_new(const char *address, SSL *ssl)
{
	struct peer *p = xcalloc(1, sizeof(*p));

	atomic_store(&p->refs, 1);
	snprintf(p->address, sizeof(p->address), "%s", address);
	p->facts.address = str_c(p->address);
	p->facts.cn = STR("");
	if (ssl)
		read_certificate(p, ssl);
	return p;
}

struct peer *peer_ref(struct peer *p)
{
	if (p)
		atomic_fetch_add(&p->refs, 1);
	return p;
}

void peer_unref(struct peer *p)
{
	if (!p || atomic_fetch_sub(&p->refs, 1) != 1)
		return;
	for (size_t i = 0; i < p->facts.n_orgs; i++)
		free((char *)p->orgs[i].p);
	free(p->orgs);
	free(p->cn);
	free(p);
}
