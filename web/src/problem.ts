import type { Text } from './language/en'
import type { components } from './schema'

export type FieldError = components['schemas']['FieldError']

const TYPE = 'urn:gozon:problem:'

/** An error response, or no response. Its message is for developers, `problemText` for shoppers. */
export class Problem extends Error {
  override name = 'Problem'

  constructor(
    /** The HTTP status; 0 without a response. */
    readonly status: number,
    /** The last part of the problem's `type`; empty if the response was no problem document of the shop. */
    readonly slug = '',
    readonly fields: readonly FieldError[] = [],
    message = `${status} ${slug}`,
  ) {
    super(message)
  }
}

export function asProblem(error: unknown): Problem {
  return error instanceof Problem ? error : new Problem(0, 'unexpected', [], String(error))
}

export function problemIn(status: number, body: unknown): Problem {
  const {
    type = '',
    detail = '',
    errors = [],
  } = (body ?? {}) as Partial<components['schemas']['ProblemDocument']>
  const slug = type.startsWith(TYPE) ? type.slice(TYPE.length) : ''
  return new Problem(status, slug, errors, detail)
}

/** Returns what went wrong and what the shopper can do. */
export function problemText({ status, slug }: Problem, { problem }: Text): string {
  switch (slug) {
    case 'unreachable':
      return problem.unreachable
    case 'unexpected':
      return problem.unexpected
    case 'missing-user':
    case 'malformed-user':
      return problem.unknownUser
    case 'no-account':
      return problem.noAccount
    case 'account-exists':
      return problem.accountExists
    case 'order-not-found':
      return problem.orderNotFound
    case 'balance-limit':
      return problem.balanceLimit
    case 'idempotency-key-reused':
      return problem.keyReused
  }
  switch (status) {
    case 400:
      return problem.invalid
    case 404:
      return problem.notFound
    case 413:
      return problem.tooLarge
    case 429:
      return problem.tooMany
    case 500:
      return problem.internal
    case 503:
      return problem.unavailable
    case 502:
    case 504:
      return problem.unanswered
    default:
      return problem.other(status)
  }
}

/** Returns the message for a field that the response names, in the language of the shopper. */
export function fieldText(
  problem: Problem | null,
  field: 'amount' | 'description',
  text: Text,
): string | undefined {
  return problem?.fields.some((error) => error.field === field) ? text.field[field] : undefined
}
