/**
 * `$delayed/{seconds}/{topic}`: a message that is to be published to `topic` later, as EMQX has it
 * (https://docs.emqx.com/en/emqx/latest/messaging/mqtt-delayed-publish.html).
 */

/** The longest delay, some 49 days. */
export const LONGEST_DELAY_SECONDS = 4_294_967

/** `Message.delay` of a message whose topic begins as one with a delay and is none that is taken. */
export const INVALID_DELAY = -1

const PREFIX = '$delayed/'
const DELAYED = /^\$delayed\/(\d{1,7})\/(.+)$/s

export interface DelayedTopic {
  /** Where the message is to be published in the end; with INVALID_DELAY the name as it came. */
  readonly topic: string
  /** Seconds: 0 to LONGEST_DELAY_SECONDS, or INVALID_DELAY. */
  readonly delay: number
}

/** Whether a topic name asks for a delay, well-formed or not. */
export function isDelayed(topic: string): boolean {
  return topic.startsWith(PREFIX)
}

/** Takes a topic name apart; one that asks for no delay has the delay 0. A delay of a delay is not taken. */
export function readDelay(topic: string): DelayedTopic {
  if (!isDelayed(topic)) return { topic, delay: 0 }
  const [, seconds = '', inner = ''] = DELAYED.exec(topic) ?? []
  const delay = Number(seconds)
  if (seconds === '' || delay > LONGEST_DELAY_SECONDS || isDelayed(inner)) return { topic, delay: INVALID_DELAY }
  return { topic: inner, delay }
}
