import type { AedesOptions } from 'aedes'
import { describeChanges } from './aedes/changes.js'
import { describeClient } from './aedes/client.js'
import { describeErrors } from './aedes/errors.js'
import { describeEvents } from './aedes/events.js'
import { describeHooks } from './aedes/hooks.js'
import { describeMethods } from './aedes/methods.js'
import { describeOptions } from './aedes/options.js'
import type { CreateAedes } from './aedes/setting.js'

export type { AedesOptions, CreateAedes }

/**
 * What a program written for Aedes may rely on: hooks, events, methods and options, over TCP and MQTT 3.1.1. Run for
 * Aedes itself and for what claims to be one.
 */
export function describeAedes(name: string, create: CreateAedes): void {
  describeHooks(name, create)
  describeChanges(name, create)
  describeEvents(name, create)
  describeErrors(name, create)
  describeMethods(name, create)
  describeClient(name, create)
  describeOptions(name, create)
}
