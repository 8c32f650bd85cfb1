/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libxml2 from May 2023 on, and Debian's patched 2.9.14, call only the namespace
 * aware element handlers of a SAX handler marked XML_SAX2_MAGIC. SIPE 1.25
 * marks its handler so and sets only the old element handlers: every document
 * then parses to nothing, and the client shows no contacts and no presence
 * whatever the server sends. This interposes the one call SIPE uses and drops
 * the mark from such a handler, which gives the behaviour SIPE was written for.
 *
 * It is linked into the client (with -rdynamic) and also built as a library to
 * preload into finch or pidgin. */
#define _GNU_SOURCE
#include <dlfcn.h>

#include <libxml/parser.h>

int xmlSAXUserParseMemory(xmlSAXHandlerPtr sax, void *user_data,
			  const char *buffer, int size)
{
	static int (*real)(xmlSAXHandlerPtr, void *, const char *, int);
	xmlSAXHandler copy;

	if (!real)
		real = (int (*)(xmlSAXHandlerPtr, void *, const char *, int))
			dlsym(RTLD_NEXT, "xmlSAXUserParseMemory");
	if (sax && sax->initialized == XML_SAX2_MAGIC && sax->startElement &&
	    !sax->startElementNs && !sax->endElementNs) {
		copy = *sax;
		copy.initialized = 1;
		sax = &copy;
	}
	return real(sax, user_data, buffer, size);
}
