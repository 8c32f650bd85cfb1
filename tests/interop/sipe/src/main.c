/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A headless libpurple client for SIPE: JSON commands in, JSON events out. */
#include "harness.h"
#include "loopback.h"

#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <glib/gstdio.h>
#include <glib-unix.h>

#define UI_ID "sipe-acceptance"

Harness H;

static GMainLoop *loop;
static gboolean quitting;

PurpleConnection *harness_gc(void)
{
	return H.account ? purple_account_get_connection(H.account) : NULL;
}

gchar *harness_uri(const char *who)
{
	return g_str_has_prefix(who, "sip:") ? g_strdup(who)
		: g_strconcat("sip:", who, NULL);
}

gchar *harness_plain(const char *markup)
{
	return purple_markup_strip_html(markup ? markup : "");
}

/* --- debug log ---------------------------------------------------------- */

static void debug_print(PurpleDebugLevel level, const char *category,
			const char *text)
{
	gchar *now = g_strdup_printf("%.3f", g_get_real_time() / 1000000.0);

	fprintf(stderr, "%s %s: %s", now, category ? category : "-", text);
	g_free(now);
}

static gboolean debug_enabled(PurpleDebugLevel level, const char *category)
{
	return H.debug;
}

static PurpleDebugUiOps debug_ops = {
	.print = debug_print,
	.is_enabled = debug_enabled,
};

void harness_debug(gboolean on)
{
	H.debug = on;
	purple_debug_set_verbose(on);
	/* SIPE prints message contents only in libpurple's unsafe mode */
	purple_debug_set_unsafe(on);
}

/* --- main loop glue ----------------------------------------------------- */

typedef struct {
	PurpleInputFunction function;
	gpointer data;
} Watch;

static gboolean watch_fired(GIOChannel *channel, GIOCondition cond, gpointer data)
{
	Watch *w = data;
	PurpleInputCondition purple_cond = 0;

	if (cond & (G_IO_IN | G_IO_HUP | G_IO_ERR))
		purple_cond |= PURPLE_INPUT_READ;
	if (cond & (G_IO_OUT | G_IO_HUP | G_IO_ERR | G_IO_NVAL))
		purple_cond |= PURPLE_INPUT_WRITE;
	w->function(w->data, g_io_channel_unix_get_fd(channel), purple_cond);
	return TRUE;
}

static guint input_add(int fd, PurpleInputCondition cond,
		       PurpleInputFunction function, gpointer data)
{
	Watch *w = g_new0(Watch, 1);
	GIOChannel *channel = g_io_channel_unix_new(fd);
	GIOCondition g_cond = G_IO_HUP | G_IO_ERR;
	guint id;

	if (cond & PURPLE_INPUT_READ)
		g_cond |= G_IO_IN;
	if (cond & PURPLE_INPUT_WRITE)
		g_cond |= G_IO_OUT | G_IO_NVAL;
	w->function = function;
	w->data = data;
	id = g_io_add_watch_full(channel, G_PRIORITY_DEFAULT, g_cond,
				 watch_fired, w, g_free);
	g_io_channel_unref(channel);
	return id;
}

static PurpleEventLoopUiOps event_loop_ops = {
	.timeout_add = g_timeout_add,
	.timeout_remove = g_source_remove,
	.input_add = input_add,
	.input_remove = g_source_remove,
	.timeout_add_seconds = g_timeout_add_seconds,
};

/* --- libpurple core ----------------------------------------------------- */

static void ui_prefs_init(void)
{
	/* Set before libpurple reads them: no UPnP or NAT-PMP probing, no STUN. */
	purple_prefs_add_none("/purple");
	purple_prefs_add_none("/purple/network");
	purple_prefs_add_bool("/purple/network/auto_ip", FALSE);
	purple_prefs_add_bool("/purple/network/map_ports", FALSE);
	purple_prefs_add_string("/purple/network/public_ip", "127.0.0.1");
}

static void debug_ui_init(void)
{
	purple_debug_set_ui_ops(&debug_ops);
}

static void ui_init(void)
{
	events_init();
	requests_init();
	media_init();
}

