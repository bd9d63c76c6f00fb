import { expect, test } from 'vitest'
import { NotifiedOrders } from './notified'
import type { Order } from './orders'

const order = (id: string, version = 2): Order => ({
  id,
  amount: 1,
  description: '',
  status: version === 1 ? 'NEW' : 'FINISHED',
  version,
})

test('a change is news until it is due or notified', () => {
  const notified = new NotifiedOrders()
  expect(notified.isNews(order('x', 1))).toBe(false)
  expect(notified.isNews(order('x'))).toBe(true)
  notified.assign(order('x'), null)
  expect(notified.isNews(order('x'))).toBe(false)
  notified.markNotified('x', 2)
  expect(notified.isNews(order('x'))).toBe(false)
  expect(notified.isNews(order('x', 3))).toBe(true)
  expect(notified.due).toEqual([])
})

test('a notified change cannot become due again', () => {
  const notified = new NotifiedOrders()
  notified.markNotified('x', 2)
  expect(notified.assign(order('x'), 'a')).toBe(false)
  expect(notified.due).toEqual([])
})

test('a notification of an older version leaves a newer one due', () => {
  const notified = new NotifiedOrders()
  notified.assign(order('x', 3), 'a')
  notified.markNotified('x', 2)
  expect(notified.due).toEqual([{ order: order('x', 3), teller: 'a' }])
})

test('a late older version neither replaces a due change nor makes a notified one due', () => {
  const notified = new NotifiedOrders()
  notified.assign(order('x', 3), 'a')
  notified.assign(order('x', 2), 'b')
  expect(notified.due).toEqual([{ order: order('x', 3), teller: 'a' }])
  notified.markNotified('x', 3)
  notified.markNotified('x', 2)
  expect(notified.versions).toEqual([['x', 3]])
})

test('the oldest versions are forgotten', () => {
  const notified = new NotifiedOrders()
  notified.markNotified('first', 2)
  for (let i = 0; i < 299; i++) notified.markNotified(`order-${i}`, 2)
  notified.markNotified('first', 3)
  notified.markNotified('last', 2)
  const ids = notified.versions.map(([id]) => id)
  expect(ids).toHaveLength(300)
  expect(ids).toContain('first')
  expect(ids).not.toContain('order-0')
})
