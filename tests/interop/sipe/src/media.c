/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Calls. The microphone is a test tone, the speaker is a meter which reports
 * once a second how loud the received audio is and which tone it carries, so a
 * test can tell that voice really arrived. */
#include "harness.h"

#include <math.h>
#include <string.h>

#include <gst/gst.h>
#include <mediamanager.h>
#include <media-gst.h>

#define METER_RATE 8000

typedef struct {
	int id;
	PurpleMedia *media;
	gchar *with;
	gboolean outgoing;
	gboolean accepted;
	GHashTable *sessions;   /* session ids seen */
} Call;

/* Collected by the streaming thread, one per speaker element. */
typedef struct {
	gchar *with;
	gchar *session;
	guint count;
	guint crossings;
	gint last_sign;
	double energy;
} Meter;

typedef struct {
	gchar *with;
	gchar *session;
	int level;      /* RMS in thousandths of full scale */
	int hz;         /* dominant tone */
} Reading;

static GList *calls;
static int next_call_id = 1;

/* --- fake devices ------------------------------------------------------- */

static GstElement *create_microphone(PurpleMedia *media, const gchar *session,
				     const gchar *participant)
{
	GstElement *e = gst_element_factory_make("audiotestsrc", NULL);

	g_object_set(e, "is-live", TRUE, "freq", H.tone_hz, "volume", 0.4, NULL);
	return e;
}

static GstElement *create_camera(PurpleMedia *media, const gchar *session,
				     const gchar *participant)
{
	GstElement *e = gst_element_factory_make("videotestsrc", NULL);

	g_object_set(e, "is-live", TRUE, NULL);
	return e;
}

static gboolean report_reading(gpointer data)
{
	Reading *r = data;
	JsonObject *o = ev("media-audio");

	ev_s(o, "with", r->with);
	ev_s(o, "session", r->session);
	ev_i(o, "level", r->level);
	ev_i(o, "hz", r->hz);
	ev_done(o);
	g_free(r->with);
	g_free(r->session);
	g_free(r);
	return FALSE;
}

static void on_samples(GstElement *sink, GstBuffer *buffer, GstPad *pad,
		       gpointer data)
{
	Meter *m = data;
	GstMapInfo map;
	const gint16 *s;
	gsize i, n;

	if (!gst_buffer_map(buffer, &map, GST_MAP_READ))
		return;
	s = (const gint16 *)map.data;
	n = map.size / sizeof(*s);
	for (i = 0; i < n; i++) {
		double v = s[i] / 32768.0;
		/* a dead zone keeps noise from counting as crossings */
		gint sign = v > 0.01 ? 1 : v < -0.01 ? -1 : m->last_sign;

		if (sign > 0 && m->last_sign < 0)
			m->crossings++;
		m->last_sign = sign;
		m->energy += v * v;
		if (++m->count == METER_RATE) {
			Reading *r = g_new0(Reading, 1);

			r->with = g_strdup(m->with);
			r->session = g_strdup(m->session);
			r->level = lround(1000 * sqrt(m->energy / m->count));
			r->hz = m->crossings;
			m->count = m->crossings = 0;
			m->energy = 0;
			g_idle_add(report_reading, r);
		}
	}
	gst_buffer_unmap(buffer, &map);
}

static void meter_free(gpointer data, GClosure *closure)
{
	Meter *m = data;

	g_free(m->with);
	g_free(m->session);
	g_free(m);
}

static GstElement *create_speaker(PurpleMedia *media, const gchar *session,
				     const gchar *participant)
{
	GError *error = NULL;
	GstElement *bin = gst_parse_bin_from_description(
		"audioconvert ! audioresample ! "
		"audio/x-raw,format=S16LE,channels=1,rate=8000 ! "
		"fakesink name=meter sync=false async=false signal-handoffs=true",
		TRUE, &error);
	GstElement *sink;
	Meter *m;

	if (error) {
		JsonObject *o = ev("media-error");

		ev_s(o, "text", error->message);
		ev_done(o);
		g_error_free(error);
		return gst_element_factory_make("fakesink", NULL);
	}
	m = g_new0(Meter, 1);
	m->with = g_strdup(participant);
	m->session = g_strdup(session);
	sink = gst_bin_get_by_name(GST_BIN(bin), "meter");
	g_signal_connect_data(sink, "handoff", G_CALLBACK(on_samples), m,
			      meter_free, 0);
	gst_object_unref(sink);
	return bin;
}

static GstElement *create_screen(PurpleMedia *media, const gchar *session,
				     const gchar *participant)
{
	GstElement *e = gst_element_factory_make("fakesink", NULL);

	g_object_set(e, "sync", FALSE, "async", FALSE, NULL);
	return e;
}

static void add_device(const char *id, PurpleMediaElementType type,
		       GCallback create)
{
	PurpleMediaElementInfo *info = g_object_new(
		PURPLE_TYPE_MEDIA_ELEMENT_INFO,
		"id", id, "name", id, "type", type, "create-cb", create, NULL);

	purple_media_manager_set_active_element(purple_media_manager_get(), info);
}

