/**
 * Seeds on the local network: every node announces itself to a multicast group and listens to the others. A newcomer is
 * answered at once, so that it need not wait for the next round.
 */

import { createSocket, type Socket } from 'node:dgram'
import type { MulticastOptions } from '../../config/discovery-options.js'
import { Backoff } from '../../util/backoff.js'
import { NodeError } from '../../util/errors.js'
import { TokenBucket } from '../../util/token-bucket.js'
import { decodeAnnouncement, encodeAnnouncement, type SentAnnouncement } from './announcement.js'
import type { DatagramRefusal } from './metrics.js'
import { Outage } from './outage.js'
import type { SeedModules, SeedSource } from './seed-source.js'

export interface MulticastSeedOptions extends MulticastOptions {
  cluster: string
  secret: string
}

const FIRST_RETRY_MS = 500
const LONGEST_RETRY_MS = 15_000

/** Newcomers are answered after a moment of chance, all of a moment together. */
const ANSWER_WITHIN_MS = 200

/** A node is no seed any more after so many intervals of silence. */
const MISSED_ROUNDS = 3

/** As many as a cluster may have. */
const MAXIMUM_NODES = 256

/** Datagrams that are looked at in a second, and at once: each costs an HMAC. */
const CHECKED_PER_SECOND = 1_000
const CHECKED_AT_ONCE = 1_000

interface Heard {
  address: string
  /** By `performance.now`. */
  heardAt: number
  incarnation: number
  sentAt: number
}

export class MulticastSeeds implements SeedSource {
  private readonly outage: Outage
  private readonly backoff = new Backoff({ initialMs: FIRST_RETRY_MS, maximumMs: LONGEST_RETRY_MS })
  private readonly checks = new TokenBucket(CHECKED_PER_SECOND, CHECKED_AT_ONCE)
  private readonly heard = new Map<string, Heard>()
  private readonly logged = new Set<DatagramRefusal>()
  private onAddresses: ((addresses: readonly string[]) => void) | undefined
  private socket: Socket | undefined
  private timer: NodeJS.Timeout | undefined
  private answerTimer: NodeJS.Timeout | undefined
  private known: readonly string[] = []
  private lastSentAt = 0

  constructor(
    private readonly options: MulticastSeedOptions,
    private readonly modules: SeedModules,
  ) {
    const { addr, ports, iface } = options
    this.outage = new Outage({ discovery: 'mcast', addr, ports, iface }, modules)
  }

  start(onAddresses: (addresses: readonly string[]) => void): void {
    if (this.onAddresses !== undefined) return
    this.onAddresses = onAddresses
    void this.open()
  }

  async stop(): Promise<void> {
    this.onAddresses = undefined
    clearTimeout(this.timer)
    clearTimeout(this.answerTimer)
    this.answerTimer = undefined
    this.socket?.close()
    this.socket = undefined
    this.heard.clear()
    this.known = []
  }

  private async open(): Promise<void> {
    const { onAddresses } = this
    try {
      const socket = await this.bindFirstFree()
      // Stopped meanwhile, and perhaps started again by a call of its own.
      if (this.onAddresses !== onAddresses || this.onAddresses === undefined) {
        socket.close()
        return
      }
      this.socket = socket
      socket.on('message', this.onDatagram)
      socket.on('error', (error) => this.reopen(error))
      this.joinGroup(socket)
      this.round()
    } catch (error) {
      this.reopen(error)
    }
  }

  private async bindFirstFree(): Promise<Socket> {
    const { addr, ports } = this.options
    for (const port of ports) {
      const socket = createSocket('udp4')
      try {
        await new Promise<void>((resolve, reject) => {
          socket.once('error', reject)
          // Bound to the group: what is sent to this host alone is nobody's announcement.
          socket.bind({ port: Number(port), address: addr, exclusive: true }, () => {
            socket.off('error', reject)
            resolve()
          })
        })
        return socket
      } catch (error) {
        socket.close()
        if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
      }
    }
    throw new NodeError(`none of the ports ${ports.join(', ')} is free`, { code: 'MCAST_PORTS_IN_USE' })
  }

