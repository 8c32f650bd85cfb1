/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shared state and module entry points of the SIPE acceptance client. */
#ifndef HARNESS_H
#define HARNESS_H

#include <purple.h>

#include "json_out.h"

typedef struct {
	PurpleAccount *account;
	PurplePlugin *prpl;
	const char *password;        /* libpurple forgets it at each sign-out */
	gboolean accept_any_tls;     /* answer the certificate dialog with Accept */
	gboolean auto_accept_calls;  /* accept incoming media sessions at once */
	gboolean auto_authorize;     /* grant every presence authorisation request */
	gboolean debug;              /* purple debug log to stderr */
	double tone_hz;              /* frequency of the fake microphone */
} Harness;

extern Harness H;

/* The connection of the account, or NULL. */
PurpleConnection *harness_gc(void);
/* "bob@x" and "sip:bob@x" both become "sip:bob@x"; free the result. */
gchar *harness_uri(const char *who);
/* Markup to plain text; free the result. */
gchar *harness_plain(const char *markup);
void harness_debug(gboolean on);
/* Signs out and ends the main loop once the account is offline. */
void harness_quit(void);

/* events.c: libpurple signals and UI operations turned into records. */
void events_init(void);
JsonObject *buddy_to_json(PurpleBuddy *buddy);
JsonArray *blist_to_json(void);
JsonObject *chat_to_json(PurpleConversation *conv);

/* requests.c: dialogs become "request" records, answered by command. */
void requests_init(void);
/* The next form dialog is filled from these members and confirmed. */
void requests_prefill(JsonObject *fields);
/* Returns NULL on success or what was wrong. */
const char *requests_answer(int id, const char *action, JsonObject *fields);

/* media.c: calls with a test tone as microphone and a meter as speaker. */
void media_init(void);
const char *media_call(const char *uri, gboolean video);
const char *media_action(const char *action, int call_id);
JsonArray *media_to_json(void);

/* commands.c: one JSON command per line of stdin. */
void command_run(JsonObject *command);
JsonArray *account_options_json(void);

#endif
