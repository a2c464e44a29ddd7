/** Seeds from DNS: the answers for one name, asked for again and again. */

import { promises as dns, type SrvRecord } from 'node:dns'
import { formatHostPort } from '../../config/addresses.js'
import type { DnsOptions } from '../../config/options.js'
import { noteRound } from './metrics.js'
import type { SeedModules, SeedSource } from './seed-source.js'

/** While nothing was ever found: the name appears when the first node is registered, moments after this one's start. */
const FIRST_ANSWER_RETRY_MS = 1_000

/** One question to one DNS server; c-ares' own 5 s would outlast several rounds of the default interval. */
const QUERY_TIMEOUT_MS = 2_000
const QUERY_TRIES = 2

/** The name, or this type of record for it, does not exist: an answer, not a failure, while another type has records. */
const NO_RECORDS: ReadonlySet<string> = new Set(['ENODATA', 'ENOTFOUND'])

/** What one round of questions has brought: addresses, and the last of the questions that got no answer. */
interface Round {
  addresses: Set<string>
  failure: NodeJS.ErrnoException | undefined
}

export class DnsSeeds implements SeedSource {
  private readonly resolver = new dns.Resolver({ timeout: QUERY_TIMEOUT_MS, tries: QUERY_TRIES })
  private onAddresses: ((addresses: readonly string[]) => void) | undefined
  private timer: NodeJS.Timeout | undefined
  private known: readonly string[] = []
  /** Code of the failure that was logged, so that one that lasts is logged once. */
  private loggedFailure: string | undefined

  constructor(
    private readonly options: DnsOptions,
    private readonly modules: SeedModules,
  ) {
    if (options.servers.length > 0) this.resolver.setServers(options.servers)
  }

  start(onAddresses: (addresses: readonly string[]) => void): void {
    if (this.onAddresses !== undefined) return
    this.onAddresses = onAddresses
    void this.resolveAndReport(onAddresses)
  }

  async stop(): Promise<void> {
    this.onAddresses = undefined
    clearTimeout(this.timer)
    this.resolver.cancel()
  }

  /** One round, and the appointment for the next: rounds never overlap, however slow the server is. */
  private async resolveAndReport(onAddresses: (addresses: readonly string[]) => void): Promise<void> {
    const round: Round = { addresses: new Set(), failure: undefined }
    if (this.options.type === 'srv') await this.askForServices(round)
    else await this.askForHost(this.options.name, this.options.port, round)
    // Stopped meanwhile (and perhaps started again, by a round of its own).
    if (this.onAddresses !== onAddresses) return

    this.logFailure(round)
    const addresses = [...round.addresses].sort()
    if (addresses.length > 0 && addresses.join() !== this.known.join()) {
      this.known = addresses
      this.modules.metrics.addresses = addresses.length
      this.modules.log.debug({ name: this.options.name, addresses }, 'seeds resolved')
      onAddresses(addresses)
    }
    this.scheduleNext(onAddresses)
  }

  private scheduleNext(onAddresses: (addresses: readonly string[]) => void): void {
    // The report itself may have stopped us.
    if (this.onAddresses !== onAddresses) return
    const { interval } = this.options
    const wait = this.known.length > 0 ? interval : Math.min(interval, FIRST_ANSWER_RETRY_MS)
    this.timer = setTimeout(() => void this.resolveAndReport(onAddresses), wait)
  }

  private async askForServices(round: Round): Promise<void> {
    let services: SrvRecord[]
    try {
      services = await this.resolver.resolveSrv(this.options.name)
    } catch (error) {
      round.failure = error as NodeJS.ErrnoException
      return
    }
    // The root as target says "no such service here" (RFC 2782).
    const targets = services.filter(({ name }) => name !== '')
    await Promise.all(targets.map(({ name, port }) => this.askForHost(name, port, round)))
  }

  /** Adds every address of a host, of both families. */
  private async askForHost(name: string, port: number, round: Round): Promise<void> {
    const answers = await Promise.allSettled(this.queriesFor(name))
    const hosts: string[] = []
    const failures: NodeJS.ErrnoException[] = []
    for (const answer of answers) {
      if (answer.status === 'fulfilled') hosts.push(...answer.value)
      else failures.push(answer.reason)
    }
    for (const host of hosts) round.addresses.add(formatHostPort({ host, port }))
    // A host of one family has no records of the other; one without any is worth a line.
    const failure = failures.find(({ code = '' }) => hosts.length === 0 || !NO_RECORDS.has(code))
    if (failure !== undefined) round.failure = failure
  }

  private queriesFor(name: string): Promise<string[]>[] {
    if (this.options.servers.length > 0) return [this.resolver.resolve4(name), this.resolver.resolve6(name)]
    // The system's way knows search domains and /etc/hosts, as short service names need.
    return [dns.lookup(name, { all: true }).then((found) => found.map(({ address }) => address))]
  }

  private logFailure({ addresses, failure }: Round): void {
    noteRound(this.modules.metrics, failure === undefined ? 'ok' : 'failed')
    const code = failure === undefined ? undefined : (failure.code ?? failure.message)
    if (code === this.loggedFailure) return
    this.loggedFailure = code
    const { name, type } = this.options
    if (failure === undefined) this.modules.log.info({ name, type, found: addresses.size }, 'seeds are resolved again')
    else
      this.modules.log.warn(
        { name, type, code, found: addresses.size, err: failure },
        'seeds could not all be resolved',
      )
  }
}
