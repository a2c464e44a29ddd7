// The command line of the load generator.
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PORTS_MAXIMUM 16

// How a publisher chooses the topic of its next message.
enum topic_choice { IN_TURN, AT_RANDOM, OWN };

struct port_list { int count, ports[PORTS_MAXIMUM]; };

struct options {
  const char *mode;                 // messages | connections | offline
  struct port_list publish_ports, subscribe_ports;
  struct port_list broker_pids;     // whose CPU and memory are reported
  int version, qos, publishers, subscribers, connections, window, concurrency;
  size_t payload_size;
  int topics, filters;
  const char *topic, *filter;       // {i} stands for a number
  enum topic_choice choice;
  double rate, seconds, warm_up, quiet;
  uint64_t count;
  bool clean;
  const char *username, *password;
};

// Ends the process with a message when an option is unknown or out of range.
struct options read_options(int count, char **values);
// `pattern` with its {i} replaced; the result belongs to the caller.
char *expand(const char *pattern, unsigned number);
bool is_numbered(const char *pattern);
// The group and slash of a shared filter skipped: what topics are matched against.
const char *plain_filter(const char *filter);
bool is_shared(const char *filter);
// [MQTT 5.0 section 4.7]
bool filter_matches(const char *filter, const char *topic);

#endif
