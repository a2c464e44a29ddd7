/** What the nemesis does, and when: made from a seed, so that the same seed does the same again. */

import type { Random } from '../../support/random.js'
import type { WireRule } from './network.js'

export const FAULT_KINDS = [
  'halves',
  'alone',
  'pair',
  'one-way',
  'slow',
  'flapping',
  'kill',
  'freeze',
  'kill in a split',
] as const
/** What another run may ask for besides. */
export const FURTHER_FAULT_KINDS = ['drain', 'kill behind a cut'] as const
/** Of the whole cluster, and of what its nodes stand on: those of `npm run chaos` alone. */
export const GROUND_FAULT_KINDS = [
  'kill all',
  'rolling restart',
  'disk full',
  'clock',
  'redis killed',
  'redis frozen',
  'redis failover',
  'redis handover',
  'redis cut',
  'kill with a full disk',
  'kill while redis is away',
] as const
export type GroundFaultKind = (typeof GROUND_FAULT_KINDS)[number]
/** Of nodes and links: `Nemesis` knows how. */
export type MeshFaultKind = (typeof FAULT_KINDS)[number] | (typeof FURTHER_FAULT_KINDS)[number]
export type FaultKind = MeshFaultKind | GroundFaultKind

/** One disturbance; the network is whole before it and after it. */
export interface Fault<Kind extends FaultKind = FaultKind> {
  readonly kind: Kind
  /** Rules of the wire while it lasts. */
  readonly rules: readonly WireRule[]
  /** Node that is killed, frozen or drained, whose disk is full or whose clock is set. */
  readonly victim?: number
  /** All nodes, in the order in which it comes over them. */
  readonly order?: readonly number[]
  /** Nodes that are cut off from Redis. */
  readonly apart?: readonly number[]
  /** By how much a clock is set forward, in milliseconds; back when negative. */
  readonly step?: number
  /** Milliseconds. */
  readonly lasts: number
  /** What it is, for people. */
  readonly text: string
}

/** Long enough that both sides notice (5 s), short enough that nothing is given up. */
const NOTICED_MS = 7_000
const UNNOTICED_MS = 2_000
/** Nobody who waits for Redis gives up (`store.redis.waitTime`: 2 s). */
const BRIEF_MS = 1_000

/** A slow link: there and back takes 200 ms, and one frame in twenty is lost. */
const SLOW = { delay: 100, loss: 5 }

/** How far a clock is set; nodes follow each other's clocks within a minute (`MAXIMUM_DRIFT_MS`). */
const MINIMUM_STEP_MS = 5_000
const MAXIMUM_STEP_MS = 45_000

/** Until all nodes say that their views differ: the cut is noticed, has lasted, and is looked at. */
const SAID_MS = 10_000

/** Each kind once in an order of chance, then again, until the time is used up. */
export class Schedule<Kind extends FaultKind> {
  private rest: Kind[] = []

  constructor(
    private readonly random: Random,
    private readonly nodes: number,
    private readonly kinds: readonly Kind[],
  ) {}

  next(): Fault<Kind> {
    if (this.rest.length === 0) this.rest = shuffled(this.kinds, this.random)
    const kind = this.rest.pop()
    if (kind === undefined) throw new Error('there are no faults to choose from')
    return { ...this.make(kind), kind }
  }

