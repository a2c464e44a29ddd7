import { readFileSync } from 'node:fs'

/**
 * Milliseconds that the main thread of a process was ready to run while the processors were busy with others, from its
 * start to now: what a test of how long something takes may leave out, so that it holds on a busy machine. 0 where the
 * system does not tell.
 */
export function processorWait(pid: number = process.pid): number {
  try {
    // Time on a processor, time waiting for one, both in nanoseconds, and the number of turns.
    return Number(readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ')[1]) / 1e6
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 0
    throw error
  }
}
