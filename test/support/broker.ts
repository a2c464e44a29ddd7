import { type TestCluster, useCluster } from './cluster.js'
import type { ConfigTree, NodeProcess } from './node-process.js'

/** Where the suites of one node find it. */
export interface BrokerUnderTest {
  /** MQTT over TCP, on 127.0.0.1. */
  port: number
  wsPort: number
  /** The node itself; asking for it is an error when another broker stands in. */
  node: () => NodeProcess
}

/**
 * One node for all tests of a file. With SHOALMQ_TEST_PEER (`port` or `port,wsPort`) the suite runs against whatever
 * broker listens there instead: what Mosquitto passes too is a sound test of MQTT and not of our habits.
 */
export function useBroker(config: ConfigTree = {}): () => BrokerUnderTest {
  const peer = process.env.SHOALMQ_TEST_PEER
  if (peer !== undefined) {
    const [port = 0, wsPort = 0] = peer.split(',').map(Number)
    const node = (): NodeProcess => {
      throw new Error('another broker stands in for the node')
    }
    return () => ({ port, wsPort, node })
  }
  const cluster: () => TestCluster = useCluster({ nodes: 1, config })
  return () => {
    const node = cluster().node(1)
    return { port: node.ports.mqtt, wsPort: node.ports.ws, node: () => node }
  }
}
