/* What is special to the builtin kinds: strategies, rules, warnings, addresses. Their rows are resources_builtin.c, which the
 * server reads as a table (builtin_resources). */
#pragma once
#include "api/api_internal.h"

/* ---- strategies (strategy_*.c) and validation (validate_*.c) --------------------------------- */
extern const struct strategy strategy_pod, strategy_service, strategy_namespace, strategy_node, strategy_deployment,
	strategy_replicaset, strategy_rc, strategy_statefulset, strategy_daemonset, strategy_job, strategy_cronjob,
	strategy_secret, strategy_configmap, strategy_role, strategy_binding, strategy_lease, strategy_pvc, strategy_pv,
	strategy_ingress, strategy_endpoints, strategy_slice, strategy_csr, strategy_priorityclass, strategy_sa,
	strategy_hpa, strategy_pdb, strategy_event, strategy_crd, strategy_apiservice, strategy_webhook,
	strategy_networkpolicy, strategy_limitrange, strategy_runtimeclass, strategy_storageclass,
	strategy_attributesclass, strategy_csicapacity, strategy_csidriver, strategy_csinode, strategy_attachment,
	strategy_quota, strategy_flowschema, strategy_prioritylevel, strategy_ingressclass, strategy_podtemplate,
	strategy_controllerrevision, strategy_policy, strategy_policy_binding;
int sub_pod_binding(struct rq *rq, struct node **body, struct err *e);
int sub_pod_eviction(struct rq *rq, struct node **body, struct err *e);
int sub_binding(struct rq *rq, struct node **body, struct err *e); /* legacy bindings */
void default_pod_spec(struct arena *a, struct node *spec);
const char *pod_qos_class(struct node *spec); /* static */

/* convert_hpa.c: in place. */
void hpa_v1_from_v2(struct arena *a, struct node *o);
void hpa_v2_from_v1(struct arena *a, struct node *o);

bool is_one_of(const char *const *words, struct str s);                    /* words ends with NULL */
const char *name_wrong(struct str name, enum name_rule rule, bool prefix); /* NULL: fine; else upstream's sentence */
void validate_name(struct err *e, const char *path, struct str name, enum name_rule rule);
void validate_qualified(struct err *e, const char *path, struct str key); /* a label's key, and words of that form */
void validate_qualified_as(struct err *e, const char *path, struct str key, struct str told); /* shown as `told` */
void validate_label_value(struct err *e, const char *path, struct str v);
bool finalizer_known(struct str f);
const char *qualified_wrong(struct str key, size_t i); /* the i-th of what is wrong with it; NULL: no more */
void validate_csi_name(struct err *e, const char *path, struct str name); /* of a CSI driver: in any case */
void validate_meta(struct rq *rq, struct val meta, struct val old, const char *path, bool need_name, struct err *e);
void validate_embedded_meta(
	struct rq *rq, struct val meta, const char *path, struct err *e); /* of an object in another */
void validate_annotations(struct rq *rq, struct val annotations, const char *path, struct err *e);
void validate_labels(struct rq *rq, struct val labels, const char *path, struct err *e);
void validate_label_selector(struct rq *rq, struct val sel, const char *path, struct err *e);
void validate_differ(struct rq *rq, struct val list, const char *path, struct err *e); /* no two elements are equal */
void validate_pod_spec(struct rq *rq, struct val spec, const char *path, struct err *e);
void validate_pod_update(
	struct rq *rq, struct val spec, struct val old, struct err *e); /* of a Pod, or a sub-resource of it */
void validate_pod_status(struct rq *rq, struct val o, struct val old, struct err *e);
void validate_containers(struct rq *rq, struct val spec, const char *path, struct err *e);
void validate_volumes(struct rq *rq, struct val spec, const char *path, struct err *e);
void validate_volume_source(struct rq *rq, struct val spec, const char *at, struct err *e); /* of a PersistentVolume */
bool same_volume_source(struct val a, struct val b);
void validate_volume_spec(
	struct rq *rq, struct val spec, const char *at, struct err *e); /* of one that is part of an attachment */
void validate_node_selector(struct rq *rq, struct val selector, const char *at, struct err *e);
void validate_placement(
	struct rq *rq, struct val spec, const char *path, struct err *e); /* affinity, spread, tolerations */
void validate_tolerations(struct rq *rq, struct val spec, const char *path, struct err *e); /* of path.tolerations */
bool resource_extended(struct str name); /* none of Kubernetes' own */
void validate_resource_name(struct err *e, const char *path, struct str name, bool of_container);
void validate_amounts(struct rq *rq, struct val map, const char *at, struct err *e); /* of a container's resources */
void validate_seccomp(struct rq *rq, struct val profile, const char *at, struct err *e);
void validate_field_ref(struct rq *rq, struct val ref, const char *at, const char *const *allowed, struct err *e);
void validate_resource_ref(struct rq *rq, struct val ref, const char *at, bool volume, struct err *e);
void validate_path_below(
	struct err *e, const char *at, struct str path);                 /* relative, and without ".."; empty is fine */
