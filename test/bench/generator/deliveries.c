#include "deliveries.h"

#include <stdlib.h>
#include <string.h>

#include "wire.h"

#define FIRST_CAPACITY 1024

static uint64_t place_of(const struct deliveries *d, uint64_t key) {
  uint64_t place = (key * 0x9e3779b97f4a7c15ull >> 17) & (d->capacity - 1);
  while (d->table[place] != NULL && d->table[place]->key != key) place = (place + 1) & (d->capacity - 1);
  return place;
}

static void grow(struct deliveries *d) {
  struct stream **old = d->table;
  uint64_t old_capacity = d->capacity;
  d->capacity = old_capacity == 0 ? FIRST_CAPACITY : 2 * old_capacity;
  d->table = allocate(d->capacity * sizeof *d->table);
  for (uint64_t i = 0; i < old_capacity; i++) {
    if (old[i] != NULL) d->table[place_of(d, old[i]->key)] = old[i];
  }
  free(old);
}

struct stream *stream_of(struct deliveries *d, uint64_t key) {
  if (2 * d->count >= d->capacity) grow(d);
  uint64_t place = place_of(d, key);
  if (d->table[place] == NULL) {
    d->table[place] = allocate(sizeof **d->table);
    d->table[place]->key = key;
    d->count++;
  }
  return d->table[place];
}

static bool is_first(struct stream *stream, uint32_t number) {
  uint32_t word = number / 64;
  if (word >= stream->words) {
    uint32_t words = stream->words == 0 ? 2 : stream->words;
    while (words <= word) words *= 2;
    stream->seen = realloc(stream->seen, words * sizeof *stream->seen);
    if (stream->seen == NULL) die("out of memory");
    memset(stream->seen + stream->words, 0, (words - stream->words) * sizeof *stream->seen);
    stream->words = words;
  }
  uint64_t bit = 1ull << (number % 64);
  if (stream->seen[word] & bit) return false;
  stream->seen[word] |= bit;
  return true;
}

bool count_delivery(struct deliveries *d, struct stream *once, struct stream *ordered, uint32_t number) {
  if (!is_first(once, number)) {
    d->duplicates++;
    return false;
  }
  d->arrived++;
  if (number < ordered->next) d->disordered++;
  else ordered->next = number + 1;
  return true;
}
