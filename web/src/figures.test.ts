import { expect, test } from 'vitest'
import type { Snapshot } from './api'
import { figures, quantile } from './figures'

function snapshot(second: number, replicas: Snapshot['replicas']): Snapshot {
  return {
    at: `2026-11-24T00:00:0${second}Z`,
    toast_buckets: [0.01, 0.1],
    replicas,
    waiting: { orders_outbox: 1, payments_inbox: null, payments_outbox: 2 },
    queues: [],
  }
}
const orders = (name: string, accepted: number, finished = 0, cancelled = 0) => ({
  service: 'orders' as const,
  name,
  accepted,
  finished,
  cancelled,
})
const notifier = (name: string, toasts: number[], delivered = 0) => ({
  service: 'notifier' as const,
  name,
  sockets: 1,
  delivered,
  toasts,
})

test('rates are summed over the replicas, by the time between the snapshots', () => {
  const before = snapshot(0, [orders('orders-1', 10, 5, 1), orders('orders-2', 100, 90, 0)])
  const after = snapshot(2, [orders('orders-1', 14, 9, 2), orders('orders-2', 106, 91, 4)])
  expect(figures(before, after)).toMatchObject({ accepted: 5, decided: 5, at: 1795478402 })
})

test('a restarted replica counts from zero, and a new one does not count yet', () => {
  const before = snapshot(0, [orders('orders-1', 1_000)])
  const after = snapshot(1, [orders('orders-1', 3), orders('orders-2', 500)])
  expect(figures(before, after).accepted).toBe(3)
})

test('the latency covers only toasts between the snapshots', () => {
  const before = snapshot(0, [notifier('a', [0, 1_000, 1_000]), notifier('b', [5, 5, 5])])
  const after = snapshot(1, [notifier('a', [50, 1_050, 1_050]), notifier('b', [55, 55, 55], 7)])
  const { median, slowest, delivered } = figures(before, after)
  expect(median).toBeCloseTo(5)
  expect(slowest).toBeCloseTo(9.9)
  expect(delivered).toBe(7)
})

test('without toasts there is no latency', () => {
  const quiet = [notifier('a', [1, 2, 3])]
  expect(figures(snapshot(0, quiet), snapshot(1, quiet))).toMatchObject({
    median: null,
    slowest: null,
  })
})

test('a quantile lies within its bucket, or at the last bound if it is above all of them', () => {
  expect(quantile(0.5, [0.01, 0.1], [10, 10, 0])).toBeCloseTo(10)
  expect(quantile(0.75, [0.01, 0.1], [10, 10, 0])).toBeCloseTo(55)
  expect(quantile(0.99, [0.01, 0.1], [0, 0, 10])).toBe(100)
})

test('counts with different bounds are not compared', () => {
  const before = { ...snapshot(0, [notifier('a', [0, 0, 0])]), toast_buckets: [1, 2] }
  const after = snapshot(1, [notifier('a', [5, 5, 5])])
  expect(figures(before, after).median).toBeNull()
})
