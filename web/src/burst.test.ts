import { expect, test } from 'vitest'
import { Burst } from './burst'

test('the first three of a burst are shown singly, and further ones are counted until it is quiet', () => {
  let now = 0
  const burst = new Burst(() => now)
  const add = (ms: number, finished = true) => {
    now += ms
    return burst.add(finished)
  }
  expect([add(0), add(100), add(100)]).toEqual([null, null, null])
  expect(add(100)).toEqual({ finished: 1, cancelled: 0 })
  expect(add(400, false)).toEqual({ finished: 1, cancelled: 1 })
  expect(add(500)).toEqual({ finished: 2, cancelled: 1 })
  expect(add(2_000)).toBeNull()
  expect(add(2_000)).toBeNull()
})

test('a second burst counts from zero', () => {
  let now = 0
  const burst = new Burst(() => now)
  const many = () => Array.from({ length: 6 }, () => burst.add(true)).at(-1)
  expect(many()).toEqual({ finished: 3, cancelled: 0 })
  now += 10_000
  expect(many()).toEqual({ finished: 3, cancelled: 0 })
})
