import type { OrderStatus } from './api'
import type { components } from './schema'

/** The fields of an order that REST and pushed messages share. */
export type Order = Pick<
  components['schemas']['Order'],
  'id' | 'amount' | 'description' | 'status' | 'reason' | 'version'
>

export type Filter = OrderStatus | 'all'
export const filters: readonly Filter[] = ['all', 'NEW', 'FINISHED', 'CANCELLED']

/** Merges orders by id, newest first. Ids are UUIDv7, so they sort by time. */
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

/** Returns the rows of one status back to `end`, the last order that was read. Older rows can have gaps. */
export function shownOrders(
  rows: readonly Order[],
  filter: Filter,
  end: string | null | undefined,
): readonly Order[] {
  return rows.filter(
    ({ id, status }) => (filter === 'all' || status === filter) && (!end || id >= end),
  )
}

/** Returns whether a held order from before `cursor` is NEW. */
export function hasNewBefore(rows: readonly Order[], cursor: string | null): boolean {
  return cursor !== null && rows.some(({ id, status }) => status === 'NEW' && id < cursor)
}

/** Reads the time from the UUIDv7, because pushed messages have no time of their own. */
export function placedAt({ id }: Order): Date {
  return new Date(Number.parseInt(id.replace('-', '').slice(0, 12), 16))
}

/** Returns the incoming orders that are held with another status and a lower version. */
export function statusChanges(held: readonly Order[], incoming: readonly Order[]): Order[] {
  const byId = new Map(held.map((order) => [order.id, order]))
  return incoming.filter((order) => {
    const known = byId.get(order.id)
    return known && order.version > known.version && order.status !== known.status
  })
}
