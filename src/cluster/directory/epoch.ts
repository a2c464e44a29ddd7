/**
 * Epochs order the connections of one client ID in the whole cluster: the highest stays. An epoch is a time in
 * milliseconds with room for a counter behind it, so that nodes that cannot ask each other give out epochs that still
 * follow their clocks. [docs/decisions/008]
 */

/** Epochs of one millisecond: a number holds the product without loss for the next 240 years. */
const EPOCHS_PER_MILLISECOND = 1024

/** An epoch of now, and higher than `last` whatever the clock says. */
export function nextEpoch(last: number): number {
  return Math.max(last + 1, Date.now() * EPOCHS_PER_MILLISECOND)
}
