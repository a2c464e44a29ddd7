/**
 * What a history is made of: what clients of a cluster have done and seen, in the order in which one process saw it, with the
 * times of its one monotonic clock. Nodes have no part in it, save the faults that were done to them and the depths of
 * their queues as they tell them.
 */

/** Messages that have an order among themselves: of one publisher, on one topic, of one QoS. Numbered from 1. */
export interface Stream {
  readonly publisher: string
  readonly topic: string
  readonly qos: 1 | 2
  /** Published with a delay, in milliseconds: such messages have no order. As its publisher says; receivers do not know. */
  readonly delay?: number
}

/** One message of a stream. */
export interface Numbered {
  readonly stream: Stream
  readonly number: number
}

export type FaultName = 'killed' | 'drained' | 'frozen' | 'cut' | 'slow' | 'full disk' | 'clock' | 'store away'

/** With these every node hears every other, and serves its clients as far as it need not keep anything. */
export const WHOLE_NETWORK: ReadonlySet<FaultName> = new Set(['full disk', 'clock', 'store away'])

export type Happening =
  /** A publisher hands a message to its connection; `again`: with DUP, after it has found its session. */
  | ({ readonly kind: 'send'; readonly node: string; readonly again: boolean } & Numbered)
  /** PUBACK or PUBREC without an error. */
  | ({ readonly kind: 'acked' } & Numbered)
  /** PUBACK or PUBREC with an error. */
  | ({ readonly kind: 'refused'; readonly code: number } & Numbered)
  /** CONNECT was sent. */
  | { readonly kind: 'connect'; readonly client: string; readonly connection: number; readonly node: string }
  | {
      readonly kind: 'connected'
      readonly client: string
      readonly connection: number
      readonly node: string
      readonly sessionPresent: boolean
      /** Whether it wanted no session: nothing outlives the connection then. */
      readonly clean: boolean
    }
  /** By whomever. A connection that was never let in closes too. */
  | {
      readonly kind: 'closed'
      readonly client: string
      readonly connection: number
      readonly why: string
      /** The node has said DISCONNECT: what the client said at the end may not have been read. */
      readonly isByNode?: true
    }
  /** SUBACK. */
  | { readonly kind: 'subscribed'; readonly client: string; readonly filter: string }
  /** A PUBLISH that is not one of QoS 2 whose id the client still has. */
  | ({
      readonly kind: 'receive'
      readonly client: string
      readonly connection: number
      readonly dup: boolean
    } & Numbered)
  /** PUBACK or PUBREC of a subscriber. */
  | ({ readonly kind: 'acknowledge'; readonly client: string; readonly connection: number } & Numbered)
  /** A client was let in with a will, as the only one of this client ID there ever is; of QoS 2, and without a delay. */
  | { readonly kind: 'will'; readonly client: string; readonly topic: string; readonly node: string }
  /** DISCONNECT was sent: there is to be no will. */
  | { readonly kind: 'goodbye'; readonly client: string }
  /** A PUBLISH with the will of a client, as `receive`. */
  | { readonly kind: 'mourn'; readonly client: string; readonly of: string; readonly topic: string }
  /** All of a stream up to this number has been sent, and was found to be right, before this history begins. */
  | ({ readonly kind: 'settled' } & Numbered)
  /** What waits for a session or a link, as its node tells. */
  | {
      readonly kind: 'queue'
      readonly node: string
      readonly name: string
      readonly depth: number
      readonly bound: number
    }
  /** A message with RETAIN, of QoS 1; an empty value removes. */
  | {
      readonly kind: 'write'
      readonly writer: string
      readonly node: string
      readonly topic: string
      readonly value: string
    }
  | { readonly kind: 'written'; readonly writer: string; readonly topic: string; readonly value: string }
  /** What a new subscriber is given; '' when there is nothing. Only after `quiet`. */
  | { readonly kind: 'read'; readonly node: string; readonly topic: string; readonly value: string }
  /**
   * From here on the network is not whole, or a node does not do its work. A kill is a fault until the node is back.
   * `nodes` are those it is about; none when it is about something that all of them need.
   */
  | { readonly kind: 'fault'; readonly fault: FaultName; readonly nodes: readonly string[]; readonly text: string }
  | { readonly kind: 'healed' }
  /** Nobody publishes, nothing is wrong, and everything had the time to arrive. */
  | { readonly kind: 'quiet' }

/** `at` in milliseconds. */
export type HistoryEvent = Happening & { readonly at: number }
export type EventOf<K extends HistoryEvent['kind']> = Extract<HistoryEvent, { kind: K }>

/** Unique for each stream; the same object has the same text. */
export function streamKey({ publisher, topic, qos }: Stream): string {
  return `${publisher} ${topic} QoS ${qos}`
}

export function messageKey({ stream, number }: Numbered): string {
  return `${streamKey(stream)} #${number}`
}
