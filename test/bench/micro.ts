/** A loop that is timed: the best of a few rounds, as a rate. */

const ROUND_MS = 1_000
const ROUNDS = 3

/** Prints how often `step` did its work a second; it returns how much it did each time. */
export function measure(name: string, unit: string, step: () => number): void {
  let best = 0
  for (let round = 0; round < ROUNDS; round++) {
    let done = 0
    const start = performance.now()
    while (performance.now() - start < ROUND_MS) done += step()
    best = Math.max(best, (done / (performance.now() - start)) * 1_000)
  }
  process.stdout.write(`${name.padEnd(48)} ${(best / 1e6).toFixed(2).padStart(7)} M ${unit}/s\n`)
}
