/**
 * Wills: of a client that is gone without a word each subscriber gets the will, once; of one that has said goodbye, not.
 * Where nodes do not hear each other, and where more than one node dies, nothing is promised (decision 17); nor to one whose
 * goodbye was on its way when its node closed the connection.
 */

import type { Found, Rule } from '../checker.js'
import { type EventOf, type HistoryEvent, WHOLE_NETWORK } from '../events.js'
import { matches } from '../topic-match.js'
import type { Sessions } from './sessions.js'

/** A will that is due is published by then, in milliseconds, also that of a node that was killed. */
const DUE_MS = 10_000
/** Until the copies of a will are where they have to be, or are void. */
const COPIED_MS = 2_000

interface Life {
  readonly will: EventOf<'will'>
  goodbye: EventOf<'goodbye'> | undefined
  closed: EventOf<'closed'> | undefined
  /** The first time that somebody got its will after it had said goodbye. */
  unwanted: EventOf<'mourn'> | undefined
  /** Something has happened to it with which nothing is promised. */
  isDisturbed: boolean
}

/** It was just beginning or ending when its node was killed. */
function isInTheMiddle({ will, goodbye, closed }: Life, at: number): boolean {
  if (closed !== undefined) return at - closed.at < COPIED_MS
  return goodbye !== undefined || at - will.at < COPIED_MS
}

export class WillRule implements Rule {
  /** By client. */
  private readonly lives = new Map<string, Life>()
  /** By subscriber and client: the first time. */
  private readonly mourned = new Map<string, Map<string, EventOf<'mourn'>>>()
  /** Nodes that were killed since the network was whole. */
  private readonly killed = new Set<string>()
  private isDisturbed = false

  constructor(
    private readonly sessions: Sessions,
    private readonly found: Found,
  ) {}

  take(event: HistoryEvent): void {
    switch (event.kind) {
      case 'will':
        this.lives.set(event.client, {
          will: event,
          goodbye: undefined,
          closed: undefined,
          unwanted: undefined,
          isDisturbed: this.isDisturbed,
        })
        break
      case 'goodbye': {
        const life = this.lives.get(event.client)
        if (life === undefined) break
        life.goodbye = event
        // Nobody reads it: the client has not heard yet that its node is gone.
        if (this.killed.has(life.will.node)) life.isDisturbed = true
        break
      }
      case 'closed': {
        const life = this.lives.get(event.client)
        if (life !== undefined) life.closed ??= event
        break
      }
      case 'connected':
        if (!event.sessionPresent) this.mourned.delete(event.client)
        break
      case 'mourn':
        this.mourn(event)
        break
      case 'fault':
        this.fault(event)
        break
      case 'healed':
        this.isDisturbed = false
        this.killed.clear()
        break
      case 'quiet':
        for (const life of this.lives.values()) {
          this.findMissing(life, event)
          this.findUnwanted(life, event)
        }
        break
      default:
    }
  }

  private fault({ fault, nodes, at }: EventOf<'fault'>): void {
    if (fault === 'killed') {
      for (const node of nodes) this.killed.add(node)
      for (const life of this.lives.values()) {
        if (nodes.includes(life.will.node) && isInTheMiddle(life, at)) life.isDisturbed = true
      }
      if (this.killed.size < 2) return
    } else if (fault === 'drained' || (WHOLE_NETWORK.has(fault) && fault !== 'full disk')) return
    this.isDisturbed = true
    for (const life of this.lives.values()) {
      if (life.closed === undefined || at - life.closed.at < DUE_MS) life.isDisturbed = true
    }
  }

  private mourn(event: EventOf<'mourn'>): void {
    const mourned = this.mourned.get(event.client) ?? new Map<string, EventOf<'mourn'>>()
    this.mourned.set(event.client, mourned)
    const before = mourned.get(event.of)
    mourned.set(event.of, before ?? event)
    const life = this.lives.get(event.of)
    if (life === undefined || life.isDisturbed) return
    if (before !== undefined) {
      const text = `${event.client} gets the will of ${event.of} a second time`
      this.report('will', event, text, [life.will, before, event])
    } else if (life.goodbye !== undefined) life.unwanted ??= event
  }

  /** How its connection has ended may be seen later than its will. */
  private findUnwanted({ will, goodbye, closed, unwanted, isDisturbed }: Life, quiet: EventOf<'quiet'>): void {
    if (isDisturbed || goodbye === undefined || unwanted === undefined || closed?.isByNode === true) return
    const text = `${unwanted.client} gets the will of ${unwanted.of}, which has said goodbye`
    this.report('will', unwanted, text, [will, goodbye, unwanted, quiet])
  }

  private findMissing({ will, goodbye, closed, isDisturbed }: Life, quiet: EventOf<'quiet'>): void {
    if (isDisturbed || goodbye !== undefined || closed === undefined) return
    for (const { client, subscriptions } of this.sessions.promised()) {
      if (this.mourned.get(client)?.has(will.client) === true) continue
      for (const [filter, since] of subscriptions) {
        if (!matches(filter, will.topic) || since.at >= will.at) continue
        const text = `${client} never gets the will of ${will.client}, which is gone without a word`
        this.report('will missing', { client, of: will.client }, text, [since, will, closed, quiet])
      }
    }
  }

  private report(
    kind: 'will' | 'will missing',
    { client, of }: { readonly client: string; readonly of: string },
    text: string,
    evidence: readonly HistoryEvent[],
  ): void {
    this.found({ kind, key: `${kind}: ${client}, ${of}`, text, evidence })
  }
}
