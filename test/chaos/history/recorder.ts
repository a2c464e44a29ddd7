/** A history while it is made. */

import { readFileSync, writeFileSync } from 'node:fs'
import type { Happening, HistoryEvent } from './events.js'

/** A history as `Recorder.write` has written it. */
export function readHistory(file: string): HistoryEvent[] {
  const lines = readFileSync(file, 'utf8').split('\n')
  return lines.flatMap((line) => (line === '' ? [] : [JSON.parse(line) as HistoryEvent]))
}

export class Recorder {
  private list: HistoryEvent[] = []
  private readonly start = performance.now()
  /** In all histories. */
  counted = 0

  get events(): readonly HistoryEvent[] {
    return this.list
  }

  note(happening: Happening): void {
    this.list.push(this.timed(happening))
    this.counted += 1
  }

  /** As it would be noted now. */
  timed(happening: Happening): HistoryEvent {
    return { ...happening, at: performance.now() - this.start }
  }

  add(events: readonly HistoryEvent[]): void {
    for (const event of events) this.list.push(event)
  }

  /** What was is settled; a new history begins with what still counts. */
  turnPage(preface: readonly Happening[]): void {
    this.list = preface.map((happening) => this.timed(happening))
  }

  /** One event in JSON per line. */
  write(file: string): void {
    writeFileSync(file, this.list.map((event) => `${JSON.stringify(event)}\n`).join(''))
  }
}
