/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The JSON commands read from stdin. */
#include "harness.h"

#include <accountopt.h>
#include <string.h>

static JsonObject *result;          /* record of the running command */

static const char *const NOT_SIGNED_ON = "not signed on";

static PurplePluginProtocolInfo *prpl_info(void)
{
	return PURPLE_PLUGIN_PROTOCOL_INFO(H.prpl);
}

/* A member that must be there. */
static const char *need(JsonObject *c, const char *key, const char **error)
{
	const char *value = js_str(c, key, NULL);

	if (!value && !*error)
		*error = "a member is missing from the command";
	return value;
}

static PurpleBuddy *find_buddy(const char *who)
{
	gchar *uri = harness_uri(who);
	PurpleBuddy *buddy = purple_find_buddy(H.account, uri);

	g_free(uri);
	return buddy;
}

/* By name; without a name the newest chat. */
static PurpleConversation *find_chat(JsonObject *c)
{
	const char *name = js_str(c, "chat", NULL);
	GList *list = purple_get_chats();

	if (name)
		return purple_find_conversation_with_account(
			PURPLE_CONV_TYPE_CHAT, name, H.account);
	return list ? list->data : NULL;
}

static PurpleConversation *im_with(const char *who)
{
	gchar *uri = harness_uri(who);
	PurpleConversation *conv = purple_find_conversation_with_account(
		PURPLE_CONV_TYPE_IM, uri, H.account);

	if (!conv)
		conv = purple_conversation_new(PURPLE_CONV_TYPE_IM, H.account, uri);
	g_free(uri);
	return conv;
}

/* --- menus -------------------------------------------------------------- */

/* Labels joined with "/" down the submenus; calls the one that matches. */
static gboolean menu_walk(GList *menu, const char *prefix, const char *wanted,
			  PurpleBlistNode *node, JsonArray *labels)
{
	gboolean found = FALSE;
	GList *m;

	for (m = menu; m; m = m->next) {
		PurpleMenuAction *action = m->data;
		gchar *label, *path;

		if (!action)
			continue;
		label = g_strstrip(g_strdup(action->label));
		path = prefix ? g_strconcat(prefix, "/", label, NULL) : g_strdup(label);

		if (action->callback) {
			arr_s(labels, path);
			if (!found && wanted && !g_ascii_strcasecmp(path, wanted)) {
				found = TRUE;
				((void (*)(PurpleBlistNode *, gpointer))action->callback)
					(node, action->data);
			}
		}
		if (menu_walk(action->children, path, found ? NULL : wanted, node, labels))
			found = TRUE;
		g_free(path);
		g_free(label);
	}
	return found;
}

static const char *menu_run(PurpleBlistNode *node, const char *label)
{
	JsonArray *labels = json_array_new();
	GList *menu = prpl_info()->blist_node_menu(node);
	gboolean found = menu_walk(menu, NULL, label, node, labels);

	g_list_free(menu);
	ev_a(result, "menu", labels);
	return label && !found ? "no such menu entry" : NULL;
}

static const char *buddy_menu(const char *who, const char *label)
{
	PurpleBuddy *buddy = find_buddy(who);
	const char *error;
	gchar *uri;

	if (buddy)
		return menu_run((PurpleBlistNode *)buddy, label);
	/* not on the list: a stand-in that is never added to it */
	uri = harness_uri(who);
	buddy = purple_buddy_new(H.account, uri, NULL);
	error = menu_run((PurpleBlistNode *)buddy, label);
	purple_buddy_destroy(buddy);
	g_free(uri);
	return error;
}

static const char *chat_menu(PurpleConversation *conv, const char *label)
{
	PurpleChat *chat;
	const char *error;

	if (!conv)
		return "no such chat";
	chat = purple_chat_new(H.account, purple_conversation_get_name(conv),
		prpl_info()->chat_info_defaults(harness_gc(),
			purple_conversation_get_name(conv)));
	error = menu_run((PurpleBlistNode *)chat, label);
	purple_chat_destroy(chat);
	return error;
}