static PurpleCoreUiOps core_ops = {
	.ui_prefs_init = ui_prefs_init,
	.debug_ui_init = debug_ui_init,
	.ui_init = ui_init,
};

static gboolean start_purple(const char *user_dir)
{
	purple_util_set_user_dir(user_dir);
	purple_debug_set_enabled(FALSE);
	purple_core_set_ui_ops(&core_ops);
	purple_eventloop_set_ui_ops(&event_loop_ops);
	if (!purple_core_init(UI_ID))
		return FALSE;
	purple_set_blist(purple_blist_new());
	purple_prefs_load();
	purple_prefs_set_string("/purple/away/idle_reporting", "none");
	purple_prefs_set_bool("/purple/away/away_when_idle", FALSE);
	purple_prefs_set_bool("/purple/logging/log_ims", FALSE);
	purple_prefs_set_bool("/purple/logging/log_chats", FALSE);
	return TRUE;
}

/* --- account ------------------------------------------------------------ */

static void set_option(PurpleAccount *account, const char *key, JsonNode *value)
{
	switch (json_node_get_value_type(value)) {
	case G_TYPE_BOOLEAN:
		purple_account_set_bool(account, key, json_node_get_boolean(value));
		break;
	case G_TYPE_INT64:
		purple_account_set_int(account, key, json_node_get_int(value));
		break;
	case G_TYPE_STRING:
		purple_account_set_string(account, key, json_node_get_string(value));
		break;
	default:
		break;
	}
}

static void set_string_option(JsonObject *config, const char *member,
			      const char *setting, const char *def)
{
	const char *value = js_str(config, member, def);

	if (value)
		purple_account_set_string(H.account, setting, value);
}

static void create_account(JsonObject *config)
{
	const char *account = js_str(config, "account", NULL);
	const char *login = js_str(config, "login", NULL);
	gchar *name = login ? g_strconcat(account, ",", login, NULL)
		: g_strdup(account);
	JsonObject *options = js_obj(config, "options");

	H.account = purple_account_new(name, "prpl-sipe");
	g_free(name);
	purple_accounts_add(H.account);
	H.password = js_str(config, "password", "");
	purple_account_set_password(H.account, H.password);
	purple_account_set_remember_password(H.account, FALSE);

	set_string_option(config, "server", "server", NULL);
	set_string_option(config, "transport", "transport", "tls");
	set_string_option(config, "authentication", "authentication", "ntlm");
	set_string_option(config, "user_agent", "useragent", NULL);
	/* Nothing but the server under test may be contacted: no calendar. */
	purple_account_set_bool(H.account, "dont-publish", TRUE);
	if (options) {
		GList *names = json_object_get_members(options), *n;

		for (n = names; n; n = n->next)
			set_option(H.account, n->data,
				   json_object_get_member(options, n->data));
		g_list_free(names);
	}
}

/* --- stdin -------------------------------------------------------------- */

static void bad_command(const char *line, const char *why)
{
	JsonObject *o = ev("bad-command");

	ev_s(o, "line", line);
	ev_s(o, "error", why);
	ev_done(o);
}

static void run_line(const char *line)
{
	GError *error = NULL;
	JsonNode *node = json_from_string(line, &error);

	if (!node || !JSON_NODE_HOLDS_OBJECT(node))
		bad_command(line, error ? error->message : "not a JSON object");
	else
		command_run(json_node_get_object(node));
	g_clear_error(&error);
	if (node)
		json_node_free(node);
}

static gboolean on_stdin(gint fd, GIOCondition cond, gpointer unused)
{
	static GString *pending;
	char chunk[4096];
	ssize_t n = read(fd, chunk, sizeof(chunk));
	char *newline;

	if (n <= 0) {
		harness_quit();
		return FALSE;
	}
	if (!pending)
		pending = g_string_new(NULL);
	g_string_append_len(pending, chunk, n);
	while ((newline = strchr(pending->str, '\n'))) {
		gchar *line = g_strndup(pending->str, newline - pending->str);

		g_string_erase(pending, 0, newline - pending->str + 1);
		g_strstrip(line);
		if (*line && *line != '#')
			run_line(line);
		g_free(line);
	}
	return TRUE;
}

