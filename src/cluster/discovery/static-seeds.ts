/** Seeds that an operator wrote down. */

import type { SeedSource } from './seed-source.js'

export class StaticSeeds implements SeedSource {
  constructor(private readonly addresses: readonly string[]) {}

  start(onAddresses: (addresses: readonly string[]) => void): void {
    onAddresses(this.addresses)
  }

  async stop(): Promise<void> {
    // Nothing runs.
  }
}
