#include "wire.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void die(const char *format, ...) {
  va_list values;
  va_start(values, format);
  fputs("load generator: ", stderr);
  vfprintf(stderr, format, values);
  fputc('\n', stderr);
  exit(2);
}

void *allocate(size_t size) {
  void *memory = calloc(1, size == 0 ? 1 : size);
  if (memory == NULL) die("out of memory");
  return memory;
}

uint8_t *bytes_reserve(struct bytes *b, size_t size) {
  if (b->start > 0 && b->end + size > b->capacity) {
    memmove(b->data, b->data + b->start, b->end - b->start);
    b->end -= b->start;
    b->start = 0;
  }
  if (b->end + size > b->capacity) {
    b->capacity = 2 * (b->end + size);
    b->data = realloc(b->data, b->capacity);
    if (b->data == NULL) die("out of memory");
  }
  return b->data + b->end;
}

void bytes_append(struct bytes *b, const void *from, size_t size) {
  memcpy(bytes_reserve(b, size), from, size);
  b->end += size;
}

void bytes_clear(struct bytes *b) { b->start = b->end = 0; }

size_t put_varint(uint8_t *to, uint32_t value) {
  size_t size = 0;
  for (;;) {
    to[size] = value & 0x7f;
    value >>= 7;
    if (value == 0) return size + 1;
    to[size++] |= 0x80;
  }
}

int get_varint(const uint8_t *from, size_t available, uint32_t *value) {
  *value = 0;
  for (size_t i = 0; i < 4; i++) {
    if (i == available) return 0;
    *value |= (uint32_t)(from[i] & 0x7f) << (7 * i);
    if (from[i] < 0x80) return (int)i + 1;
  }
  return -1;
}

static size_t put_text(uint8_t *to, const char *text) {
  size_t length = strlen(text);
  put_u16(to, (unsigned)length);
  memcpy(to + 2, text, length);
  return length + 2;
}

static void write_packet(struct bytes *out, uint8_t first_byte, const uint8_t *body, size_t length) {
  uint8_t *to = bytes_reserve(out, length + 5);
  to[0] = first_byte;
  size_t header = 1 + put_varint(to + 1, (uint32_t)length);
  memcpy(to + header, body, length);
  out->end += header + length;
}

void write_connect(struct bytes *out, const struct connect_fields *fields) {
  uint8_t body[2048];
  size_t at = put_text(body, "MQTT");
  body[at++] = (uint8_t)fields->version;
  body[at++] = (fields->clean ? 0x02 : 0) | (fields->username ? 0x80 : 0) | (fields->password ? 0x40 : 0);
  put_u16(body + at, (unsigned)fields->keep_alive);
  at += 2;
  if (fields->version == 5 && fields->clean) body[at++] = 0;
  if (fields->version == 5 && !fields->clean) {
    body[at++] = 5;
    body[at++] = 0x11;  // Session Expiry Interval
    put_u16(body + at, fields->session_expiry >> 16);
    put_u16(body + at + 2, fields->session_expiry & 0xffff);
    at += 4;
  }
  at += put_text(body + at, fields->client_id);
  if (fields->username) at += put_text(body + at, fields->username);
  if (fields->password) at += put_text(body + at, fields->password);
  write_packet(out, CONNECT << 4, body, at);
}

void write_subscribe(struct bytes *out, int version, unsigned packet_id, const char *filter, int qos) {
  uint8_t body[1024];
  put_u16(body, packet_id);
  size_t at = 2;
  if (version == 5) body[at++] = 0;
  at += put_text(body + at, filter);
  body[at++] = (uint8_t)qos;
  write_packet(out, SUBSCRIBE << 4 | 2, body, at);
}

void write_ack(struct bytes *out, enum packet_type type, unsigned packet_id) {
  uint8_t *to = bytes_reserve(out, 4);
  to[0] = (uint8_t)(type << 4 | (type == PUBREL ? 2 : 0));
  to[1] = 2;
  put_u16(to + 2, packet_id);
  out->end += 4;
}

void write_empty(struct bytes *out, enum packet_type type) {
  const uint8_t packet[] = {(uint8_t)(type << 4), 0};
  bytes_append(out, packet, sizeof packet);
}

struct publish_head make_publish_head(int version, const char *topic, int qos, size_t payload_size) {
  size_t rest = 2 + strlen(topic) + (qos > 0 ? 2 : 0) + (version == 5 ? 1 : 0) + payload_size;
  struct publish_head head = {.data = allocate(strlen(topic) + 8)};
  head.data[0] = (uint8_t)(PUBLISH << 4 | qos << 1);
  head.length = 1 + put_varint(head.data + 1, (uint32_t)rest);
  head.length += put_text(head.data + head.length, topic);
  return head;
}

size_t skip_properties(const uint8_t *body, size_t length, size_t at) {
  uint32_t size = 0;
  int used = at <= length ? get_varint(body + at, length - at, &size) : -1;
  if (used <= 0 || at + (size_t)used + size > length) die("malformed properties from the broker");
  return at + (size_t)used + size;
}

// Bytes of a property's value, by its identifier. [MQTT 5.0 section 2.2.2.2]
static size_t property_size(uint8_t identifier, const uint8_t *value, const uint8_t *end) {
  uint32_t ignored;
  switch (identifier) {
    case 0x24: case 0x25: case 0x28: case 0x29: case 0x2a: return 1;
    case 0x13: case 0x21: case 0x22: return 2;
    case 0x11: case 0x27: return 4;
    case 0x0b: return (size_t)get_varint(value, (size_t)(end - value), &ignored);
    case 0x26: {
      size_t name = 2 + get_u16(value);
      return name + 2 + get_u16(value + name);
    }
    default: return 2 + get_u16(value);
  }
}

unsigned connack_receive_maximum(const uint8_t *body, size_t length) {
  uint32_t size = 0;
  int used = get_varint(body + 2, length - 2, &size);
  if (used <= 0) return 65535;
  const uint8_t *at = body + 2 + used, *end = at + size;
  while (at < end) {
    if (*at == 0x21) return get_u16(at + 1);
    at += 1 + property_size(*at, at + 1, end);
  }
  return 65535;
}
