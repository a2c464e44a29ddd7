#include "options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "deliveries.h"
#include "wire.h"

static const char USAGE[] =
    "load [--mode messages|connections|offline] --port N[,N] | --publish-port N[,N] --subscribe-port N[,N]\n"
    "  [--version 4|5] [--qos 0|1|2] [--publishers N] [--subscribers N] [--connections N] [--concurrency N]\n"
    "  [--topics N] [--topic PATTERN] [--choice in-turn|at-random|own] [--filter PATTERN] [--filters N]\n"
    "  [--payload BYTES] [--window N] [--rate MESSAGES_PER_SECOND] [--seconds S] [--warm-up S] [--quiet S]\n"
    "  [--count N] [--clean 0|1] [--username U] [--password P] [--pid N[,N]]\n";

static struct port_list read_list(const char *text) {
  struct port_list list = {0};
  for (const char *at = text; *at != '\0'; at += *at == ',') {
    char *end;
    long value = strtol(at, &end, 10);
    if (end == at || list.count == PORTS_MAXIMUM) die("%s is not a list of at most %d numbers", text, PORTS_MAXIMUM);
    list.ports[list.count++] = (int)value;
    at = end;
  }
  return list;
}

static double read_number(const char *name, const char *text, double lowest, double highest) {
  char *end;
  double value = strtod(text, &end);
  if (end == text || *end != '\0' || value < lowest || value > highest) {
    die("--%s %s: expected a number from %g to %g", name, text, lowest, highest);
  }
  return value;
}

static enum topic_choice read_choice(const char *text) {
  if (strcmp(text, "in-turn") == 0) return IN_TURN;
  if (strcmp(text, "at-random") == 0) return AT_RANDOM;
  if (strcmp(text, "own") == 0) return OWN;
  die("--choice %s: expected in-turn, at-random or own", text);
}

static void set_option(struct options *o, const char *name, const char *value) {
#define IS(text) (strcmp(name, text) == 0)
#define NUMBER(lowest, highest) read_number(name, value, lowest, highest)
  if (IS("mode")) o->mode = value;
  else if (IS("port")) o->publish_ports = o->subscribe_ports = read_list(value);
  else if (IS("publish-port")) o->publish_ports = read_list(value);
  else if (IS("subscribe-port")) o->subscribe_ports = read_list(value);
  else if (IS("pid")) o->broker_pids = read_list(value);
  else if (IS("version")) o->version = (int)NUMBER(4, 5);
  else if (IS("qos")) o->qos = (int)NUMBER(0, 2);
  else if (IS("publishers")) o->publishers = (int)NUMBER(0, 1e6);
  else if (IS("subscribers")) o->subscribers = (int)NUMBER(0, 1e6);
  else if (IS("connections")) o->connections = (int)NUMBER(1, 1e6);
  else if (IS("concurrency")) o->concurrency = (int)NUMBER(1, 1e5);
  else if (IS("topics")) o->topics = (int)NUMBER(1, 1e7);
  else if (IS("topic")) o->topic = value;
  else if (IS("choice")) o->choice = read_choice(value);
  else if (IS("filter")) o->filter = value;
  else if (IS("filters")) o->filters = (int)NUMBER(1, 1e7);
  else if (IS("payload")) o->payload_size = (size_t)NUMBER(sizeof(struct stamp), 1e7);
  else if (IS("window")) o->window = (int)NUMBER(1, 65535);
  else if (IS("rate")) o->rate = NUMBER(0, 1e9);
  else if (IS("seconds")) o->seconds = NUMBER(0.1, 1e5);
  else if (IS("warm-up")) o->warm_up = NUMBER(0, 1e5);
  else if (IS("quiet")) o->quiet = NUMBER(0.1, 60);
  else if (IS("count")) o->count = (uint64_t)NUMBER(1, 1e12);
  else if (IS("clean")) o->clean = NUMBER(0, 1) > 0;
  else if (IS("username")) o->username = value;
  else if (IS("password")) o->password = value;
  else die("there is no option --%s\n%s", name, USAGE);
#undef NUMBER
#undef IS
}

struct options read_options(int count, char **values) {
  struct options o = {
      .mode = "messages", .version = 4, .publishers = 1, .subscribers = 1, .connections = 1000, .window = 100,
      .concurrency = 64, .payload_size = 64, .topics = 1, .topic = "bench/{i}", .seconds = 8, .warm_up = 1, .quiet = 3,
      .clean = true,
  };
  for (int i = 1; i < count; i += 2) {
    if (strncmp(values[i], "--", 2) != 0 || i + 1 == count) die("%s: expected --option value\n%s", values[i], USAGE);
    set_option(&o, values[i] + 2, values[i + 1]);
  }
  if (o.publish_ports.count == 0 || o.subscribe_ports.count == 0) die("which port?\n%s", USAGE);
  if (o.choice == OWN && o.topics < o.publishers) o.topics = o.publishers;
  if (o.filter == NULL) o.filter = o.choice == OWN ? "bench/{i}" : "bench/#";
  if (o.filters == 0) o.filters = strcmp(o.mode, "connections") == 0 ? o.connections : o.subscribers;
  return o;
}

bool is_numbered(const char *pattern) { return strstr(pattern, "{i}") != NULL; }

char *expand(const char *pattern, unsigned number) {
  const char *place = strstr(pattern, "{i}");
  size_t room = strlen(pattern) + 16;
  char *text = allocate(room);
  if (place == NULL) snprintf(text, room, "%s", pattern);
  else snprintf(text, room, "%.*s%u%s", (int)(place - pattern), pattern, number, place + 3);
  return text;
}

bool is_shared(const char *filter) { return strncmp(filter, "$share/", 7) == 0; }

const char *plain_filter(const char *filter) {
  if (!is_shared(filter)) return filter;
  const char *slash = strchr(filter + 7, '/');
  return slash == NULL ? "" : slash + 1;
}

bool filter_matches(const char *filter, const char *topic) {
  if (*topic == '$' && (*filter == '+' || *filter == '#')) return false;
  while (*filter != '\0') {
    if (*filter == '#') return true;
    if (*filter == '+') {
      filter++;
      while (*topic != '\0' && *topic != '/') topic++;
    } else {
      while (*filter != '\0' && *filter != '/' && *filter == *topic) filter++, topic++;
    }
    if (*filter != *topic) return *topic == '\0' && strcmp(filter, "/#") == 0;
    if (*filter == '\0') return true;
    filter++, topic++;
    if (*filter == '\0') return *topic == '\0';
  }
  return *topic == '\0';
}
