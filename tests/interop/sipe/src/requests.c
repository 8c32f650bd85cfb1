/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libpurple's dialogs: every question SIPE or libpurple asks the user. */
#include "harness.h"

#include <string.h>

typedef struct {
	int id;
	PurpleRequestType type;
	gpointer user_data;
	/* actions and choices */
	GPtrArray *labels;
	GPtrArray *callbacks;   /* actions: callback per label */
	GArray *values;         /* choices: value per label */
	/* input, choice, fields, file, folder */
	GCallback ok_cb;
	GCallback cancel_cb;
	PurpleRequestFields *fields;
} Req;

typedef struct {
	int id;
	gchar *action;
	JsonObject *fields;
} Answer;

static GHashTable *open_requests;   /* id -> Req */
static int next_id = 1;
static JsonObject *prefill;

static Req *req_new(PurpleRequestType type, gpointer user_data)
{
	Req *r = g_new0(Req, 1);

	r->id = next_id++;
	r->type = type;
	r->user_data = user_data;
	r->labels = g_ptr_array_new_with_free_func(g_free);
	r->callbacks = g_ptr_array_new();
	r->values = g_array_new(FALSE, FALSE, sizeof(int));
	g_hash_table_insert(open_requests, GINT_TO_POINTER(r->id), r);
	return r;
}

static void req_free(gpointer data)
{
	Req *r = data;

	if (r->fields)
		purple_request_fields_destroy(r->fields);
	g_ptr_array_free(r->labels, TRUE);
	g_ptr_array_free(r->callbacks, TRUE);
	g_array_free(r->values, TRUE);
	g_free(r);
}

/* "_Accept" -> "Accept" */
static gchar *label_text(const char *label)
{
	GString *s = g_string_new(NULL);

	for (; label && *label; label++)
		if (*label != '_')
			g_string_append_c(s, *label);
	return g_string_free(s, FALSE);
}

static JsonArray *labels_json(Req *r)
{
	JsonArray *a = json_array_new();
	guint i;

	for (i = 0; i < r->labels->len; i++)
		arr_s(a, g_ptr_array_index(r->labels, i));
	return a;
}

static void req_announce(Req *r, const char *kind, const char *title,
			 const char *primary, const char *secondary)
{
	JsonObject *o = ev("request");

	ev_i(o, "request", r->id);
	ev_s(o, "kind", kind);
	ev_s(o, "title", title);
	ev_s(o, "primary", primary);
	ev_s(o, "secondary", secondary);
	if (r->labels->len)
		ev_a(o, "actions", labels_json(r));
	if (r->fields) {
		JsonArray *a = json_array_new();
		GList *g, *f;

		for (g = purple_request_fields_get_groups(r->fields); g; g = g->next)
			for (f = purple_request_field_group_get_fields(g->data); f; f = f->next) {
				JsonObject *field = json_object_new();

				ev_s(field, "id", purple_request_field_get_id(f->data));
				ev_s(field, "label", purple_request_field_get_label(f->data));
				json_array_add_object_element(a, field);
			}
		ev_a(o, "fields", a);
	}
	ev_done(o);
}

static gboolean answer_later(gpointer data)
{
	Answer *a = data;
	const char *error = requests_answer(a->id, a->action, a->fields);

	if (error) {
		JsonObject *o = ev("request-answer-failed");

		ev_i(o, "request", a->id);
		ev_s(o, "error", error);
		ev_done(o);
	}
	g_free(a->action);
	if (a->fields)
		json_object_unref(a->fields);
	g_free(a);
	return FALSE;
}

/* Answers once libpurple has registered the dialog. */
static void answer_soon(Req *r, const char *action, JsonObject *fields)
{
	Answer *a = g_new0(Answer, 1);

	a->id = r->id;
	a->action = g_strdup(action);
	a->fields = fields ? json_object_ref(fields) : NULL;
	g_idle_add(answer_later, a);
}

