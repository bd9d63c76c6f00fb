import { expect, test } from 'vitest'
import type { Order } from './orders'
import { Told } from './told'

const order = (id: string, version = 2): Order => ({
  id,
  amount: 1,
  description: '',
  status: version === 1 ? 'NEW' : 'FINISHED',
  version,
})

test('a change is news until it is due or told', () => {
  const told = new Told()
  expect(told.isNews(order('x', 1))).toBe(false)
  expect(told.isNews(order('x'))).toBe(true)
  told.assign(order('x'), null)
  expect(told.isNews(order('x'))).toBe(false)
  told.mark('x', 2)
  expect(told.isNews(order('x'))).toBe(false)
  expect(told.isNews(order('x', 3))).toBe(true)
  expect(told.due).toEqual([])
})

test('what was told cannot be due again', () => {
  const told = new Told()
  told.mark('x', 2)
  expect(told.assign(order('x'), 'a')).toBe(false)
  expect(told.due).toEqual([])
})

test('telling an older version leaves a newer one due', () => {
  const told = new Told()
  told.assign(order('x', 3), 'a')
  told.mark('x', 2)
  expect(told.due).toEqual([{ order: order('x', 3), teller: 'a' }])
})

test('a late word of an older version neither replaces what is due nor brings back what was told', () => {
  const told = new Told()
  told.assign(order('x', 3), 'a')
  told.assign(order('x', 2), 'b')
  expect(told.due).toEqual([{ order: order('x', 3), teller: 'a' }])
  told.mark('x', 3)
  told.mark('x', 2)
  expect(told.versions).toEqual([['x', 3]])
})

test('it forgets the oldest', () => {
  const told = new Told()
  told.mark('first', 2)
  for (let i = 0; i < 299; i++) told.mark(`order-${i}`, 2)
  told.mark('first', 3)
  told.mark('last', 2)
  const ids = told.versions.map(([id]) => id)
  expect(ids).toHaveLength(300)
  expect(ids).toContain('first')
  expect(ids).not.toContain('order-0')
})
