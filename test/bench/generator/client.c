#define _GNU_SOURCE
#include "client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

#define WRITE_BYTES (16u << 10)          // of messages that a publisher puts into one write
#define READ_BYTES (256u << 10)
#define SEND_BUFFER_BYTES (32 << 10)     // small: what is offered should wait here, not in the kernel
#define CLIENTS_PER_ADDRESS 20000        // source ports of one address are limited
#define EVENTS 256
#define CONNECT_TIMEOUT_NS 30000000000ull

struct client *make_clients(struct load *load, int count, enum role role) {
  const struct port_list *ports = role == PUBLISHER ? &load->options.publish_ports : &load->options.subscribe_ports;
  struct client *clients = allocate((size_t)count * sizeof *clients);
  for (int i = 0; i < count; i++) {
    clients[i].load = load;
    clients[i].socket = -1;
    clients[i].number = (uint32_t)i;
    clients[i].role = role;
    clients[i].port = ports->ports[i % ports->count];
    clients[i].clean = role == PUBLISHER || load->options.clean;
  }
  return clients;
}

static void close_client(struct client *c) {
  if (c->socket >= 0) close(c->socket);
  c->socket = -1;
  c->state = CLOSED;
  bytes_clear(&c->in);
  bytes_clear(&c->out);
}

static void fail_client(struct client *c, const char *reason) {
  struct load *load = c->load;
  if (!load->is_ending) {
    uint64_t *counter = c->state == READY ? &load->disconnects : &load->connect_errors;
    if (++*counter <= 3) fprintf(stderr, "load generator: client %u: %s\n", c->number, reason);
  }
  close_client(c);
}

// A publisher at full speed writes whenever the socket takes more.
static bool is_unpaced(const struct client *c) {
  const struct load *load = c->load;
  return load->is_sending && c->role == PUBLISHER && c->state == READY && load->options.qos == 0 &&
         load->options.rate == 0 && c->sent < c->limit;
}

static void watch(struct client *c, bool is_new) {
  bool wants_write = c->state == CONNECTING || bytes_length(&c->out) > 0 || is_unpaced(c);
  if (!is_new && wants_write == c->wants_write) return;
  c->wants_write = wants_write;
  struct epoll_event event = {.events = EPOLLIN | (wants_write ? EPOLLOUT : 0), .data.ptr = c};
  if (epoll_ctl(c->load->epoll, is_new ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, c->socket, &event) != 0) die("epoll_ctl: %m");
}

void flush_client(struct client *c) {
  while (c->socket >= 0 && bytes_length(&c->out) > 0) {
    ssize_t written = send(c->socket, c->out.data + c->out.start, bytes_length(&c->out), MSG_NOSIGNAL);
    if (written < 0 && errno == EAGAIN) break;
    if (written < 0) return fail_client(c, strerror(errno));
    c->out.start += (size_t)written;
  }
  if (bytes_length(&c->out) == 0) bytes_clear(&c->out);
  if (c->socket >= 0) watch(c, false);
}

// ── connecting ─────────────────────────────────────────────────────────────────────────────────────────────────────

static void begin_connect(struct client *c) {
  c->socket = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (c->socket < 0) die("socket: %m");
  int on = 1, size = SEND_BUFFER_BYTES;
  setsockopt(c->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (c->role == PUBLISHER) setsockopt(c->socket, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
  if (c->role == IDLE) {
    struct sockaddr_in source = {.sin_family = AF_INET};
    source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + c->number / CLIENTS_PER_ADDRESS);
    setsockopt(c->socket, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(c->socket, (struct sockaddr *)&source, sizeof source) != 0) die("bind: %m");
  }
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)c->port)};
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  c->state = CONNECTING;
  if (connect(c->socket, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS) {
    return fail_client(c, strerror(errno));
  }
  watch(c, true);
}

