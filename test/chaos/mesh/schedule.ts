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
export type FaultKind = (typeof FAULT_KINDS)[number] | (typeof FURTHER_FAULT_KINDS)[number]

/** One disturbance; the network is whole before it and after it. */
export interface Fault {
  readonly kind: FaultKind
  /** Rules of the wire while it lasts. */
  readonly rules: readonly WireRule[]
  /** Node that is killed, frozen or drained. */
  readonly victim?: number
  /** Milliseconds. */
  readonly lasts: number
  /** What it is, for people. */
  readonly text: string
}

/** Long enough that both sides notice (5 s), short enough that nothing is given up. */
const NOTICED_MS = 7_000
const UNNOTICED_MS = 2_000

/** A slow link: there and back takes 200 ms, and one frame in twenty is lost. */
const SLOW = { delay: 100, loss: 5 }

/** Until all nodes say that their views differ: the cut is noticed, has lasted, and is looked at. */
const SAID_MS = 10_000

/** Each kind once in an order of chance, then again, until the time is used up. */
export class Schedule {
  private rest: FaultKind[] = []

  constructor(
    private readonly random: Random,
    private readonly nodes: number,
    private readonly kinds: readonly FaultKind[] = FAULT_KINDS,
  ) {}

  next(): Fault {
    if (this.rest.length === 0) this.rest = shuffled(this.kinds, this.random)
    return this.make(this.rest.pop() ?? 'halves')
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
