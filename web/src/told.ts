import type { Order } from './orders'

// The server keeps about the last hundred messages of a user, and a page reads as many orders at once.
// What it could not come upon again need not be remembered.
const REMEMBERED = 300

export interface Due {
  order: Order
  /** The id of the tab that was chosen; null until one is. */
  teller: string | null
}

/** Of each order, the version that the user was told of last, and what some tab has yet to tell. */
export class Told {
  readonly #versions = new Map<string, number>()
  readonly #due = new Map<string, Due>()

  isNews({ id, status, version }: Order): boolean {
    return status !== 'NEW' && version > this.#told(id) && version > this.#dueVersion(id)
  }

  /** False if it was told before. */
  assign(order: Order, teller: string | null): boolean {
    if (order.version <= this.#told(order.id)) return false
    if (order.version >= this.#dueVersion(order.id)) this.#due.set(order.id, { order, teller })
    return true
  }

  mark(id: string, version: number) {
    if (version <= this.#told(id)) return
    this.#versions.delete(id)
    this.#versions.set(id, version)
    if (version >= this.#dueVersion(id)) this.#due.delete(id)
    for (const oldest of this.#versions.keys()) {
      if (this.#versions.size <= REMEMBERED) break
      this.#versions.delete(oldest)
    }
  }

  dropDue() {
    this.#due.clear()
  }

  get due(): Due[] {
    return [...this.#due.values()]
  }

  get versions(): [orderId: string, version: number][] {
    return [...this.#versions]
  }

  #told(id: string): number {
    return this.#versions.get(id) ?? 0
  }

  #dueVersion(id: string): number {
    return this.#due.get(id)?.order.version ?? 0
  }
}
