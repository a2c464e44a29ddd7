/** What was acknowledged to publishers, and what each subscriber has of it: loss and disorder in numbers. */

/** What a subscriber has to have: everything after these numbers, by publisher. */
type Baseline = ReadonlyMap<string, number>

interface Reader {
  baseline: Baseline
  readonly got: Map<string, Set<number>>
  disordered: number
}

export class Ledger {
  /** By publisher: numbers that were sent, and acknowledged; one at a time, so each is all up to it. */
  private readonly sent = new Map<string, number>()
  private readonly acknowledged = new Map<string, number>()
  private readonly readers = new Map<string, Reader>()

  /** Messages that were acknowledged in all. */
  get total(): number {
    return Array.from(this.acknowledged.values()).reduce((sum, count) => sum + count, 0)
  }

  /** True when all that a publisher sent was acknowledged. */
  isSettled(publisher: string): boolean {
    return this.sent.get(publisher) === this.acknowledged.get(publisher)
  }

  noteSent(publisher: string, number: number): void {
    this.sent.set(publisher, number)
  }

  noteAcknowledged(publisher: string, number: number): void {
    this.acknowledged.set(publisher, number)
  }

  /** From now on this subscriber has to get everything; what it had is forgotten. */
  begin(reader: string): void {
    this.readers.set(reader, { baseline: new Map(this.sent), got: new Map(), disordered: 0 })
  }

  /** A subscriber that is gone owes nothing. */
  end(reader: string): void {
    this.readers.delete(reader)
  }

  noteReceived(reader: string, payload: string): void {
    const known = this.readers.get(reader)
    if (known === undefined) return
    const space = payload.lastIndexOf(' ')
    const publisher = payload.slice(0, space)
    const number = Number(payload.slice(space + 1))
    let got = known.got.get(publisher)
    if (got === undefined) {
      got = new Set()
      known.got.set(publisher, got)
    }
    // Numbers are added in their order unless something came late.
    if (!got.has(number) && number < got.size + (known.baseline.get(publisher) ?? 0)) known.disordered += 1
    got.add(number)
  }

  /** What was acknowledged and is not there, as `reader: publisher number`. */
  missing(): string[] {
    const missing: string[] = []
    for (const [reader, { baseline, got }] of this.readers) {
      for (const [publisher, count] of this.acknowledged) {
        for (let number = (baseline.get(publisher) ?? 0) + 1; number <= count; number += 1) {
          if (got.get(publisher)?.has(number) !== true) missing.push(`${reader}: ${publisher} ${number}`)
        }
      }
    }
    return missing
  }

  /** Messages that came for the first time after later ones of their publisher. */
  disordered(): number {
    return Array.from(this.readers.values()).reduce((sum, { disordered }) => sum + disordered, 0)
  }
}
