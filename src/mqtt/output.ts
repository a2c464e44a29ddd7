/**
 * What is said to the client of one connection: packets encoded for its version of the protocol and within what it
 * accepts, on their way into the outbox. To the client's session it is the outlet.
 */

import type { TurnQueue, TurnTask } from '../util/turn.js'
import type { CloseReason } from './close-reason.js'
import type { InboundAck } from './inbound-acks.js'
import type { MqttMetrics } from './metrics.js'
import type { Outbox } from './outbox.js'
import type { Outlet } from './session/session.js'
import type { OutboundTopicAliases } from './topic-alias.js'
import {
  encodePacket,
  PUBACK_FIRST_BYTE,
  PUBCOMP_FIRST_BYTE,
  PUBREC_FIRST_BYTE,
  PUBREL_FIRST_BYTE,
} from './wire/encode.js'
import type { Frame } from './wire/message.js'
import type { OutboundPacket, ProtocolVersion, ResponseProperties } from './wire/packets.js'
import { ReasonCode } from './wire/reason-codes.js'

/** What an output asks of its connection. */
export interface OutputOwner {
  close(reason: CloseReason, reasonCode?: number, reasonString?: string): void
  /** The session sends what it may. */
  pump(): void
}

export class Output implements Outlet, TurnTask {
  isQueued = false
  version: ProtocolVersion = 4
  isV5 = false
  maximumPacketSize = 268_435_460
  sendMaximum: number
  /** Set for a client that allows topic aliases. */
  aliases: OutboundTopicAliases | undefined
  /** Whether the client wants reason strings and user properties with its failures. [MQTT-3.1.2-29] */
  wantsProblemInformation = true

  /** @param sendMaximum QoS 1 and 2 messages in flight, until the client has named its own */
  constructor(
    private readonly outbox: Outbox,
    private readonly owner: OutputOwner,
    private readonly turn: TurnQueue,
    private readonly packetsSent: MqttMetrics['packetsSent'],
    sendMaximum: number,
  ) {
    this.sendMaximum = sendMaximum
  }

  get isFull(): boolean {
    return this.outbox.isFull
  }

  get isCongested(): boolean {
    return this.outbox.isCongested
  }

  /** From now on this version of the protocol is spoken. */
  speak(version: ProtocolVersion): void {
    this.version = version
    this.isV5 = version === 5
  }

  /** The properties that say what was wrong, for a client that wants to know. [MQTT-3.1.2-29] */
  problem(reasonString: string | undefined): ResponseProperties {
    return reasonString !== undefined && this.wantsProblemInformation ? { reasonString } : {}
  }

  /** A packet that is larger than the client accepts must not be sent, and it waits for this one. [MQTT-3.1.2-24] */
  send(packet: OutboundPacket): void {
    const bytes = encodePacket(packet, this.version, this.maximumPacketSize)
    if (bytes.length > this.maximumPacketSize) {
      if (packet.cmd !== 'disconnect') {
        this.owner.close('packet_too_large', ReasonCode.PacketTooLarge, `no room for ${packet.cmd}`)
      }
      return
    }
    this.packetsSent[packet.cmd].value++
    this.outbox.write(bytes, 0, bytes.length)
  }

  sendFrame(frame: Frame, topic: string): void {
    const { buffer, start, end } = this.aliases === undefined ? frame : this.aliases.apply(frame, topic)
    this.outbox.write(buffer, start, end)
  }

  sendPublish(frame: Frame, packetId: number, duplicate: boolean, topic: string): void {
    const sent = this.aliases === undefined ? frame : this.aliases.apply(frame, topic)
    this.outbox.writePublish(sent, packetId, duplicate)
  }

  pumpLater(): void {
    this.turn.add(this)
  }

  runTurn(): void {
    this.owner.pump()
  }

  sendPubrel(packetId: number): void {
    this.packetsSent.pubrel.value++
    this.outbox.writeShortAck(PUBREL_FIRST_BYTE, packetId)
  }

  sendPubcomp(packetId: number, reasonCode: number): void {
    if (reasonCode !== ReasonCode.Success && this.isV5) {
      this.send({ cmd: 'pubcomp', packetId, reasonCode, properties: this.problem('the packet id is not in use') })
      return
    }
    this.packetsSent.pubcomp.value++
    this.outbox.writeShortAck(PUBCOMP_FIRST_BYTE, packetId)
  }

  /** PUBACK or PUBREC. */
  sendPublishAck(ack: InboundAck): void {
    if (ack.reasonCode !== ReasonCode.Success && this.isV5) {
      const cmd = ack.qos === 1 ? 'puback' : 'pubrec'
      const properties = this.problem(ack.reasonString)
      this.send({ cmd, packetId: ack.packetId, reasonCode: ack.reasonCode, properties })
    } else if (ack.qos === 1) {
      this.packetsSent.puback.value++
      this.outbox.writeShortAck(PUBACK_FIRST_BYTE, ack.packetId)
    } else {
      this.packetsSent.pubrec.value++
      this.outbox.writeShortAck(PUBREC_FIRST_BYTE, ack.packetId)
    }
  }
}
