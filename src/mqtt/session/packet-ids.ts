/** Hands out the packet ids 1 to 65,535 in turn, passing over those still in use. [MQTT-2.2.1-4] */

const HIGHEST_PACKET_ID = 65_535

export class PacketIds {
  /** The last one that was given out. */
  last = 0

  /** The next free id, or 0 when all 65,535 are taken. */
  next(isTaken: { has(packetId: number): boolean }): number {
    for (let tries = 0; tries < HIGHEST_PACKET_ID; tries++) {
      this.last = this.last === HIGHEST_PACKET_ID ? 1 : this.last + 1
      if (!isTaken.has(this.last)) return this.last
    }
    return 0
  }
}
