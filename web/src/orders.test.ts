import { describe, expect, test } from 'vitest'
import {
  hasNewBefore,
  mergeOrders,
  type Order,
  placedAt,
  shownOrders,
  statusChanges,
} from './orders'

const order = (id: string, version = 1, more: Partial<Order> = {}): Order => ({
  id,
  amount: 40_000,
  description: 'Tea',
  status: version === 1 ? 'NEW' : 'FINISHED',
  version,
  ...more,
})

describe('merging orders', () => {
  test('the newest order is first, wherever it came from', () => {
    const merged = mergeOrders([order('03'), order('01')], [order('02'), order('04')])
    expect(merged.map(({ id }) => id)).toEqual(['04', '03', '02', '01'])
  })

  test('a higher version replaces the row', () => {
    expect(mergeOrders([order('01', 1)], [order('01', 2)])).toEqual([order('01', 2)])
  })

  test.each([1, 2])('version %i never overwrites version 2', (version) => {
    const held = [order('01', 2)]
    const late = order('01', version, { status: 'CANCELLED', reason: 'no_account' })
    expect(mergeOrders(held, [late])).toBe(held)
  })

  test('a pushed message that arrives before the response to the order wins', () => {
    const pushedFirst = mergeOrders([], [order('01', 2)])
    expect(mergeOrders(pushedFirst, [order('01', 1)])[0]?.status).toBe('FINISHED')
  })

  test('the order of arrival within one batch does not matter', () => {
    const batch = [order('01', 2), order('01', 1), order('02', 1), order('02', 2)]
    expect(mergeOrders([], batch)).toEqual(mergeOrders([], batch.toReversed()))
  })
})

test('the id of an order contains its time', () => {
  const placed = placedAt(order('017f22e2-79b0-7cc3-98c4-dc0c0c07398f'))
  expect(placed.toISOString()).toBe('2022-02-22T19:22:22.000Z')
})

describe('status changes found by reading the list again', () => {
  test('only held rows with a newer status count', () => {
    const held = [order('01'), order('02'), order('03', 2)]
    const read = [order('01', 2), order('02'), order('03', 2), order('04', 2)]
    expect(statusChanges(held, read).map(({ id }) => id)).toEqual(['01'])
  })
})

test('held orders that are NEW and older than the read page are detected', () => {
  const rows = [order('03', 2), order('02', 1), order('01', 2)]
  expect(hasNewBefore(rows, '03')).toBe(true)
  expect(hasNewBefore(rows, '02')).toBe(false)
  expect(hasNewBefore(rows, null)).toBe(false)
})

describe('the orders shown', () => {
  const rows = [
    order('04', 1, { status: 'NEW' }),
    order('03', 2, { status: 'FINISHED' }),
    order('02', 2, { status: 'CANCELLED' }),
    order('01', 2, { status: 'FINISHED' }),
  ]
  const ids = (shown: readonly Order[]) => shown.map(({ id }) => id)

  test('match the filter', () => {
    expect(ids(shownOrders(rows, 'all', null))).toEqual(['04', '03', '02', '01'])
    expect(ids(shownOrders(rows, 'FINISHED', null))).toEqual(['03', '01'])
  })

  test('end at the last order that was read, because older rows have gaps', () => {
    expect(ids(shownOrders(rows, 'all', '03'))).toEqual(['04', '03'])
    expect(ids(shownOrders(rows, 'FINISHED', '01'))).toEqual(['03', '01'])
  })
})
