/* Which Secrets the pods of a ServiceAccount may use, where an annotation of the account says that only its own are. */
#include "api/admission/admission.h"

static bool is_own(struct val list, struct str secret)
{
	return val_has(val_find(list, "name", secret));
}

static int forbid_env(struct rq *rq, const char *sort, struct str container, struct str variable, struct str secret,
	struct str account, struct err *e)
{
	return admit_forbid(rq, rq->name, e,
		rq_f(rq,
			"%s %.*s with envVar %.*s referencing secret.secretName=\"%.*s\" is not allowed because service account %.*s does not reference that secret",
			sort, STR_ARG(container), STR_ARG(variable), STR_ARG(secret), STR_ARG(account)));
}

static int check_env(
	struct rq *rq, const char *sort, struct node *container, struct doc *account, struct val own, struct err *e)
{
	struct node *env = node_getc(container, "env");

	for (size_t i = 0; i < node_len(env); i++) {
		struct node *v = node_at(env, i), *ref = node_path(v, "valueFrom.secretKeyRef");
		struct str secret = node_text_str(node_getc(ref, "name"));

		if (ref && !is_own(own, secret))
			return forbid_env(rq, sort, node_text_str(node_getc(container, "name")),
				node_text_str(node_getc(v, "name")), secret, doc_name(account), e);
	}
	return 0;
}

static int check_volumes(struct rq *rq, struct node *spec, struct doc *account, struct val own, struct err *e)
{
	struct node *volumes = node_getc(spec, "volumes");

	for (size_t i = 0; i < node_len(volumes); i++) {
		struct node *source = node_getc(node_at(volumes, i), "secret");
		struct str secret = node_text_str(node_getc(source, "secretName"));

		if (source && !is_own(own, secret))
			return admit_forbid(rq, rq->name, e,
				rq_f(rq,
					"volume with secret.secretName=\"%.*s\" is not allowed because service account %.*s does not reference that secret",
					STR_ARG(secret), STR_ARG(doc_name(account))));
	}
	return 0;
}

static int check_pulls(struct rq *rq, struct node *spec, struct doc *account, struct err *e)
{
	struct node *pulls = node_getc(spec, "imagePullSecrets");

	for (size_t i = 0; i < node_len(pulls); i++) {
		struct str secret = node_text_str(node_getc(node_at(pulls, i), "name"));

		if (!is_own(doc_get(account, "imagePullSecrets"), secret))
			return admit_forbid(rq, rq->name, e,
				rq_f(rq,
					"imagePullSecrets[%zu].name=\"%.*s\" is not allowed because service account %.*s does not reference that imagePullSecret",
					i, STR_ARG(secret), STR_ARG(doc_name(account))));
	}
	return 0;
}

int admit_secrets(struct rq *rq, struct node *spec, struct doc *account, struct err *e)
{
	static const char *const lists[][2] = { { "initContainers", "init container" }, { "containers", "container" } };
	struct val own = doc_get(account, "secrets"),
		   said = val_get(doc_get(account, "metadata.annotations"), "kubernetes.io/enforce-mountable-secrets");
	int rc;

	if (!val_is(said, "true"))
		return 0;
	rc = check_volumes(rq, spec, account, own, e);
	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		struct node *list = node_getc(spec, lists[i][0]);

		for (size_t k = 0; rc >= 0 && k < node_len(list); k++)
			rc = check_env(rq, lists[i][1], node_at(list, k), account, own, e);
	}
	return rc < 0 ? rc : check_pulls(rq, spec, account, e);
}
