// MQTT packets as bytes: what a load generator has to write and to read.
#ifndef WIRE_H
#define WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum packet_type {
  CONNECT = 1, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, SUBACK,
  PINGREQ = 12, PINGRESP, DISCONNECT,
};

// Bytes that grow at the end and are used up at the start.
struct bytes { uint8_t *data; size_t start, end, capacity; };

static inline size_t bytes_length(const struct bytes *b) { return b->end - b->start; }
// Room for `size` more bytes; the caller adds what it wrote to `end`.
uint8_t *bytes_reserve(struct bytes *b, size_t size);
void bytes_append(struct bytes *b, const void *from, size_t size);
void bytes_clear(struct bytes *b);

static inline void put_u16(uint8_t *to, unsigned value) { to[0] = value >> 8; to[1] = value & 0xff; }
static inline unsigned get_u16(const uint8_t *from) { return from[0] << 8 | from[1]; }
// Writes a variable byte integer; returns how many bytes it took.
size_t put_varint(uint8_t *to, uint32_t value);
// Reads one; returns the bytes used, 0 when incomplete, -1 when malformed.
int get_varint(const uint8_t *from, size_t available, uint32_t *value);

struct connect_fields {
  int version;                // 4 or 5
  bool clean;
  int keep_alive;             // seconds
  uint32_t session_expiry;    // seconds, MQTT 5 and not clean only
  const char *client_id, *username, *password;
};
void write_connect(struct bytes *out, const struct connect_fields *fields);
void write_subscribe(struct bytes *out, int version, unsigned packet_id, const char *filter, int qos);
void write_ack(struct bytes *out, enum packet_type type, unsigned packet_id);
void write_empty(struct bytes *out, enum packet_type type);

// What stays the same in every PUBLISH to one topic: fixed header and topic name.
struct publish_head { uint8_t *data; size_t length; };
struct publish_head make_publish_head(int version, const char *topic, int qos, size_t payload_size);

// Receive Maximum in the properties of a CONNACK, 65535 when it is not there.
unsigned connack_receive_maximum(const uint8_t *body, size_t length);
// Offset of what follows the properties that begin at `at`.
size_t skip_properties(const uint8_t *body, size_t length, size_t at);

void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
void *allocate(size_t size);  // zeroed

#endif