/* An entry of the account menu; its form, if any, is filled and confirmed. */
static const char *plugin_action(const char *label, JsonObject *fields)
{
	JsonArray *labels = json_array_new();
	GList *actions = H.prpl->info->actions(H.prpl, harness_gc()), *a;
	gboolean found = FALSE;

	for (a = actions; a; a = a->next) {
		PurplePluginAction *action = a->data;

		if (!action)
			continue;
		arr_s(labels, action->label);
		if (!found && label && !g_ascii_strncasecmp(action->label, label, strlen(label))) {
			found = TRUE;
			action->plugin = H.prpl;
			action->context = harness_gc();
			requests_prefill(fields);
			action->callback(action);
		}
		purple_plugin_action_free(action);
	}
	g_list_free(actions);
	ev_a(result, "menu", labels);
	return label && !found ? "no such account action" : NULL;
}

/* --- commands ----------------------------------------------------------- */

JsonArray *account_options_json(void)
{
	JsonArray *out = json_array_new();
	GList *o;

	for (o = prpl_info()->protocol_options; o; o = o->next) {
		static const char *const types[] = {
			"none", "bool", "int", "string", "string-list", "path",
			"path-list"
		};
		PurplePrefType type = purple_account_option_get_type(o->data);
		JsonObject *item = json_object_new();
		GList *v;

		ev_s(item, "setting", purple_account_option_get_setting(o->data));
		ev_s(item, "label", purple_account_option_get_text(o->data));
		ev_s(item, "type", type < G_N_ELEMENTS(types) ? types[type] : "?");
		if (type == PURPLE_PREF_BOOLEAN) {
			ev_b(item, "default", purple_account_option_get_default_bool(o->data));
		} else if (type == PURPLE_PREF_STRING) {
			ev_s(item, "default", purple_account_option_get_default_string(o->data));
		} else if (type == PURPLE_PREF_STRING_LIST) {
			JsonArray *values = json_array_new();

			for (v = purple_account_option_get_list(o->data); v; v = v->next)
				arr_s(values, ((PurpleKeyValuePair *)v->data)->value);
			ev_a(item, "values", values);
		}
		json_array_add_object_element(out, item);
	}
	return out;
}

static const char *cmd_login(JsonObject *c)
{
	purple_account_set_password(H.account, H.password);
	purple_account_set_enabled(H.account, purple_core_get_ui(), TRUE);
	if (purple_account_is_disconnected(H.account))
		purple_account_connect(H.account);
	return NULL;
}

static const char *cmd_logout(JsonObject *c)
{
	purple_account_set_enabled(H.account, purple_core_get_ui(), FALSE);
	return NULL;
}

static gboolean quit_later(gpointer unused)
{
	harness_quit();
	return FALSE;
}

static const char *cmd_quit(JsonObject *c)
{
	g_idle_add(quit_later, NULL);
	return NULL;
}

static const char *cmd_debug(JsonObject *c)
{
	harness_debug(js_bool(c, "on", TRUE));
	return NULL;
}

static const char *cmd_describe(JsonObject *c)
{
	ev_a(result, "options", account_options_json());
	return NULL;
}

static const char *cmd_status_types(JsonObject *c)
{
	JsonArray *a = json_array_new();
	GList *t;

	for (t = purple_account_get_status_types(H.account); t; t = t->next) {
		JsonObject *o = json_object_new();

		ev_s(o, "status", purple_status_type_get_id(t->data));
		ev_s(o, "name", purple_status_type_get_name(t->data));
		ev_b(o, "settable", purple_status_type_is_user_settable(t->data));
		json_array_add_object_element(a, o);
	}
	ev_a(result, "statuses", a);
	return NULL;
}

static const char *cmd_set_status(JsonObject *c)
{
	const char *error = NULL;
	const char *status = need(c, "status", &error);
	const char *message = js_str(c, "message", NULL);

	if (error)
		return error;
	if (!purple_account_get_status(H.account, status))
		return "no such status";
	if (message)
		purple_account_set_status(H.account, status, TRUE,
					  "message", message, NULL);
	else
		purple_account_set_status(H.account, status, TRUE, NULL);
	return NULL;
}

