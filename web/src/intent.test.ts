import { afterEach, expect, test, vi } from 'vitest'
import { Intent, randomKey } from './intent'

afterEach(() => vi.unstubAllGlobals())

function intent() {
  let count = 0
  return new Intent(() => `key-${++count}`)
}

test('a retry of the same body keeps the key', () => {
  const order = intent()
  expect(order.keyFor({ amount: 1 })).toBe('key-1')
  expect(order.keyFor({ amount: 1 })).toBe('key-1')
})

test('another body gets another key', () => {
  const order = intent()
  order.keyFor({ amount: 1 })
  expect(order.keyFor({ amount: 2 })).toBe('key-2')
})

test('the same body gets another key after a success', () => {
  const order = intent()
  order.keyFor({ amount: 1 })
  order.settled()
  expect(order.keyFor({ amount: 1 })).toBe('key-2')
})

test('keys can be made without randomUUID', () => {
  const real = globalThis.crypto
  vi.stubGlobal('crypto', { getRandomValues: real.getRandomValues.bind(real) })
  expect(randomKey()).toMatch(/^[0-9a-f]{32}$/)
  expect(randomKey()).not.toBe(randomKey())
})
