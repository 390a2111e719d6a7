/* The kogge program: finds the sub-command and runs it. Called by containerd as a CNI plugin, it is that. */
#include "base/log.h"
#include "cmd/cmd.h"
#include "network/network.h"

#include <stdio.h>
#include <unistd.h>

const struct command commands[] = {
	{ "server", "", "runs an API server and a node on this machine",
		"  kogge server\n  kogge server --data-dir /srv/kogge --port 7443 --ephemeral\n", cmd_server },
	{ "status", "", "one screen: server, store, nodes, what is not ready and why",
		"  kogge status\n  kogge status --output json\n", cmd_status },
	{ "check", "", "looks for everything that would keep a server from starting", "  kogge check\n", cmd_check },
	{ "image", "import FILE… | list", "loads image archives into the node; lists what it has",
		"  kogge image import web.tar\n  kogge image list\n", cmd_image },
	{ "kubeconfig", "", "makes the cluster kubectl's current context (the old file is kept as a backup)",
		"  kogge kubeconfig\n  kogge kubeconfig --print > admin.kubeconfig\n  kogge kubeconfig --remove\n",
		cmd_kubeconfig },
	{ "store", "check [FILE] | snapshot FILE | restore FILE | rotate-key",
		"checks, saves and brings back the data; a new encryption key",
		"  kogge store snapshot /backup/monday.db\n  kogge store restore /backup/monday.db --recovery-key-file key.txt   # the server is stopped\n  kogge store check\n  kogge store rotate-key\n",
		cmd_store },
	{ "reset", "", "takes everything away: pods, mounts, links, tables, the data folder", "  kogge reset --force\n",
		cmd_reset },
	{ "version", "", "prints the version", "  kogge version\n", cmd_version },
};
const size_t n_commands = ARRAY_LEN(commands);

static int usage(FILE *to)
{
	fprintf(to,
		"Kogge is a highly available application platform that speaks the Kubernetes API.\n\nUsage: kogge COMMAND [FLAGS]\n\n");
	for (size_t i = 0; i < n_commands; i++)
		fprintf(to, "  %-11s %s\n", commands[i].name, commands[i].help);
	fprintf(to, "\nkogge COMMAND --help shows a command's flags and examples.\n");
	return to == stdout ? 0 : 2;
}

static int command_usage(const struct command *c)
{
	printf("kogge %s: %s\n\nUsage: kogge %s %s%s[FLAGS]\n\nExamples:\n%s", c->name, c->help, c->name, c->args,
		c->args[0] ? " " : "", c->examples);
	settings_help(c->name);
	return 0;
}

static const struct command *command_named(const char *name)
{
	for (size_t i = 0; i < n_commands; i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}

/* The C library keeps the stacks of ended threads, up to 40 MiB of them, and reads how many only when a program begins.
 * Our processes make many short threads and idle small: begin again, once, with fewer. Where that fails, it only costs
 * memory. */
static void keep_few_stacks(char **argv)
{
	if (getenv("GLIBC_TUNABLES") || setenv("GLIBC_TUNABLES", "glibc.pthread.stack_cache_size=2097152", 1) < 0)
		return;
	execv("/proc/self/exe", argv);
}

int main(int argc, char **argv)
{
	auto_(arena_free) struct arena *a = NULL;
	const struct command *c;
	struct settings s;
	struct err e;
	bool help;

	if (getenv("CNI_COMMAND"))
		return network_cni_main();
	if (argc < 2)
		return usage(stderr);
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help"))
		return usage(stdout);
	c = command_named(!strcmp(argv[1], "--version") ? "version" : argv[1]);
	if (!c) {
		fprintf(stderr, "kogge: there is no command \"%s\"\n\n", argv[1]);
		return usage(stderr);
	}
	if (c->run == cmd_server)
		keep_few_stacks(argv);
	a = arena_new();
	err_init(&e);
	if (settings_read(a, argc - 2, argv + 2, &s, &help, &e) < 0)
		return fail("%s", e.message), 2;
	return help ? command_usage(c) : c->run(a, &s);
}
