/* What the files of the remote backend share.
 *
 *   remote.c        calls, lists and watches over net's HTTP client
 *   remote_wire.c   the words: paths, queries, and errors read back from a Status; no I/O
 *   kubeconfig.c    where a server is and who we are */
#pragma once
#include "base/buf.h"
#include "client/client.h"

/* Where to and as whom. Strings are borrowed by remote_new(). */
struct remote_config {
	struct client_remote_opts o;
	bool insecure;           /* the user's kubeconfig says so */
	const char *server_name; /* tls-server-name, or NULL */
	int fds[3];              /* >= 0: taken; files without a name that o.ca_file … point to */
};
#define REMOTE_CONFIG_INIT            \
	{                             \
		.fds = { -1, -1, -1 } \
	}
/* Of the current context of a kubeconfig; texts are the arena's. Own: close the fds, or hand them to remote_new(). */
int kubeconfig_read(const char *path, const char *name, struct arena *a, struct remote_config *ret, struct err *e);
int remote_new(const struct remote_config *c, struct client **ret, struct err *e);

/* "/apis/apps/v1/namespaces/ns/deployments/web/status?fieldManager=x" behind prefix. */
void wire_path(struct buf *out, struct str prefix, const struct client_request *rq);
const char *wire_method(const struct client_request *rq);
const char *wire_content_type(const struct client_request *rq);
/* -code as the Status in body says; without one, as the HTTP status says. */
int wire_error(int http_status, struct str body, int retry_after_s, struct err *e);
/* A list's item as a document of its own: apiVersion and kind, which lists leave out, are put in front. */
int wire_item(struct val item, struct val api_version, struct str kind, struct doc **ret, struct err *e);
/* One line of a watch. */
int wire_event(struct str line, struct client_event *ret, struct err *e);
/* "https://host:6443/base" → "https://host:6443" and "/base". Own: *ret_url by free(). */
struct str wire_split_url(const char *url, char **ret_url);
