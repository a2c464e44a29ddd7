/** The kinds of option: what is accepted, how it is read, and the words that messages and documentation use for it. */

import { z } from 'zod'
import { formatDuration, formatSize, parseDuration, parseSize } from './units.js'

/** What `docs/configuration.md`, `--help` and error messages say about one option. */
export interface OptionMetadata {
  kind: 'text' | 'secret' | 'boolean' | 'count' | 'duration' | 'size' | 'choice' | 'list' | 'choices' | 'records'
  /** The default as one would write it. */
  fallback: string
  /** Completes "expected …": kind and range. */
  accepted: string
  /** What it does, and what follows from changing it. */
  help: string
  /** The command line flag, where there is one. */
  flag?: string
}

/** Metadata of every option's schema. */
export const OPTION_METADATA = z.registry<OptionMetadata>()

/** A function that throws when the text is not accepted; its error's message becomes part of ours. */
export type TextCheck = (text: string) => unknown

/** A number of milliseconds, written as a duration. */
export function duration(fallback: string, [lowest, highest]: readonly [string, string], help: string) {
  return quantity(parseDuration, fallback, [parseDuration(lowest), parseDuration(highest)], {
    kind: 'duration',
    accepted: `a duration from ${lowest} to ${highest}`,
    fallback: formatDuration(parseDuration(fallback)),
    help,
  })
}

/** A number of bytes, written as a size. */
export function size(fallback: string, [lowest, highest]: readonly [string, string], help: string) {
  return quantity(parseSize, fallback, [parseSize(lowest), parseSize(highest)], {
    kind: 'size',
    accepted: `a size from ${lowest} to ${highest}`,
    fallback: formatSize(parseSize(fallback)),
    help,
  })
}

/** A whole number. */
export function count(fallback: number, [lowest, highest]: readonly [number, number], help: string) {
  return z
    .int()
    .min(lowest)
    .max(highest)
    .default(fallback)
    .register(OPTION_METADATA, {
      kind: 'count',
      accepted: `a whole number from ${lowest} to ${highest}`,
      fallback: String(fallback),
      help,
    })
}

/** true or false. */
export function boolean(fallback: boolean, help: string, flag?: string) {
  return z
    .boolean()
    .default(fallback)
    .register(OPTION_METADATA, {
      kind: 'boolean',
      accepted: 'true or false',
      fallback: String(fallback),
      help,
      ...(flag === undefined ? {} : { flag }),
    })
}

/** One of a few words. */
export function choice<const T extends string>(fallback: NoInfer<T>, words: readonly T[], help: string, flag?: string) {
  return z
    .enum(words)
    .default(fallback as T)
    .register(OPTION_METADATA, {
      kind: 'choice',
      accepted: `one of ${words.join(', ')}`,
      fallback,
      help,
      ...(flag === undefined ? {} : { flag }),
    })
}

/** One of a few words for each of some names; `name=word, name=word` in the environment. None unless given. */
export function choices<const T extends string>(words: readonly T[], help: string) {
  return z
    .record(z.string().min(1), z.enum(words))
    .default({})
    .register(OPTION_METADATA, {
      kind: 'choices',
      accepted: `names with one of ${words.join(', ')} each`,
      fallback: '',
      help,
    })
}

/** A text that passes `check`; `offWord`, when given, is another way to write the empty text. */
export function text(
  fallback: string,
  { accepted, check, flag, offWord }: { accepted: string; check?: TextCheck; flag?: string; offWord?: string },
  help: string,
) {
  return z
    .string()
    .transform((value, context) => {
      if (value === offWord) return ''
      reportFailure(check, value, context)
      return value
    })
    .default(fallback)
    .register(OPTION_METADATA, { kind: 'text', accepted, fallback, help, ...(flag === undefined ? {} : { flag }) })
}

/** A text that is never printed. */
export function secret(accepted: string, help: string) {
  return z.string().default('').register(OPTION_METADATA, { kind: 'secret', accepted, fallback: '', help })
}

/** A list of texts, each of which passes `check`; comma separated in the environment and in flags. */
export function list(
  fallback: readonly string[],
  { accepted, check, flag, least = 0 }: { accepted: string; check: TextCheck; flag?: string; least?: number },
  help: string,
) {
  const item = z.string().superRefine((value, context) => reportFailure(check, value, context, `${value}: `))
  return z
    .array(item)
    .min(least)
    .default([...fallback])
    .register(OPTION_METADATA, {
      kind: 'list',
      accepted,
      fallback: fallback.join(', '),
      help,
      ...(flag === undefined ? {} : { flag }),
    })
}

/** A list of objects, each of which `schema` accepts; in the file only, since a variable or a flag cannot say them. */
export function records<T extends z.ZodType>(schema: T, accepted: string, help: string) {
  return z.array(schema).default([]).register(OPTION_METADATA, { kind: 'records', accepted, fallback: '', help })
}

/** An option as `schema` has it, but without a default: who leaves it out gets what `help` says. */
export function optional<T extends z.ZodType>(schema: z.ZodDefault<T>, help: string): z.ZodOptional<T> {
  const metadata = OPTION_METADATA.get(schema)
  if (metadata === undefined) throw new TypeError('an option has metadata')
  const maybe = schema.unwrap().optional()
  OPTION_METADATA.add(maybe, { ...metadata, fallback: '', help })
  return maybe
}

function quantity(
  parse: (value: string | number) => number,
  fallback: string,
  [lowest, highest]: readonly [number, number],
  metadata: OptionMetadata,
) {
  return z
    .union([z.string(), z.number()])
    .transform((value, context) => {
      let amount = Number.NaN
      reportFailure(
        () => {
          amount = parse(value)
        },
        String(value),
        context,
      )
      if (amount < lowest || amount > highest) report(context, String(value), 'out of range')
      return amount
    })
    .default(parse(fallback))
    .register(OPTION_METADATA, metadata)
}

function reportFailure(check: TextCheck | undefined, value: string, context: z.RefinementCtx, prefix = ''): void {
  try {
    check?.(value)
  } catch (error) {
    report(context, value, prefix + (error instanceof Error ? error.message : String(error)))
  }
}

function report(context: z.RefinementCtx, input: string, message: string): void {
  context.addIssue({ code: 'custom', message, input })
}
