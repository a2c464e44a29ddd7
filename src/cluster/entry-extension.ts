/**
 * What an entry of a batch says beside its message: fields of a kind (one byte), a length (two bytes) and a value. A
 * kind that is not known is passed over, so that kinds may be added without a new version of the protocol.
 */

import { GroupTargets } from '../router/group-targets.js'
import type { NodeId } from '../router/route-table.js'

/** The client ID of the publisher, in UTF-8: for nodes with No Local subscriptions. [MQTT 5.0 section 3.8.3.1] */
const PUBLISHER = 1
/**
 * Groups of shared subscriptions for which the receiver was chosen: a byte of flags, then for each four bytes of its
 * number there (0 when that is not known), four bytes of hash, by which the strategies that hash choose the member, and six bytes of the number
 * under which the sender keeps the message until it is settled, 0 when it does not (see `Custody`).
 */
const GROUPS = 2

/**
 * The filters of these groups in the same order, in UTF-8, each behind two bytes of length: for a life of the receiver that
 * has other numbers. Of entries that outlive the sender or the receiver.
 */
const GROUP_KEYS = 3

/** Flag of groups: the message is for them only, and for no plain subscription. */
const GROUPS_ONLY = 1
/** Flag of groups: another node had been chosen first, whose members had left. */
const GROUPS_AGAIN = 2

/** The name of a node that is down, in UTF-8: the message was owed to it, and is for sessions that were inherited from it. */
const ESTATE = 10

/** A mark of a session that moves (a `TakeoverMark` of the protocol): the entry says nothing else, its message is none. */
const MARK = 9

/** For one session that has moved here from the sender: four bytes of the number of the move, then the client ID in UTF-8. */
const SESSION = 11

const FIELD_HEADER_BYTES = 3
const GROUP_BYTES = 14
const RECEIPT_BYTES = 6
/** Lengths are of two bytes. */
const LONGEST_EXTENSION_BYTES = 0xffff
/** Bytes before the fields: flags of the entry, length of the extension. */
const PREFIX_BYTES = 3

/** Groups that one entry names at most; for more there are further entries. */
const GROUPS_MAXIMUM = 4_096

/** Flag: the message is a PUBLISH of MQTT 3.1.1, which differs from one of MQTT 5 in having no properties. */
export const SHORT = 0x01

/** Nothing but the byte of flags. */
export const PLAIN_HEAD: Buffer = Buffer.from([0])
/** The same for a peer that knows runs, before a message of MQTT 5, and before one in the short form. */
export const LONG_HEAD: Buffer = Buffer.from([0])
export const SHORT_HEAD: Buffer = Buffer.from([SHORT])

/** Flag: four bytes of length follow, and in so many bytes messages, one after the other. */
export const RUN = 0x02

/** PUBLISH of QoS 0 to `$mark`, which nobody can have subscribed to but by its name. */
const MARK_MESSAGE = Buffer.from([0x30, 8, 0, 5, ...Buffer.from('$mark'), 0])

const NO_KEYS = Buffer.alloc(0)

/** Flag: an extension follows, to be skipped by whoever does not know it. */
export const EXTENDED = 0x80

/** Makes what stands before the message in an entry. Publishers repeat themselves: the last one is remembered. */
export class EntryHeads {
  private lastPublisherId = ''
  private lastHead: Buffer = PLAIN_HEAD
  private lastKey = ''
  private lastKeys: Buffer = NO_KEYS

  /** Flags, and an extension with the publisher when there is one to tell; '' is nobody. */
  headOf(publisherId: string): Buffer {
    if (publisherId === '') return PLAIN_HEAD
    if (publisherId !== this.lastPublisherId) {
      this.lastPublisherId = publisherId
      this.lastHead = encode(publisherId)
    }
    return this.lastHead
  }

