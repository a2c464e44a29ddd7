/**
 * The clock of a node, set by libfaketime: the time of day only, as when an operator or a time server sets it. The monotonic
 * clock, from which a process counts its durations, goes on as it does on a real machine.
 */

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ensureDebianPackages } from '../../support/debian.js'
import { eventually } from '../../support/eventually.js'
import type { NodeProcess } from '../../support/node-process.js'

/** Seconds between two looks of the library at its file; as often as it can be told to. */
const LOOK_EVERY_S = 1
const SET_WITHIN_MS = 10_000
/** The clock that an HTTP answer tells has no fractions. */
const TOLERANCE_MS = 2_500

export class Clocks {
  private constructor(
    private readonly library: string,
    private readonly directory: string,
  ) {
    mkdirSync(directory, { recursive: true })
  }

  /** @param directory for the files that say what time it is. @throws when Debian's libfaketime is not to be had */
  static async create(directory: string): Promise<Clocks> {
    await ensureDebianPackages('libfaketime')
    const files = execFileSync('dpkg', ['--listfiles', 'libfaketime'], { encoding: 'utf8' }).split('\n')
    const library = files.find((file) => file.endsWith('/libfaketimeMT.so.1'))
    if (library === undefined) throw new Error('Debian’s libfaketime has no library for threads')
    return new Clocks(library, directory)
  }

  /** What the command line of a node begins with, by its number; its clock is right until it is set. */
  command(node: number): string[] {
    this.write(node, 0)
    return [
      'env',
      `LD_PRELOAD=${this.library}`,
      `FAKETIME_TIMESTAMP_FILE=${this.fileOf(node)}`,
      `FAKETIME_CACHE_DURATION=${LOOK_EVERY_S}`,
      'FAKETIME_DONT_FAKE_MONOTONIC=1',
      'NO_FAKE_STAT=1',
    ]
  }

  /** Sets the clock of a node by so many milliseconds from what is right; resolves when the node goes by it. */
  async set(number: number, node: NodeProcess, step: number): Promise<void> {
    this.write(number, step)
    await eventually(
      async () => {
        const off = (await node.wallTime()) - Date.now()
        assert.ok(Math.abs(off - step) < TOLERANCE_MS, `the clock of ${node.name} is ${off} ms off, not ${step}`)
      },
      { within: SET_WITHIN_MS, every: 100 },
    )
  }

  private write(node: number, step: number): void {
    const file = this.fileOf(node)
    // At once: a library that looks meanwhile must not find half of it.
    writeFileSync(`${file}.next`, `${step < 0 ? '-' : '+'}${Math.abs(step) / 1_000}\n`)
    renameSync(`${file}.next`, file)
  }

  private fileOf(node: number): string {
    return join(this.directory, `clock-${node}`)
  }
}
