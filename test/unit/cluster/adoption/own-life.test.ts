import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { pino } from 'pino'
import { OwnLife } from '../../../../src/cluster/adoption/own-life.js'
import { Deferred } from '../../../../src/util/deferred.js'

/** A node whose clock, store and neighbors do as a test says. */
class Node {
  now = 100_000
  isFailing = false
  hearsAll = true
  /** Signs of life that are on their way to the store. */
  private readonly beats: Deferred<boolean>[] = []
  readonly life: OwnLife

  constructor(t: TestContext) {
    t.mock.method(performance, 'now', () => this.now)
    const store = (): boolean => this.isFailing
    this.life = new OwnLife({
      store: {
        get isFailing() {
          return store()
        },
        beat: () => {
          const beat = new Deferred<boolean>()
          this.beats.push(beat)
          return beat.promise
        },
      },
      hearsAll: () => this.hearsAll,
      log: pino({ level: 'silent' }),
    })
  }

  get sent(): number {
    return this.beats.length
  }

  /** Time passes, and it looks several times a second. */
  pass(milliseconds: number): void {
    for (const end = this.now + milliseconds; this.now < end; ) {
      this.now = Math.min(end, this.now + 100)
      this.life.check(this.now)
    }
  }

  /** Time passes, and this node has no turn. */
  standStill(milliseconds: number): void {
    this.now += milliseconds
  }

  /** The store answers the oldest sign of life. */
  async answer(isOurs: boolean | Error = true): Promise<void> {
    const beat = this.beats.shift()
    assert(beat !== undefined, 'no sign of life is on its way')
    if (isOurs instanceof Error) beat.reject(isOurs)
    else beat.resolve(isOurs)
    await new Promise(setImmediate)
  }

  /** What whoever waits is told, as it comes. */
  ask(within: number, isPatient = false): boolean[] {
    const told: boolean[] = []
    this.life.whenSure(this.now + within, (isSure) => told.push(isSure), isPatient)
    return told
  }
}

/** A node that is sure. */
async function sureNode(t: TestContext): Promise<Node> {
  const node = new Node(t)
  node.pass(100)
  await node.answer()
  assert.equal(node.life.isSure, true)
  return node
}

describe('whether a node is sure that it lives', () => {
  it('it is not before its first sign of life has arrived', (t) => {
    const node = new Node(t)
    assert.equal(node.life.isSure, false)
    node.pass(100)
    assert.equal(node.life.isSure, false)
  })

  it('it is for a shorter time than others wait, from when the sign was sent', async (t) => {
    const node = new Node(t)
    node.pass(100)
    const sentAt = node.now
    node.pass(2_000)
    await node.answer()
    assert.equal(node.life.isSure, true)
    node.standStill(sentAt + 2_499 - node.now)
    assert.equal(node.life.isSure, true)
    node.standStill(2)
    assert.equal(node.life.isSure, false)
  })

  it('an answer that has waited while it stood still says nothing', async (t) => {
    const node = new Node(t)
    node.pass(100)
    node.standStill(6_000)
    await node.answer()
    assert.equal(node.life.isSure, false)
  })

  it('it gives a sign every second, one at a time, and more often while it is not sure', async (t) => {
    const node = await sureNode(t)
    node.pass(900)
    assert.equal(node.sent, 0)
    node.pass(100)
    assert.equal(node.sent, 1)
    node.pass(5_000)
    assert.equal(node.sent, 1, 'the one before has not been answered')
    await node.answer(false)
    node.pass(200)
    assert.equal(node.sent, 1)
  })

  it('it is not when the store has taken it for dead, or cannot say', async (t) => {
    for (const answer of [false, new Error('the store is away')]) {
      const node = new Node(t)
      node.pass(100)
      await node.answer(answer)
      assert.equal(node.life.isSure, false)
      t.mock.restoreAll()
    }
  })

  it('it is while the store is away and it hears all others, who cannot take anything then', async (t) => {
    const node = await sureNode(t)
    node.pass(1_000)
    node.isFailing = true
    await node.answer(new Error('the store is away'))
    node.pass(10_000)
    assert.equal(node.life.isSure, true)
    node.hearsAll = false
    assert.equal(node.life.isSure, false)
  })

  it('it is not while the store is away when it has stood still: others may have taken it for dead before', async (t) => {
    const node = await sureNode(t)
    node.isFailing = true
    node.standStill(5_000)
    assert.equal(node.life.isSure, false, 'before it has looked')
    node.pass(1_000)
    assert.equal(node.life.isSure, false)
    await node.answer()
    assert.equal(node.life.isSure, true, 'the store has said so since')
  })
})

describe('who waits until a node is sure', () => {
  it('is told at once when it is', async (t) => {
    const node = await sureNode(t)
    assert.deepEqual(node.ask(0), [true])
  })

  it('is told once, as soon as a sign of life has arrived', async (t) => {
    const node = new Node(t)
    const told = node.ask(3_000)
    node.pass(500)
    assert.deepEqual(told, [])
    await node.answer()
    assert.deepEqual(told, [true])
    node.pass(4_000)
    assert.deepEqual(told, [true])
  })

  it('is told when its time is over', (t) => {
    const node = new Node(t)
    const told = node.ask(1_000)
    node.pass(900)
    assert.deepEqual(told, [])
    node.pass(200)
    assert.deepEqual(told, [false])
  })

  it('is told at once that the store is away, unless it is patient', async (t) => {
    const node = new Node(t)
    node.hearsAll = false
    const [waiting, patient] = [node.ask(2_000), node.ask(2_000, true)]
    node.isFailing = true
    node.pass(100)
    assert.deepEqual([waiting, patient], [[false], []])
    assert.deepEqual(node.ask(2_000), [false])
    node.pass(2_000)
    assert.deepEqual(patient, [false])
  })

  it('goes on when the node stops, which waits for nobody', (t) => {
    const node = new Node(t)
    const told = [node.ask(1_000), node.ask(1_000, true)]
    node.life.stop()
    node.life.stop()
    assert.deepEqual(told, [[true], [true]])
  })
})