  /**
   * Flags, and an extension with the publisher and these groups of a node.
   * @param hasKeys with their filters
   */
  headFor(
    publisherId: string,
    targets: GroupTargets,
    groups: readonly number[],
    isOnly: boolean,
    hasKeys = false,
  ): Buffer {
    const publisher = this.headOf(publisherId)
    const value = 1 + groups.length * GROUP_BYTES
    const keys = hasKeys ? this.keysOf(targets, groups) : NO_KEYS
    const extension =
      publisher.length - Math.min(publisher.length, PREFIX_BYTES) + FIELD_HEADER_BYTES + value + keys.length
    // Filters beside thousands of groups are what is left out, then a client ID of tens of thousands of bytes.
    if (extension > LONGEST_EXTENSION_BYTES) return this.headFor(hasKeys ? publisherId : '', targets, groups, isOnly)
    const head = Buffer.allocUnsafeSlow(PREFIX_BYTES + extension)
    publisher.copy(head)
    head[0] = EXTENDED
    head.writeUInt16BE(extension, 1)
    let at = PREFIX_BYTES + extension - keys.length - value - FIELD_HEADER_BYTES
    head[at] = GROUPS
    head.writeUInt16BE(value, at + 1)
    head[at + FIELD_HEADER_BYTES] = (isOnly ? GROUPS_ONLY : 0) | (targets.isAgain ? GROUPS_AGAIN : 0)
    at += FIELD_HEADER_BYTES + 1
    for (const index of groups) {
      head.writeUInt32BE(targets.ids[index] as number, at)
      head.writeUInt32BE(targets.hashes[index] as number, at + 4)
      head.writeUIntBE(targets.receipts[index] as number, at + 8, RECEIPT_BYTES)
      at += GROUP_BYTES
    }
    keys.copy(head, at)
    return head
  }

  /** A whole field. Mostly of one group, as of the message before. */
  private keysOf(targets: GroupTargets, groups: readonly number[]): Buffer {
    if (groups.length !== 1) return encodeKeys(groups.map((index) => targets.keys[index] as string))
    const key = targets.keys[groups[0] as number] as string
    if (key !== this.lastKey) {
      this.lastKey = key
      this.lastKeys = encodeKeys([key])
    }
    return this.lastKeys
  }
}

/** Flags, and an extension with the publisher, unless it is nobody, and with the node that is down that was owed the message. */
export function inheritedHead(publisherId: string, estate: NodeId): Buffer {
  return headWith(publisherId, ESTATE, Buffer.from(estate))
}

/** A session that has moved, as its giver and its taker know it. */
export interface Addressee {
  /** The taker's number of the move. */
  readonly move: number
  readonly clientId: string
}

/** Flags, and an extension with the publisher, unless it is nobody, and with the one session that is to get the message. */
export function passedOnHead(publisherId: string, { move, clientId }: Addressee): Buffer {
  const value = Buffer.allocUnsafe(4 + Buffer.byteLength(clientId))
  value.writeUInt32BE(move)
  value.write(clientId, 4)
  return headWith(publisherId, SESSION, value)
}

function headWith(publisherId: string, kind: number, value: Buffer): Buffer {
  const publisher = publisherId === '' ? PLAIN_HEAD : encode(publisherId)
  const before = publisher.length - Math.min(publisher.length, PREFIX_BYTES)
  const extension = before + FIELD_HEADER_BYTES + value.length
  if (extension > LONGEST_EXTENSION_BYTES) return headWith('', kind, value)
  const head = Buffer.allocUnsafeSlow(PREFIX_BYTES + extension)
  publisher.copy(head)
  head[0] = EXTENDED
  head.writeUInt16BE(extension, 1)
  head[PREFIX_BYTES + before] = kind
  head.writeUInt16BE(value.length, PREFIX_BYTES + before + 1)
  value.copy(head, PREFIX_BYTES + before + FIELD_HEADER_BYTES)
  return head
}

/** The only entry of a batch with a mark: an extension, and an empty message for whoever does not know what it means. */
export function markEntry(mark: Uint8Array): Buffer {
  const extension = FIELD_HEADER_BYTES + mark.length
  const entry = Buffer.alloc(3 + extension + MARK_MESSAGE.length)
  entry[0] = EXTENDED
  entry.writeUInt16BE(extension, 1)
  entry[3] = MARK
  entry.writeUInt16BE(mark.length, 4)
  entry.set(mark, 6)
  entry.set(MARK_MESSAGE, 3 + extension)
  return entry
}

/** The mark that a batch stands for, a view; undefined for a batch of messages. */
export function markOf(entries: Buffer): Buffer | undefined {
  if (entries.length < 6 || entries[0] !== EXTENDED || entries[3] !== MARK) return undefined
  return entries.subarray(6, 6 + entries.readUInt16BE(4))
}

/** The places in `targets` of the groups of one node, in as many lists as there have to be entries; mostly one. */
export function groupsPerEntry(targets: GroupTargets, node: NodeId): number[][] {
  const lists: number[][] = []
  let list: number[] = []
  for (let index = 0; index < targets.count; index += 1) {
    if (targets.nodes[index] !== node) continue
    if (list.length % GROUPS_MAXIMUM === 0) {
      list = []
      lists.push(list)
    }
    list.push(index)
  }
  return lists
}

