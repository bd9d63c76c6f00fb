import { expect, test } from 'vitest'
import { en } from './language/en'
import { ru } from './language/ru'
import { asProblem, fieldText, Problem, problemIn, problemText } from './problem'

test.each([
  [400, 'invalid-request', en.problem.invalid],
  [400, 'malformed-user', en.problem.unknownUser],
  [401, 'missing-user', en.problem.unknownUser],
  [404, 'no-account', en.problem.noAccount],
  [404, 'order-not-found', en.problem.orderNotFound],
  [404, '', en.problem.notFound],
  [409, 'account-exists', en.problem.accountExists],
  [413, '', en.problem.tooLarge],
  [422, 'balance-limit', en.problem.balanceLimit],
  [422, 'idempotency-key-reused', en.problem.keyReused],
  [429, '', en.problem.tooMany],
  [500, 'internal', en.problem.internal],
  [502, 'bad-gateway', en.problem.unanswered],
  [503, 'unavailable', en.problem.unavailable],
  [504, 'gateway-timeout', en.problem.unanswered],
  [418, '', en.problem.other(418)],
  [0, 'unreachable', en.problem.unreachable],
  [0, 'unexpected', en.problem.unexpected],
])('a %d of kind %j is said in words', (status, slug, words) => {
  expect(problemText(new Problem(status, slug), en)).toBe(words)
})

test('only problem types of the shop have a slug', () => {
  expect(problemIn(503, { type: 'urn:gozon:problem:unavailable' }).slug).toBe('unavailable')
  expect(problemIn(503, { type: 'about:blank' }).slug).toBe('')
  expect(problemIn(503, null).slug).toBe('')
})

test('any other error becomes an unexpected Problem', () => {
  expect(asProblem(new RangeError('what'))).toMatchObject({ status: 0, slug: 'unexpected' })
})

test('a field error is explained in the language of the shopper', () => {
  const problem = new Problem(400, 'invalid-request', [{ field: 'amount', message: 'Expected' }])
  expect(fieldText(problem, 'amount', ru)).toBe(ru.field.amount)
  expect(fieldText(problem, 'description', ru)).toBeUndefined()
  expect(fieldText(null, 'amount', ru)).toBeUndefined()
})
