import { parseAcl } from '../../../src/access/acl-file.js'
import { RuleSet } from '../../../src/access/rule-set.js'
import type { ClientIdentity } from '../../../src/broker/ports.js'

/** The rules of an ACL file that is called `acl.yaml`. */
export function ruleSet(text: string, isLenient = false): RuleSet {
  const { rules, allowsOtherwise, otherwiseOrigin } = parseAcl(text, 'acl.yaml')
  return new RuleSet(rules, { allowsOtherwise, otherwiseOrigin, isLenient })
}

/** A client of whom only some is said. */
export function client(fields: Partial<ClientIdentity> = {}): ClientIdentity {
  return { clientId: 'c1', username: undefined, address: '192.0.2.7', ...fields }
}
