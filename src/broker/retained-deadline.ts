/** When a retained message ends, read from its replicated value: for the replica, which drops it on every node by itself. */

const DEADLINE_BYTES = 8

/**
 * Milliseconds since the epoch; 0 when the message does not end.
 * @param value as `RetainedMessages` gives it to its replica: the deadline comes first, as a double
 */
export function retainedDeadline(value: Buffer): number {
  return value.length < DEADLINE_BYTES ? 0 : value.readDoubleBE(0)
}