static void greet(struct client *c) {
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(c->socket, SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0) return fail_client(c, strerror(error));
  const struct options *o = &c->load->options;
  char id[64];
  snprintf(id, sizeof id, "load-%x-%c%u", c->load->run, "psi"[c->role], c->number);
  struct connect_fields fields = {
      .version = o->version, .clean = c->clean, .session_expiry = 3600, .client_id = id,
      .username = o->username, .password = o->password,
  };
  write_connect(&c->out, &fields);
  c->state = GREETING;
  flush_client(c);
}

// Filter j belongs to client j modulo their number; a filter without {i} to all of them.
static void subscribe(struct client *c) {
  const struct options *o = &c->load->options;
  unsigned step = (unsigned)(c->role == IDLE ? o->connections : o->subscribers), packet_id = 1;
  unsigned filters = is_numbered(o->filter) ? (unsigned)o->filters : c->number + 1;
  for (unsigned j = c->number; j < filters; j += step) {
    char *filter = expand(o->filter, j);
    write_subscribe(&c->out, o->version, packet_id++ % 65535 + 1, filter, o->qos);
    free(filter);
    c->subacks_due++;
  }
}

static void on_connack(struct client *c, const uint8_t *body, size_t length) {
  struct load *load = c->load;
  const struct options *o = &load->options;
  if (length < 2 || body[1] != 0) return fail_client(c, "CONNACK says no");
  c->session_present = body[0] & 1;
  load->sessions_present += c->session_present;
  if (c->role == PUBLISHER && o->qos > 0) {
    unsigned allowed = o->version == 5 ? connack_receive_maximum(body, length) : 65535;
    unsigned window = (unsigned)o->window < allowed ? (unsigned)o->window : allowed;
    c->free_ids = allocate(window * sizeof *c->free_ids);
    c->used_ids = allocate(65536);
    for (unsigned id = window; id > 0; id--) c->free_ids[c->free_count++] = (uint16_t)id;
  }
  c->state = READY;
  if (c->role == PUBLISHER || c->session_present || o->filter[0] == '\0') return;
  subscribe(c);
  if (c->subacks_due > 0) c->state = SUBSCRIBING;
}

static void on_suback(struct client *c, const uint8_t *body, size_t length) {
  struct load *load = c->load;
  size_t at = load->options.version == 5 ? skip_properties(body, length, 2) : 2;
  if (at >= length || body[at] > 2) load->subscribe_errors++;
  else if (body[at] < load->granted_qos) load->granted_qos = body[at];
  if (--c->subacks_due == 0 && c->state == SUBSCRIBING) c->state = READY;
}

double connect_clients(struct client *clients, int count) {
  if (count == 0) return 0;
  struct load *load = clients[0].load;
  uint64_t started = clock_now();
  int begun = 0, done = 0;
  while (done < count && clock_now() - started < CONNECT_TIMEOUT_NS) {
    int pending = 0;
    for (int i = done; i < begun; i++) {
      bool is_settled = clients[i].state == READY || clients[i].state == CLOSED;
      if (is_settled && i == done) done++;
      pending += !is_settled;
    }
    for (; begun < count && pending < load->options.concurrency; begun++, pending++) begin_connect(&clients[begun]);
    run_loop(load, clock_now() + 100000000);
  }
  return (double)(clock_now() - started) / 1e9;
}

void disconnect_clients(struct client *clients, int count) {
  for (int i = 0; i < count; i++) {
    if (clients[i].state == CLOSED) continue;
    if (clients[i].state == READY) {
      write_empty(&clients[i].out, DISCONNECT);
      flush_client(&clients[i]);
    }
    close_client(&clients[i]);
  }
}

// ── publishing ─────────────────────────────────────────────────────────────────────────────────────────────────────

// When message `k` of all publishers is due at a fixed rate.
static uint64_t due_at(const struct load *load, uint64_t k) {
  return load->sending_since + (uint64_t)((double)k * 1e9 / load->options.rate);
}

static bool may_publish(const struct client *c) {
  const struct load *load = c->load;
  if (c->sent >= c->limit || (load->options.qos > 0 && c->free_count == 0)) return false;
  if (load->options.rate == 0) return true;
  return due_at(load, c->sent * (uint64_t)load->options.publishers + c->number) <= load->now;
}

