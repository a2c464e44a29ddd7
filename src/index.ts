/** What an embedding program may import. */

import type { ListenerEntryInput } from './config/listener-options.js'
import { loadConfig } from './config/load.js'
import type { Config } from './config/options.js'
import { Node, type NodeModules } from './node.js'
import { createLogger, type Logger } from './telemetry/logger.js'

export { type ScramCredentials, type ScramOptions, ScramSha256, scramCredentials } from './access/scram.js'
export type { Broker } from './broker/broker.js'
export type { ClusterStatus, NodeStatus } from './cluster/status.js'
export type { ListenerEntryInput } from './config/listener-options.js'
export { ConfigError } from './config/load.js'
export type { Config } from './config/options.js'
export { createBroker, EmbeddedBroker as Aedes, type EmbeddedOptions } from './embedded.js'
export type {
  AuthenticatingClient,
  AuthenticationExchange,
  AuthenticationStep,
  EnhancedAuthenticator,
} from './mqtt/authenticator.js'
export { Message } from './mqtt/wire/message.js'
export { MqttError, ReasonCode } from './mqtt/wire/reason-codes.js'
export { Node } from './node.js'

/** Options as they are written in a configuration file; what is left out has its default. */
export type NodeOptions = Omit<PartialDeep<Config>, 'listen'> & { listen?: readonly (string | ListenerEntryInput)[] }

type PartialDeep<T> = {
  [K in keyof T]?: T[K] extends readonly unknown[] | string | number | boolean ? T[K] : PartialDeep<T[K]>
}

/**
 * Makes a node; nothing listens until `start`. Hooks may be set on `node.broker` before or after. The environment is
 * not read.
 * @param log where the node logs; pino's defaults by the `log` options when left out.
 * @param modules.authenticators methods of MQTT 5 enhanced authentication
 * @throws ConfigError for options that are not accepted.
 */
export function createNode(
  options: NodeOptions = {},
  log?: Logger,
  modules: Pick<NodeModules, 'authenticators'> = {},
): Node {
  const config = loadConfig({ values: options, env: {}, flags: {} })
  return new Node(config, { ...modules, log: log ?? createLogger(config.log, { node: config.name }) })
}
