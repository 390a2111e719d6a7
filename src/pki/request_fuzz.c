/* Certificate requests and certificates in PEM, as clients send them. */
#include "pki/pki.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct arena *a = arena_new();
	struct pki_request r;
	struct err e;
	int64_t ends_s;

	err_init(&e);
	if (pki_request_read(a, str_n((const char *)data, n), &r, &e) == 0)
		for (size_t i = 0; i < r.n_orgs; i++)
			if (memchr(r.orgs[i].p, 0, r.orgs[i].n))
				__builtin_trap();
	pki_certificate_ends(str_n((const char *)data, n), &ends_s, &e);
	pki_certificates_check(str_n((const char *)data, n), &e);
	arena_free(a);
	return 0;
}