static uint32_t choose_topic(struct client *c) {
  uint32_t topics = (uint32_t)c->load->options.topics;
  if (c->load->options.choice == OWN) return c->number % topics;
  if (c->load->options.choice == IN_TURN) return c->next_topic++ % topics;
  c->random = c->random * 6364136223846793005ull + 1442695040888963407ull;
  return (uint32_t)(c->random >> 33) % topics;
}

static void publish_one(struct client *c, uint64_t now) {
  struct load *load = c->load;
  const struct options *o = &load->options;
  uint32_t topic = choose_topic(c);
  const struct publish_head *head = &load->heads[topic];
  uint8_t *to = bytes_reserve(&c->out, head->length + 3 + o->payload_size), *at = to;
  memcpy(at, head->data, head->length);
  at += head->length;
  if (o->qos > 0) {
    unsigned id = c->free_ids[--c->free_count];
    c->used_ids[id] = 1;
    put_u16(at, id);
    at += 2;
  }
  if (o->version == 5) *at++ = 0;
  // At a fixed rate the stamp is the moment it was due, so that a late sender shows as latency.
  uint64_t sent_at = o->rate > 0 ? due_at(load, c->sent * (uint64_t)o->publishers + c->number) : now;
  struct stamp stamp = {sent_at, load->run, c->number, topic, c->numbers[topic]++};
  memcpy(at, &stamp, sizeof stamp);
  memcpy(at + sizeof stamp, load->padding, o->payload_size - sizeof stamp);
  c->out.end += (size_t)(at - to) + o->payload_size;
  c->sent++;
  load->sent++;
  load->expected += load->receivers[topic];
}

void publish_more(struct client *c) {
  if (c->load->is_sending && c->state == READY && bytes_length(&c->out) < WRITE_BYTES) {
    uint64_t now = clock_now();
    size_t stop = bytes_length(&c->out) + WRITE_BYTES;
    while (bytes_length(&c->out) < stop && may_publish(c)) publish_one(c, now);
  }
  flush_client(c);
}

static void on_acknowledged(struct client *c, unsigned packet_id) {
  if (c->used_ids == NULL || !c->used_ids[packet_id]) {
    c->load->refused_acks++;
    return;
  }
  c->used_ids[packet_id] = 0;
  c->free_ids[c->free_count++] = (uint16_t)packet_id;
  c->load->acked++;
}

// ── receiving ──────────────────────────────────────────────────────────────────────────────────────────────────────

static void on_payload(struct client *c, const uint8_t *payload, size_t length) {
  struct load *load = c->load;
  const struct options *o = &load->options;
  struct stamp stamp;
  if (length >= sizeof stamp) memcpy(&stamp, payload, sizeof stamp);
  bool is_ours = length >= sizeof stamp && stamp.run == load->run && stamp.publisher < (uint32_t)o->publishers &&
                 stamp.topic < (uint32_t)o->topics;
  if (!is_ours) {
    load->foreign++;
    return;
  }
  uint64_t per_receiver = (uint64_t)o->publishers * (uint64_t)o->topics;
  uint64_t source = (uint64_t)stamp.publisher * (uint64_t)o->topics + stamp.topic;
  uint64_t key = c->number * per_receiver + source;
  if (c->last_stream == NULL || c->last_stream->key != key) c->last_stream = stream_of(&load->deliveries, key);
  // The members of a share group have one copy between them.
  struct stream *once = c->last_stream;
  if (is_shared(o->filter)) once = stream_of(&load->deliveries, (uint64_t)o->subscribers * per_receiver + source);
  if (!count_delivery(&load->deliveries, once, c->last_stream, stamp.number)) return;
  load->last_delivery_at = load->now;
  if (stamp.sent_at >= load->measured_from && stamp.sent_at < load->measured_to) {
    histogram_add(&load->latencies, load->now > stamp.sent_at ? load->now - stamp.sent_at : 0);
  }
}

