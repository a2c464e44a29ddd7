/** The way to find the first peers that the options choose. */

import type { ClusterOptions } from '../../config/options.js'
import { DnsSeeds } from './dns-seeds.js'
import { EtcdSeeds } from './etcd-seeds.js'
import { KubernetesSeeds } from './kubernetes-seeds.js'
import { MulticastSeeds } from './multicast-seeds.js'
import type { SeedModules, SeedSource } from './seed-source.js'
import { StaticSeeds } from './static-seeds.js'

/** The part of the options that discovery needs. */
export type SeedOptions = Pick<
  ClusterOptions,
  'name' | 'secret' | 'discovery' | 'seeds' | 'dns' | 'mcast' | 'etcd' | 'k8s'
>

/** @throws TypeError when `cluster.dns.servers` has something that is not an IP address with an optional port. */
export function createSeedSource(options: SeedOptions, modules: SeedModules): SeedSource {
  switch (options.discovery) {
    case 'static':
      return new StaticSeeds(options.seeds)
    case 'dns':
      return new DnsSeeds(options.dns, modules)
    case 'mcast':
      return new MulticastSeeds({ ...options.mcast, cluster: options.name, secret: options.secret }, modules)
    case 'etcd':
      return new EtcdSeeds({ ...options.etcd, cluster: options.name }, modules)
    case 'k8s':
      return new KubernetesSeeds(options.k8s, modules)
  }
}
