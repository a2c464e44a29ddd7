/**
 * Messages that wait for their time, `$delayed/{seconds}/{topic}`: in memory, and in the store where there is one. The
 * node that took a message publishes it: a node that was down does so when it is back and the mesh is whole. The time
 * is the wall clock's, since it goes on while the node is down.
 */

import { INVALID_DELAY } from '../mqtt/delay.js'
import type { Message } from '../mqtt/wire/message.js'
import { ReasonCode } from '../mqtt/wire/reason-codes.js'
import type { Logger } from '../telemetry/logger.js'
import type { Counter } from '../telemetry/registry.js'
import { asError } from '../util/errors.js'
import { Heap } from '../util/heap.js'
import { TimerEntry, type TimerWheel } from '../util/timer-wheel.js'
import { decodeKept, encodeKept, keptSize } from './kept-message.js'
import type { Keeping, Store, StoreTable, TableContents } from './store-port.js'

/** Published in one go; what else is due has the next turn, so that others have theirs. */
const SLICE = 500

/** The clock is looked at this often at least: somebody may set it. */
const LONGEST_WAIT_MS = 30_000

/** How often a node that is not ready yet looks whether it is. */
const NOT_READY_WAIT_MS = 250

/** Digits of a number as the key of the store. */
const KEY_DIGITS = 16

/** Milliseconds since the epoch as a double, the length of the publisher's client ID, the client ID, the message. */
const PUBLISHER_LENGTH_AT = 8
const PUBLISHER_AT = 10

export interface DelayedOptions {
  /** How many; with 0 no delay is taken. */
  readonly maximum: number
  /** Bytes of topic names, payloads and properties at most. */
  readonly maximumBytes: number
}

export interface DelayedModules {
  readonly timers: TimerWheel
  readonly published: Counter
  /** Its time has come. `settled` is held until everyone has it; undefined for QoS 0. */
  readonly publish: (message: Message, settled: Keeping | undefined) => void
  /** Before the mesh is whole there may be nobody to get what is due. */
  readonly isReady: () => boolean
  readonly log: Logger
}

/** One as operators see it. */
export interface DelayedDescription {
  readonly id: number
  readonly topic: string
  readonly qos: number
  readonly publisher: string
  /** ISO 8601. */
  readonly due: string
  /** Of the payload. */
  readonly bytes: number
}

interface Delayed {
  readonly number: number
  readonly dueAt: number
  readonly message: Message
  /** Its publisher waits for the store, and may be refused yet. `overdue`: and its time has come. */
  awaited: 'no' | 'yes' | 'overdue'
}

export class DelayedMessages extends TimerEntry implements TableContents {
  /** Those that are being published and not settled yet included. */
  private readonly entries = new Map<number, Delayed>()
  private readonly waiting = new Heap<Delayed>((a, b) => a.dueAt - b.dueAt || a.number - b.number)
  private byteCount = 0
  private lastNumber = 0
  private store: { readonly isFailing: boolean } | undefined
  private table: StoreTable | undefined
  private isRunning = false
  private readonly onTurn = (): void => this.onTimeout()

  constructor(
    private readonly options: DelayedOptions,
    private readonly modules: DelayedModules,
  ) {
    super()
  }

  get size(): number {
    return this.entries.size
  }

  /** Of topic names, payloads and properties. */
  get bytes(): number {
    return this.byteCount
  }

  /** From now on they are kept there, too; before the store is loaded. */
  keepIn(store: Store): void {
    this.store = store
    this.table = store.table('delayed', this)
  }