static const char *cmd_blist(JsonObject *c)
{
	ev_a(result, "groups", blist_to_json());
	return NULL;
}

static PurpleGroup *group_named(const char *name)
{
	PurpleGroup *group = purple_find_group(name);

	if (!group) {
		group = purple_group_new(name);
		purple_blist_add_group(group, NULL);
	}
	return group;
}

static const char *cmd_add_buddy(JsonObject *c)
{
	const char *error = NULL;
	const char *who = need(c, "buddy", &error);
	gchar *uri;
	PurpleBuddy *buddy;

	if (error)
		return error;
	uri = harness_uri(who);
	buddy = purple_buddy_new(H.account, uri, js_str(c, "alias", NULL));
	purple_blist_add_buddy(buddy, NULL,
		group_named(js_str(c, "group", "Other Contacts")), NULL);
	purple_account_add_buddy(H.account, buddy);
	g_free(uri);
	return NULL;
}

static const char *cmd_remove_buddy(JsonObject *c)
{
	const char *error = NULL;
	const char *who = need(c, "buddy", &error);
	PurpleBuddy *buddy = error ? NULL : find_buddy(who);

	if (error)
		return error;
	if (!buddy)
		return "no such buddy";
	purple_account_remove_buddy(H.account, buddy, purple_buddy_get_group(buddy));
	purple_blist_remove_buddy(buddy);
	return NULL;
}

static const char *cmd_move_buddy(JsonObject *c)
{
	const char *error = NULL;
	const char *who = need(c, "buddy", &error);
	const char *group = need(c, "group", &error);
	PurpleBuddy *buddy = error ? NULL : find_buddy(who);

	if (error)
		return error;
	if (!buddy)
		return "no such buddy";
	purple_blist_add_buddy(buddy, NULL, group_named(group), NULL);
	return NULL;
}

static const char *cmd_alias_buddy(JsonObject *c)
{
	const char *error = NULL;
	const char *who = need(c, "buddy", &error);
	const char *alias = need(c, "alias", &error);
	PurpleBuddy *buddy = error ? NULL : find_buddy(who);

	if (error)
		return error;
	if (!buddy)
		return "no such buddy";
	purple_blist_alias_buddy(buddy, alias);
	serv_alias_buddy(buddy);
	return NULL;
}

static const char *cmd_rename_group(JsonObject *c)
{
	const char *error = NULL;
	const char *old = need(c, "group", &error);
	const char *name = need(c, "name", &error);
	PurpleGroup *group = error ? NULL : purple_find_group(old);

	if (error)
		return error;
	if (!group)
		return "no such group";
	purple_blist_rename_group(group, name);
	return NULL;
}

static const char *cmd_remove_group(JsonObject *c)
{
	const char *error = NULL;
	const char *name = need(c, "group", &error);
	PurpleGroup *group = error ? NULL : purple_find_group(name);

	if (error)
		return error;
	if (!group)
		return "no such group";
	purple_account_remove_group(H.account, group);
	purple_blist_remove_group(group);
	return NULL;
}

static const char *cmd_permit(JsonObject *c)
{
	const char *error = NULL;
	const char *who = need(c, "who", &error);
	gchar *uri;

	if (error)
		return error;
	uri = harness_uri(who);
	if (!strcmp(js_str(c, "cmd", ""), "permit"))
		serv_add_permit(harness_gc(), uri);
	else
		serv_add_deny(harness_gc(), uri);
	g_free(uri);
	return NULL;
}

static const char *cmd_get_info(JsonObject *c)
{
	const char *error = NULL;
	const char *who = need(c, "buddy", &error);
	gchar *uri;

	if (error)
		return error;
	uri = harness_uri(who);
	serv_get_info(harness_gc(), uri);
	g_free(uri);
	return NULL;
}

