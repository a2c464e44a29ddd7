/** Headers of version 2 of the PROXY protocol, right and wrong ones, made apart from what reads them. */

const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex')

export interface ProxyV2Fields {
  version?: number
  /** 0 LOCAL, 1 PROXY. */
  command?: number
  /** Family and transport: 0x11 TCP over IPv4, 0x21 TCP over IPv6. */
  family: number
  /** Addresses, ports and TLVs. */
  body?: Buffer
  /** What the header says of its length, when that is not the body's. */
  length?: number
}

export function proxyV2({
  version = 2,
  command = 1,
  family,
  body = Buffer.alloc(0),
  length = body.length,
}: ProxyV2Fields): Buffer {
  return Buffer.concat([SIGNATURE, Buffer.from([(version << 4) | command, family, length >>> 8, length & 0xff]), body])
}

export function tlv(type: number, value: Buffer): Buffer {
  return Buffer.concat([Buffer.from([type, value.length >>> 8, value.length & 0xff]), value])
}

/** A header that names an IPv4 client. */
export function proxyV2For(address: string, tlvs: Buffer = Buffer.alloc(0)): Buffer {
  const addresses = Buffer.from([...address.split('.').map(Number), 127, 0, 0, 1, 0xc3, 0x50, 0x07, 0x5b])
  return proxyV2({ family: 0x11, body: Buffer.concat([addresses, tlvs]) })
}
