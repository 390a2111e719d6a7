/* Channels of exec and attach. Source: the comments of k8s.io/apimachinery/pkg/util/remotecommand. */
#include "node/streams.h"

enum { CH_STDIN, CH_STDOUT, CH_STDERR, CH_ERROR, CH_RESIZE, CHANNELS, CH_CLOSE = 255 };

struct exec {
	bool has_in, has_out, has_err, tty;
	bool first_version; /* the error channel tells failures only, as text */
	bool error_sent;
};

static void open_stream(struct session *s, size_t channel, const char *type)
{
	session_open(s, channel, &(struct http_header){ STR("streamtype"), str_c(type) }, 1);
}

static void open_all(struct session *s)
{
	const struct exec *x = s->own;

	open_stream(s, CH_ERROR, "error");
	if (x->has_in)
		open_stream(s, CH_STDIN, "stdin");
	if (x->has_out)
		open_stream(s, CH_STDOUT, "stdout");
	if (x->has_err && !x->tty)
		open_stream(s, CH_STDERR, "stderr");
	if (x->tty)
		open_stream(s, CH_RESIZE, "resize");
}

static void message(struct session *s, size_t channel, struct str bytes)
{
	if (channel == CH_CLOSE && bytes.n == 1 && bytes.p[0] == CH_STDIN)
		session_to_runtime(s, CH_STDIN, STR(""), true);
	else if (channel == CH_STDIN || channel == CH_RESIZE)
		session_to_runtime(s, channel, bytes, false);
}

/* How the command ended, as a Status. The first version of the protocol knows only what went wrong, in words. */
static void send_verdict(struct session *s, struct str status)
{
	auto_(doc_unref) struct doc *d = NULL;
	struct exec *x = s->own;
	struct err e;

	x->error_sent = true;
	err_init(&e);
	if (!x->first_version || doc_parse(status, &d, &e) < 0)
		session_to_client(s, CH_ERROR, status);
	else if (!str_is(doc_str(d, "status"), "Success"))
		session_to_client(s, CH_ERROR, doc_str(d, "message"));
}

static bool is_over(const struct channel *ch)
{
	return ch->ended || !ch->stream;
}

/* The error stream's end is the verdict; it comes after all output. */
static void maybe_finish(struct session *s)
{
	const struct exec *x = s->own;

	if (!s->channels[CH_ERROR].ended || !is_over(&s->channels[CH_STDOUT]) || !is_over(&s->channels[CH_STDERR]))
		return;
	if (!x->error_sent && s->far)
		send_verdict(s, STR("{\"metadata\":{},\"status\":\"Success\"}"));
	else if (!x->error_sent) /* nobody may take a part for the whole */
		send_verdict(s,
			STR("{\"metadata\":{},\"status\":\"Failure\",\"reason\":\"InternalError\",\"code\":500,\"message\":"
			    "\"the container runtime ended the stream without saying how the command ended; output may be missing\"}"));
	session_finish(s);
}

static void data(struct session *s, size_t channel, struct str bytes)
{
	if (bytes.n && (channel == CH_STDOUT || channel == CH_STDERR))
		session_to_client(s, channel, bytes);
	if (bytes.n && channel == CH_ERROR)
		send_verdict(s, bytes);
	maybe_finish(s);
}

static const struct speech exec_speech = { open_all, message, data, maybe_finish };

static bool asked(struct str query, const char *a, const char *b, struct arena *ar)
{
	struct str v = query_get(query, a, ar);

	if (!v.p)
		v = query_get(query, b, ar);
	return query_true(v);
}

void exec_begin(struct session *s, struct str query, struct arena *a)
{
	struct exec *x = xcalloc(1, sizeof(*x));

	*x = (struct exec){ .has_in = asked(query, "input", "stdin", a),
		.has_out = asked(query, "output", "stdout", a),
		.has_err = asked(query, "error", "stderr", a),
		.tty = asked(query, "tty", "tty", a),
		.first_version = s->ws_protocol[0] != 'v' };
	s->speaks = &exec_speech;
	s->own = x;
	s->n_channels = CHANNELS;
	s->channels = xcalloc(CHANNELS, sizeof(*s->channels));
}
