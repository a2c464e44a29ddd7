// Latencies in nanoseconds, in buckets of about 3 % width.
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_STEPS 32  // per power of two

struct histogram { uint64_t buckets[64 * HISTOGRAM_STEPS], count, highest; };

void histogram_add(struct histogram *h, uint64_t nanoseconds);
// The value below which the share `quantile` of all lies, in microseconds; 0 when there are none.
double histogram_microseconds(const struct histogram *h, double quantile);

#endif
