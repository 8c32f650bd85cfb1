/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One-line JSON records on the harness' private stdout. */
#ifndef HARNESS_JSON_OUT_H
#define HARNESS_JSON_OUT_H

#include <glib.h>
#include <json-glib/json-glib.h>

/* Takes over file descriptor 1: records go to the original stdout, everything
 * that any library prints goes to stderr instead. Call it first. */
void json_out_init(void);

/* New record {"event": name, "ms": milliseconds since start}. */
JsonObject *ev(const char *name);
/* Adds members; NULL text becomes JSON null, invalid UTF-8 is repaired. */
void ev_s(JsonObject *o, const char *key, const char *value);
void ev_i(JsonObject *o, const char *key, gint64 value);
void ev_b(JsonObject *o, const char *key, gboolean value);
void ev_a(JsonObject *o, const char *key, JsonArray *value);
void ev_o(JsonObject *o, const char *key, JsonObject *value);
void arr_s(JsonArray *a, const char *value);
/* Prints the record on one line and frees it. */
void ev_done(JsonObject *o);

/* Readers that accept a missing or null member. */
const char *js_str(JsonObject *o, const char *key, const char *def);
gint64 js_int(JsonObject *o, const char *key, gint64 def);
double js_dbl(JsonObject *o, const char *key, double def);
gboolean js_bool(JsonObject *o, const char *key, gboolean def);
JsonObject *js_obj(JsonObject *o, const char *key);

#endif
