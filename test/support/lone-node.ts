/** A node without a cluster, as a process that tests kill and start again on the same directory. */

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { eventually } from './eventually.js'
import { freePort } from './free-port.js'
import { shoalmqCommand, shoalmqEnvironment } from './node-process.js'
import { Scrape } from './prometheus.js'

const START = { within: 30_000 }

/** One life of a node without a cluster. */
export class LoneNode {
  private constructor(
    private readonly child: ReturnType<typeof spawn>,
    private readonly ended: Promise<number | null>,
    readonly port: number,
    private readonly admin: string,
    private readonly output: { text: string },
  ) {}

  /** @param wrapper a command that runs the one behind it */
  static async spawn(
    t: TestContext,
    data: string,
    wrapper: readonly string[] = [],
    options: Readonly<Record<string, string>> = {},
  ): Promise<LoneNode> {
    const [mqtt, admin] = [await freePort('127.0.0.1'), await freePort('127.0.0.1')]
    const addresses = ['--listen', `mqtt://127.0.0.1:${mqtt}`, '--admin', `127.0.0.1:${admin}`, '--cluster', 'off']
    const [file = '', ...command] = [...wrapper, ...shoalmqCommand(), 'start', '--data', data, ...addresses]
    const child = spawn(file, command, { env: shoalmqEnvironment({ SHOALMQ_LOG__FORMAT: 'json', ...options }) })
    const output = { text: '' }
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output.text += text
      })
    }
    const ended = new Promise<number | null>((done) => child.once('close', (code) => done(code)))
    t.after(() => child.kill('SIGKILL'))
    return new LoneNode(child, ended, mqtt, `http://127.0.0.1:${admin}`, output)
  }

  static async start(
    t: TestContext,
    data: string,
    wrapper?: readonly string[],
    options?: Readonly<Record<string, string>>,
  ): Promise<LoneNode> {
    for (;;) {
      const node = await LoneNode.spawn(t, data, wrapper, options)
      await eventually(() => assert.match(node.text, /"msg":"serving"|"code":"PORT_TAKEN"/), START)
      if (!node.text.includes('"code":"PORT_TAKEN"')) return node
      // Somebody else on this machine has got the port that was free.
      await node.exited()
    }
  }

  get url(): string {
    return `mqtt://127.0.0.1:${this.port}`
  }

  get text(): string {
    return this.output.text
  }

  get pid(): number {
    return this.child.pid ?? 0
  }

  exited(): Promise<number | null> {
    return this.ended
  }

  async kill(): Promise<void> {
    this.child.kill('SIGKILL')
    await this.ended
  }

  /** SIGTERM, and the end of what it has to do. */
  async terminate(): Promise<void> {
    this.child.kill('SIGTERM')
    await this.ended
  }

  async metrics(): Promise<Scrape> {
    return new Scrape(await fetch(`${this.admin}/metrics`).then((response) => response.text()))
  }

  async alarms(): Promise<string[]> {
    const response = await fetch(`${this.admin}/api/v1/alarms`)
    const { data } = (await response.json()) as { data: { alarm: string }[] }
    return data.map(({ alarm }) => alarm)
  }
}

/** A new directory, gone after the test. */
export function dataDirectoryFor(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'shoalmq-restart-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}
