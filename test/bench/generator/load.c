/**
 * A load generator for MQTT 3.1.1 and 5.0: one thread, epoll, nothing but libc. It sends numbered messages, as fast as
 * the broker takes them or at a rate, and counts what arrives: how many, which twice, which out of order, how late.
 * One line of JSON on standard output; the exit status tells only of connections and subscriptions that failed.
 */
#define _GNU_SOURCE
#include "load.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000ull
#define DRAIN_MAXIMUM (30 * SECOND)
#define STALL_MAXIMUM (10 * SECOND)

uint64_t clock_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

// ── what the operating system knows ────────────────────────────────────────────────────────────────────────────────

static double broker_cpu_seconds(const struct options *o) {
  unsigned long total = 0;
  for (int i = 0; i < o->broker_pids.count; i++) {
    char path[64], line[1024] = "";
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", o->broker_pids.ports[i]);
    FILE *file = fopen(path, "r");
    if (file == NULL) die("there is no process %d", o->broker_pids.ports[i]);
    if (fgets(line, sizeof line, file) == NULL) line[0] = '\0';
    fclose(file);
    // The name, in parentheses, may hold anything.
    const char *rest = strrchr(line, ')');
    if (rest == NULL || sscanf(rest + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2) {
      die("%s is not as expected", path);
    }
    total += user + system;
  }
  return (double)total / (double)sysconf(_SC_CLK_TCK);
}

static int64_t broker_memory(const struct options *o) {
  int64_t total = 0;
  for (int i = 0; i < o->broker_pids.count; i++) {
    char path[64];
    long pages = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", o->broker_pids.ports[i]);
    FILE *file = fopen(path, "r");
    if (file == NULL || fscanf(file, "%*d %ld", &pages) != 1) die("cannot read %s", path);
    fclose(file);
    total += pages * sysconf(_SC_PAGESIZE);
  }
  return total;
}

static double own_cpu_seconds(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

// The counters at one moment: rates are differences of two.
struct mark { uint64_t at, sent, acked, arrived; double own_cpu, broker_cpu; };

static struct mark mark_now(const struct load *load) {
  return (struct mark){
      clock_now(), load->sent, load->acked, load->deliveries.arrived, own_cpu_seconds(), broker_cpu_seconds(&load->options),
  };
}

// ── a run ──────────────────────────────────────────────────────────────────────────────────────────────────────────

// How many deliveries a message to each topic makes: its subscribers, or one for a share group.
static void prepare(struct load *load) {
  const struct options *o = &load->options;
  bool numbered = is_numbered(o->filter), shared = is_shared(o->filter);
  int filters = o->subscribers == 0 ? 0 : numbered ? o->filters : 1;
  char **plain = allocate((size_t)filters * sizeof *plain);
  for (int j = 0; j < filters; j++) {
    char *filter = expand(o->filter, (unsigned)j);
    plain[j] = expand(plain_filter(filter), 0);
    free(filter);
  }
  load->heads = allocate((size_t)o->topics * sizeof *load->heads);
  load->receivers = allocate((size_t)o->topics * sizeof *load->receivers);
  for (int t = 0; t < o->topics; t++) {
    char *topic = expand(o->topic, (unsigned)t);
    load->heads[t] = make_publish_head(o->version, topic, o->qos, o->payload_size);
    for (int j = 0; j < filters; j++) {
      if (filter_matches(plain[j], topic)) load->receivers[t] += shared || numbered ? 1 : (uint32_t)o->subscribers;
    }
    free(topic);
  }
  for (int j = 0; j < filters; j++) free(plain[j]);
  free(plain);
  load->padding = allocate(o->payload_size);
  memset(load->padding, '.', o->payload_size);
}

static void start_sending(struct load *load) {
  const struct options *o = &load->options;
  uint64_t publishers = (uint64_t)o->publishers;
  for (uint64_t i = 0; i < publishers; i++) {
    struct client *c = &load->publishers[i];
    c->numbers = allocate((size_t)o->topics * sizeof *c->numbers);
    c->next_topic = (uint32_t)i;
    c->random = load->run ^ (i + 1) << 20;
    c->limit = o->count == 0 ? UINT64_MAX : o->count / publishers + (i < o->count % publishers);
  }
  load->sending_since = clock_now();
  load->is_sending = true;
  for (uint64_t i = 0; i < publishers; i++) publish_more(&load->publishers[i]);
}

static bool is_sent(const struct load *load) {
  const struct options *o = &load->options;
  return o->count > 0 && load->sent >= o->count && (o->qos == 0 || load->acked >= o->count);
}

static bool has_publisher(const struct load *load) {
  for (int i = 0; i < load->options.publishers; i++) {
    if (load->publishers[i].state == READY) return true;
  }
  return false;
}

/** Runs until `end`, or until all is sent and acknowledged, or nothing moves any more. */
static void send_until(struct load *load, uint64_t end) {
  uint64_t moved_at = clock_now(), seen = 0;
  // At a rate the publishers are due by the clock, not by events.
  uint64_t step = load->options.rate > 0 ? 50000 : SECOND / 20;
  while (clock_now() < end && has_publisher(load) && !is_sent(load)) {
    uint64_t now = clock_now();
    run_loop(load, end < now + step ? end : now + step);
    if (load->options.rate > 0) {
      load->now = clock_now();
      for (int i = 0; i < load->options.publishers; i++) publish_more(&load->publishers[i]);
    }
    if (load->sent + load->acked != seen) {
      seen = load->sent + load->acked;
      moved_at = clock_now();
    } else if (clock_now() - moved_at > STALL_MAXIMUM) {
      fprintf(stderr, "load generator: the publishers stand still\n");
      return;
    }
  }
}

// The answer to a last PINGREQ says that the broker has read all that its publisher sent.
static void stop_sending(struct load *load) {
  load->is_sending = false;
  for (int i = 0; i < load->options.publishers; i++) {
    struct client *c = &load->publishers[i];
    if (c->state != READY) continue;
    write_empty(&c->out, PINGREQ);
    c->ping_due = true;
    flush_client(c);
  }
}

static bool is_ping_due(const struct load *load) {
  for (int i = 0; i < load->options.publishers; i++) {
    if (load->publishers[i].state == READY && load->publishers[i].ping_due) return true;
  }
  return false;
}

/** Waits until everything expected has arrived, or nothing has for the quiet time; false when it had to be cut off. */
static bool drain(struct load *load, bool is_delivery_expected) {
  uint64_t started = clock_now(), moved_at = started, seen = 0, quiet = (uint64_t)(load->options.quiet * 1e9);
  for (;;) {
    uint64_t now = clock_now(), sum = load->deliveries.arrived + load->deliveries.duplicates + load->acked;
    if (sum != seen) {
      seen = sum;
      moved_at = now;
    }
    if (now - started > DRAIN_MAXIMUM) return false;
    if (now - moved_at > quiet) return true;
    bool is_acked = load->options.qos == 0 || load->acked >= load->sent;
    bool is_delivered = !is_delivery_expected || load->deliveries.arrived >= load->expected;
    // A little longer, for duplicates.
    if (!is_ping_due(load) && is_acked && is_delivered && now - moved_at > SECOND / 5) return true;
    run_loop(load, now + SECOND / 100);
  }
}

static void pause_for(struct load *load, double seconds) {
  uint64_t end = clock_now() + (uint64_t)(seconds * 1e9);
  while (clock_now() < end) run_loop(load, end);
}

static void report_messages(const struct load *load, struct mark from, struct mark to, bool is_drained, const char *more) {
  double seconds = (double)(to.at - from.at) / 1e9;
  const struct histogram *h = &load->latencies;
  printf("{\"sent_s\":%.0f,\"acked_s\":%.0f,\"delivered_s\":%.0f,", (double)(to.sent - from.sent) / seconds,
         (double)(to.acked - from.acked) / seconds, (double)(to.arrived - from.arrived) / seconds);
  printf("\"sent\":%" PRIu64 ",\"acked\":%" PRIu64 ",\"expected\":%" PRIu64 ",\"arrived\":%" PRIu64 ",", load->sent,
         load->acked, load->expected, load->deliveries.arrived);
  printf("\"lost\":%" PRId64 ",\"duplicates\":%" PRIu64 ",\"disordered\":%" PRIu64 ",\"foreign\":%" PRIu64 ",",
         (int64_t)(load->expected - load->deliveries.arrived), load->deliveries.duplicates, load->deliveries.disordered,
         load->foreign);
  printf("\"granted_qos\":%d,\"disconnects\":%" PRIu64 ",\"stray_acks\":%" PRIu64 ",\"is_drained\":%s,",
         load->granted_qos, load->disconnects, load->refused_acks, is_drained ? "true" : "false");
  printf("\"p50_us\":%.0f,\"p90_us\":%.0f,\"p99_us\":%.0f,\"p999_us\":%.0f,\"highest_us\":%.0f,",
         histogram_microseconds(h, 0.5), histogram_microseconds(h, 0.9), histogram_microseconds(h, 0.99),
         histogram_microseconds(h, 0.999), (double)h->highest / 1e3);
  printf("\"broker_cpu\":%.0f,\"own_cpu\":%.0f,\"memory\":%" PRId64 "%s}\n",
         100 * (to.broker_cpu - from.broker_cpu) / seconds, 100 * (to.own_cpu - from.own_cpu) / seconds,
         broker_memory(&load->options), more);
}

// Nothing of the sessions is left for the next run.
static void discard_sessions(struct load *load) {
  const struct options *o = &load->options;
  load->is_ending = true;
  disconnect_clients(load->subscribers, o->subscribers);
  load->options.filter = "";
  for (int i = 0; i < o->subscribers; i++) load->subscribers[i].clean = true;
  connect_clients(load->subscribers, o->subscribers);
}

static void run_messages(struct load *load) {
  const struct options *o = &load->options;
  connect_clients(load->subscribers, o->subscribers);
  connect_clients(load->publishers, o->publishers);
  pause_for(load, 0.2);
  start_sending(load);
  if (o->count == 0) send_until(load, load->sending_since + (uint64_t)(o->warm_up * 1e9));
  load->measured_from = clock_now();
  struct mark from = mark_now(load);
  send_until(load, o->count > 0 ? UINT64_MAX : load->measured_from + (uint64_t)(o->seconds * 1e9));
  struct mark to = mark_now(load);
  load->measured_to = to.at;
  stop_sending(load);
  bool is_drained = drain(load, true);
  report_messages(load, from, to, is_drained, "");
  if (!o->clean) discard_sessions(load);
}

// Subscribers that are away: what is published meanwhile waits for them.
static void run_offline(struct load *load) {
  const struct options *o = &load->options;
  for (int i = 0; i < o->subscribers; i++) load->subscribers[i].clean = false;
  connect_clients(load->subscribers, o->subscribers);
  disconnect_clients(load->subscribers, o->subscribers);
  pause_for(load, 0.3);
  connect_clients(load->publishers, o->publishers);
  int64_t memory = broker_memory(o);
  load->sessions_present = 0;
  struct mark from = mark_now(load);
  start_sending(load);
  send_until(load, o->count > 0 ? UINT64_MAX : load->sending_since + (uint64_t)(o->seconds * 1e9));
  struct mark to = mark_now(load);
  stop_sending(load);
  drain(load, false);
  int64_t grown = broker_memory(o) - memory;
  uint64_t returned_at = clock_now();
  load->last_delivery_at = returned_at;
  connect_clients(load->subscribers, o->subscribers);
  bool is_drained = drain(load, true);
  double replay = (double)(load->last_delivery_at - returned_at) / 1e9;
  char more[160];
  snprintf(more, sizeof more, ",\"sessions_present\":%" PRIu64 ",\"replayed_s\":%.0f,\"queue_memory\":%" PRId64,
           load->sessions_present, replay > 0 ? (double)load->deliveries.arrived / replay : 0, grown);
  report_messages(load, from, to, is_drained, more);
  discard_sessions(load);
}

static void run_connections(struct load *load) {
  const struct options *o = &load->options;
  load->subscribers = make_clients(load, o->connections, IDLE);
  int64_t before = broker_memory(o);
  double took = connect_clients(load->subscribers, o->connections);
  struct mark from = mark_now(load);
  pause_for(load, o->seconds);
  struct mark to = mark_now(load);
  int open = 0;
  for (int i = 0; i < o->connections; i++) open += load->subscribers[i].state == READY;
  double seconds = (double)(to.at - from.at) / 1e9;
  printf("{\"connections\":%d,\"connects_s\":%.0f,\"memory_per_connection\":%.0f,\"idle_cpu\":%.1f}\n", open,
         o->connections / took, open == 0 ? 0 : (double)(broker_memory(o) - before) / open,
         100 * (to.broker_cpu - from.broker_cpu) / seconds);
}

static void raise_file_limit(const struct options *o) {
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  rlim_t needed = (rlim_t)(o->publishers + o->subscribers + o->connections) + 64;
  if (limit.rlim_cur >= needed) return;
  limit.rlim_cur = needed;
  if (limit.rlim_max < needed) limit.rlim_max = needed;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) die("cannot open %ju files: %m", (uintmax_t)needed);
}

int main(int count, char **values) {
  static struct load load;
  load.options = read_options(count, values);
  const struct options *o = &load.options;
  load.run = (uint32_t)(clock_now() ^ (uint64_t)getpid() << 16);
  load.granted_qos = 3;
  load.measured_from = load.measured_to = UINT64_MAX;
  signal(SIGPIPE, SIG_IGN);
  prctl(PR_SET_TIMERSLACK, 1000ul);
  raise_file_limit(o);
  load.epoll = epoll_create1(EPOLL_CLOEXEC);
  if (load.epoll < 0) die("epoll_create1: %m");
  if (strcmp(o->mode, "connections") == 0) {
    run_connections(&load);
  } else {
    prepare(&load);
    load.subscribers = make_clients(&load, o->subscribers, SUBSCRIBER);
    load.publishers = make_clients(&load, o->publishers, PUBLISHER);
    if (strcmp(o->mode, "messages") == 0) run_messages(&load);
    else if (strcmp(o->mode, "offline") == 0) run_offline(&load);
    else die("--mode %s: expected messages, connections or offline", o->mode);
    load.is_ending = true;
    disconnect_clients(load.publishers, o->publishers);
  }
  load.is_ending = true;
  disconnect_clients(load.subscribers, strcmp(o->mode, "connections") == 0 ? o->connections : o->subscribers);
  return load.connect_errors > 0 || load.disconnects > 0 || load.subscribe_errors > 0;
}
