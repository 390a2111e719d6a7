/* Places of which no user has the last: who asks for one more gets it as long as they hold fewer than are free.
 *
 *     128 places: alone a user gets 64; the next who wants as many as they can get 32, the one after that 16 …
 *
 * So whoever takes what they can leaves as many as they have, and somebody who has none finds one. Any thread. */
#pragma once
#include "base/str.h"
#include "base/util.h"

struct places;
struct place;
struct places *places_new(size_t max);
struct places *places_free(struct places *p); /* lives on until the last place was left */
/* Own: *ret, end it with place_leave(). False: the user holds *ret_held, which is their share. */
bool place_take(struct places *p, struct str user, struct place **ret, size_t *ret_held);
void place_leave(struct place *taken);
