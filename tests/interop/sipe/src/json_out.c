/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "json_out.h"

#include <stdio.h>
#include <unistd.h>

static FILE *out;
static gint64 start_us;

void json_out_init(void)
{
	int fd = dup(STDOUT_FILENO);

	start_us = g_get_monotonic_time();
	out = fdopen(fd, "w");
	dup2(STDERR_FILENO, STDOUT_FILENO);
}

JsonObject *ev(const char *name)
{
	JsonObject *o = json_object_new();

	json_object_set_string_member(o, "event", name);
	json_object_set_int_member(
		o, "ms", (g_get_monotonic_time() - start_us) / 1000);
	return o;
}

void ev_s(JsonObject *o, const char *key, const char *value)
{
	if (!value) {
		json_object_set_null_member(o, key);
	} else {
		gchar *valid = g_utf8_make_valid(value, -1);

		json_object_set_string_member(o, key, valid);
		g_free(valid);
	}
}

void ev_i(JsonObject *o, const char *key, gint64 value)
{
	json_object_set_int_member(o, key, value);
}

void ev_b(JsonObject *o, const char *key, gboolean value)
{
	json_object_set_boolean_member(o, key, value);
}

void ev_a(JsonObject *o, const char *key, JsonArray *value)
{
	json_object_set_array_member(o, key, value);
}

void ev_o(JsonObject *o, const char *key, JsonObject *value)
{
	json_object_set_object_member(o, key, value);
}

void arr_s(JsonArray *a, const char *value)
{
	gchar *valid = g_utf8_make_valid(value ? value : "", -1);

	json_array_add_string_element(a, valid);
	g_free(valid);
}

void ev_done(JsonObject *o)
{
	JsonNode *node = json_node_new(JSON_NODE_OBJECT);
	gchar *line;

	json_node_take_object(node, o);
	line = json_to_string(node, FALSE);
	fputs(line, out);
	fputc('\n', out);
	fflush(out);
	g_free(line);
	json_node_free(node);
}

static JsonNode *member(JsonObject *o, const char *key)
{
	JsonNode *node;

	if (!o || !json_object_has_member(o, key))
		return NULL;
	node = json_object_get_member(o, key);
	return JSON_NODE_HOLDS_NULL(node) ? NULL : node;
}

static JsonNode *value_member(JsonObject *o, const char *key)
{
	JsonNode *node = member(o, key);

	return node && JSON_NODE_HOLDS_VALUE(node) ? node : NULL;
}

const char *js_str(JsonObject *o, const char *key, const char *def)
{
	JsonNode *node = value_member(o, key);

	if (!node || json_node_get_value_type(node) != G_TYPE_STRING)
		return def;
	return json_node_get_string(node);
}

gint64 js_int(JsonObject *o, const char *key, gint64 def)
{
	JsonNode *node = value_member(o, key);

	return node ? json_node_get_int(node) : def;
}

double js_dbl(JsonObject *o, const char *key, double def)
{
	JsonNode *node = value_member(o, key);

	return node ? json_node_get_double(node) : def;
}

gboolean js_bool(JsonObject *o, const char *key, gboolean def)
{
	JsonNode *node = value_member(o, key);

	return node ? json_node_get_boolean(node) : def;
}

JsonObject *js_obj(JsonObject *o, const char *key)
{
	JsonNode *node = member(o, key);

	return node && JSON_NODE_HOLDS_OBJECT(node)
		? json_node_get_object(node) : NULL;
}
