import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ProcessLoad } from '../../../src/telemetry/process-load.js'

const BLOCKED_MS = 400

/** Keeps the event loop from turning. */
function block(milliseconds: number): void {
  const end = performance.now() + milliseconds
  while (performance.now() < end);
}

describe('the load of the process', () => {
  it('is how late its timers fire, as long as nobody has asked', async (t) => {
    const load = new ProcessLoad()
    t.after(() => load.stop())
    load.start()
    block(BLOCKED_MS)
    await new Promise((resolve) => setTimeout(resolve, 0))
    const delay = load.takeLoopDelay()
    // What the block leaves when the time between two samples is taken off, shared with a sample of the timer before.
    assert.ok(delay >= (BLOCKED_MS - 100) / 2, `${delay} ms`)
  })

  it('is seen also in a turn that lasts until it is asked for', () => {
    const load = new ProcessLoad()
    load.start()
    load.takeLoopDelay()
    block(BLOCKED_MS)
    const delay = load.takeLoopDelay()
    load.stop()
    assert.ok(delay >= BLOCKED_MS - 100, `${delay} ms`)
  })

  it('is the share of the memory that it uses', () => {
    const before = new ProcessLoad().memoryShare()
    assert.ok(before > 0 && before < 1, `${before}`)
    const held = Array.from({ length: 2_000_000 }, (_, index) => ({ index }))
    assert.ok(new ProcessLoad().memoryShare() > before)
    assert.equal(held.length, 2_000_000)
  })
})