  /**
   * Takes a message with a delay.
   * @param keeping is held until the store has it; when the store cannot keep it, it is refused, and never published
   * @returns a reason code: Success, or why it is not taken
   */
  take(message: Message, keeping: Keeping | undefined): number {
    const { maximum, maximumBytes } = this.options
    if (message.delay === INVALID_DELAY || maximum === 0) return ReasonCode.TopicNameInvalid
    if (this.entries.size >= maximum || this.byteCount + keptSize(message) > maximumBytes) {
      return ReasonCode.QuotaExceeded
    }
    const acknowledged = message.qos === 0 ? undefined : keeping
    if (acknowledged !== undefined && this.store?.isFailing === true) return ReasonCode.ImplementationSpecificError
    const dueAt = Date.now() + message.delay * 1000
    const awaited = acknowledged !== undefined && this.table !== undefined ? 'yes' : 'no'
    const delayed: Delayed = { number: this.lastNumber + 1, dueAt, message: message.detach(), awaited }
    this.add(delayed)
    this.arm()
    this.changed(delayed, acknowledged && new DelayKeeping(acknowledged, (isKept) => this.decided(delayed, isKept)))
    return ReasonCode.Success
  }

  /** In the order of their time. O(n log n). */
  list(): DelayedDescription[] {
    return [...this.entries.values()].sort((a, b) => a.dueAt - b.dueAt || a.number - b.number).map(describe)
  }

  /** Never publishes it; false when there is none of this number. */
  cancel(number: number): boolean {
    const delayed = this.entries.get(number)
    if (delayed === undefined) return false
    this.forget(delayed)
    return true
  }

  /** What the store keeps. */
  read(key: string): Uint8Array | undefined {
    const delayed = this.entries.get(Number(key))
    return delayed && encodeDelayed(delayed)
  }

  *keys(): Generator<string> {
    for (const number of this.entries.keys()) yield keyOf(number)
  }

  restore(key: string, value: Buffer): void {
    this.add(decodeDelayed(Number(key), Buffer.from(value)))
    this.arm()
  }

  /**
   * Takes over what another node has kept, as `read` gives it; whatever the bounds are, since it was acknowledged there.
   * A value that cannot be read costs no other.
   * @param done is called when it is kept here, or cannot be
   */
  inherit(values: readonly Buffer[], done: () => void): void {
    const kept = new Settling(done)
    for (const value of values) {
      const delayed = this.readInherited(value)
      if (delayed === undefined) continue
      this.add(delayed)
      this.changed(delayed, kept)
    }
    this.arm()
    kept.release()
  }

  private readInherited(value: Buffer): Delayed | undefined {
    try {
      return decodeDelayed(this.lastNumber + 1, value)
    } catch (error) {
      this.modules.log.error({ err: asError(error) }, 'a message with a delay of a node that is down is not readable')
      return undefined
    }
  }

  /** All of it is another node's now. */
  disown(): void {
    for (const delayed of [...this.entries.values()]) this.forget(delayed)
  }

  /** From now on what is due is published. */
  start(): void {
    this.isRunning = true
    this.arm()
  }

  /** Nothing is published from now on. Idempotent. */
  stop(): void {
    if (!this.isRunning) return
    this.isRunning = false
    this.modules.timers.cancel(this)
    if (this.table === undefined && this.size > 0) {
      this.modules.log.warn({ messages: this.size }, 'messages with a delay end with the node, which keeps nothing')
    }
  }

  override onTimeout(): void {
    if (!this.isRunning) return
    if (!this.modules.isReady()) return this.modules.timers.schedule(this, NOT_READY_WAIT_MS)
    for (let count = 0; count < SLICE; count++) {
      const first = this.waiting.peek()
      if (first === undefined || first.dueAt > Date.now()) return this.arm()
      this.waiting.pop()
      // Those that are forgotten stay in the heap until their time.
      if (this.entries.get(first.number) !== first) continue
      if (first.awaited === 'no') this.publish(first)
      else first.awaited = 'overdue'
    }
    setImmediate(this.onTurn)
  }

