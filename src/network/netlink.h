/* libmnl with the conversions spelled out: its own loop macros do not compile under -Wconversion. */
#pragma once
#include <libmnl/libmnl.h>

#define NETLINK_ANSWER_MAX 32768 /* what the kernel puts into one block of a dump at most */

#define attr_left(a, end) (int)((const char *)(end) - (const char *)(a))
#define attr_for_each(a, h, offset)                             \
	for ((a) = mnl_nlmsg_get_payload_offset((h), (offset)); \
		mnl_attr_ok((a), attr_left((a), mnl_nlmsg_get_payload_tail(h))); (a) = mnl_attr_next(a))
#define attr_for_each_nested(a, nest)                                                                                  \
	for ((a) = mnl_attr_get_payload(nest);                                                                         \
		mnl_attr_ok((a), attr_left((a), (char *)mnl_attr_get_payload(nest) + mnl_attr_get_payload_len(nest))); \
		(a) = mnl_attr_next(a))
