import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { pino } from 'pino'
import { PulseWatch } from '../../../../src/cluster/adoption/pulse-watch.js'

const OTHER = 'n2@b'

/** Looks at the pulse of one other node, as a test says that it is in the store. */
class Scene {
  now = 100_000
  /** What the store has; an error when it is away. */
  pulse: string | Error = 'life 1 beat 1'
  looks = 0
  readonly watch: PulseWatch

  constructor(t: TestContext) {
    t.mock.method(performance, 'now', () => this.now)
    const pulse = async (): Promise<string> => {
      this.looks += 1
      if (this.pulse instanceof Error) throw this.pulse
      return this.pulse
    }
    this.watch = new PulseWatch({ pulse }, pino({ level: 'silent' }))
  }

  /** Time passes while the node is watched. */
  async pass(milliseconds: number): Promise<void> {
    for (const end = this.now + milliseconds; this.now < end; ) {
      this.now += 200
      this.watch.look([OTHER], this.now)
      await new Promise(setImmediate)
    }
  }

  get still(): string | undefined {
    return this.watch.stillPulse(OTHER, this.now)
  }

  get isBeating(): boolean {
    return this.watch.isBeating(OTHER, this.now)
  }
}

describe('the pulse of another node', () => {
  it('stands still when it was watched for three seconds and was the same all the time', async (t) => {
    const scene = new Scene(t)
    await scene.pass(2_800)
    assert.deepEqual([scene.still, scene.isBeating], [undefined, false])
    await scene.pass(1_000)
    assert.deepEqual([scene.still, scene.isBeating], ['life 1 beat 1', false])
  })

  it('stands still of a node that has nothing in the store, too', async (t) => {
    const scene = new Scene(t)
    scene.pulse = ''
    await scene.pass(4_000)
    assert.equal(scene.still, '')
  })

  it('does not while it changes, however slowly, and shows that the node lives', async (t) => {
    const scene = new Scene(t)
    for (let beat = 2; beat < 6; beat += 1) {
      await scene.pass(2_400)
      scene.pulse = `life 1 beat ${beat}`
      await scene.pass(400)
      assert.deepEqual([scene.still, scene.isBeating], [undefined, true])
    }
    await scene.pass(4_000)
    assert.deepEqual([scene.still, scene.isBeating], ['life 1 beat 5', false])
  })

  it('is not known to stand still by who has stood still itself', async (t) => {
    const scene = new Scene(t)
    await scene.pass(2_400)
    scene.now += 5_000
    assert.equal(scene.still, undefined, 'before the next look')
    await scene.pass(2_000)
    assert.equal(scene.still, undefined, 'what it was in between nobody has seen')
    await scene.pass(2_000)
    assert.equal(scene.still, 'life 1 beat 1')
  })

  it('does not stay known: who looks no more knows nothing', async (t) => {
    const scene = new Scene(t)
    await scene.pass(4_000)
    scene.now += 1_600
    assert.equal(scene.still, undefined)
  })

  it('is not known while the store is away, and is watched anew when it is back', async (t) => {
    const scene = new Scene(t)
    await scene.pass(4_000)
    scene.pulse = new Error('the store is away')
    await scene.pass(600)
    assert.deepEqual([scene.still, scene.isBeating], [undefined, false])
    scene.pulse = 'life 1 beat 1'
    await scene.pass(2_800)
    assert.equal(scene.still, undefined)
    await scene.pass(1_000)
    assert.equal(scene.still, 'life 1 beat 1')
  })

  it('is forgotten when the node is not watched any more', async (t) => {
    const scene = new Scene(t)
    await scene.pass(4_000)
    scene.now += 400
    scene.watch.look([], scene.now)
    await new Promise(setImmediate)
    assert.equal(scene.still, undefined)
    await scene.pass(2_000)
    assert.equal(scene.still, undefined)
  })

  it('is not asked for more often than needed', async (t) => {
    const scene = new Scene(t)
    await scene.pass(2_000)
    assert.equal(scene.looks, 5)
  })
})
