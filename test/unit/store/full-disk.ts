/** A program for a test: runs a store on a disk that fills up and gets room again, and prints what it saw as JSON. */

import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { OpenTable, untilReleased } from '../../contract/store.js'
import { eventually } from '../../support/eventually.js'
import { openEmbedded } from './store-bed.js'

const [directory = ''] = process.argv.slice(2)
const ballast = join(directory, 'ballast')
writeFileSync(ballast, Buffer.alloc(1024 * 1024))

const life = await openEmbedded(directory)
const { store, metrics, log } = life
const first = await OpenTable.open({ open: async () => life })
const acked: string[] = []
let refused = ''
for (let count = 0; refused === ''; count += 1) {
  const key = `key ${count}`
  const hold = first.set(key, 'x'.repeat(5_000))
  await untilReleased(hold)
  if (hold.isRefused) refused = key
  else acked.push(key)
}
const failingWhenFull = store.isFailing
// Several more tries: one line in the log is enough.
await eventually(() => {
  if (metrics.failures.full.value + metrics.failures.error.value < 3) throw new Error('not tried again')
})
const alarm = Array.from(store.alarms(), (condition) => condition.alarm)
rmSync(ballast)
await eventually(() => {
  if (store.isFailing) throw new Error('still failing')
})
const late = first.set('late', 'x')
await untilReleased(late)
await life.stop()

const second = await OpenTable.open({ open: () => openEmbedded(directory) })
const { entries } = second.table
await second.life.stop()
const report = {
  refusedWasTold: metrics.refused.value === 1,
  failingWhenFull,
  loggedErrors: log.filter(({ level }) => level >= 50).length,
  reason: { full: metrics.failures.full.value >= 3, error: metrics.failures.error.value },
  alarm,
  keptThroughout: acked.length > 50 && acked.every((key) => entries.get(key)?.length === 5_000),
  recovered: log.some(({ msg }) => msg === 'the store can write again'),
  lateIsKept: !late.isRefused && entries.has('late'),
  dueIsKept: entries.has(refused),
}
process.stdout.write(JSON.stringify(report))
