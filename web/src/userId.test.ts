import { expect, test } from 'vitest'
import { inventUserId, isUserId } from './userId'

test.each(['a', 'Ann.Lee_2-x', 'x'.repeat(64)])('%s is a user id', (value) => {
  expect(isUserId(value)).toBe(true)
})

test.each(['', 'x'.repeat(65), 'a b', 'Аня', 'a/b', 'a\n'])('%j is not a user id', (value) => {
  expect(isUserId(value)).toBe(false)
})

test('an invented id is a user id', () => {
  for (const chance of [0, 0.5, 0.999_999]) expect(isUserId(inventUserId(() => chance))).toBe(true)
})
