/** Sessions that are here, and of whose moves something is still to come; see `Aftermath`. Mostly there are none. */

import type { Logger } from 'pino'
import type { Hold } from '../../mqtt/session/session.js'
import type { Message } from '../../mqtt/wire/message.js'
import type { NodeId } from '../../router/route-table.js'
import type { EarlierCut, LinkBody } from '../wire.js'
import type { Aftermath } from './aftermath.js'

/** How often nodes are asked again for a mark that does not come, in milliseconds: their routes may have been too old. */
const ASK_AGAIN_MS = 5_000

export interface AftermathsModules {
  readonly self: NodeId
  readonly send: (to: NodeId, body: LinkBody) => void
  readonly log: Logger
}

export class Aftermaths {
  /** By the number of the move. */
  private readonly byMove = new Map<number, Aftermath>()
  /** The last of each client. */
  private readonly byClient = new Map<string, Aftermath>()
  private askedAt = 0

  constructor(private readonly modules: AftermathsModules) {}

  has(move: number): boolean {
    return this.byMove.has(move)
  }

  add(aftermath: Aftermath): void {
    this.byMove.set(aftermath.move, aftermath)
    this.byClient.set(aftermath.clientId, aftermath)
  }

  /** Of the session of this client as it is here now. */
  of(clientId: string): Aftermath | undefined {
    const aftermath = this.byClient.get(clientId)
    return aftermath?.isCurrent === true ? aftermath : undefined
  }

  /** Cuts that a node that marks a further move of that session has to make as well. */
  earlierCuts(clientId: string): EarlierCut[] {
    const aftermath = this.of(clientId)
    if (aftermath === undefined) return []
    const { move, giver, cut } = aftermath
    return [{ move, giver, taker: this.modules.self }, ...cut.value.earlier]
  }

  marked(node: NodeId, move: number): void {
    const aftermath = this.byMove.get(move)
    if (aftermath === undefined) return
    aftermath.marked(node)
    this.forgetIfOver(aftermath)
  }

  /** The giver has passed on all that it had of that node. */
  settled(giver: NodeId, move: number, node: NodeId): void {
    const aftermath = this.byMove.get(move)
    if (aftermath?.giver !== giver) return
    const { clientId } = aftermath
    this.modules.log.debug({ clientId, peer: giver, move, of: node }, 'all that was to follow a session has come')
    aftermath.settled(node)
    this.forgetIfOver(aftermath)
  }

  /** False when nobody is here who would get it: the giver is told. */
  take(giver: NodeId, move: number, message: Message, pending: Hold | undefined): boolean {
    const aftermath = this.byMove.get(move)
    if (aftermath?.giver === giver && !aftermath.isInVain) {
      aftermath.take(message, pending)
      return true
    }
    this.modules.log.debug(
      { clientId: aftermath?.clientId, peer: giver, move },
      'message follows a session that is not here',
    )
    this.tellEnd(giver, move)
    return false
  }

  linkUp(node: NodeId): void {
    for (const aftermath of this.byMove.values()) {
      if (aftermath.lacksMarkOf(node)) this.modules.send(node, aftermath.cut)
    }
  }

  /** Another life of a node is there: it does not know the moves of the one before. */
  nodeBegunAnew(node: NodeId): void {
    for (const aftermath of [...this.byMove.values()]) {
      if (aftermath.giver !== node) continue
      aftermath.end()
      this.forgetIfOver(aftermath)
    }
  }

  /** A node is down: nothing comes from it for a while. */
  nodeGone(node: NodeId): void {
    for (const aftermath of this.byMove.values()) if (aftermath.giver === node) aftermath.releaseAll()
  }

  /**
   * Called about once a second.
   * @param members other nodes that are or may come back; a giver that has stopped passes on nothing
   * @param debtors those whose messages may still come
   */
  checkTime(now: number, members: ReadonlySet<NodeId>, debtors: ReadonlySet<NodeId>): void {
    const isTimeToAsk = now - this.askedAt > ASK_AGAIN_MS
    if (isTimeToAsk) this.askedAt = now
    for (const aftermath of [...this.byMove.values()]) {
      if (aftermath.isInVain || !members.has(aftermath.giver)) {
        this.tellEnd(aftermath.giver, aftermath.move)
        aftermath.end()
      } else aftermath.checkTime(now, debtors)
      this.forgetIfOver(aftermath)
      if (isTimeToAsk) for (const node of aftermath.unmarkedNodes()) this.modules.send(node, aftermath.cut)
    }
  }

  stop(): void {
    for (const aftermath of this.byMove.values()) aftermath.end()
    this.byMove.clear()
    this.byClient.clear()
  }

  private tellEnd(giver: NodeId, move: number): void {
    this.modules.send(giver, { $case: 'takeoverEnd', value: { move, fromTaker: true, discard: true, unseen: false } })
  }

  private forgetIfOver(aftermath: Aftermath): void {
    if (!aftermath.isOver) return
    this.byMove.delete(aftermath.move)
    if (this.byClient.get(aftermath.clientId) === aftermath) this.byClient.delete(aftermath.clientId)
  }
}