static void on_publish(struct client *c, uint8_t first_byte, const uint8_t *body, size_t length) {
  int qos = first_byte >> 1 & 3;
  size_t at = length >= 2 ? 2 + get_u16(body) : length + 1;
  unsigned packet_id = 0;
  if (qos > 0 && at + 2 <= length) packet_id = get_u16(body + at);
  if (qos > 0) at += 2;
  if (c->load->options.version == 5) at = skip_properties(body, length, at);
  if (at > length) die("malformed PUBLISH from the broker");
  if (qos == 1) write_ack(&c->out, PUBACK, packet_id);
  if (qos == 2) {
    if (c->received_ids == NULL) c->received_ids = allocate(65536);
    write_ack(&c->out, PUBREC, packet_id);
    if (c->received_ids[packet_id]) return;
    c->received_ids[packet_id] = 1;
  }
  on_payload(c, body + at, length - at);
}

static void on_packet(struct client *c, uint8_t first_byte, const uint8_t *body, size_t length) {
  unsigned packet_id = length >= 2 ? get_u16(body) : 0;
  // In MQTT 5 the third byte is the reason code, from 0x80 on a failure. [MQTT 5.0 section 3.4.2.1]
  bool is_refused = length > 2 && body[2] >= 0x80;
  switch (first_byte >> 4) {
    case CONNACK: on_connack(c, body, length); break;
    case SUBACK: on_suback(c, body, length); break;
    case PUBLISH: on_publish(c, first_byte, body, length); break;
    case PUBACK: on_acknowledged(c, packet_id); break;
    case PUBREC:
      if (is_refused) on_acknowledged(c, packet_id);
      else write_ack(&c->out, PUBREL, packet_id);
      break;
    case PUBREL:
      if (c->received_ids != NULL) c->received_ids[packet_id] = 0;
      write_ack(&c->out, PUBCOMP, packet_id);
      break;
    case PUBCOMP: on_acknowledged(c, packet_id); break;
    case PINGRESP: c->ping_due = false; break;
    case DISCONNECT: fail_client(c, "the broker sent DISCONNECT"); break;
    default: die("a packet of type %d from the broker", first_byte >> 4);
  }
}

// Handles the whole packets; returns how many bytes they took.
static size_t split(struct client *c, const uint8_t *data, size_t length) {
  size_t at = 0;
  while (c->socket >= 0 && length - at >= 2) {
    uint32_t size;
    int used = get_varint(data + at + 1, length - at - 1, &size);
    if (used < 0) die("malformed remaining length from the broker");
    if (used == 0 || length - at < 1 + (size_t)used + size) break;
    on_packet(c, data[at], data + at + 1 + used, size);
    at += 1 + (size_t)used + size;
  }
  return at;
}

static void read_client(struct client *c) {
  static uint8_t buffer[READ_BYTES];
  ssize_t count = recv(c->socket, buffer, sizeof buffer, 0);
  if (count < 0 && errno == EAGAIN) return;
  if (count <= 0) return fail_client(c, count == 0 ? "closed by the broker" : strerror(errno));
  c->load->now = clock_now();
  if (bytes_length(&c->in) == 0) {
    size_t used = split(c, buffer, (size_t)count);
    if (c->socket >= 0) bytes_append(&c->in, buffer + used, (size_t)count - used);
  } else {
    bytes_append(&c->in, buffer, (size_t)count);
    c->in.start += split(c, c->in.data + c->in.start, bytes_length(&c->in));
  }
  if (bytes_length(&c->in) == 0) bytes_clear(&c->in);
}

void run_loop(struct load *load, uint64_t deadline) {
  struct epoll_event events[EVENTS];
  load->now = clock_now();
  int64_t wait = deadline > load->now ? (int64_t)(deadline - load->now) : 0;
  struct timespec timeout = {wait / 1000000000, wait % 1000000000};
  int count = epoll_pwait2(load->epoll, events, EVENTS, &timeout, NULL);
  if (count < 0 && errno != EINTR) die("epoll_pwait2: %m");
  for (int i = 0; i < count; i++) {
    struct client *c = events[i].data.ptr;
    if (c->socket < 0) continue;
    if (c->state == CONNECTING) {
      greet(c);
      continue;
    }
    if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) read_client(c);
    if (c->socket >= 0) publish_more(c);
  }
}