static const char *cmd_send_im(JsonObject *c)
{
	const char *error = NULL;
	const char *to = need(c, "to", &error);
	const char *text = need(c, "text", &error);

	if (error)
		return error;
	purple_conv_im_send(PURPLE_CONV_IM(im_with(to)), text);
	return NULL;
}

static const char *cmd_send_typing(JsonObject *c)
{
	const char *error = NULL;
	const char *to = need(c, "to", &error);
	gchar *uri;

	if (error)
		return error;
	uri = harness_uri(to);
	serv_send_typing(harness_gc(), uri, js_bool(c, "typing", TRUE)
			 ? PURPLE_TYPING : PURPLE_TYPED);
	g_free(uri);
	return NULL;
}

static const char *cmd_close_im(JsonObject *c)
{
	const char *error = NULL;
	const char *with = need(c, "with", &error);

	if (error)
		return error;
	purple_conversation_destroy(im_with(with));
	return NULL;
}

static const char *cmd_create_chat(JsonObject *c)
{
	const char *error = NULL;
	const char *who = need(c, "buddy", &error);

	return error ? error : buddy_menu(who, "New chat");
}

static const char *cmd_invite(JsonObject *c)
{
	const char *error = NULL;
	const char *who = need(c, "buddy", &error);
	PurpleConversation *conv = find_chat(c);
	gchar *uri;

	if (error)
		return error;
	if (!conv)
		return "no such chat";
	uri = harness_uri(who);
	serv_chat_invite(harness_gc(),
		purple_conv_chat_get_id(PURPLE_CONV_CHAT(conv)), NULL, uri);
	g_free(uri);
	return NULL;
}

static const char *cmd_join_chat(JsonObject *c)
{
	JsonObject *fields = json_object_new();
	const char *error;

	if (js_str(c, "uri", NULL)) {
		ev_s(fields, "meetingLocation", js_str(c, "uri", NULL));
	} else {
		ev_s(fields, "meetingOrganizer", js_str(c, "organizer", ""));
		ev_s(fields, "meetingID", js_str(c, "meeting", ""));
	}
	error = plugin_action("Join scheduled conference", fields);
	json_object_unref(fields);
	return error;
}

static const char *cmd_send_chat(JsonObject *c)
{
	const char *error = NULL;
	const char *text = need(c, "text", &error);
	PurpleConversation *conv = find_chat(c);

	if (error)
		return error;
	if (!conv)
		return "no such chat";
	purple_conv_chat_send(PURPLE_CONV_CHAT(conv), text);
	return NULL;
}

static const char *cmd_leave_chat(JsonObject *c)
{
	PurpleConversation *conv = find_chat(c);

	if (!conv)
		return "no such chat";
	purple_conversation_destroy(conv);
	return NULL;
}

static const char *cmd_chats(JsonObject *c)
{
	JsonArray *a = json_array_new();
	GList *l;

	for (l = purple_get_chats(); l; l = l->next)
		json_array_add_object_element(a, chat_to_json(l->data));
	ev_a(result, "chats", a);
	return NULL;
}

static const char *cmd_chat_menu(JsonObject *c)
{
	return chat_menu(find_chat(c), js_str(c, "label", NULL));
}

static const char *cmd_join_chat_call(JsonObject *c)
{
	return chat_menu(find_chat(c), js_bool(c, "video", FALSE)
			 ? "Join conference video call" : "Join conference call");
}

static const char *cmd_buddy_menu(JsonObject *c)
{
	const char *error = NULL;
	const char *who = need(c, "buddy", &error);

	return error ? error : buddy_menu(who, js_str(c, "label", NULL));
}

static const char *cmd_plugin_action(JsonObject *c)
{
	return plugin_action(js_str(c, "label", NULL), js_obj(c, "fields"));
}

/* Members are the search form's: given, surname, email, sipid, company, country. */
static const char *cmd_search(JsonObject *c)
{
	return plugin_action("Contact search", c);
}

static const char *cmd_answer(JsonObject *c)
{
	return requests_answer(js_int(c, "request", 0),
			       js_str(c, "action", NULL), js_obj(c, "fields"));
}