void validate_data_key(struct err *e, const char *path, struct str key); /* of a ConfigMap or Secret */
bool validate_ip(struct err *e, const char *path, struct str ip);        /* true: it is one */
void validate_endpoint_ip(struct err *e, const char *path, struct str ip); /* one that traffic may be sent to */
void validate_cidr(struct err *e, const char *path, struct str cidr);
void validate_port_name(struct err *e, const char *path, struct str name);
void validate_port_or_name(struct err *e, const char *path, struct val port);
void validate_pod_template(struct rq *rq, struct val template, const char *path, struct val selector,
	const char *restart_only, struct err *e);
void validate_job_spec(struct rq *rq, struct val spec, const char *path, struct err *e);
void validate_job_changes(struct rq *rq, struct val o, struct val old, struct err *e);
void validate_job_status(struct rq *rq, struct val o, struct val old, struct err *e);
void validate_counted_status(struct rq *rq, struct val o, struct val old, struct err *e);
/* Of the kind that all APIs share, where nothing may be left out: metav1.Condition. */
void validate_conditions(struct rq *rq, struct val list, const char *path, struct err *e);
/* "1,3-5" → 4. NULL: fine, else what is wrong with it. */
const char *job_indexes_read(struct rq *rq, struct str text, int64_t completions, int64_t *ret);
/* Whether an index stands in both texts; *ret: the first. What is no interval is passed over. */
bool job_indexes_overlap(struct str a, struct str b, int64_t *ret);
void validate_webhook_client(
	struct rq *rq, struct val config, const char *path, struct err *e);                  /* a url, or a service */
void validate_webhook_rule(struct rq *rq, struct val rule, const char *path, struct err *e); /* RuleWithOperations */
void validate_match_conditions(struct rq *rq, struct val list, const char *path, struct err *e); /* but for their CEL */
void validate_immutable(struct err *e, const char *path, struct val now, struct val old);
void validate_nonnegative(struct rq *rq, struct val parent, const char *path, const char *field, struct err *e);
void validate_port(struct err *e, const char *path, struct val port);
/* The same of another object than rq's, or of the options: "DeleteOptions". 0 or -ERR_INVALID. */
int validate_finish_as(struct rq *rq, const char *group, const char *kind, struct str name, struct err *e);
int validate_options(struct rq *rq, const char *kind, struct err *e);
bool validate_finish(
	struct rq *rq, struct str name, struct err *e); /* makes the message of the causes; true: there were some */

/* ---- warn.c ---------------------------------------------------------------------------------- */
void warn_pod(struct rq *rq, struct val o, struct val old);
void warn_workload(struct rq *rq, struct val o, struct val old); /* what has its template at spec.template */
void warn_cronjob(struct rq *rq, struct val o, struct val old);
void warn_service(struct rq *rq, struct val o, struct val old);

/* ---- ipalloc.c ------------------------------------------------------------------------------- */
struct ipalloc *ipalloc_new(struct api *api, struct err *e);
void ipalloc_free(struct ipalloc *p);
int ipalloc_service(struct rq *rq, struct node *svc, struct val old, struct err *e);      /* for strategy.claim */
void ipalloc_event(struct ipalloc *p, const struct doc *before, const struct doc *after); /* gives back */
void ipalloc_undo(struct rq *rq);
bool ipalloc_is_cidr(struct str s);
bool ipalloc_is_part(struct str part, struct str whole);           /* a network that is smaller and lies inside */
int ipalloc_families(const struct ipalloc *p, const char *ret[2]); /* "IPv4", "IPv6" in order */

/* ---- strategy_csr.c -------------------------------------------------------------------------- */
/* CertificateSubjectRestriction (nobody becomes a member of system:masters by a certificate),
 * CertificateApproval, CertificateSigning */
int csr_admit(struct rq *rq, struct val csr, struct val old, struct err *e);
bool csr_fits_node(
	struct rq *rq, struct val csr, struct str node); /* false: a node asks its own signers for another name */

/* ---- families.c ------------------------------------------------------------------------------ */
/* Fills in ipFamilyPolicy and ipFamilies of a Service that has addresses. Fails: ERR_INVALID. */
int families_choose(struct rq *rq, struct node *svc, struct val old, struct err *e);
void families_validate_update(struct rq *rq, struct val spec, struct val was, struct err *e);
