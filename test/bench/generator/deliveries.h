// Which messages have arrived: every delivery is one of a stream (receiver, publisher, topic) with a number in it.
#ifndef DELIVERIES_H
#define DELIVERIES_H

#include <stdbool.h>
#include <stdint.h>

// The head of every payload; what follows is padding.
struct stamp { uint64_t sent_at; uint32_t run, publisher, topic, number; };

struct stream { uint64_t key; uint32_t next, words; uint64_t *seen; };

struct deliveries {
  struct stream **table;
  uint64_t capacity, count;
  uint64_t arrived, duplicates, disordered;
};

// The stream of a key, made when it is new; valid for good.
struct stream *stream_of(struct deliveries *d, uint64_t key);
/**
 * Counts one delivery. `once` is where a number may be seen only once (the receiver's own stream, or the one of its
 * share group), `ordered` the receiver's own stream. False for a duplicate.
 */
bool count_delivery(struct deliveries *d, struct stream *once, struct stream *ordered, uint32_t number);

#endif
