/** A planted fault: what a publisher has sent with QoS 2 is taken for new when it comes again. */

import { InboundQos2 } from '../../../../dist/mqtt/session/inbound-qos2.js'

InboundQos2.prototype.add = function forget() {}
