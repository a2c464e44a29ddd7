import { setTimeout as delay } from 'node:timers/promises'

/**
 * Repeats a check until it stops throwing and returns what it returned; after `within` milliseconds the last error
 * is thrown as it is, with the time that was given added to its message.
 */
export async function eventually<T>(
  check: () => T | Promise<T>,
  { within = 10_000, every = 20 }: { within?: number; every?: number } = {},
): Promise<T> {
  const deadline = performance.now() + within
  for (;;) {
    try {
      return await check()
    } catch (error) {
      if (performance.now() >= deadline) {
        if (error instanceof Error) error.message = `not within ${within} ms: ${error.message}`
        throw error
      }
    }
    await delay(every)
  }
}
