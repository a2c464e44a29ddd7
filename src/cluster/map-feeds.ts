/** Replicated maps between this node and one peer: a `MapFeed` for each, and what comes of them. */

import type { Link } from './link.js'
import { MapFeed } from './map-feed.js'
import type { ReplicatedMap } from './replicated-map.js'
import type { LinkBodyOf } from './wire.js'

export class MapFeeds {
  private readonly feeds = new Map<string, MapFeed>()
  private isOpen = false

  /** @param maps by name; others may come */
  constructor(private readonly maps: ReadonlyMap<string, ReplicatedMap>) {}

  /** Keys that the peer is still to be told. */
  get keys(): number {
    let keys = 0
    for (const feed of this.feeds.values()) keys += feed.length
    return keys
  }

  /** True once this node had all that the peer had when the link opened. */
  get isWhole(): boolean {
    for (const feed of this.feeds.values()) if (!feed.isWhole) return false
    return true
  }

  /** A link is up. */
  open(): void {
    this.isOpen = true
    for (const map of this.maps.values()) this.feed(map).open()
  }

  /** No link is up any more. */
  close(): void {
    this.isOpen = false
    for (const feed of this.feeds.values()) feed.close()
  }

  written(map: ReplicatedMap, key: string): void {
    this.feed(map).add(key)
  }

  /** Time to compare digests. */
  check(): void {
    for (const feed of this.feeds.values()) feed.check()
  }

  takeCheck({ map: name, buckets }: LinkBodyOf<'mapCheck'>['value']): void {
    const map = this.maps.get(name)
    if (map !== undefined) this.feed(map).takeCheck(buckets)
  }

  takeEntries({ map: name, entries }: LinkBodyOf<'mapEntries'>['value']): void {
    const map = this.maps.get(name)
    if (map !== undefined) for (const entry of entries) map.merge(entry)
  }

  /** Sends one message of each map; false when there was none. */
  send(link: Link): boolean {
    let hasSent = false
    for (const feed of this.feeds.values()) {
      const body = feed.next()
      if (body === undefined) continue
      link.send(body)
      hasSent = true
    }
    return hasSent
  }

  private feed(map: ReplicatedMap): MapFeed {
    let feed = this.feeds.get(map.name)
    if (feed === undefined) {
      feed = new MapFeed(map)
      this.feeds.set(map.name, feed)
      if (this.isOpen) feed.open()
    }
    return feed
  }
}
