/**
 * What of an adoption may be done once only, although one that fails is tried again as a whole: the next try waits for what the
 * one before has begun.
 */

export class EstateSteps {
  /** By estate, then by the name of the step. */
  private readonly begun = new Map<string, Map<string, Promise<void>>>()

  /** Resolves when the step is done, now or in a try before. One that has failed is begun anew the next time. */
  once(estate: string, step: string, work: () => Promise<void>): Promise<void> {
    const steps = this.begun.get(estate) ?? new Map<string, Promise<void>>()
    this.begun.set(estate, steps)
    const before = steps.get(step)
    if (before !== undefined) return before
    const done = work()
    steps.set(step, done)
    // Whoever waits gets the error; here it only makes room for another try.
    done.catch(() => steps.delete(step))
    return done
  }

  /** The estate is closed. */
  forget(estate: string): void {
    this.begun.delete(estate)
  }
}