/* --- calls -------------------------------------------------------------- */

static JsonObject *call_ev(const char *name, Call *call, const char *session)
{
	JsonObject *o = ev(name);

	ev_i(o, "call", call->id);
	ev_s(o, "with", call->with);
	if (session)
		ev_s(o, "session", session);
	return o;
}

static void candidate_member(JsonObject *o, const char *key,
			     PurpleMediaCandidate *c)
{
	static const char *const types[] = { "host", "srflx", "prflx", "relay", "multicast" };
	static const char *const protocols[] = { "udp", "tcp-passive", "tcp-active", "tcp-so" };
	gchar *ip = purple_media_candidate_get_ip(c);
	guint type = purple_media_candidate_get_candidate_type(c);
	guint protocol = purple_media_candidate_get_protocol(c);
	gchar *text = g_strdup_printf(
		"%s:%u %s %s component %u", ip, purple_media_candidate_get_port(c),
		type < G_N_ELEMENTS(types) ? types[type] : "?",
		protocol < G_N_ELEMENTS(protocols) ? protocols[protocol] : "?",
		purple_media_candidate_get_component_id(c));

	ev_s(o, key, text);
	g_free(text);
	g_free(ip);
}

static void on_candidates_prepared(PurpleMedia *media, gchar *session,
				   gchar *participant, Call *call)
{
	JsonObject *o = call_ev("media-candidates", call, session);
	JsonArray *a = json_array_new();
	GList *list = purple_media_get_local_candidates(media, session, participant);
	GList *c;

	for (c = list; c; c = c->next) {
		JsonObject *item = json_object_new();

		candidate_member(item, "c", c->data);
		arr_s(a, js_str(item, "c", ""));
		json_object_unref(item);
	}
	purple_media_candidate_list_free(list);
	ev_a(o, "local", a);
	ev_done(o);
}

static void on_candidate_pair(PurpleMedia *media, gchar *session,
			      gchar *participant, PurpleMediaCandidate *local,
			      PurpleMediaCandidate *remote, Call *call)
{
	JsonObject *o = call_ev("media-candidate-pair", call, session);

	candidate_member(o, "local", local);
	candidate_member(o, "remote", remote);
	ev_done(o);
}

static void on_codecs_changed(PurpleMedia *media, gchar *session, Call *call)
{
	JsonObject *o = call_ev("media-codecs", call, session);
	JsonArray *a = json_array_new();
	GList *list = purple_media_get_codecs(media, session), *c;

	for (c = list; c; c = c->next) {
		gchar *name = purple_media_codec_get_encoding_name(c->data);
		gchar *text = g_strdup_printf("%d %s/%u",
			purple_media_codec_get_id(c->data), name,
			purple_media_codec_get_clock_rate(c->data));

		arr_s(a, text);
		g_free(text);
		g_free(name);
	}
	purple_media_codec_list_free(list);
	ev_a(o, "codecs", a);
	ev_done(o);
}

static gboolean auto_accept(gpointer data)
{
	media_action("accept_call", GPOINTER_TO_INT(data));
	return FALSE;
}

static void on_state_changed(PurpleMedia *media, PurpleMediaState state,
			     gchar *session, gchar *participant, Call *call)
{
	static const char *const names[] = { "new", "connected", "end" };
	JsonObject *o = call_ev("media-state", call, session);

	ev_s(o, "state", state < G_N_ELEMENTS(names) ? names[state] : "?");
	ev_s(o, "participant", participant);
	ev_done(o);

	if (state == PURPLE_MEDIA_STATE_NEW && session && participant &&
	    !g_hash_table_contains(call->sessions, session)) {
		gboolean first = g_hash_table_size(call->sessions) == 0;

		g_hash_table_add(call->sessions, g_strdup(session));
		if (first && !purple_media_is_initiator(media, session, participant)) {
			ev_done(call_ev("incoming-call", call, session));
			if (H.auto_accept_calls)
				g_timeout_add(200, auto_accept, GINT_TO_POINTER(call->id));
		}
	}
	if (state == PURPLE_MEDIA_STATE_END && !session && !participant) {
		ev_done(call_ev("call-ended", call, NULL));
		calls = g_list_remove(calls, call);
		g_signal_handlers_disconnect_matched(
			media, G_SIGNAL_MATCH_DATA, 0, 0, NULL, NULL, call);
		g_free(call->with);
		g_hash_table_destroy(call->sessions);
		g_free(call);
	}
}

static void on_stream_info(PurpleMedia *media, PurpleMediaInfoType type,
			   gchar *session, gchar *participant, gboolean local,
			   Call *call)
{
	static const char *const names[] = {
		"hangup", "accept", "reject", "mute", "unmute", "pause",
		"unpause", "hold", "unhold"
	};
	JsonObject *o = call_ev("media-info", call, session);

	ev_s(o, "info", type < G_N_ELEMENTS(names) ? names[type] : "?");
	ev_b(o, "local", local);
	ev_done(o);
}

