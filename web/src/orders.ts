import type { OrderStatus } from './api'
import type { components } from './schema'

/** What REST and pushed messages both say of an order. */
export type Order = Pick<
  components['schemas']['Order'],
  'id' | 'amount' | 'description' | 'status' | 'reason' | 'version'
>

export type Filter = OrderStatus | 'all'
export const filters: readonly Filter[] = ['all', 'NEW', 'FINISHED', 'CANCELLED']

/** Newest first. Ids are UUIDv7, so their order is the order of time. */
export function mergeOrders(held: readonly Order[], incoming: readonly Order[]): readonly Order[] {
  const byId = new Map(held.map((order) => [order.id, order]))
  let changed = false
  for (const order of incoming) {
    const known = byId.get(order.id)
    if (known && order.version <= known.version) continue
    byId.set(order.id, order)
    changed = true
  }
  if (!changed) return held
  return [...byId.values()].sort((a, b) => (a.id < b.id ? 1 : -1))
}

/** Those of one status, as far back as they are held without gaps: `end` is the last order that was read. */
export function shownOrders(
  rows: readonly Order[],
  filter: Filter,
  end: string | null | undefined,
): readonly Order[] {
  return rows.filter(
    ({ id, status }) => (filter === 'all' || status === filter) && (!end || id >= end),
  )
}

/** Whether any order that was placed before `cursor` is held as NEW. */
export function hasNewBefore(rows: readonly Order[], cursor: string | null): boolean {
  return cursor !== null && rows.some(({ id, status }) => status === 'NEW' && id < cursor)
}

/** A UUIDv7 starts with its time. Pushed messages carry no other. */
export function placedAt({ id }: Order): Date {
  return new Date(Number.parseInt(id.replace('-', '').slice(0, 12), 16))
}

/** The incoming orders whose status tells something that the held ones did not. */
export function statusChanges(held: readonly Order[], incoming: readonly Order[]): Order[] {
  const byId = new Map(held.map((order) => [order.id, order]))
  return incoming.filter((order) => {
    const known = byId.get(order.id)
    return known && order.version > known.version && order.status !== known.status
  })
}
