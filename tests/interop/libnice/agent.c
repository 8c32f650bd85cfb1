/* An agent of libnice that a test talks to by lines: it prints its candidates, takes the other side's, says how its
 * components fare, and sends all media back.
 *
 * usage: agent rfc5245|oc2007r2|oc2007 controlling|controlled COMPONENTS ADDRESS
 *
 *   out   credentials UFRAG PASSWORD
 *         candidate COMPONENT FOUNDATION PRIORITY HOST PORT TYPE USERNAME PASSWORD     ("-": none)
 *         end
 *   in    the same lines of the other side
 *   out   state COMPONENT NAME
 *         pair COMPONENT LOCAL-HOST LOCAL-PORT REMOTE-HOST REMOTE-PORT
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <gio/gio.h>
#include <nice/agent.h>

static NiceAgent *agent;
static guint stream;
static guint components;
static GSList *remote[3];
static gboolean has_credentials;

static const char *type_name (NiceCandidateType type)
{
  static const char *const names[] = { "host", "srflx", "prflx", "relay" };
  return names[type];
}

static NiceCandidateType type_of (const char *name)
{
  for (int type = NICE_CANDIDATE_TYPE_HOST; type <= NICE_CANDIDATE_TYPE_RELAYED; type++)
    if (strcmp (type_name (type), name) == 0)
      return type;
  return NICE_CANDIDATE_TYPE_HOST;
}

static const char *or_none (const char *text)
{
  return text != NULL && *text != '\0' ? text : "-";
}

static void on_gathered (NiceAgent *self, guint id, gpointer data)
{
  gchar *ufrag = NULL, *password = NULL, host[NICE_ADDRESS_STRING_LEN];

  if (nice_agent_get_local_credentials (self, id, &ufrag, &password))
    printf ("credentials %s %s\n", or_none (ufrag), or_none (password));
  for (guint component = 1; component <= components; component++) {
    GSList *candidates = nice_agent_get_local_candidates (self, id, component);
    for (GSList *item = candidates; item != NULL; item = item->next) {
      NiceCandidate *each = item->data;
      nice_address_to_string (&each->addr, host);
      if (each->transport == NICE_CANDIDATE_TRANSPORT_UDP)
        printf ("candidate %u %s %u %s %u %s %s %s\n", component, each->foundation, each->priority, host,
            nice_address_get_port (&each->addr), type_name (each->type), or_none (each->username),
            or_none (each->password));
    }
    g_slist_free_full (candidates, (GDestroyNotify) nice_candidate_free);
  }
  puts ("end");
  fflush (stdout);
  g_free (ufrag);
  g_free (password);
}

static void on_state (NiceAgent *self, guint id, guint component, guint state, gpointer data)
{
  printf ("state %u %s\n", component, nice_component_state_to_string (state));
  fflush (stdout);
}

static void on_pair (NiceAgent *self, guint id, guint component, NiceCandidate *ours, NiceCandidate *theirs, gpointer data)
{
  gchar local[NICE_ADDRESS_STRING_LEN], other[NICE_ADDRESS_STRING_LEN];

  nice_address_to_string (&ours->addr, local);
  nice_address_to_string (&theirs->addr, other);
  printf ("pair %u %s %u %s %u\n", component, local, nice_address_get_port (&ours->addr), other,
      nice_address_get_port (&theirs->addr));
  fflush (stdout);
}

static void on_media (NiceAgent *self, guint id, guint component, guint size, gchar *bytes, gpointer data)
{
  nice_agent_send (self, id, component, size, bytes);
}

static void take_candidate (char **words)
{
  guint component = atoi (words[1]);
  NiceCandidate *each = nice_candidate_new (type_of (words[6]));

  each->stream_id = stream;
  each->component_id = component;
  each->transport = NICE_CANDIDATE_TRANSPORT_UDP;
  g_strlcpy (each->foundation, words[2], NICE_CANDIDATE_MAX_FOUNDATION);
  each->priority = strtoul (words[3], NULL, 10);
  nice_address_set_from_string (&each->addr, words[4]);
  nice_address_set_port (&each->addr, atoi (words[5]));
  if (strcmp (words[7], "-") != 0) {
    each->username = g_strdup (words[7]);
    each->password = g_strdup (words[8]);
    if (!has_credentials)
      has_credentials = nice_agent_set_remote_credentials (agent, stream, words[7], words[8]);
  }
  remote[component] = g_slist_append (remote[component], each);
}

static gboolean on_line (GIOChannel *channel, GIOCondition condition, gpointer loop)
{
  gchar *line = NULL;

  if (g_io_channel_read_line (channel, &line, NULL, NULL, NULL) != G_IO_STATUS_NORMAL) {
    g_main_loop_quit (loop);
    return FALSE;
  }
  char **words = g_strsplit (g_strstrip (line), " ", -1);
  if (strcmp (words[0], "credentials") == 0)
    has_credentials = nice_agent_set_remote_credentials (agent, stream, words[1], words[2]);
  else if (strcmp (words[0], "candidate") == 0 && g_strv_length (words) == 9 && atoi (words[1]) <= (int) components)
    take_candidate (words);
  else if (strcmp (words[0], "end") == 0)
    for (guint component = 1; component <= components; component++)
      nice_agent_set_remote_candidates (agent, stream, component, remote[component]);
  g_strfreev (words);
  g_free (line);
  return TRUE;
}

int main (int argc, char **argv)
{
  NiceCompatibility mode = NICE_COMPATIBILITY_RFC5245;
  NiceAddress address;

  if (argc != 5)
    return 2;
  if (strcmp (argv[1], "oc2007r2") == 0)
    mode = NICE_COMPATIBILITY_OC2007R2;
  else if (strcmp (argv[1], "oc2007") == 0)
    mode = NICE_COMPATIBILITY_OC2007;
  components = atoi (argv[3]);
  if (components < 1 || components > 2)
    return 2;
  GMainLoop *loop = g_main_loop_new (NULL, FALSE);
  agent = nice_agent_new (NULL, mode);
  g_object_set (agent, "controlling-mode", strcmp (argv[2], "controlling") == 0, "upnp", FALSE, "ice-tcp", FALSE, NULL);
  nice_address_init (&address);
  nice_address_set_from_string (&address, argv[4]);
  nice_agent_add_local_address (agent, &address);
  stream = nice_agent_add_stream (agent, components);
  g_signal_connect (agent, "candidate-gathering-done", G_CALLBACK (on_gathered), NULL);
  g_signal_connect (agent, "component-state-changed", G_CALLBACK (on_state), NULL);
  g_signal_connect (agent, "new-selected-pair-full", G_CALLBACK (on_pair), NULL);
  for (guint component = 1; component <= components; component++)
    nice_agent_attach_recv (agent, stream, component, NULL, on_media, NULL);
  if (!nice_agent_gather_candidates (agent, stream))
    return 1;
  GIOChannel *input = g_io_channel_unix_new (0);
  g_io_add_watch (input, G_IO_IN | G_IO_HUP, on_line, loop);
  g_main_loop_run (loop);
  g_object_unref (agent);
  return 0;
}
