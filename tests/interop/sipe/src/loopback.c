/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Keeps media on 127.0.0.1, and on a relay where SIPE_FORCE_RELAY is set, by
 * interposing calls of libnice, which farstream gives no way to configure here.
 * The program must be linked with -rdynamic. */
#define _GNU_SOURCE
#include "loopback.h"

#include <dlfcn.h>
#include <glib-object.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>

int harness_loopback_only = 0;

/* libnice never offers loopback addresses as ICE host candidates. Show it IPv4
 * loopback as the only interface with an address, without the loopback flag. */
int getifaddrs(struct ifaddrs **list)
{
	static int (*real)(struct ifaddrs **);
	struct ifaddrs *entry;
	int result;

	if (!real)
		real = (int (*)(struct ifaddrs **))dlsym(RTLD_NEXT, "getifaddrs");
	result = real(list);
	if (result != 0 || !harness_loopback_only)
		return result;

	for (entry = *list; entry; entry = entry->ifa_next) {
		if ((entry->ifa_flags & IFF_LOOPBACK) && entry->ifa_addr &&
		    entry->ifa_addr->sa_family == AF_INET)
			entry->ifa_flags &= ~IFF_LOOPBACK;
		else
			entry->ifa_addr = NULL;
	}
	return 0;
}

/* libnice multicasts on every network for a UPnP router at each call. It goes
 * without when the library that would do so cannot be started. */
void *gupnp_simple_igd_thread_new(void)
{
	static void *(*real)(void);

	if (harness_loopback_only)
		return NULL;
	if (!real)
		real = (void *(*)(void))dlsym(RTLD_NEXT, "gupnp_simple_igd_thread_new");
	return real ? real() : NULL;
}

/* libnice then has no candidates but those of a relay, and pairs no others. */
gboolean nice_agent_gather_candidates(void *agent, guint stream)
{
	static gboolean (*real)(void *, guint);

	if (!real) {
		/* It came with a plugin, so RTLD_NEXT does not find it. */
		void *library = dlopen("libnice.so.10", RTLD_LAZY | RTLD_NOLOAD);

		if (library)
			real = (gboolean (*)(void *, guint))dlsym(library, "nice_agent_gather_candidates");
		if (!real)
			return FALSE;
	}
	if (getenv("SIPE_FORCE_RELAY"))
		g_object_set(agent, "force-relay", TRUE, NULL);
	return real(agent, stream);
}
