#include "api/api_internal.h"
struct relays *relays_new(struct api *api) { (void)api; return xcalloc(1, 8); }
void relays_free(struct relays *r) { free(r); }
void relay_start(struct rq *rq) { struct err e; err_init(&e); err_set(&e, ERR_UNSUPPORTED, "later"); reply_error(rq, &e); }
