import { type ChildProcess, spawn } from 'node:child_process'
import { promises as dns } from 'node:dns'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { ensureDebianPackages } from './debian.js'
import { eventually } from './eventually.js'
import { freePort } from './free-port.js'

/** The zone that the server answers for by itself: a name below it without records is NXDOMAIN. */
export const ZONE = 'shoalmq.test'

export interface ServiceRecord {
  /** Full name of the host. */
  target: string
  port: number
}

/** Everything that the server knows; names are full names in `ZONE`. */
export interface DnsRecords {
  /** A and AAAA records. */
  hosts?: Readonly<Record<string, readonly string[]>>
  /** SRV records. */
  services?: Readonly<Record<string, readonly ServiceRecord[]>>
}

/** A real DNS server (Debian's dnsmasq) on a port of its own, whose records change while it runs. */
export class DnsServer {
  private readonly directory = mkdtempSync(join(tmpdir(), 'shoalmq-dns-'))
  private readonly hostsFile = join(this.directory, 'hosts')
  private child: ChildProcess | undefined
  private output = ''
  private services = ''

  private constructor(readonly port: number) {}

  static async start(records: DnsRecords = {}): Promise<DnsServer> {
    await ensureDebianPackages('dnsmasq-base')
    const server = new DnsServer(await freePort())
    await server.serve(records)
    return server
  }

  /** As `cluster.dns.servers` takes it. */
  get address(): string {
    return `127.0.0.1:${this.port}`
  }

  /** From now on these are all the records, and the server runs. Changed hosts are read on the fly, services by a restart. */
  async serve({ hosts = {}, services = {} }: DnsRecords): Promise<void> {
    const lines = Object.entries(hosts).flatMap(([name, addresses]) => addresses.map((address) => `${address} ${name}`))
    writeFileSync(this.hostsFile, `${lines.join('\n')}\n`)
    const serviceLines = Object.entries(services).flatMap(([name, records]) =>
      records.map(({ target, port }) => `srv-host=${name},${target},${port}`),
    )
    const changed = serviceLines.join('\n')
    if (changed !== this.services) await this.stopProcess()
    this.services = changed
    if (this.child === undefined) await this.startProcess()
    else this.child.kill('SIGHUP')
  }

  /** No answers until `serve`. */
  async stopProcess(): Promise<void> {
    const { child } = this
    if (child === undefined) return
    this.child = undefined
    child.kill('SIGTERM')
    if (child.exitCode === null) await once(child, 'exit')
  }

  async stop(): Promise<void> {
    await this.stopProcess()
    rmSync(this.directory, { recursive: true, force: true })
  }

  private async startProcess(): Promise<void> {
    const configFile = join(this.directory, 'dnsmasq.conf')
    writeFileSync(configFile, `${this.services}\n`)
    const child = spawn(
      'dnsmasq',
      [
        ...['--keep-in-foreground', `--conf-file=${configFile}`, '--pid-file=', '--log-facility=-'],
        ...[`--port=${this.port}`, '--listen-address=127.0.0.1', '--bind-interfaces', `--user=${userInfo().username}`],
        ...['--no-resolv', '--no-hosts', `--addn-hosts=${this.hostsFile}`, `--local=/${ZONE}/`, '--no-negcache'],
      ],
      // Debian keeps it where only root looks.
      { env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` }, stdio: ['ignore', 'ignore', 'pipe'] },
    )
    this.child = child
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.output += text
    })
    const failed = once(child, 'exit').then(() => {
      if (this.child === child) throw new Error(`dnsmasq ended: ${this.output}`)
    })
    // Only a failure until it answers is of interest.
    failed.catch(() => undefined)
    await Promise.race([failed, eventually(() => this.answers())])
  }

  /** Any answer shows that it serves; "no such name" is one. */
  private async answers(): Promise<void> {
    const resolver = new dns.Resolver({ timeout: 200, tries: 1 })
    resolver.setServers([this.address])
    try {
      await resolver.resolve4(`probe.${ZONE}`)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOTFOUND') throw error
    }
  }
}