static void on_media_error(PurpleMedia *media, const gchar *text, Call *call)
{
	JsonObject *o = call_ev("media-error", call, NULL);

	ev_s(o, "text", text);
	ev_done(o);
}

static gboolean on_init_media(PurpleMediaManager *manager, PurpleMedia *media,
			      PurpleAccount *account, gchar *with,
			      gpointer unused)
{
	Call *call = g_new0(Call, 1);

	call->id = next_call_id++;
	call->media = media;
	call->with = g_strdup(with);
	call->sessions = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	calls = g_list_append(calls, call);
	ev_done(call_ev("call-created", call, NULL));

	g_signal_connect(media, "state-changed", G_CALLBACK(on_state_changed), call);
	g_signal_connect(media, "stream-info", G_CALLBACK(on_stream_info), call);
	g_signal_connect(media, "candidates-prepared",
			 G_CALLBACK(on_candidates_prepared), call);
	g_signal_connect(media, "codecs-changed", G_CALLBACK(on_codecs_changed), call);
	g_signal_connect(media, "candidate-pair-established",
			 G_CALLBACK(on_candidate_pair), call);
	g_signal_connect(media, "error", G_CALLBACK(on_media_error), call);
	return TRUE;
}

const char *media_call(const char *uri, gboolean video)
{
	return purple_prpl_initiate_media(H.account, uri,
			PURPLE_MEDIA_AUDIO | (video ? PURPLE_MEDIA_VIDEO : 0))
		? NULL : "the protocol refused to start a call";
}

const char *media_action(const char *action, int call_id)
{
	static const struct { const char *name; PurpleMediaInfoType type; } map[] = {
		{ "accept_call", PURPLE_MEDIA_INFO_ACCEPT },
		{ "reject_call", PURPLE_MEDIA_INFO_REJECT },
		{ "hangup", PURPLE_MEDIA_INFO_HANGUP },
		{ "mute", PURPLE_MEDIA_INFO_MUTE },
		{ "unmute", PURPLE_MEDIA_INFO_UNMUTE },
		{ "hold", PURPLE_MEDIA_INFO_HOLD },
		{ "unhold", PURPLE_MEDIA_INFO_UNHOLD },
	};
	Call *call = NULL;
	GList *c;
	guint i;

	for (c = calls; c; c = c->next)
		if (call_id == 0 || ((Call *)c->data)->id == call_id)
			call = c->data;
	if (!call)
		return "no such call";
	for (i = 0; i < G_N_ELEMENTS(map); i++)
		if (!strcmp(map[i].name, action)) {
			purple_media_stream_info(call->media, map[i].type,
						 NULL, NULL, TRUE);
			return NULL;
		}
	return "unknown call action";
}

JsonArray *media_to_json(void)
{
	JsonArray *a = json_array_new();
	GList *c;

	for (c = calls; c; c = c->next) {
		Call *call = c->data;
		JsonObject *o = json_object_new();

		ev_i(o, "call", call->id);
		ev_s(o, "with", call->with);
		ev_b(o, "accepted", purple_media_accepted(call->media, NULL, NULL));
		json_array_add_object_element(a, o);
	}
	return a;
}

void media_init(void)
{
	PurpleMediaManager *manager = purple_media_manager_get();

	purple_media_manager_set_ui_caps(manager,
		PURPLE_MEDIA_CAPS_AUDIO | PURPLE_MEDIA_CAPS_AUDIO_SINGLE_DIRECTION |
		PURPLE_MEDIA_CAPS_VIDEO | PURPLE_MEDIA_CAPS_VIDEO_SINGLE_DIRECTION |
		PURPLE_MEDIA_CAPS_AUDIO_VIDEO | PURPLE_MEDIA_CAPS_MODIFY_SESSION |
		PURPLE_MEDIA_CAPS_CHANGE_DIRECTION);
	add_device("harness-microphone",
		   PURPLE_MEDIA_ELEMENT_AUDIO | PURPLE_MEDIA_ELEMENT_SRC |
		   PURPLE_MEDIA_ELEMENT_ONE_SRC | PURPLE_MEDIA_ELEMENT_UNIQUE,
		   G_CALLBACK(create_microphone));
	add_device("harness-speaker",
		   PURPLE_MEDIA_ELEMENT_AUDIO | PURPLE_MEDIA_ELEMENT_SINK |
		   PURPLE_MEDIA_ELEMENT_ONE_SINK,
		   G_CALLBACK(create_speaker));
	add_device("harness-camera",
		   PURPLE_MEDIA_ELEMENT_VIDEO | PURPLE_MEDIA_ELEMENT_SRC |
		   PURPLE_MEDIA_ELEMENT_ONE_SRC | PURPLE_MEDIA_ELEMENT_UNIQUE,
		   G_CALLBACK(create_camera));
	add_device("harness-screen",
		   PURPLE_MEDIA_ELEMENT_VIDEO | PURPLE_MEDIA_ELEMENT_SINK |
		   PURPLE_MEDIA_ELEMENT_ONE_SINK,
		   G_CALLBACK(create_screen));
	g_signal_connect(manager, "init-media", G_CALLBACK(on_init_media), NULL);
}
