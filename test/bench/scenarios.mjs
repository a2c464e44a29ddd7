/**
 * What is measured: the parameters of the load generator and the figure that counts. 64-byte payloads; QoS 1 and 2
 * with a window of 100 messages per publisher and clean sessions.
 */

/**
 * @typedef {object} Scenario
 * @property {string} what for the reader of the table
 * @property {string} parameters of the load generator
 * @property {string} figure the field of its result that is compared
 * @property {string} unit
 * @property {boolean} [isLowerBetter]
 * @property {boolean} [isSharedSubscription] nats-server has none for MQTT clients
 * @property {readonly string[]} [also] further fields worth a place in the result
 */

const PAIRS = '--publishers 50 --subscribers 50 --choice own'

/** @type {Record<string, Scenario>} On one node, against its peers. */
export const SCENARIOS = {
  a1: { what: 'ingest: 1 publisher, nobody subscribed, QoS 0', ...sent('--subscribers 0') },
  b1q0: { what: '1 to 1, QoS 0', ...delivered('') },
  b1q1: { what: '1 to 1, QoS 1', ...delivered('--qos 1') },
  b1q2: { what: '1 to 1, QoS 2', ...delivered('--qos 2') },
  b50q0: { what: '50 pairs, QoS 0', ...delivered(PAIRS) },
  b50q1: { what: '50 pairs, QoS 1', ...delivered(`${PAIRS} --qos 1`) },
  b50q2: { what: '50 pairs, QoS 2', ...delivered(`${PAIRS} --qos 2`) },
  c50q0: { what: 'fan-in 50 to 1, QoS 0', ...delivered('--publishers 50') },
  c50q1: { what: 'fan-in 50 to 1, QoS 1', ...delivered('--publishers 50 --qos 1') },
  d50q0: { what: 'fan-out 1 to 50, QoS 0', ...delivered('--subscribers 50') },
  d50q1: { what: 'fan-out 1 to 50, QoS 1', ...delivered('--subscribers 50 --qos 1') },
  d500q0: { what: 'fan-out 1 to 500, QoS 0', ...delivered('--subscribers 500') },
  e10q0: { what: '10 publishers, shared group of 10, QoS 0', ...shared('') },
  e10q1: { what: '10 publishers, shared group of 10, QoS 1', ...shared('--qos 1') },
  f50q0: { what: '50 pairs at 5,000 messages/s, QoS 0, p50', ...latency('') },
  f50q1: { what: '50 pairs at 5,000 messages/s, QoS 1, p50', ...latency('--qos 1') },
  h10: {
    what: '10,000 wildcard filters, QoS 0',
    ...delivered(
      '--publishers 10 --subscribers 100 --topics 10000 --topic a/{i}/k/x --choice at-random --filter a/{i}/+/x --filters 10000',
    ),
  },
  g10k: {
    what: '10,000 connections, each with a subscription',
    parameters: '--mode connections --connections 10000 --filter idle/{i}',
    figure: 'connects_s',
    unit: 'connects/s',
    also: ['memory_per_connection'],
  },
}

function sent(parameters) {
  return { parameters, figure: 'sent_s', unit: 'messages/s' }
}

function delivered(parameters) {
  return { parameters, figure: 'delivered_s', unit: 'messages/s' }
}

function shared(parameters) {
  return {
    ...delivered(`--publishers 10 --subscribers 10 --filter $share/g/bench/# ${parameters}`),
    isSharedSubscription: true,
  }
}

function latency(parameters) {
  return {
    parameters: `${PAIRS} --rate 5000 ${parameters}`,
    figure: 'p50_us',
    unit: 'µs',
    isLowerBetter: true,
    also: ['p99_us'],
  }
}
