/** Seeds from the Kubernetes API: the endpoints of a Service, as its EndpointSlices tell them. */

import { isIPv6 } from 'node:net'
import { dirname, join } from 'node:path'
import { z } from 'zod'
import { formatHostPort } from '../../config/addresses.js'
import type { KubernetesOptions } from '../../config/discovery-options.js'
import { readTrimmed, requestJson } from './json-request.js'
import { SeedPoll } from './seed-poll.js'
import type { SeedModules, SeedSource } from './seed-source.js'

/** Slices hold a hundred endpoints each unless told otherwise: far more than a cluster has nodes. */
const MAXIMUM_SLICES = 50

const DEFAULT_SUFFIXES = { ip: '', dns: 'pod.cluster.local', hostname: 'svc.cluster.local' } as const

const endpointSchema = z.object({
  addresses: z.array(z.string()).default([]),
  hostname: z.string().nullish(),
  conditions: z.object({ terminating: z.boolean().nullish() }).nullish(),
})

const slicesSchema = z.object({
  items: z.array(z.object({ endpoints: z.array(endpointSchema).nullish() })).default([]),
})

type Endpoint = z.output<typeof endpointSchema>

export class KubernetesSeeds implements SeedSource {
  private readonly poll: SeedPoll

  constructor(
    private readonly options: KubernetesOptions,
    { metrics, log }: SeedModules,
  ) {
    const { apiserver, serviceName, interval } = options
    const ask = (signal: AbortSignal) => this.ask(signal)
    this.poll = new SeedPoll(interval, { discovery: 'k8s', apiserver, service: serviceName }, { ask, metrics, log })
  }

  start(onAddresses: (addresses: readonly string[]) => void): void {
    this.poll.start(onAddresses)
  }

  async stop(): Promise<void> {
    this.poll.stop()
  }

  private async ask(signal: AbortSignal): Promise<readonly string[]> {
    const { apiserver, serviceName, tokenFile, caFile } = this.options
    const namespace = await this.namespace()
    const url = new URL(`/apis/discovery.k8s.io/v1/namespaces/${namespace}/endpointslices`, apiserver)
    url.searchParams.set('labelSelector', `kubernetes.io/service-name=${serviceName}`)
    url.searchParams.set('limit', String(MAXIMUM_SLICES))
    const answer = await requestJson({
      url,
      method: 'GET',
      headers: tokenFile === '' ? {} : { authorization: `Bearer ${await readTrimmed(tokenFile)}` },
      files: { caFile, certFile: '', keyFile: '' },
      signal,
    })
    const { items } = slicesSchema.parse(answer)
    return items
      .flatMap(({ endpoints }) => endpoints ?? [])
      .filter(({ conditions }) => conditions?.terminating !== true)
      .flatMap((endpoint) => this.hostsOf(endpoint, namespace))
      .map((host) => formatHostPort({ host, port: this.options.port }))
  }

  private async namespace(): Promise<string> {
    const { namespace, tokenFile } = this.options
    return namespace !== '' ? namespace : readTrimmed(join(dirname(tokenFile), 'namespace'))
  }

  private hostsOf({ addresses, hostname }: Endpoint, namespace: string): string[] {
    const { addressType, serviceName } = this.options
    const suffix = this.options.suffix || DEFAULT_SUFFIXES[addressType]
    switch (addressType) {
      case 'ip':
        return addresses
      case 'dns':
        return addresses.map((ip) => `${dashed(ip)}.${namespace}.${suffix}`)
      case 'hostname':
        // Pods of a StatefulSet have one; others cannot be dialed by it.
        return hostname ? [`${hostname}.${serviceName}.${namespace}.${suffix}`] : []
    }
  }
}

/** An IP address as the DNS of Kubernetes writes it in the name of a pod. */
function dashed(ip: string): string {
  return ip.replaceAll(isIPv6(ip) ? ':' : '.', '-')
}
