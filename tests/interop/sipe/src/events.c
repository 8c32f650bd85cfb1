/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libpurple signals and UI operations turned into JSON records. */
#include "harness.h"

#include <string.h>

static const char *const error_names[] = {
	"network", "invalid-username", "authentication-failed",
	"authentication-impossible", "no-ssl-support", "encryption", "name-in-use",
	"invalid-settings", "cert-not-provided", "cert-untrusted", "cert-expired",
	"cert-not-activated", "cert-hostname-mismatch",
	"cert-fingerprint-mismatch", "cert-self-signed", "cert-other", "other",
};

static void *handle(void)
{
	static int h;

	return &h;
}

#define CONNECT(instance, signal, callback) \
	purple_signal_connect((instance), (signal), handle(), \
			      PURPLE_CALLBACK(callback), NULL)

/* --- connection --------------------------------------------------------- */

static void simple_connection_event(PurpleConnection *gc, gpointer name)
{
	JsonObject *o = ev(name);

	ev_s(o, "account",
	     purple_account_get_username(purple_connection_get_account(gc)));
	ev_done(o);
}

static void on_connection_error(PurpleConnection *gc,
				PurpleConnectionError reason, const char *text)
{
	JsonObject *o = ev("connection-error");

	ev_s(o, "reason", reason < G_N_ELEMENTS(error_names)
	     ? error_names[reason] : "unknown");
	ev_b(o, "fatal", purple_connection_error_is_fatal(reason));
	ev_s(o, "text", text);
	ev_done(o);
}

static void connect_progress(PurpleConnection *gc, const char *text,
			     size_t step, size_t steps)
{
	JsonObject *o = ev("connecting");

	ev_s(o, "text", text);
	ev_i(o, "step", step);
	ev_i(o, "steps", steps);
	ev_done(o);
}

static PurpleConnectionUiOps connection_ops = {
	.connect_progress = connect_progress,
};

/* --- buddy list --------------------------------------------------------- */

static void status_to_json(JsonObject *o, PurpleStatus *status)
{
	ev_s(o, "status", purple_status_get_id(status));
	ev_s(o, "status_name", purple_status_get_name(status));
}

JsonObject *buddy_to_json(PurpleBuddy *buddy)
{
	JsonObject *o = json_object_new();
	PurplePresence *presence = purple_buddy_get_presence(buddy);
	PurplePluginProtocolInfo *info = PURPLE_PLUGIN_PROTOCOL_INFO(H.prpl);
	PurpleGroup *group = purple_buddy_get_group(buddy);

	ev_s(o, "buddy", purple_buddy_get_name(buddy));
	ev_s(o, "alias", purple_buddy_get_alias(buddy));
	ev_s(o, "group", group ? purple_group_get_name(group) : NULL);
	status_to_json(o, purple_presence_get_active_status(presence));
	ev_b(o, "online", purple_presence_is_online(presence));
	ev_b(o, "idle", purple_presence_is_idle(presence));
	if (harness_gc() && harness_gc()->proto_data && info->status_text) {
		/* what SIPE shows beside the name: activity and note */
		char *text = info->status_text(buddy);

		ev_s(o, "text", text);
		g_free(text);
	}
	return o;
}

JsonArray *blist_to_json(void)
{
	JsonArray *groups = json_array_new();
	PurpleBlistNode *g, *c, *b;

	for (g = purple_blist_get_root(); g; g = purple_blist_node_get_sibling_next(g)) {
		JsonObject *group;
		JsonArray *buddies;

		if (!PURPLE_BLIST_NODE_IS_GROUP(g))
			continue;
		group = json_object_new();
		buddies = json_array_new();
		ev_s(group, "group", purple_group_get_name(PURPLE_GROUP(g)));
		for (c = purple_blist_node_get_first_child(g); c;
		     c = purple_blist_node_get_sibling_next(c))
			for (b = purple_blist_node_get_first_child(c); b;
			     b = purple_blist_node_get_sibling_next(b))
				if (PURPLE_BLIST_NODE_IS_BUDDY(b))
					json_array_add_object_element(
						buddies, buddy_to_json((PurpleBuddy *)b));
		ev_a(group, "buddies", buddies);
		json_array_add_object_element(groups, group);
	}
	return groups;
}

static void buddy_event(const char *name, PurpleBuddy *buddy)
{
	JsonObject *o = ev(name);
	JsonObject *b = buddy_to_json(buddy);
	GList *keys = json_object_get_members(b), *k;

	for (k = keys; k; k = k->next)
		json_object_set_member(o, k->data, json_object_dup_member(b, k->data));
	g_list_free(keys);
	json_object_unref(b);
	ev_done(o);
}

