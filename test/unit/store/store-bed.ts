import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { pino } from 'pino'
import { EmbeddedStore, type EmbeddedStoreOptions } from '../../../src/store/embedded-store.js'
import { createStoreMetrics, type StoreMetrics } from '../../../src/store/metrics.js'
import { MetricRegistry } from '../../../src/telemetry/registry.js'
import { TurnQueue } from '../../../src/util/turn.js'
import type { StoreBed, StoreLife } from '../../contract/store.js'

export interface EmbeddedLife extends StoreLife<EmbeddedStore> {
  readonly metrics: StoreMetrics
  readonly log: { level: number; msg: string }[]
}

/** A new directory, gone after the test. */
export function directoryFor(context: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'shoalmq-store-'))
  context.after(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

export async function openEmbedded(
  directory: string,
  durability: EmbeddedStoreOptions['durability'] = 'commit',
): Promise<EmbeddedLife> {
  const turn = new TurnQueue({
    onError: (error) => {
      throw error
    },
  })
  const metrics = createStoreMetrics(new MetricRegistry())
  const log: EmbeddedLife['log'] = []
  const store = await EmbeddedStore.open(
    { directory, durability },
    { turn, metrics, log: pino({}, { write: (line) => log.push(JSON.parse(line)) }) },
  )
  return {
    store,
    metrics,
    log,
    load: () => store.load(),
    stop: async () => {
      await store.stop()
      turn.stop()
    },
  }
}

export function embeddedBed(
  context: TestContext,
  durability: EmbeddedStoreOptions['durability'],
): StoreBed<EmbeddedStore> & { readonly directory: string; open(): Promise<EmbeddedLife> } {
  const directory = directoryFor(context)
  return { directory, open: () => openEmbedded(directory, durability) }
}
