/* Flags and the config file, from one table: each row is a flag, a key of the file, a default and a line of help. */
#include "base/file.h"
#include "cmd/cmd.h"
#include "doc/doc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define CONFIG_FILE "/etc/kogge/config.yaml"

enum option_type { OPTION_TEXT, OPTION_NUMBER, OPTION_FLAG };
struct option_row {
	const char *name; /* --name, and the key in the config file */
	enum option_type type;
	size_t at;
	const char *value; /* default; shown as it is */
	const char *what;  /* of the value: DIR, ADDRESS … */
	const char *help;
	const char *commands; /* space-separated */
};
#define AT(field) offsetof(struct settings, field)

static const struct option_row options[] = {
	{ "data-dir", OPTION_TEXT, AT(data_dir), "/var/lib/kogge", "DIR", "where everything is kept",
		"server check reset status image kubeconfig store" },
	{ "port", OPTION_NUMBER, AT(port), "6443", "PORT", "of the API", "server check" },
	{ "bind-address", OPTION_TEXT, AT(bind_address), "", "ADDRESS", "the API listens on (all)", "server check" },
	{ "instance", OPTION_TEXT, AT(instance), "", "NAME",
		"a further server on this machine: names its links, tables, cgroups",
		"server check reset status image store" },
	{ "node-name", OPTION_TEXT, AT(node_name), "", "NAME", "of this node (the host's name)", "server" },
	{ "node-ip", OPTION_TEXT, AT(node_ip), "", "ADDRESS,...",
		"of this node, one a family (those with the default route)", "server check" },
	{ "node-port", OPTION_NUMBER, AT(node_port), "10250", "PORT", "the node agent listens on", "server check" },
	{ "tls-san", OPTION_TEXT, AT(tls_san), "", "NAME,...", "further names and addresses in the API's certificate",
		"server" },
	{ "cluster-cidr", OPTION_TEXT, AT(cluster_cidr), "10.244.0.0/16", "CIDR,...",
		"addresses of pods: IPv4, IPv6 or both", "server" },
	{ "service-cidr", OPTION_TEXT, AT(service_cidr), "10.96.0.0/16", "CIDR,...",
		"addresses of services, the same families", "server" },
	{ "cluster-dns", OPTION_TEXT, AT(cluster_dns), "", "ADDRESS,...",
		"of the DNS service (the tenth of --service-cidr)", "server" },
	{ "cluster-domain", OPTION_TEXT, AT(cluster_domain), "cluster.local", "NAME", "of the cluster in DNS",
		"server" },
	{ "service-node-port-range", OPTION_TEXT, AT(node_ports), "30000-32767", "FROM-TO",
		"ports of NodePort services", "server" },
	{ "cri-socket", OPTION_TEXT, AT(cri_socket), "", "PATH",
		"use this container runtime instead of an own containerd", "server check reset" },
	{ "registries", OPTION_TEXT, AT(registries), "/etc/kogge/registries.yaml", "FILE",
		"mirrors, certificates and credentials of image registries", "server" },
	{ "eviction-hard", OPTION_TEXT, AT(eviction_hard),
		"memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,imagefs.available<15%", "LIST",
		"below these the node makes room: unused images go, then pods", "server" },
	{ "system-reserved", OPTION_TEXT, AT(system_reserved), "", "LIST",
		"kept from pods for the system and Kogge: cpu=500m,memory=1Gi,ephemeral-storage=10Gi", "server" },
	{ "shutdown-grace-period", OPTION_NUMBER, AT(shutdown_grace_s), "30", "SECONDS",
		"for pods to end when the machine shuts down (0: they are not waited for)", "server" },
	{ "shutdown-grace-period-critical-pods", OPTION_NUMBER, AT(shutdown_grace_critical_s), "10", "SECONDS",
		"of them, for critical pods, which end last", "server" },
	{ "without", OPTION_TEXT, AT(without), "", "PART,...",
		"leave out: dns, proxy, loadbalancer, cni, scheduler, controllers", "server" },
	{ "legacy-token-secrets", OPTION_FLAG, AT(legacy_token_secrets), "", "",
		"gives every ServiceAccount a Secret with a token, as before Kubernetes 1.24", "server" },
	{ "no-node", OPTION_FLAG, AT(no_node), "", "", "the API only; needs no root and runs no pods", "server check" },
	{ "ephemeral", OPTION_FLAG, AT(ephemeral), "", "", "take everything away at the end (for trials)", "server" },
	{ "audit-log-path", OPTION_TEXT, AT(audit_log), "", "FILE",
		"a line for every request that the policy wants (none)", "server" },
	{ "audit-policy-file", OPTION_TEXT, AT(audit_policy), "", "FILE",
		"audit.k8s.io/v1 Policy (everything at level Metadata)", "server" },
	{ "audit-log-maxsize", OPTION_NUMBER, AT(audit_maxsize), "100", "MB",
		"the audit log is put aside when it is larger", "server" },
	{ "audit-log-maxbackup", OPTION_NUMBER, AT(audit_maxbackup), "0", "N",
		"audit logs put aside that are kept (all)", "server" },
	{ "audit-log-maxage", OPTION_NUMBER, AT(audit_maxage), "0", "DAYS",
		"for which audit logs put aside are kept (for ever)", "server" },
	{ "encryption-provider-config", OPTION_TEXT, AT(encryption_config), "", "FILE",
		"EncryptionConfiguration: what is encrypted at rest, and how (Secrets, by own keys)", "server" },
	{ "recovery-key-file", OPTION_TEXT, AT(recovery_key_file), "", "FILE",
		"holds the recovery key of the snapshot to restore", "store" },
	{ "log-level", OPTION_TEXT, AT(log_level), "info", "LEVEL", "debug, info, warn or error", "server" },
	{ "log-json", OPTION_FLAG, AT(log_json), "", "", "log lines as JSON", "server" },
	{ "config", OPTION_TEXT, AT(config), CONFIG_FILE, "FILE", "settings: every flag here is a key there",
		"server check reset status image kubeconfig store" },
	{ "kubeconfig", OPTION_TEXT, AT(kubeconfig), "", "FILE", "to use, or to write into (~/.kube/config)",
		"status kubeconfig" },
	{ "print", OPTION_FLAG, AT(print), "", "", "print it and change nothing", "kubeconfig" },
	{ "remove", OPTION_FLAG, AT(remove), "", "", "take the cluster out of it again", "kubeconfig" },
	{ "output", OPTION_TEXT, AT(output), "", "FORMAT", "json for programs", "status check image version store" },
	{ "force", OPTION_FLAG, AT(force), "", "", "do not ask, stop a running server", "reset" },
	{ "quiet", OPTION_FLAG, AT(quiet), "", "", "no progress", "server reset image kubeconfig store" },
};

