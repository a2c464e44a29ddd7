/** Options of TLS between the nodes, `cluster.tls`, and the files that they name. */

import { z } from 'zod'
import type { DeepReadonly } from './deep-freeze.js'
import { choice, duration, text } from './option.js'
import { type KeyPair, TlsFileError, TlsFileReader } from './tls-files.js'

export const meshTlsSchema = z.strictObject({
  certFile: text(
    '',
    { accepted: 'a path' },
    'PEM file of the certificate that this node shows to the others, followed by those between it and the root. With it links are TLS 1.3, and nothing else; without it they are plain. The same on all nodes.',
  ),
  keyFile: text('', { accepted: 'a path' }, 'PEM file of the private key of `certFile`, without a passphrase.'),
  caFile: text(
    '',
    { accepted: 'a path' },
    'PEM file of the authorities that sign the certificates of nodes: best one that signs nothing else.',
  ),
  verify: choice(
    'required',
    ['required', 'none'],
    '`required`: both sides of a link show a certificate of these authorities (mutual TLS). `none`: the cluster secret alone says who is a node; that keeps listeners out, but not somebody who sits between two nodes and passes on what they say.',
  ),
  serverName: text(
    '',
    { accepted: 'a DNS name' },
    'A name that the certificate of every node has. Empty: any certificate of the authorities will do, since nodes are dialed by addresses that change.',
  ),
  reloadInterval: duration(
    '5s',
    ['100ms', '1h'],
    'How often the files are looked at. What has changed holds for new links; those that are up go on. Files that are wrong are logged, counted and not used: the last good ones stay.',
  ),
})

export type MeshTlsOptions = DeepReadonly<z.output<typeof meshTlsSchema>>

export interface MeshTlsMaterial {
  readonly certificate: KeyPair
  readonly ca: Buffer | undefined
}

/** What is wrong with the options or the files, each problem under its option; none without TLS. */
export function meshTlsProblems(options: MeshTlsOptions): readonly string[] {
  const { certFile, keyFile, caFile, verify } = options
  if ((certFile === '') !== (keyFile === '')) return ['it goes with cluster.tls.keyFile: both or none']
  if (certFile === '') return caFile === '' ? [] : ['it is empty, and cluster.tls.caFile says nothing without it']
  if (caFile === '' && verify === 'required') return ['cluster.tls.verify is required, which needs cluster.tls.caFile']
  try {
    readMeshTlsFiles(options)
    return []
  } catch (error) {
    if (error instanceof TlsFileError) return error.problems
    throw error
  }
}

/** @throws TlsFileError when a file cannot be used */
export function readMeshTlsFiles({ certFile, keyFile, caFile }: MeshTlsOptions): MeshTlsMaterial {
  const problems: string[] = []
  const reader = new TlsFileReader(problems)
  const certificate = reader.keyPair('cluster.tls', certFile, keyFile)
  const ca = caFile === '' ? undefined : reader.authorities(caFile, 'cluster.tls')
  if (certificate === undefined || problems.length > 0) throw new TlsFileError(problems)
  return { certificate, ca }
}
