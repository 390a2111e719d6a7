/* Names of key and certificate files. */
#include "pki/pki_internal.h"

#include <unistd.h>

char *pki_path(const char *dir, const char *name, const char *ending)
{
	return xasprintf("%s/%s%s", dir, name, ending);
}

bool pki_exists(const char *path)
{
	return access(path, F_OK) == 0;
}