static void on_node_added(PurpleBlistNode *node)
{
	if (PURPLE_BLIST_NODE_IS_BUDDY(node)) {
		buddy_event("buddy-added", (PurpleBuddy *)node);
	} else if (PURPLE_BLIST_NODE_IS_GROUP(node)) {
		JsonObject *o = ev("group-added");

		ev_s(o, "group", purple_group_get_name(PURPLE_GROUP(node)));
		ev_done(o);
	}
}

static void on_node_removed(PurpleBlistNode *node)
{
	JsonObject *o;

	if (PURPLE_BLIST_NODE_IS_BUDDY(node)) {
		o = ev("buddy-removed");
		ev_s(o, "buddy", purple_buddy_get_name((PurpleBuddy *)node));
		ev_done(o);
	} else if (PURPLE_BLIST_NODE_IS_GROUP(node)) {
		o = ev("group-removed");
		ev_s(o, "group", purple_group_get_name(PURPLE_GROUP(node)));
		ev_done(o);
	}
}

static void on_node_aliased(PurpleBlistNode *node, const char *old)
{
	if (PURPLE_BLIST_NODE_IS_BUDDY(node))
		buddy_event("buddy-aliased", (PurpleBuddy *)node);
}

/* libpurple tells going on- or offline and other changes by different signals. */
static void on_buddy_status(PurpleBuddy *buddy, PurpleStatus *old,
			    PurpleStatus *new)
{
	buddy_event("buddy-status", buddy);
}

static void on_buddy_sign(PurpleBuddy *buddy)
{
	buddy_event("buddy-status", buddy);
}

/* A new note or activity changes no status; it shows in the text only. */
static void blist_update(PurpleBuddyList *list, PurpleBlistNode *node)
{
	static GHashTable *texts;
	PurpleBuddy *buddy = (PurpleBuddy *)node;
	PurplePluginProtocolInfo *info = PURPLE_PLUGIN_PROTOCOL_INFO(H.prpl);
	char *text;

	if (!node || !PURPLE_BLIST_NODE_IS_BUDDY(node) || !harness_gc() ||
	    !PURPLE_CONNECTION_IS_CONNECTED(harness_gc()))
		return;
	if (!texts)
		texts = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
	text = info->status_text(buddy);
	if (g_strcmp0(text, g_hash_table_lookup(texts, purple_buddy_get_name(buddy)))) {
		g_hash_table_insert(texts, g_strdup(purple_buddy_get_name(buddy)),
				    g_strdup(text));
		buddy_event("buddy-text", buddy);
	}
	g_free(text);
}

static PurpleBlistUiOps blist_ops = {
	.update = blist_update,
};

static void on_buddy_idle(PurpleBuddy *buddy, gboolean was, gboolean is)
{
	buddy_event("buddy-idle", buddy);
}

/* --- account ------------------------------------------------------------ */

static void notify_added(PurpleAccount *account, const char *who, const char *id,
			 const char *alias, const char *message)
{
	JsonObject *o = ev("added-by");

	ev_s(o, "from", who);
	ev_s(o, "alias", alias);
	ev_done(o);
}

static void request_add(PurpleAccount *account, const char *who, const char *id,
			const char *alias, const char *message)
{
	JsonObject *o = ev("added-by");

	ev_s(o, "from", who);
	ev_s(o, "alias", alias);
	ev_b(o, "unknown", TRUE);
	ev_done(o);
}

static void *request_authorize(PurpleAccount *account, const char *who,
			       const char *id, const char *alias,
			       const char *message, gboolean on_list,
			       PurpleAccountRequestAuthorizationCb yes,
			       PurpleAccountRequestAuthorizationCb no,
			       void *user_data)
{
	JsonObject *o = ev("authorize");

	ev_s(o, "from", who);
	ev_s(o, "alias", alias);
	ev_b(o, "granted", H.auto_authorize);
	ev_done(o);
	(H.auto_authorize ? yes : no)(user_data);
	return NULL;
}

static void account_status_changed(PurpleAccount *account, PurpleStatus *status)
{
	JsonObject *o = ev("own-status");

	status_to_json(o, status);
	ev_done(o);
}

static PurpleAccountUiOps account_ops = {
	.notify_added = notify_added,
	.request_add = request_add,
	.request_authorize = request_authorize,
	.status_changed = account_status_changed,
};

/* --- conversations ------------------------------------------------------ */

static void text_members(JsonObject *o, const char *html)
{
	gchar *text = harness_plain(html);

	ev_s(o, "text", text);
	ev_s(o, "html", html);
	g_free(text);
}

static void on_received_im(PurpleAccount *account, char *from, char *html,
			   PurpleConversation *conv, PurpleMessageFlags flags)
{
	JsonObject *o = ev("im");

	ev_s(o, "from", from);
	text_members(o, html);
	ev_i(o, "flags", flags);
	ev_done(o);
}

