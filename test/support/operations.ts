import type { Operations } from '../../src/admin/api.js'
import type { ClusterStatus } from '../../src/cluster/status.js'

/** A node without clients, for tests of the server in front of it. */
export function operationsOf(status: () => ClusterStatus): Operations {
  return {
    status,
    alarms: () => [],
    clients: () => [],
    client: () => undefined,
    kick: () => false,
    subscriptions: () => [],
    delayed: () => [],
    cancelDelayed: () => false,
    routes: () => [],
    verifyRoutes: () => Promise.resolve([]),
    join: () => false,
    leave: () => false,
    forget: () => false,
    drain: () => undefined,
    undrain: () => undefined,
  }
}