  private joinGroup(socket: Socket): void {
    const { addr, iface, ttl, loop } = this.options
    if (iface === '0.0.0.0') socket.addMembership(addr)
    else {
      socket.addMembership(addr, iface)
      socket.setMulticastInterface(iface)
    }
    socket.setMulticastTTL(ttl)
    socket.setMulticastLoopback(loop)
  }

  /** The network is gone, or was never there: tried again. */
  private reopen(error: unknown): void {
    if (this.onAddresses === undefined) return
    this.outage.failed(error)
    clearTimeout(this.timer)
    this.socket?.close()
    this.socket = undefined
    this.timer = setTimeout(() => void this.open(), this.backoff.next())
  }

  /** Announces this node, and drops those that have been silent. */
  private round(): void {
    const { socket } = this
    if (socket === undefined) return
    this.forgetSilent()
    this.announce(socket)
    this.timer = setTimeout(() => this.round(), this.options.interval)
  }

  private announce(socket: Socket): void {
    const { addr, ports } = this.options
    // Every one is newer than the one before, also when the clock is set back.
    this.lastSentAt = Math.max(Date.now(), this.lastSentAt + 1)
    const datagram = encodeAnnouncement(this.modules.self(), this.options, this.lastSentAt)
    let left = ports.length
    let failure: Error | undefined
    for (const port of ports) {
      socket.send(datagram, Number(port), addr, (error) => {
        failure ??= error ?? undefined
        left -= 1
        if (left > 0 || this.socket !== socket) return
        if (failure !== undefined) return this.reopen(failure)
        this.backoff.reset()
        this.outage.succeeded()
      })
    }
  }

  private readonly onDatagram = (datagram: Buffer): void => {
    if (!this.checks.take()) return this.drop('too_many')
    const read = decodeAnnouncement(datagram, this.options, Date.now())
    if (typeof read === 'string') return this.drop(read)
    const self = this.modules.self()
    // Our own come back to us where loop is on.
    if (read.node === self.node && read.incarnation === self.incarnation) return
    this.hear(read)
  }

  private hear({ node, address, incarnation, sentAt }: SentAnnouncement): void {
    const known = this.heard.get(node)
    if (known !== undefined && (incarnation < known.incarnation || sentAt <= known.sentAt)) return this.drop('replayed')
    if (known === undefined && this.heard.size >= MAXIMUM_NODES) return this.drop('too_many_nodes')
    this.heard.set(node, { address, incarnation, sentAt, heardAt: performance.now() })
    if (known?.incarnation !== incarnation) this.answerSoon()
    this.report()
  }

  private answerSoon(): void {
    this.answerTimer ??= setTimeout(() => {
      this.answerTimer = undefined
      if (this.socket !== undefined) this.announce(this.socket)
    }, Math.random() * ANSWER_WITHIN_MS)
  }

  private forgetSilent(): void {
    const oldest = performance.now() - MISSED_ROUNDS * this.options.interval
    for (const [node, { heardAt }] of this.heard) if (heardAt < oldest) this.heard.delete(node)
    this.report()
  }

  private report(): void {
    const addresses = [...new Set([...this.heard.values()].map(({ address }) => address))].sort()
    if (addresses.join() === this.known.join()) return
    this.known = addresses
    this.modules.metrics.addresses = addresses.length
    this.onAddresses?.(addresses)
  }

  /** Counted each, logged once for each reason. */
  private drop(reason: DatagramRefusal): void {
    this.modules.metrics.datagrams[reason].value += 1
    if (this.logged.has(reason)) return
    this.logged.add(reason)
    const { addr } = this.options
    this.modules.log.warn({ discovery: 'mcast', addr, reason }, 'a datagram that announces no node of this cluster')
  }
}
