import assert from 'node:assert/strict'
import type { Duplex } from 'node:stream'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { DEFAULTS, type MqttOptions } from '../../../src/config/options.js'
import { HoldReason, Input, type InputOwner } from '../../../src/mqtt/input.js'
import { createMqttMetrics } from '../../../src/mqtt/metrics.js'
import { Slab } from '../../../src/mqtt/outbox.js'
import { MetricRegistry } from '../../../src/telemetry/registry.js'
import { TimerWheel } from '../../../src/util/timer-wheel.js'
import { TurnQueue } from '../../../src/util/turn.js'
import { packet } from '../../support/mqtt-bytes.js'

const OVERTAKING = [0x40, 0x50, 0x70, 0xc0]
const WAITING = [0x30, 0x32, 0x62, 0x82, 0xa2]
const REASONS = Object.values(HoldReason)

/** What is done to the input, beside feeding it. */
type Step = { readonly hold: HoldReason } | { readonly letGo: HoldReason } | 'hold' | 'proceed' | 'read' | 'postpone'

/** A socket with all its bytes in the kernel: it gives a chunk when it is read, and none while it is paused. */
class Source {
  isPaused = false

  constructor(private readonly chunks: Buffer[]) {}

  pause(): void {
    this.isPaused = true
  }

  resume(): void {
    this.isPaused = false
  }

  take(): Buffer | undefined {
    return this.isPaused ? undefined : this.chunks.shift()
  }

  get isEmpty(): boolean {
    return this.chunks.length === 0
  }
}

/** Takes frames, and holds its own input at some of them, as handlers do. */
class Owner implements InputOwner {
  readonly options: MqttOptions
  isReading = true
  expectsAcks = true
  input: Input | undefined
  readonly got: { type: number; number: number }[] = []

  /** @param holdsAt of the frames taken, by number; the reason for which each holds the input */
  constructor(
    private readonly holdsAt: ReadonlyMap<number, HoldReason>,
    readAhead: number,
  ) {
    this.options = { ...DEFAULTS.mqtt, readAhead }
  }

  frame(chunk: Buffer, firstByte: number, _start: number, bodyStart: number): boolean {
    const number = chunk.readUInt16BE(bodyStart)
    this.got.push({ type: firstByte, number })
    const reason = this.holdsAt.get(number)
    if (reason !== undefined) this.input?.holdFor(reason)
    return this.input?.isHeld === false
  }

  get numbers(): number[] {
    return this.got.map(({ number }) => number)
  }

  /** Frames taken of these kinds. */
  count(kinds: readonly number[]): number {
    return this.got.filter(({ type }) => kinds.includes(type)).length
  }

  inputHandled(): void {}

  waitsInDoubt(): boolean {
    return false
  }

  fail(error: unknown): void {
    throw error
  }
}

function inputOf(source: Source, owner: Owner) {
  const metrics = createMqttMetrics(new MetricRegistry())
  const turn = new TurnQueue({ onError: assert.fail })
  const input = new Input(source as unknown as Duplex, owner, {
    timers: new TimerWheel(),
    outbox: { turn, publishSlab: new Slab(), ackSlab: new Slab(), bytesSent: { value: 0 } },
    metrics,
  })
  owner.input = input
  return { input, metrics }
}

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.constantFrom(...REASONS).map((hold) => ({ hold })),
  fc.constantFrom(...REASONS).map((letGo) => ({ letGo })),
  fc.constantFrom('hold', 'proceed', 'read', 'read', 'read', 'postpone'),
)