  private publish(delayed: Delayed): void {
    const { message } = delayed
    message.isAged = true
    this.modules.published.value++
    if (message.qos === 0) {
      this.forget(delayed)
      this.modules.publish(message, undefined)
      return
    }
    // A node that dies before everyone has it publishes it again when it is back.
    const settled = new Settling(() => this.forget(delayed))
    this.modules.publish(message, settled)
    settled.release()
  }

  private add(delayed: Delayed): void {
    this.lastNumber = Math.max(this.lastNumber, delayed.number)
    this.entries.set(delayed.number, delayed)
    this.byteCount += keptSize(delayed.message)
    this.waiting.push(delayed)
  }

  /** The store has it, or cannot keep it. */
  private decided(delayed: Delayed, isKept: boolean): void {
    if (!isKept) return this.forget(delayed)
    const isOverdue = delayed.awaited === 'overdue'
    delayed.awaited = 'no'
    if (!isOverdue) return
    this.waiting.push(delayed)
    this.arm()
  }

  private forget(delayed: Delayed): void {
    if (!this.entries.delete(delayed.number)) return
    this.byteCount -= keptSize(delayed.message)
    this.changed(delayed, undefined)
    if (this.waiting.length > 2 * this.entries.size + SLICE) {
      this.waiting.keepOnly((one) => this.entries.get(one.number) === one)
    }
  }

  private changed({ number }: Delayed, keeping: Keeping | undefined): void {
    this.table?.changed(keyOf(number), keeping)
  }

  private arm(): void {
    const first = this.waiting.peek()
    if (first === undefined || !this.isRunning) return
    this.modules.timers.schedule(this, Math.min(LONGEST_WAIT_MS, Math.max(0, first.dueAt - Date.now())))
  }
}

/** The publisher's, while the store has not got the message. */
class DelayKeeping implements Keeping {
  private isRefused = false

  constructor(
    private readonly publisher: Keeping,
    private readonly onDecided: (isKept: boolean) => void,
  ) {}

  hold(): void {
    this.publisher.hold()
  }

  release(): void {
    if (!this.isRefused) this.onDecided(true)
    this.publisher.release()
  }

  refuse(): void {
    this.isRefused = true
    this.onDecided(false)
    this.publisher.refuse()
  }
}

/** Until everyone who gets a message has it. */
class Settling implements Keeping {
  private holds = 1

  constructor(private readonly onSettled: () => void) {}

  hold(): void {
    this.holds++
  }

  release(): void {
    this.holds--
    if (this.holds === 0) this.onSettled()
  }

  /** It cannot be retained, say: its subscribers have it, and there is no publisher to tell. The store counts it. */
  refuse(): void {}
}

function keyOf(number: number): string {
  return String(number).padStart(KEY_DIGITS, '0')
}

function describe({ number, dueAt, message }: Delayed): DelayedDescription {
  return {
    id: number,
    topic: message.topic,
    qos: message.qos,
    publisher: message.publisherId,
    due: new Date(dueAt).toISOString(),
    bytes: message.payloadEnd - message.payloadStart,
  }
}

function encodeDelayed({ dueAt, message }: Delayed): Buffer {
  const publisherBytes = Buffer.byteLength(message.publisherId)
  const value = encodeKept(message, PUBLISHER_AT + publisherBytes)
  value.writeDoubleBE(dueAt, 0)
  value.writeUInt16BE(publisherBytes, PUBLISHER_LENGTH_AT)
  value.write(message.publisherId, PUBLISHER_AT)
  return value
}

/** @throws RangeError, MqttError when the value is not what `encodeDelayed` makes. */
function decodeDelayed(number: number, value: Buffer): Delayed {
  const messageAt = PUBLISHER_AT + value.readUInt16BE(PUBLISHER_LENGTH_AT)
  const publisherId = value.toString('utf8', PUBLISHER_AT, messageAt)
  return {
    number,
    dueAt: value.readDoubleBE(0),
    message: decodeKept(value.subarray(messageAt), publisherId),
    awaited: 'no',
  }
}
