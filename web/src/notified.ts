import type { Order } from './orders'

// The server keeps about the last hundred messages of a user, and a page reads at most a hundred orders per
// request. Older orders cannot come again, so they need not be remembered.
const REMEMBERED_LIMIT = 300

export interface Due {
  order: Order
  /** The id of the tab that was chosen to notify the user; null until one is chosen. */
  teller: string | null
}

/** The last version of each order that the user was notified of, and the changes that are still due. */
export class NotifiedOrders {
  readonly #versions = new Map<string, number>()
  readonly #due = new Map<string, Due>()

  isNews({ id, status, version }: Order): boolean {
    return status !== 'NEW' && version > this.#notifiedVersion(id) && version > this.#dueVersion(id)
  }

  /** Records that a change is due in the tab `teller`. Returns false if the user was notified of it before. */
  assign(order: Order, teller: string | null): boolean {
    if (order.version <= this.#notifiedVersion(order.id)) return false
    if (order.version >= this.#dueVersion(order.id)) this.#due.set(order.id, { order, teller })
    return true
  }

  markNotified(id: string, version: number) {
    if (version <= this.#notifiedVersion(id)) return
    this.#versions.delete(id)
    this.#versions.set(id, version)
    if (version >= this.#dueVersion(id)) this.#due.delete(id)
    for (const oldest of this.#versions.keys()) {
      if (this.#versions.size <= REMEMBERED_LIMIT) break
      this.#versions.delete(oldest)
    }
  }

  clearDue() {
    this.#due.clear()
  }

  get due(): Due[] {
    return [...this.#due.values()]
  }

  get versions(): [orderId: string, version: number][] {
    return [...this.#versions]
  }

  #notifiedVersion(id: string): number {
    return this.#versions.get(id) ?? 0
  }

  #dueVersion(id: string): number {
    return this.#due.get(id)?.order.version ?? 0
  }
}
