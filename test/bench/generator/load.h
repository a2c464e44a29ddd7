// One run: its options, its clients and what they have counted.
#ifndef LOAD_H
#define LOAD_H

#include "client.h"
#include "deliveries.h"
#include "histogram.h"
#include "options.h"

struct load {
  struct options options;
  int epoll;
  uint32_t run;                    // in every payload: tells our messages from those of other runs
  struct client *publishers, *subscribers;
  struct publish_head *heads;      // per topic
  uint32_t *receivers;             // per topic: how many deliveries one message makes
  uint8_t *padding;
  bool is_sending, is_ending;
  uint64_t now, sending_since, measured_from, measured_to;
  uint64_t sent, acked, expected, foreign, refused_acks, connect_errors, subscribe_errors, disconnects, sessions_present;
  int granted_qos;
  struct deliveries deliveries;
  uint64_t last_delivery_at;
  struct histogram latencies;
};

uint64_t clock_now(void);  // nanoseconds, monotonic

#endif
