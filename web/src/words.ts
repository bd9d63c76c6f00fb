import type { Order } from './orders'
import type { ConnectionState, Position } from './socket'
import type { Due } from './told'

// During an update pages of two builds are open. What one of them would misread needs another number,
// and then each build has a socket of its own.
const VERSION = 1

/** No user id has a slash, so no two names are alike. */
export const names = (userId: string) => ({
  /** Of the channel, and of the lock of the tab that leads. */
  push: `gozon.push.${VERSION}/${userId}`,
  tab: (id: string) => `gozon.tab.${VERSION}/${userId}/${id}`,
})

export interface Tab {
  id: string
  visible: boolean
  /** In milliseconds since 1970; 0 for never. */
  focusedAt: number
}

/** What the tabs of one user say to each other on the channel. */
export type Word = FromLeader | FromAny

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
      /** The id of the tab that tells of it; null if it is no news. */
      teller: string | null
    }
  | { type: 'welcome'; gapless: boolean; position: Position | null }

export type FromAny =
  /** Said by a tab that is new or looked at. The leader answers with `standing`. */
  | { type: 'here'; tab: Tab }
  /** A change that was found by reading: the leader is to choose who tells of it. */
  | { type: 'news'; order: Order }
  /** Said by the leader, be it one that does not know yet that it leads no more. */
  | { type: 'tell'; order: Order; teller: string }
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

const shapes: Record<Word['type'], { [field: string]: Shape }> = {
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

/** Null for what no page of this version says: anybody of this origin can write on the channel. */
export function parseWord(data: unknown): Word | null {
  if (!fits(data, { type: (type: unknown) => text(type) && Object.hasOwn(shapes, `${type}`) })) {
    return null
  }
  const word = data as Word
  return fits(word, shapes[word.type]) ? word : null
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