/* --- ending ------------------------------------------------------------- */

static gboolean end_loop(gpointer unused)
{
	g_main_loop_quit(loop);
	return FALSE;
}

void harness_quit(void)
{
	if (quitting)
		return;
	quitting = TRUE;
	if (H.account)
		purple_account_set_enabled(H.account, UI_ID, FALSE);
	/* lets the sign-out messages leave */
	g_timeout_add(300, end_loop, NULL);
}

static gboolean on_signal(gpointer unused)
{
	harness_quit();
	return TRUE;
}

static void announce(void)
{
	JsonObject *o = ev("ready");

	ev_s(o, "libpurple", purple_core_get_version());
	ev_s(o, "plugin", H.prpl->info->id);
	ev_s(o, "plugin_name", H.prpl->info->name);
	ev_s(o, "plugin_version", H.prpl->info->version);
	ev_s(o, "plugin_file", H.prpl->path);
	ev_done(o);
}

static int fail(const char *text)
{
	JsonObject *o = ev("fatal");

	ev_s(o, "error", text);
	ev_done(o);
	return 2;
}

int main(int argc, char **argv)
{
	JsonParser *parser = json_parser_new();
	GError *error = NULL;
	JsonObject *config;
	const char *dir;
	gchar *own_dir = NULL;

	setlocale(LC_ALL, "");
	signal(SIGPIPE, SIG_IGN);
	json_out_init();
	if (argc != 2) {
		fprintf(stderr, "usage: sipeclient CONFIG.json\n");
		return 2;
	}
	if (!json_parser_load_from_file(parser, argv[1], &error))
		return fail(error->message);
	if (!JSON_NODE_HOLDS_OBJECT(json_parser_get_root(parser)))
		return fail("the configuration is not a JSON object");
	config = json_node_get_object(json_parser_get_root(parser));
	if (!js_str(config, "account", NULL))
		return fail("the configuration names no account");

	H.accept_any_tls = js_bool(config, "accept_any_tls", TRUE);
	H.auto_accept_calls = js_bool(config, "auto_accept_calls", FALSE);
	H.auto_authorize = js_bool(config, "auto_authorize", TRUE);
	H.tone_hz = js_dbl(config, "tone_hz", 440);
	harness_loopback_only = js_bool(config, "loopback_media", TRUE);
	harness_debug(js_bool(config, "debug", FALSE));

	dir = js_str(config, "user_dir", NULL);
	if (!dir)
		dir = own_dir = g_dir_make_tmp("sipe-client-XXXXXX", NULL);
	loop = g_main_loop_new(NULL, FALSE);
	if (!start_purple(dir))
		return fail("libpurple did not start");
	H.prpl = purple_find_prpl("prpl-sipe");
	if (!H.prpl)
		return fail("libpurple found no prpl-sipe plugin");
	announce();
	/* SIPE seeds rand() with the second it was loaded in and takes Call-IDs,
	 * tags, branches and media keys from it: clients started together would
	 * send the same ones. With "seed" set that can be had on purpose. */
	srand(js_int(config, "seed", time(NULL) ^ ((gint64)getpid() << 16)));
	create_account(config);

	g_unix_signal_add(SIGTERM, on_signal, NULL);
	g_unix_signal_add(SIGINT, on_signal, NULL);
	g_unix_fd_add(STDIN_FILENO, G_IO_IN | G_IO_HUP, on_stdin, NULL);
	purple_account_set_status(H.account, js_str(config, "status", "available"),
				  TRUE, NULL);
	if (js_bool(config, "auto_login", TRUE))
		purple_account_set_enabled(H.account, UI_ID, TRUE);
	g_main_loop_run(loop);

	purple_core_quit();
	ev_done(ev("bye"));
	if (own_dir) {
		/* the throw-away profile */
		const gchar *rm[] = { "rm", "-rf", "--", own_dir, NULL };

		g_spawn_sync(NULL, (gchar **)rm, NULL, G_SPAWN_SEARCH_PATH,
			     NULL, NULL, NULL, NULL, NULL, NULL);
		g_free(own_dir);
	}
	return 0;
}