static int store_option(
	struct arena *a, struct settings *s, const struct option_row *o, struct str value, struct err *e)
{
	char *at = (char *)s + o->at;

	switch (o->type) {
	case OPTION_TEXT:
		*(const char **)(void *)at = arena_cstr(a, value);
		return 0;
	case OPTION_NUMBER:
		if (!str_i64(value, (int64_t *)(void *)at) || *(int64_t *)(void *)at < 0)
			return err_set(e, ERR_INVALID, "--%s: \"%.*s\" is not a number", o->name, STR_ARG(value));
		return 0;
	case OPTION_FLAG:
		if (!str_is(value, "true") && !str_is(value, "false"))
			return err_set(
				e, ERR_INVALID, "--%s: \"%.*s\" is neither true nor false", o->name, STR_ARG(value));
		*(bool *)at = str_is(value, "true");
		return 0;
	}
	return 0;
}

static const struct option_row *option_named(struct str name)
{
	for (size_t i = 0; i < ARRAY_LEN(options); i++)
		if (str_is(name, options[i].name))
			return &options[i];
	return NULL;
}

/* A list in the file is the same as commas on the command line. */
static struct str file_value(struct arena *a, struct val v)
{
	auto_buf struct buf text = BUF_INIT;

	if (val_kind(v) != VAL_LIST)
		return val_kind(v) == VAL_STR ? val_str(v) : val_text(v);
	for (struct val_iter it = val_iter(v); val_next(&it);) {
		struct str item = file_value(a, it.val);

		buf_printf(&text, "%s%.*s", it.i ? "," : "", STR_ARG(item));
	}
	return arena_str(a, buf_view(&text));
}

