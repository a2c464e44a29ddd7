/** The highest value that each of some numbers has had, as far as it was looked at. */

export class Peaks<Name extends string> {
  private readonly highest = new Map<Name, number>()

  constructor(private readonly sources: Readonly<Record<Name, () => number>>) {}

  get names(): Name[] {
    return Object.keys(this.sources) as Name[]
  }

  current(name: Name): number {
    return this.sources[name]()
  }

  /** At least the present value. */
  highestOf(name: Name): number {
    return Math.max(this.highest.get(name) ?? 0, this.current(name))
  }

  /** Looks at one. */
  look(name: Name): void {
    this.highest.set(name, this.highestOf(name))
  }

  lookAtAll(): void {
    for (const name of this.names) this.look(name)
  }
}