static void set_fields(PurpleRequestFields *fields, JsonObject *values)
{
	GList *names = values ? json_object_get_members(values) : NULL;
	GList *n;

	for (n = names; n; n = n->next) {
		PurpleRequestField *f = purple_request_fields_exists(fields, n->data)
			? purple_request_fields_get_field(fields, n->data) : NULL;

		if (!f)
			continue;
		switch (purple_request_field_get_type(f)) {
		case PURPLE_REQUEST_FIELD_STRING:
			purple_request_field_string_set_value(f, js_str(values, n->data, ""));
			break;
		case PURPLE_REQUEST_FIELD_INTEGER:
			purple_request_field_int_set_value(f, js_int(values, n->data, 0));
			break;
		case PURPLE_REQUEST_FIELD_BOOLEAN:
			purple_request_field_bool_set_value(f, js_bool(values, n->data, FALSE));
			break;
		case PURPLE_REQUEST_FIELD_CHOICE:
			purple_request_field_choice_set_value(f, js_int(values, n->data, 0));
			break;
		default:
			break;
		}
	}
	g_list_free(names);
}

static int label_index(Req *r, const char *action)
{
	guint i;

	for (i = 0; action && i < r->labels->len; i++)
		if (!g_ascii_strcasecmp(g_ptr_array_index(r->labels, i), action))
			return i;
	return -1;
}

const char *requests_answer(int id, const char *action, JsonObject *fields)
{
	Req *r = g_hash_table_lookup(open_requests, GINT_TO_POINTER(id));
	gboolean ok = !action || g_ascii_strcasecmp(action, "cancel");
	int index;

	if (!r)
		return "no such open request";

	switch (r->type) {
	case PURPLE_REQUEST_ACTION:
		index = label_index(r, action);
		if (index < 0)
			return "no such action";
		if (g_ptr_array_index(r->callbacks, index))
			((PurpleRequestActionCb)g_ptr_array_index(r->callbacks, index))
				(r->user_data, index);
		break;
	case PURPLE_REQUEST_CHOICE:
		index = label_index(r, action);
		if (ok && index < 0)
			return "no such choice";
		if (ok && r->ok_cb)
			((PurpleRequestChoiceCb)r->ok_cb)
				(r->user_data, g_array_index(r->values, int, index));
		else if (!ok && r->cancel_cb)
			((PurpleRequestChoiceCb)r->cancel_cb)(r->user_data, -1);
		break;
	case PURPLE_REQUEST_FIELDS:
		set_fields(r->fields, fields);
		if (ok && r->ok_cb)
			((PurpleRequestFieldsCb)r->ok_cb)(r->user_data, r->fields);
		else if (!ok && r->cancel_cb)
			((PurpleRequestFieldsCb)r->cancel_cb)(r->user_data, r->fields);
		break;
	default: {
		const char *value = js_str(fields, "value", "");
		GCallback cb = ok ? r->ok_cb : r->cancel_cb;

		if (cb)
			((PurpleRequestInputCb)cb)(r->user_data, value);
		break;
	}
	}

	/* The callback may have closed the dialog already. */
	r = g_hash_table_lookup(open_requests, GINT_TO_POINTER(id));
	if (r)
		purple_request_close(r->type, GINT_TO_POINTER(id));
	return NULL;
}

void requests_prefill(JsonObject *fields)
{
	if (prefill)
		json_object_unref(prefill);
	prefill = fields ? json_object_ref(fields) : NULL;
}

static void *request_input(const char *title, const char *primary,
			   const char *secondary, const char *default_value,
			   gboolean multiline, gboolean masked, gchar *hint,
			   const char *ok_text, GCallback ok_cb,
			   const char *cancel_text, GCallback cancel_cb,
			   PurpleAccount *account, const char *who,
			   PurpleConversation *conv, void *user_data)
{
	Req *r = req_new(PURPLE_REQUEST_INPUT, user_data);

	r->ok_cb = ok_cb;
	r->cancel_cb = cancel_cb;
	req_announce(r, "input", title, primary, secondary);
	return GINT_TO_POINTER(r->id);
}

