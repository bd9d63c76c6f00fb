import type { Due } from './notified'
import type { Order } from './orders'
import type { ConnectionState, Position } from './socket'

// During an update, pages of two builds are open. If a change makes messages that the other build would
// misread, it must increase this number. Each build then has its own socket.
const VERSION = 1

/** Names of the channel and the locks of a user. A user id has no slash, so names never collide. */
export const tabNames = (userId: string) => ({
  /** The channel, and the lead lock. */
  push: `gozon.push.${VERSION}/${userId}`,
  tab: (id: string) => `gozon.tab.${VERSION}/${userId}/${id}`,
})

export interface Tab {
  id: string
  visible: boolean
  /** When the tab was last focused, in milliseconds since 1970; 0 for never. */
  focusedAt: number
}

/** A message between the tabs of one user. */
export type TabMessage = FromLeader | FromAny

export type FromLeader =
  | {
      type: 'standing'
      state: ConnectionState
      position: Position | null
      tabs: Tab[]
      told: (readonly [orderId: string, version: number])[]
      due: Due[]
    }
  | {
      type: 'order'
      order: Order
      receivedAt: number
      position: Position | null
      /** The id of the tab that must notify the user; null if no notification is needed. */
      teller: string | null
    }
  | { type: 'welcome'; gapless: boolean; position: Position | null }

export type FromAny =
  /** A tab is new, or its visibility or focus has changed. The leader replies with `standing`. */
  | { type: 'here'; tab: Tab }
  /** A change that was found by reading the orders. The leader must choose the tab that notifies the user. */
  | { type: 'news'; order: Order }
  /**
   * The leader has chosen the tab `teller`. A former leader that has not noticed its end can send this, too.
   */
  | { type: 'tell'; order: Order; teller: string }
  /** The user was notified of this version. */
  | { type: 'told'; id: string; version: number }
  | { type: 'connect' }
  | { type: 'wake' }

type Shape = ((value: unknown) => boolean) | [Shape] | { [field: string]: Shape }

const text = (value: unknown) => typeof value === 'string'
const number = (value: unknown) => typeof value === 'number'
const flag = (value: unknown) => typeof value === 'boolean'
const orNull = (shape: Shape) => (value: unknown) => value === null || fits(value, shape)

const tab = { id: text, visible: flag, focusedAt: number }
const order = { id: text, amount: number, description: text, status: text, version: number }
const position = orNull({ epoch: text, offset: number })

const shapes: Record<TabMessage['type'], { [field: string]: Shape }> = {
  standing: {
    state: { phase: text },
    position,
    tabs: [tab],
    told: [{ 0: text, 1: number }],
    due: [{ order, teller: orNull(text) }],
  },
  order: { order, receivedAt: number, position, teller: orNull(text) },
  welcome: { gapless: flag, position },
  here: { tab },
  news: { order },
  tell: { order, teller: text },
  told: { id: text, version: number },
  connect: {},
  wake: {},
}

/** Returns null for an invalid message. Any script of this origin can write to the channel. */
export function parseTabMessage(data: unknown): TabMessage | null {
  if (!fits(data, { type: (type: unknown) => text(type) && Object.hasOwn(shapes, `${type}`) })) {
    return null
  }
  const message = data as TabMessage
  return fits(message, shapes[message.type]) ? message : null
}

function fits(value: unknown, shape: Shape): boolean {
  if (typeof shape === 'function') return shape(value)
  if (Array.isArray(shape)) {
    return Array.isArray(value) && value.every((item) => fits(item, shape[0]))
  }
  if (typeof value !== 'object' || value === null) return false
  const fields = value as Record<string, unknown>
  return Object.entries(shape).every(([field, inner]) => fits(fields[field], inner))
}
