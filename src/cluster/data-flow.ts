/**
 * Whether the data connection of a link gets through. TCP may wait for seconds before it tries again what a network that
 * broke off has swallowed, also when that network has long been whole and heartbeats, on a connection of their own, come.
 *
 * The side that reads decides: a peer says in its beats how many frames it had written a second ago. Where fewer have come
 * and no byte comes any more, they hang. A slow connection brings bytes, one that has nothing to bring owes nothing, and
 * nobody's link ends because of what the other side does not read. docs/decisions/025-data-that-hangs.md
 */

/** A data connection without a byte for this long, and four round trips, is stuck when more is due. */
const STUCK_AFTER_MS = 1_000

/** TCP repeats a lost segment twice within about so many round trips, which is what a lossy link needs now and then. */
const ROUND_TRIPS = 4

/** What is due may be on its way when a beat says so: after a silence both connections go on in the same moment. */
const GRACE_MS = 250

/** What a link's stream has sent and received since its connection was made. */
export interface DataStream {
  /** Frames that were written, and frames that came, in their entirety. */
  readonly framesSent: number
  readonly framesReceived: number
  /** Below the frames: also of one that has not come whole. */
  readonly bytesReceived: number
  /** A frame that was written has not gone out yet. */
  readonly isWriting: boolean
}

/** What a beat says of the data connection; zeros from nodes of older releases. */
export interface FlowReport {
  /** Frames that the sender had written a second before. */
  framesDue: number
  /** Bytes that have come to it. */
  bytesReceived: number
}

export class DataFlow {
  private readonly written: { at: number; frames: number }[] = []
  private lookedAt: number | undefined
  private framesSent = 0
  private bytesReceived = 0
  /** Milliseconds, of those in which this node ran, since a byte came. */
  private stillFor = 0
  /** The same, since a beat told of frames that had to be here by then. */
  private doubtedFor: number | undefined
  private framesDue = 0
  private peerBytes = 0
  private peerTakes = false

  constructor(private readonly stream: DataStream) {}

  /**
   * To be called a few times a second.
   * @param now of `performance.now`
   * @param longest milliseconds between two looks that count, since a node that stands still reads nothing
   */
  look(now: number, longest: number): void {
    const { framesSent, bytesReceived, framesReceived } = this.stream
    const elapsed = Math.min(now - (this.lookedAt ?? now), longest)
    this.lookedAt = now
    this.written.push({ at: now, frames: framesSent })
    while ((this.written[1]?.at ?? Infinity) <= now - STUCK_AFTER_MS) this.written.shift()
    // Node.js reads nothing from an HTTP/2 connection while a write to it has not ended: then it is the other direction
    // that is slow, if the peer gets bytes at all.
    const isHeldUp = this.stream.isWriting && framesSent === this.framesSent && this.peerTakes
    this.framesSent = framesSent
    if (bytesReceived !== this.bytesReceived || framesReceived >= this.framesDue) this.doubtedFor = undefined
    if (bytesReceived !== this.bytesReceived) this.stillFor = 0
    else if (!isHeldUp) this.stillFor += elapsed
    if (this.doubtedFor !== undefined && !isHeldUp) this.doubtedFor += elapsed
    this.bytesReceived = bytesReceived
  }

  /** For the next beat. */
  report(): FlowReport {
    const oldest = this.written[0]
    const isDue = oldest !== undefined && (this.lookedAt ?? 0) - oldest.at >= STUCK_AFTER_MS
    return { framesDue: isDue ? oldest.frames : 0, bytesReceived: this.stream.bytesReceived }
  }

  /**
   * A beat of the peer came.
   * @param roundTrip milliseconds that one takes when nothing goes wrong
   */
  hear({ framesDue, bytesReceived }: FlowReport, roundTrip: number): void {
    this.framesDue = framesDue
    this.peerTakes = bytesReceived > this.peerBytes
    this.peerBytes = bytesReceived
    const hangs = framesDue > this.stream.framesReceived && this.stillFor >= STUCK_AFTER_MS + ROUND_TRIPS * roundTrip
    if (hangs) this.doubtedFor ??= 0
  }

  /** What the peer has written does not come, although its beats do. */
  get isStuck(): boolean {
    return this.doubtedFor !== undefined && this.doubtedFor >= GRACE_MS
  }
}