static void on_sent_im(PurpleAccount *account, const char *to, const char *html)
{
	JsonObject *o = ev("im-sent");

	ev_s(o, "to", to);
	text_members(o, html);
	ev_done(o);
}

static void typing_event(const char *from, const char *state)
{
	JsonObject *o = ev("typing");

	ev_s(o, "from", from);
	ev_s(o, "state", state);
	ev_done(o);
}

static void on_typing(PurpleAccount *account, const char *from, gpointer state)
{
	typing_event(from, state);
}

static JsonObject *chat_ev(const char *name, PurpleConversation *conv)
{
	JsonObject *o = ev(name);

	ev_s(o, "chat", purple_conversation_get_name(conv));
	return o;
}

JsonObject *chat_to_json(PurpleConversation *conv)
{
	JsonObject *o = json_object_new();
	JsonArray *users = json_array_new();
	PurpleConvChat *chat = PURPLE_CONV_CHAT(conv);
	GList *u;

	ev_s(o, "chat", purple_conversation_get_name(conv));
	ev_i(o, "id", purple_conv_chat_get_id(chat));
	ev_s(o, "topic", purple_conv_chat_get_topic(chat));
	ev_b(o, "left", purple_conv_chat_has_left(chat));
	for (u = purple_conv_chat_get_users(chat); u; u = u->next) {
		const char *name = purple_conv_chat_cb_get_name(u->data);
		JsonObject *user = json_object_new();

		ev_s(user, "user", name);
		ev_b(user, "op", (purple_conv_chat_user_get_flags(chat, name)
				  & PURPLE_CBFLAGS_OP) != 0);
		json_array_add_object_element(users, user);
	}
	ev_a(o, "users", users);
	return o;
}

static void on_chat_joined(PurpleConversation *conv)
{
	JsonObject *o = chat_ev("chat-joined", conv);

	ev_i(o, "id", purple_conv_chat_get_id(PURPLE_CONV_CHAT(conv)));
	ev_done(o);
}

static void on_chat_join_failed(PurpleConnection *gc, GHashTable *data)
{
	ev_done(ev("chat-join-failed"));
}

static void on_chat_left(PurpleConversation *conv)
{
	ev_done(chat_ev("chat-left", conv));
}

static void on_chat_user_joined(PurpleConversation *conv, const char *who,
				PurpleConvChatBuddyFlags flags, gboolean new)
{
	JsonObject *o = chat_ev("chat-user-joined", conv);

	ev_s(o, "user", who);
	ev_b(o, "new", new);
	ev_done(o);
}

static void on_chat_user_left(PurpleConversation *conv, const char *who,
			      const char *why)
{
	JsonObject *o = chat_ev("chat-user-left", conv);

	ev_s(o, "user", who);
	ev_done(o);
}

static void on_chat_user_flags(PurpleConversation *conv, const char *who,
			       PurpleConvChatBuddyFlags old,
			       PurpleConvChatBuddyFlags new)
{
	JsonObject *o = chat_ev("chat-user-flags", conv);

	ev_s(o, "user", who);
	ev_b(o, "op", (new & PURPLE_CBFLAGS_OP) != 0);
	ev_done(o);
}

static void on_chat_topic(PurpleConversation *conv, const char *who,
			  const char *topic)
{
	JsonObject *o = chat_ev("chat-topic", conv);

	ev_s(o, "topic", topic);
	ev_done(o);
}

static void on_chat_msg(PurpleAccount *account, char *from, char *html,
			PurpleConversation *conv, PurpleMessageFlags flags)
{
	JsonObject *o = chat_ev("chat-message", conv);

	ev_s(o, "from", from);
	text_members(o, html);
	ev_done(o);
}

/* Only what the user sees in the window and no signal tells: errors and
 * notices such as "message was not delivered". */
static void write_conv(PurpleConversation *conv, const char *name,
		       const char *alias, const char *message,
		       PurpleMessageFlags flags, time_t when)
{
	JsonObject *o;

	if (!(flags & (PURPLE_MESSAGE_ERROR | PURPLE_MESSAGE_SYSTEM)))
		return;
	o = ev("notice");
	ev_s(o, "conversation", purple_conversation_get_name(conv));
	ev_b(o, "error", (flags & PURPLE_MESSAGE_ERROR) != 0);
	text_members(o, message);
	ev_done(o);
}

static PurpleConversationUiOps conversation_ops = {
	.write_conv = write_conv,
};

/* --- notifications ------------------------------------------------------ */

static void *notify_message(PurpleNotifyMsgType type, const char *title,
			    const char *primary, const char *secondary)
{
	static const char *const names[] = { "error", "warning", "info" };
	JsonObject *o = ev("notify");

	ev_s(o, "type", type < G_N_ELEMENTS(names) ? names[type] : "unknown");
	ev_s(o, "title", title);
	ev_s(o, "primary", primary);
	ev_s(o, "secondary", secondary);
	ev_done(o);
	return NULL;
}