/** Reads extensions, one after the other into the same place. */
export class ExtensionReader {
  /** Of the extension that was read last; '' when it tells none. */
  publisherId = ''
  /** Groups that the message is for; undefined when it is for plain subscriptions only. */
  targets: GroupTargets | undefined
  /** The node that is down to which the message was owed; undefined when it was not. */
  estate: NodeId | undefined
  /** The one session that the message is for; undefined for all that match. */
  addressee: Addressee | undefined
  private readonly list = new GroupTargets()

  /** There is no extension. */
  clear(): void {
    this.publisherId = ''
    this.targets = undefined
    this.estate = undefined
    this.addressee = undefined
  }

  /** Reads `chunk[start, end)`, fields without their length. A field that is cut ends it. */
  read(chunk: Buffer, start: number, end: number): void {
    this.clear()
    for (let at = start; at + FIELD_HEADER_BYTES <= end; ) {
      const valueAt = at + FIELD_HEADER_BYTES
      const valueEnd = valueAt + chunk.readUInt16BE(at + 1)
      if (valueEnd > end) return
      if (chunk[at] === PUBLISHER) this.publisherId = chunk.toString('utf8', valueAt, valueEnd)
      else if (chunk[at] === ESTATE) this.estate = chunk.toString('utf8', valueAt, valueEnd)
      else if (chunk[at] === SESSION && valueEnd >= valueAt + 4)
        this.addressee = {
          move: chunk.readUInt32BE(valueAt),
          clientId: chunk.toString('utf8', valueAt + 4, valueEnd),
        }
      else if (chunk[at] === GROUPS && valueEnd > valueAt) this.readGroups(chunk, valueAt, valueEnd)
      else if (chunk[at] === GROUP_KEYS) this.readKeys(chunk, valueAt, valueEnd)
      at = valueEnd
    }
  }

  /** Follows the groups. */
  private readKeys(chunk: Buffer, start: number, end: number): void {
    const { targets } = this
    if (targets === undefined) return
    let at = start
    for (let index = 0; index < targets.count && at + 2 <= end; index += 1) {
      const keyAt = at + 2
      at = keyAt + chunk.readUInt16BE(at)
      if (at <= end) targets.keys[index] = chunk.toString('utf8', keyAt, at)
    }
  }

  private readGroups(chunk: Buffer, start: number, end: number): void {
    const flags = chunk[start] as number
    const { list } = this
    list.clear()
    list.isOnly = (flags & GROUPS_ONLY) !== 0
    list.isAgain = (flags & GROUPS_AGAIN) !== 0
    for (let at = start + 1; at + GROUP_BYTES <= end; at += GROUP_BYTES) {
      const receipt = chunk.readUIntBE(at + 8, RECEIPT_BYTES)
      list.add('', chunk.readUInt32BE(at), chunk.readUInt32BE(at + 4), '', receipt)
    }
    this.targets = list
  }
}

/** A whole field. */
function encodeKeys(texts: readonly string[]): Buffer {
  const keys = texts.map((text) => Buffer.from(text))
  const size = keys.reduce((sum, key) => sum + 2 + key.length, 0)
  if (FIELD_HEADER_BYTES + size > LONGEST_EXTENSION_BYTES) return NO_KEYS
  const field = Buffer.alloc(FIELD_HEADER_BYTES + size)
  field[0] = GROUP_KEYS
  let at = field.writeUInt16BE(size, 1)
  for (const key of keys) {
    at = field.writeUInt16BE(key.length, at)
    at += key.copy(field, at)
  }
  return field
}

function encode(publisherId: string): Buffer {
  const length = Buffer.byteLength(publisherId)
  const extension = FIELD_HEADER_BYTES + length
  if (extension > LONGEST_EXTENSION_BYTES) return PLAIN_HEAD
  const head = Buffer.allocUnsafeSlow(PREFIX_BYTES + extension)
  head[0] = EXTENDED
  head.writeUInt16BE(extension, 1)
  head[PREFIX_BYTES] = PUBLISHER
  head.writeUInt16BE(length, PREFIX_BYTES + 1)
  head.write(publisherId, PREFIX_BYTES + FIELD_HEADER_BYTES)
  return head
}
