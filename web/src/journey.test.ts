import { expect, test } from 'vitest'
import { steps } from './journey'

const hop = (hop: string, at: string, replica = 'orders-1') => ({ hop, at, replica })

test('each step has its time since the first step, to the microsecond, and its share of the journey', () => {
  const way = steps([
    hop('accepted', '2026-11-24T23:59:59.999500Z'),
    hop('relayed', '2026-11-25T00:00:00.002Z'),
    hop('received', '2026-11-25T00:00:00.009500Z', 'payments-2'),
  ])
  expect(way.map(({ since }) => since.toFixed(1))).toEqual(['0.0', '2.5', '10.0'])
  expect(way.map(({ from, to }) => [from.toFixed(2), to.toFixed(2)])).toEqual([
    ['0.00', '0.00'],
    ['0.00', '0.25'],
    ['0.25', '1.00'],
  ])
  expect(way[2]?.replica).toBe('payments-2')
})

test('a clock that is behind makes no step with a negative length', () => {
  const way = steps([
    hop('accepted', '2026-11-24T00:00:00.010Z'),
    hop('received', '2026-11-24T00:00:00.004Z'),
    hop('updated', '2026-11-24T00:00:00.020Z'),
  ])
  expect(way.map(({ since }) => since)).toEqual([0, -6, 10])
  for (const { from, to } of way) {
    expect(from).toBeGreaterThanOrEqual(0)
    expect(to).toBeGreaterThanOrEqual(from)
    expect(to).toBeLessThanOrEqual(1)
  }
})

test('a wrong clock of the device does not change the other steps', () => {
  const way = steps(
    [hop('accepted', '2026-11-24T00:00:00.000Z'), hop('updated', '2026-11-24T00:00:00.020Z')],
    hop('shown', '2026-11-24T00:05:00.000Z'),
  )
  expect(way.map(({ from, to }) => [from, to])).toEqual([
    [0, 0],
    [0, 1],
    [1, 1],
  ])
})

test('an order that has only been accepted has one step', () => {
  expect(steps([hop('accepted', '2026-11-24T00:00:00Z')])).toMatchObject([{ since: 0, to: 0 }])
  expect(steps([])).toEqual([])
})