  private make(kind: FaultKind): Fault {
    const all = shuffled(
      Array.from({ length: this.nodes }, (_, index) => index + 1),
      this.random,
    )
    const [first = 1, second = 2] = all
    const lasts = this.random.oneIn(4) ? UNNOTICED_MS : NOTICED_MS
    switch (kind) {
      case 'halves': {
        const half = all.slice(0, Math.floor(all.length / 2))
        return { kind, rules: between(half, without(all, half)), lasts, text: `nodes ${half} from the others` }
      }
      case 'alone':
        return { kind, rules: between([first], without(all, [first])), lasts, text: `node ${first} from the others` }
      case 'pair':
        return {
          kind,
          rules: between([first], [second]),
          lasts: SAID_MS,
          text: `node ${first} from node ${second} only`,
        }
      case 'one-way':
        return {
          kind,
          rules: [{ from: first, to: second, cut: true }],
          lasts: NOTICED_MS,
          text: `from node ${first} to node ${second}, not back`,
        }
      case 'slow':
        return {
          kind,
          rules: between([first], without(all, [first])).map(({ from, to }) => ({ from, to, ...SLOW })),
          lasts: NOTICED_MS,
          text: `node ${first} is 200 ms away, and 5 % is lost`,
        }
      case 'flapping':
        return { kind, rules: between([first], [second]), lasts: NOTICED_MS, text: `node ${first} and node ${second}` }
      case 'kill':
        return { kind, rules: [], victim: first, lasts: UNNOTICED_MS, text: `node ${first}` }
      case 'freeze':
        return { kind, rules: [], victim: first, lasts, text: `node ${first} for ${lasts} ms` }
      case 'kill in a split':
        return {
          kind,
          rules: between([first], without(all, [first])),
          victim: first,
          lasts: UNNOTICED_MS,
          text: `node ${first}, and it restarts alone`,
        }
      case 'kill behind a cut':
        return {
          kind,
          rules: between([first], without(all, [first])),
          victim: first,
          lasts: UNNOTICED_MS,
          text: `node ${first}, before anybody has noticed that it is cut off`,
        }
      case 'drain':
        return { kind, rules: [], victim: first, lasts: UNNOTICED_MS, text: `node ${first} ends by SIGTERM` }
      case 'kill all':
        return { kind, rules: [], order: all, lasts: UNNOTICED_MS, text: 'all nodes at once' }
      case 'rolling restart':
        return { kind, rules: [], order: all, lasts: UNNOTICED_MS, text: `nodes ${all}, one after another, by SIGTERM` }
      case 'disk full':
        return { kind, rules: [], victim: first, lasts, text: `of node ${first} for ${lasts} ms` }
      case 'clock': {
        const size = MINIMUM_STEP_MS + this.random.below(MAXIMUM_STEP_MS - MINIMUM_STEP_MS)
        const step = this.random.oneIn(2) ? size : -size
        const text = `of node ${first} is set ${size} ms ${step > 0 ? 'forward' : 'back'} for ${lasts} ms`
        return { kind, rules: [], victim: first, step, lasts, text }
      }
      case 'redis killed':
      case 'redis frozen':
        return { kind, rules: [], lasts, text: `for ${lasts} ms` }
      case 'redis failover':
        return {
          kind,
          rules: [],
          victim: first,
          lasts: UNNOTICED_MS,
          text: `the master for node ${first} is killed, and comes back as a replica`,
        }
      case 'redis handover':
        return {
          kind,
          rules: [],
          victim: first,
          lasts: UNNOTICED_MS,
          text: `the master for node ${first} and its replica change places`,
        }
      case 'redis cut': {
        const apart = this.random.oneIn(2) ? [first] : all
        const time = this.random.oneIn(2) ? BRIEF_MS : NOTICED_MS
        return { kind, rules: [], apart, lasts: time, text: `nodes ${apart} from Redis for ${time} ms` }
      }
      case 'kill with a full disk':
        return { kind, rules: [], victim: first, lasts: UNNOTICED_MS, text: `node ${first}` }
      case 'kill while redis is away':
        return { kind, rules: [], victim: first, lasts, text: `node ${first}, ${lasts} ms before Redis is back` }
    }
  }
}

/** Both directions between every one of the one side and every one of the other. */
function between(one: readonly number[], other: readonly number[]): WireRule[] {
  return one.flatMap((a) => other.flatMap((b) => [cut(a, b), cut(b, a)]))
}

function cut(from: number, to: number): WireRule {
  return { from, to, cut: true }
}

function without(all: readonly number[], some: readonly number[]): number[] {
  return all.filter((one) => !some.includes(one))
}

function shuffled<T>(list: readonly T[], random: Random): T[] {
  const rest = [...list]
  return Array.from(list, () => rest.splice(random.below(rest.length), 1)[0] as T)
}
