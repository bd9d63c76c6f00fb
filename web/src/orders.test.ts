import { describe, expect, test } from 'vitest'
import { Announcements, mergeOrders, type Order, placedAt, statusChanges } from './orders'

const order = (id: string, version = 1, more: Partial<Order> = {}): Order => ({
  id,
  amount: 40_000,
  description: 'Tea',
  status: version === 1 ? 'NEW' : 'FINISHED',
  version,
  ...more,
})

describe('merging orders', () => {
  test('the newest stands first wherever it came from', () => {
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

  test('a message that overtook the answer to the order itself wins', () => {
    const pushedFirst = mergeOrders([], [order('01', 2)])
    expect(mergeOrders(pushedFirst, [order('01', 1)])[0]?.status).toBe('FINISHED')
  })

  test('the order of arrival within one batch does not matter', () => {
    const batch = [order('01', 2), order('01', 1), order('02', 1), order('02', 2)]
    expect(mergeOrders([], batch)).toEqual(mergeOrders([], batch.toReversed()))
  })
})

test('the id tells when an order was placed', () => {
  const placed = placedAt(order('017f22e2-79b0-7cc3-98c4-dc0c0c07398f'))
  expect(placed.toISOString()).toBe('2022-02-22T19:22:22.000Z')
})

describe('status changes found by reading the list again', () => {
  test('only rows that were held and have moved on count', () => {
    const held = [order('01'), order('02'), order('03', 2)]
    const read = [order('01', 2), order('02'), order('03', 2), order('04', 2)]
    expect(statusChanges(held, read).map(({ id }) => id)).toEqual(['01'])
  })
})

describe('announcing', () => {
  test('each change is news once', () => {
    const announcements = new Announcements()
    expect(announcements.isNews(order('01', 2))).toBe(true)
    expect(announcements.isNews(order('01', 2))).toBe(false)
    expect(announcements.isNews(order('02', 2))).toBe(true)
  })

  test('an older version is no news after a newer one', () => {
    const announcements = new Announcements()
    expect(announcements.isNews(order('01', 3))).toBe(true)
    expect(announcements.isNews(order('01', 2))).toBe(false)
  })

  test('a new order is no news', () => {
    expect(new Announcements().isNews(order('01', 1))).toBe(false)
  })
})