static int read_file(struct arena *a, struct settings *s, bool must_exist, struct err *e)
{
	auto_buf struct buf text = BUF_INIT;
	auto_(doc_unref) struct doc *d = NULL;

	if (file_read(s->config, &text, e) < 0)
		return e->code == ERR_NOT_FOUND && !must_exist ? 0 : -e->code;
	if (!str_trim(buf_view(&text)).n)
		return 0;
	if (doc_parse_yaml(buf_view(&text), NULL, NULL, &d, e) < 0)
		return err_wrap(e, "%s", s->config);
	for (struct val_iter it = val_iter(doc_root(d)); val_next(&it);) {
		const struct option_row *o = option_named(it.key);

		if (!o)
			return err_set(e, ERR_INVALID,
				"%s: there is no setting \"%.*s\" (kogge server --help lists them)", s->config,
				STR_ARG(it.key));
		if (store_option(a, s, o, arena_str(a, file_value(a, it.val)), e) < 0)
			return err_wrap(e, "%s", s->config);
	}
	return 0;
}

/* "--name=value", "--name value", "--flag"; everything after "--" is an argument */
static int read_flags(struct arena *a, struct settings *s, int argc, char **argv, bool *help, struct err *e)
{
	const char **args = ARENA_ARRAY(a, const char *, (size_t)argc + 1);
	bool only_args = false;

	s->n_args = 0;
	for (int i = 0; i < argc; i++) {
		struct str word = str_c(argv[i]), name, value;
		const struct option_row *o;

		if (only_args || !str_starts(word, STR("-")) || word.n == 1) {
			args[s->n_args++] = argv[i];
			continue;
		}
		if (str_is(word, "--")) {
			only_args = true;
			continue;
		}
		if (str_is(word, "--help") || str_is(word, "-h")) {
			*help = true;
			continue;
		}
		value = str_cut(str_sub(word, 2, word.n), '=', &name);
		o = option_named(str_is(word, "-o") ? STR("output") : name);
		if (!o || (!str_starts(word, STR("--")) && !str_is(word, "-o")))
			return err_set(e, ERR_INVALID, "there is no flag %.*s (--help lists them)", STR_ARG(word));
		if (!value.p && o->type == OPTION_FLAG)
			value = STR("true");
		if (!value.p && ++i >= argc)
			return err_set(e, ERR_INVALID, "--%s wants a value: --%s %s", o->name, o->name, o->what);
		if (!value.p)
			value = str_c(argv[i]);
		if (store_option(a, s, o, value, e) < 0)
			return -e->code;
	}
	s->args = args;
	return 0;
}

int settings_read(struct arena *a, int argc, char **argv, struct settings *ret, bool *help, struct err *e)
{
	struct settings s = { 0 };
	bool own_file;

	*help = false;
	for (size_t i = 0; i < ARRAY_LEN(options); i++)
		if (options[i].type != OPTION_FLAG && store_option(a, &s, &options[i], str_c(options[i].value), e) < 0)
			return -e->code;
	/* the flags are read twice: first to know which file, then over what it says */
	if (read_flags(a, &s, argc, argv, help, e) < 0)
		return -e->code;
	own_file = strcmp(s.config, CONFIG_FILE) != 0;
	if (read_file(a, &s, own_file, e) < 0 || read_flags(a, &s, argc, argv, help, e) < 0)
		return -e->code;
	*ret = s;
	return 0;
}

static bool has_word(const char *words, const char *word)
{
	for (struct str part, rest = str_c(words); str_next(&rest, ' ', &part);)
		if (str_is(part, word))
			return true;
	return false;
}

void settings_help(const char *only_for)
{
	printf("\nFlags (each is also a key in %s):\n", CONFIG_FILE);
	for (size_t i = 0; i < ARRAY_LEN(options); i++) {
		const struct option_row *o = &options[i];
		auto_free char *flag = xasprintf("--%s %s", o->name, o->what);

		if (!has_word(o->commands, only_for))
			continue;
		printf("  %-34s %s%s%s%s\n", flag, o->help, o->value[0] ? " [" : "", o->value, o->value[0] ? "]" : "");
	}
}

bool settings_without(const struct settings *s, const char *part)
{
	for (struct str word, rest = str_c(s->without); str_next(&rest, ',', &word);)
		if (str_is(str_trim(word), part))
			return true;
	return false;
}
