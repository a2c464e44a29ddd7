// One MQTT connection of the generator, on an epoll loop that all of them share.
#ifndef CLIENT_H
#define CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "deliveries.h"
#include "wire.h"

enum role { PUBLISHER, SUBSCRIBER, IDLE };
enum client_state { CLOSED, CONNECTING, GREETING, SUBSCRIBING, READY };

struct load;

struct client {
  struct load *load;
  int socket, port;
  uint32_t number;
  enum role role;
  enum client_state state;
  bool clean, wants_write, session_present;
  int subacks_due;
  struct bytes out, in;
  // A publisher's:
  uint64_t sent, limit, random;
  uint32_t next_topic, *numbers;  // the next number per topic
  uint16_t *free_ids;             // packet ids that may be used; the broker's Receive Maximum bounds them
  unsigned free_count;
  uint8_t *used_ids;
  bool ping_due;
  // A subscriber's:
  struct stream *last_stream;
  uint8_t *received_ids;  // QoS 2: PUBLISH has come, PUBREL has not
};

struct client *make_clients(struct load *load, int count, enum role role);
// Opens the connections, a few at a time; returns the seconds until all were ready, subscribed or failed.
double connect_clients(struct client *clients, int count);
void disconnect_clients(struct client *clients, int count);
// Writes what waits and asks epoll for what is needed next.
void flush_client(struct client *client);
// Puts as many messages into the output as the client may send now, and flushes.
void publish_more(struct client *client);
// Handles what epoll reports, until `deadline` (nanoseconds of the monotonic clock) or one round of events.
void run_loop(struct load *load, uint64_t deadline);

#endif