describe('the input of a connection', () => {
  it('hands on every frame once, in order but for the acknowledgements that overtake, whatever holds it when', () => {
    let readAhead = 0
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom(...OVERTAKING, ...WAITING, ...WAITING), { minLength: 1, maxLength: 120 }),
        fc.array(fc.nat({ max: 40 }), { minLength: 1, maxLength: 60 }),
        fc.dictionary(fc.nat({ max: 119 }).map(String), fc.constantFrom(...REASONS, HoldReason.Acks)),
        fc.array(step, { maxLength: 80 }),
        fc.constantFrom(0, 100, 300, 1_000_000),
        (types, cuts, holds, steps, limit) => {
          const frames = types.map((type, number) => packet(type, number >> 8, number & 0xff, Buffer.alloc(number % 7)))
          const source = new Source(chunksOf(Buffer.concat(frames), cuts))
          const owner = new Owner(
            new Map(Object.entries(holds).map(([number, reason]) => [Number(number), reason])),
            limit,
          )
          const { input, metrics } = inputOf(source, owner)

          let passing = 0
          let fed = 0
          const read = (isPostponed = false): void => {
            const chunk = source.take()
            if (chunk === undefined) return
            fed += chunk.length
            const taken = owner.got.length
            if (isPostponed) input.postpone(chunk)
            else input.receive(chunk)
            if (isPostponed) assert.equal(owner.got.length, taken)
            readAhead = Math.max(readAhead, metrics.readAheadBytes.value)
          }
          for (const one of steps) {
            if (one === 'read' || one === 'postpone') read(one === 'postpone')
            else if (one === 'hold') {
              input.hold()
              passing += 1
            } else if (one === 'proceed') {
              if (passing > 0) input.proceed()
              passing = Math.max(0, passing - 1)
            } else if ('hold' in one) input.holdFor(one.hold)
            else input.letGo(one.letGo)
            if (!input.isReadingAhead) continue
            const due = overtakingWithin(frames, fed)
            assert.ok(owner.count(OVERTAKING) >= due, `${due} acknowledgements are there to be taken`)
          }
          for (; passing > 0; passing -= 1) input.proceed()
          for (let round = 0; round < 500 && (!source.isEmpty || input.isHeld); round += 1) {
            for (const reason of REASONS) input.letGo(reason)
            read()
          }

          const numbersOf = (kinds: readonly number[]): number[] =>
            owner.got.filter(({ type }) => kinds.includes(type)).map(({ number }) => number)
          const sent = types.map((type, number) => ({ type, number }))
          for (const kinds of [OVERTAKING, WAITING]) {
            const expected = sent.filter(({ type }) => kinds.includes(type)).map(({ number }) => number)
            assert.deepEqual(numbersOf(kinds), expected)
          }
          if (limit === 0) assert.deepEqual(owner.got, sent, 'nothing overtakes')
          assert.equal(metrics.readAheadBytes.value, 0)
        },
      ),
      { numRuns: 1_000 },
    )
    assert.ok(readAhead > 0, 'it was read ahead')
  })

  it('goes on reading ahead when what has waited holds it again, with what it had read already', () => {
    const source = new Source([])
    const owner = new Owner(
      new Map([
        [0, HoldReason.Acks],
        [1, HoldReason.Acks],
      ]),
      1_000,
    )
    const { input } = inputOf(source, owner)
    const frames = [0x32, 0x32, 0x32, 0x32, 0x40].map((type, number) => packet(type, 0, number))
    input.receive(Buffer.concat(frames.slice(0, 2)))
    input.holdFor(HoldReason.Rate)
    input.receive(Buffer.concat(frames.slice(2)))
    input.letGo(HoldReason.Acks)
    assert.deepEqual(owner.numbers, [0])
    input.letGo(HoldReason.Rate)
    assert.deepEqual(owner.numbers, [0, 1, 4])
    assert.equal(source.isPaused, false)
    input.letGo(HoldReason.Acks)
    assert.deepEqual(owner.numbers, [0, 1, 4, 2, 3])
  })
})

/** The frames that may overtake and lie whole within the first bytes. */
function overtakingWithin(frames: readonly Buffer[], bytes: number): number {
  let end = 0
  let count = 0
  for (const frame of frames) {
    end += frame.length
    if (end <= bytes && OVERTAKING.includes(frame[0] ?? 0)) count += 1
  }
  return count
}

/** Cuts at arbitrary places, the same distances again and again. */
function chunksOf(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const chunks: Buffer[] = []
  for (let at = 0, index = 0; at < bytes.length; index += 1) {
    const size = 1 + (cuts[index % cuts.length] ?? 0)
    chunks.push(Buffer.from(bytes.subarray(at, at + size)))
    at += size
  }
  return chunks
}