static const char *cmd_call(JsonObject *c)
{
	const char *error = NULL;
	const char *to = need(c, "to", &error);
	gchar *uri;

	if (error)
		return error;
	uri = harness_uri(to);
	error = media_call(uri, js_bool(c, "video", FALSE));
	g_free(uri);
	return error;
}

static const char *cmd_call_action(JsonObject *c)
{
	return media_action(js_str(c, "cmd", ""), js_int(c, "call", 0));
}

static const char *cmd_calls(JsonObject *c)
{
	ev_a(result, "calls", media_to_json());
	return NULL;
}

static const struct {
	const char *name;
	const char *(*run)(JsonObject *);
	gboolean online;         /* needs a signed-on account */
} commands[] = {
	{ "login", cmd_login, FALSE },
	{ "logout", cmd_logout, FALSE },
	{ "quit", cmd_quit, FALSE },
	{ "debug", cmd_debug, FALSE },
	{ "describe", cmd_describe, FALSE },
	{ "status_types", cmd_status_types, FALSE },
	{ "set_status", cmd_set_status, FALSE },
	{ "blist", cmd_blist, FALSE },
	{ "add_buddy", cmd_add_buddy, TRUE },
	{ "remove_buddy", cmd_remove_buddy, TRUE },
	{ "move_buddy", cmd_move_buddy, TRUE },
	{ "alias_buddy", cmd_alias_buddy, TRUE },
	{ "rename_group", cmd_rename_group, TRUE },
	{ "remove_group", cmd_remove_group, TRUE },
	{ "permit", cmd_permit, TRUE },
	{ "deny", cmd_permit, TRUE },
	{ "get_info", cmd_get_info, TRUE },
	{ "send_im", cmd_send_im, TRUE },
	{ "send_typing", cmd_send_typing, TRUE },
	{ "close_im", cmd_close_im, TRUE },
	{ "create_chat", cmd_create_chat, TRUE },
	{ "invite", cmd_invite, TRUE },
	{ "join_chat", cmd_join_chat, TRUE },
	{ "send_chat", cmd_send_chat, TRUE },
	{ "leave_chat", cmd_leave_chat, TRUE },
	{ "chats", cmd_chats, FALSE },
	{ "chat_menu", cmd_chat_menu, TRUE },
	{ "join_chat_call", cmd_join_chat_call, TRUE },
	{ "buddy_menu", cmd_buddy_menu, TRUE },
	{ "plugin_action", cmd_plugin_action, TRUE },
	{ "search", cmd_search, TRUE },
	{ "answer", cmd_answer, FALSE },
	{ "call", cmd_call, TRUE },
	{ "calls", cmd_calls, FALSE },
	{ "accept_call", cmd_call_action, TRUE },
	{ "reject_call", cmd_call_action, TRUE },
	{ "hangup", cmd_call_action, TRUE },
	{ "mute", cmd_call_action, TRUE },
	{ "unmute", cmd_call_action, TRUE },
	{ "hold", cmd_call_action, TRUE },
	{ "unhold", cmd_call_action, TRUE },
};

void command_run(JsonObject *command)
{
	const char *name = js_str(command, "cmd", "");
	const char *error = "unknown command";
	guint i;

	result = ev("result");
	ev_s(result, "cmd", name);
	if (json_object_has_member(command, "id"))
		json_object_set_member(result, "id",
				       json_object_dup_member(command, "id"));
	for (i = 0; i < G_N_ELEMENTS(commands); i++)
		if (!strcmp(commands[i].name, name)) {
			PurpleConnection *gc = harness_gc();

			if (commands[i].online &&
			    !(gc && PURPLE_CONNECTION_IS_CONNECTED(gc)))
				error = NOT_SIGNED_ON;
			else
				error = commands[i].run(command);
			break;
		}
	ev_b(result, "ok", error == NULL);
	if (error)
		ev_s(result, "error", error);
	ev_done(result);
	result = NULL;
}