static void *request_choice(const char *title, const char *primary,
			    const char *secondary, int default_value,
			    const char *ok_text, GCallback ok_cb,
			    const char *cancel_text, GCallback cancel_cb,
			    PurpleAccount *account, const char *who,
			    PurpleConversation *conv, void *user_data,
			    va_list choices)
{
	Req *r = req_new(PURPLE_REQUEST_CHOICE, user_data);
	const char *text;

	r->ok_cb = ok_cb;
	r->cancel_cb = cancel_cb;
	while ((text = va_arg(choices, const char *))) {
		int value = va_arg(choices, int);

		g_ptr_array_add(r->labels, label_text(text));
		g_array_append_val(r->values, value);
	}
	req_announce(r, "choice", title, primary, secondary);
	return GINT_TO_POINTER(r->id);
}

static void *request_action(const char *title, const char *primary,
			    const char *secondary, int default_action,
			    PurpleAccount *account, const char *who,
			    PurpleConversation *conv, void *user_data,
			    size_t count, va_list actions)
{
	Req *r = req_new(PURPLE_REQUEST_ACTION, user_data);
	gboolean certificate = title && strstr(title, "Certificate");

	while (count--) {
		const char *text = va_arg(actions, const char *);
		GCallback cb = va_arg(actions, GCallback);

		g_ptr_array_add(r->labels, label_text(text));
		g_ptr_array_add(r->callbacks, cb);
	}
	req_announce(r, certificate ? "certificate" : "action",
		     title, primary, secondary);
	if (certificate)
		answer_soon(r, H.accept_any_tls ? "Accept" : "Reject", NULL);
	return GINT_TO_POINTER(r->id);
}

static void *request_action_with_icon(const char *title, const char *primary,
				      const char *secondary, int default_action,
				      PurpleAccount *account, const char *who,
				      PurpleConversation *conv,
				      gconstpointer icon, gsize icon_size,
				      void *user_data, size_t count,
				      va_list actions)
{
	return request_action(title, primary, secondary, default_action, account,
			      who, conv, user_data, count, actions);
}

static void *request_fields(const char *title, const char *primary,
			    const char *secondary, PurpleRequestFields *fields,
			    const char *ok_text, GCallback ok_cb,
			    const char *cancel_text, GCallback cancel_cb,
			    PurpleAccount *account, const char *who,
			    PurpleConversation *conv, void *user_data)
{
	Req *r = req_new(PURPLE_REQUEST_FIELDS, user_data);

	r->fields = fields;
	r->ok_cb = ok_cb;
	r->cancel_cb = cancel_cb;
	req_announce(r, "fields", title, primary, secondary);
	if (prefill) {
		answer_soon(r, "ok", prefill);
		requests_prefill(NULL);
	}
	return GINT_TO_POINTER(r->id);
}

static void *request_file(const char *title, const char *filename,
			  gboolean save, GCallback ok_cb, GCallback cancel_cb,
			  PurpleAccount *account, const char *who,
			  PurpleConversation *conv, void *user_data)
{
	Req *r = req_new(PURPLE_REQUEST_FILE, user_data);

	r->ok_cb = ok_cb;
	r->cancel_cb = cancel_cb;
	req_announce(r, "file", title, filename, NULL);
	return GINT_TO_POINTER(r->id);
}

static void *request_folder(const char *title, const char *dirname,
			    GCallback ok_cb, GCallback cancel_cb,
			    PurpleAccount *account, const char *who,
			    PurpleConversation *conv, void *user_data)
{
	Req *r = req_new(PURPLE_REQUEST_FOLDER, user_data);

	r->ok_cb = ok_cb;
	r->cancel_cb = cancel_cb;
	req_announce(r, "folder", title, dirname, NULL);
	return GINT_TO_POINTER(r->id);
}

static void close_request(PurpleRequestType type, void *handle)
{
	JsonObject *o = ev("request-closed");

	ev_i(o, "request", GPOINTER_TO_INT(handle));
	ev_done(o);
	g_hash_table_remove(open_requests, handle);
}

static PurpleRequestUiOps request_ops = {
	.request_input = request_input,
	.request_choice = request_choice,
	.request_action = request_action,
	.request_action_with_icon = request_action_with_icon,
	.request_fields = request_fields,
	.request_file = request_file,
	.request_folder = request_folder,
	.close_request = close_request,
};

void requests_init(void)
{
	open_requests = g_hash_table_new_full(NULL, NULL, NULL, req_free);
	purple_request_set_ui_ops(&request_ops);
}
