/** What must be true before a node takes traffic: named checks, asked whenever `/readyz` is. */

/** Returns undefined when all is well, else one line that says what is missing. Must not block or throw. */
export type HealthCheck = () => string | undefined

export class Health {
  private readonly checks = new Map<string, HealthCheck>()

  /** Adds a check under a name of its own. */
  add(name: string, check: HealthCheck): void {
    if (this.checks.has(name)) throw new TypeError(`there is already a health check called ${name}`)
    this.checks.set(name, check)
  }

  /** What each failing check says, by name; empty when the node is ready. */
  failing(): Record<string, string> {
    const failing: Record<string, string> = {}
    for (const [name, check] of this.checks) {
      const reason = check()
      if (reason !== undefined) failing[name] = reason
    }
    return failing
  }
}