static void *notify_formatted(const char *title, const char *primary,
			      const char *secondary, const char *text)
{
	JsonObject *o = ev("notify");

	ev_s(o, "type", "formatted");
	ev_s(o, "title", title);
	ev_s(o, "primary", primary);
	ev_s(o, "secondary", secondary);
	text_members(o, text);
	ev_done(o);
	return NULL;
}

static void *notify_searchresults(PurpleConnection *gc, const char *title,
				  const char *primary, const char *secondary,
				  PurpleNotifySearchResults *results,
				  gpointer user_data)
{
	JsonObject *o = ev("search-results");
	JsonArray *columns = json_array_new(), *rows = json_array_new();
	GList *i, *j;

	ev_s(o, "primary", primary);
	ev_s(o, "secondary", secondary);
	for (i = results->columns; i; i = i->next)
		arr_s(columns, ((PurpleNotifySearchColumn *)i->data)->title);
	for (i = results->rows; i; i = i->next) {
		JsonArray *row = json_array_new();

		for (j = i->data; j; j = j->next)
			arr_s(row, j->data);
		json_array_add_array_element(rows, row);
	}
	ev_a(o, "columns", columns);
	ev_a(o, "rows", rows);
	ev_done(o);
	return NULL;
}

static void *notify_userinfo(PurpleConnection *gc, const char *who,
			     PurpleNotifyUserInfo *info)
{
	JsonObject *o = ev("user-info");
	JsonObject *pairs = json_object_new();
	GList *e;

	ev_s(o, "buddy", who);
	for (e = purple_notify_user_info_get_entries(info); e; e = e->next) {
		const gchar *label = purple_notify_user_info_entry_get_label(e->data);

		if (label)
			ev_s(pairs, label,
			     purple_notify_user_info_entry_get_value(e->data));
	}
	ev_o(o, "info", pairs);
	ev_done(o);
	return NULL;
}

static void *notify_uri(const char *uri)
{
	JsonObject *o = ev("notify-uri");

	ev_s(o, "uri", uri);
	ev_done(o);
	return NULL;
}

static PurpleNotifyUiOps notify_ops = {
	.notify_message = notify_message,
	.notify_formatted = notify_formatted,
	.notify_searchresults = notify_searchresults,
	.notify_userinfo = notify_userinfo,
	.notify_uri = notify_uri,
};

void events_init(void)
{
	void *connections = purple_connections_get_handle();
	void *blist = purple_blist_get_handle();
	void *convs = purple_conversations_get_handle();

	purple_connections_set_ui_ops(&connection_ops);
	purple_accounts_set_ui_ops(&account_ops);
	purple_blist_set_ui_ops(&blist_ops);
	purple_conversations_set_ui_ops(&conversation_ops);
	purple_notify_set_ui_ops(&notify_ops);

	purple_signal_connect(connections, "signed-on", handle(),
			      PURPLE_CALLBACK(simple_connection_event), "signed-on");
	purple_signal_connect(connections, "signed-off", handle(),
			      PURPLE_CALLBACK(simple_connection_event), "signed-off");
	CONNECT(connections, "connection-error", on_connection_error);

	CONNECT(blist, "blist-node-added", on_node_added);
	CONNECT(blist, "blist-node-removed", on_node_removed);
	CONNECT(blist, "blist-node-aliased", on_node_aliased);
	CONNECT(blist, "buddy-status-changed", on_buddy_status);
	CONNECT(blist, "buddy-idle-changed", on_buddy_idle);
	CONNECT(blist, "buddy-signed-on", on_buddy_sign);
	CONNECT(blist, "buddy-signed-off", on_buddy_sign);

	CONNECT(convs, "received-im-msg", on_received_im);
	CONNECT(convs, "sent-im-msg", on_sent_im);
	purple_signal_connect(convs, "buddy-typing", handle(),
			      PURPLE_CALLBACK(on_typing), "typing");
	purple_signal_connect(convs, "buddy-typed", handle(),
			      PURPLE_CALLBACK(on_typing), "typed");
	purple_signal_connect(convs, "buddy-typing-stopped", handle(),
			      PURPLE_CALLBACK(on_typing), "stopped");
	CONNECT(convs, "chat-joined", on_chat_joined);
	CONNECT(convs, "chat-join-failed", on_chat_join_failed);
	CONNECT(convs, "chat-left", on_chat_left);
	CONNECT(convs, "chat-buddy-joined", on_chat_user_joined);
	CONNECT(convs, "chat-buddy-left", on_chat_user_left);
	CONNECT(convs, "chat-buddy-flags", on_chat_user_flags);
	CONNECT(convs, "chat-topic-changed", on_chat_topic);
	CONNECT(convs, "received-chat-msg", on_chat_msg);
}
