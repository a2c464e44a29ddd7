import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { KeyPairFiles } from './certificates.js'
import { ensureDebianPackages } from './debian.js'
import { eventually } from './eventually.js'
import { freePort } from './free-port.js'

/** Certificates for clients that speak TLS; without them etcd speaks plain HTTP. */
export interface EtcdTls extends KeyPairFiles {
  caFile: string
}

/** A real etcd (Debian's etcd-server) on ports of its own, which can be stopped and started again with its data. */
export class EtcdServer {
  private readonly directory = mkdtempSync(join(tmpdir(), 'shoalmq-etcd-'))
  private child: ChildProcess | undefined
  private output = ''

  private constructor(
    readonly port: number,
    private readonly peerPort: number,
    private readonly tls: EtcdTls | undefined,
  ) {}

  /** @param tls clients must show a certificate of this authority */
  static async start(tls?: EtcdTls): Promise<EtcdServer> {
    await ensureDebianPackages('etcd-server')
    const server = new EtcdServer(await freePort(), await freePort(), tls)
    await server.resume()
    return server
  }

  /** As `cluster.etcd.server` takes it. */
  get url(): string {
    return `${this.tls === undefined ? 'http' : 'https'}://127.0.0.1:${this.port}`
  }

  /** Starts, with the data of the time before. */
  async resume(): Promise<void> {
    const peers = `http://127.0.0.1:${this.peerPort}`
    const child = spawn(
      'etcd',
      [
        ...['--data-dir', join(this.directory, 'data'), '--logger', 'zap', '--log-outputs', 'stderr'],
        ...['--listen-client-urls', this.url, '--advertise-client-urls', this.url],
        ...[
          '--listen-peer-urls',
          peers,
          '--initial-advertise-peer-urls',
          peers,
          '--initial-cluster',
          `default=${peers}`,
        ],
        ...(this.tls === undefined
          ? []
          : [
              ...['--cert-file', this.tls.certFile, '--key-file', this.tls.keyFile],
              ...['--trusted-ca-file', this.tls.caFile, '--client-cert-auth'],
            ]),
      ],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    )
    this.child = child
    this.output = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.output += text
    })
    await eventually(
      () => {
        if (child.exitCode !== null) throw new Error(`etcd ended: ${this.output}`)
        if (!this.output.includes('serving client traffic ')) throw new Error('etcd does not serve yet')
      },
      { within: 20_000 },
    )
  }

  /** One request of the JSON gateway, plain HTTP only; returns the answer. */
  async call(path: string, body: unknown, token?: string): Promise<Record<string, unknown>> {
    const response = await fetch(`${this.url}/v3/${path}`, {
      method: 'POST',
      body: JSON.stringify(body),
      ...(token === undefined ? {} : { headers: { authorization: token } }),
    })
    if (!response.ok) throw new Error(`etcd answers ${response.status} to ${path}: ${await response.text()}`)
    return (await response.json()) as Record<string, unknown>
  }

  /** Every key and its value, in the order of keys. */
  async keys(): Promise<Record<string, string>> {
    const zero = Buffer.alloc(1).toString('base64')
    const { kvs = [] } = (await this.call('kv/range', { key: zero, range_end: zero })) as {
      kvs?: { key: string; value?: string }[]
    }
    const text = (base64 = ''): string => Buffer.from(base64, 'base64').toString()
    return Object.fromEntries(kvs.map(({ key, value }) => [text(key), text(value)]))
  }

  /** A user who may do everything, and nobody else anything. */
  async requireUser(name: string, password: string): Promise<void> {
    await this.call('auth/user/add', { name: 'root', password: 'of the test' })
    await this.call('auth/user/grant', { user: 'root', role: 'root' })
    await this.call('auth/role/add', { name: 'nodes' })
    const zero = Buffer.alloc(1).toString('base64')
    await this.call('auth/role/grant', { name: 'nodes', perm: { permType: 'READWRITE', key: zero, range_end: zero } })
    await this.call('auth/user/add', { name, password })
    await this.call('auth/user/grant', { user: name, role: 'nodes' })
    await this.call('auth/enable', {})
  }

  /** Nobody answers until `resume`. */
  async pause(): Promise<void> {
    const { child } = this
    this.child = undefined
    if (child === undefined || child.exitCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  }

  async stop(): Promise<void> {
    await this.pause()
    rmSync(this.directory, { recursive: true, force: true })
  }
}
