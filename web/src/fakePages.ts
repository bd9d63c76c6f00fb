import { vi } from 'vitest'
import { FakeBrowser, FakeServer, type FakeTab } from './fakes'
import { type Order, statusChanges } from './orders'
import { SharedSocket, type Sharing } from './sharing'
import type { ConnectionState } from './socket'

/** Long enough for pending tasks to finish, and shorter than any timeout of the code under test. */
export const SETTLED_MS = 50

interface Opening {
  userId?: string
  visible?: boolean
  sharing?: (tab: FakeTab, id: string) => Sharing | null
}

export const share = (tab: FakeTab, id: string): Sharing => ({
  locks: tab.locks,
  channel: (name) => tab.channel(name),
  newId: () => id,
})

/** A page that behaves as useOrders and Shop do: it reads the orders after a welcome that is not gapless. */
export class Page {
  readonly tab: FakeTab
  readonly socket: SharedSocket
  readonly states: ConnectionState[] = []
  readonly pushed: { id: string; receivedAt: number }[] = []
  readonly welcomes: boolean[] = []
  readonly toasts: string[] = []
  readonly #shownAt = new Map<string, number>()
  readonly rows = new Map<string, Order>()
  visible: boolean
  focused = false
  network = true
  private endedAt = Number.POSITIVE_INFINITY

  constructor(
    readonly name: string,
    browser: FakeBrowser,
    private readonly server: FakeServer,
    { userId = 'ann', visible = true, sharing = share }: Opening = {},
  ) {
    this.tab = browser.tab()
    this.visible = visible
    let starts = 0
    this.socket = new SharedSocket({
      userId,
      sharing: sharing(this.tab, name),
      ticket: async () => `t${++starts}`,
      open: (query, protocols) => server.open(this.tab, query, protocols),
      clock: this.tab.clock,
      random: () => 0.5,
      online: () => this.network,
      isVisible: () => this.visible,
      isFocused: () => this.focused,
      onState: (state) => this.states.push(state),
      onOrder: (order, receivedAt) => {
        this.rows.set(order.id, order)
        this.pushed.push({ id: order.id, receivedAt })
      },
      onWelcome: (gapless) => {
        this.welcomes.push(gapless)
        if (!gapless) this.tab.task(() => this.read())
      },
      onNotify: ({ id }) => {
        this.toasts.push(id)
        this.#shownAt.set(id, Date.now())
      },
    })
    this.socket.start()
  }

  get state() {
    return this.states.at(-1)
  }

  get leads() {
    return this.server.connected.some((wire) => this.server.isOf(wire, this.tab))
  }

  read() {
    const news = statusChanges([...this.rows.values()], [...this.server.orders.values()])
    for (const order of this.server.orders.values()) this.rows.set(order.id, order)
    for (const order of news) this.socket.notify(order)
  }

  look({ visible = true, focused = visible }: { visible?: boolean; focused?: boolean } = {}) {
    this.visible = visible
    this.focused = focused
    this.socket.pageLooked()
  }

  close() {
    this.socket.stop()
    this.crash()
  }

  crash() {
    this.tab.end()
    this.endedAt = Date.now()
  }

  /** The toasts, except those that were closed with the tab before a user could see them. */
  get lastingToasts() {
    return this.toasts.filter((id) => this.endedAt - (this.#shownAt.get(id) ?? 0) > 20)
  }
}

export function world({ fastLocks = false } = {}) {
  const [browser, server] = [new FakeBrowser(fastLocks), new FakeServer()]
  const pages: Page[] = []
  async function open(name: string, opening?: Opening) {
    const page = new Page(name, browser, server, opening)
    pages.push(page)
    await vi.advanceTimersByTimeAsync(SETTLED_MS)
    return page
  }
  const toasts = () => pages.flatMap(({ toasts }) => toasts)
  return { browser, server, pages, open, toasts }
}
