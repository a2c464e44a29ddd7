#include "histogram.h"

// Small values have a bucket each; above, the bits behind the highest one choose the step.
static unsigned bucket_of(uint64_t value) {
  if (value < HISTOGRAM_STEPS) return (unsigned)value;
  int exponent = 63 - __builtin_clzll(value);
  return (unsigned)(exponent - 4) * HISTOGRAM_STEPS + ((value >> (exponent - 5)) & (HISTOGRAM_STEPS - 1));
}

static double middle_of(unsigned bucket) {
  if (bucket < HISTOGRAM_STEPS) return bucket;
  int exponent = (int)(bucket / HISTOGRAM_STEPS) + 4;
  return (HISTOGRAM_STEPS + bucket % HISTOGRAM_STEPS + 0.5) * (double)(1ull << (exponent - 5));
}

void histogram_add(struct histogram *h, uint64_t nanoseconds) {
  h->buckets[bucket_of(nanoseconds)]++;
  h->count++;
  if (nanoseconds > h->highest) h->highest = nanoseconds;
}

double histogram_microseconds(const struct histogram *h, double quantile) {
  uint64_t wanted = (uint64_t)(quantile * (double)h->count), seen = 0;
  for (unsigned i = 0; i < 64 * HISTOGRAM_STEPS; i++) {
    seen += h->buckets[i];
    if (seen > wanted) {
      double value = middle_of(i);
      return (value > (double)h->highest ? (double)h->highest : value) / 1e3;
    }
  }
  return (double)h->highest / 1e3;
}
