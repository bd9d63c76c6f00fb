import { NotifiedOrders } from './notified'
import type { Order } from './orders'
import { type ConnectionState, type Position, PushSocket, type SocketOptions } from './socket'
import {
  type FromLeader,
  parseTabMessage,
  type Tab,
  type TabMessage,
  tabNames,
} from './tabMessages'
import { chooseTab, holdLock, type Locks, onTabClosed } from './tabs'
import { Timer } from './timer'

// A leader keeps its lock while its tab is suspended or paused in a debugger. So if a visible tab receives no
// message for LEADER_SILENCE_MS, it announces itself. If no reply comes within LEADER_REPLY_MS, it steals the
// lock.
const LEADER_SILENCE_MS = 60_000
const LEADER_REPLY_MS = 5_000

export interface Channel {
  onmessage: ((event: MessageEvent) => void) | null
  postMessage(message: unknown): void
  close(): void
}

export interface Sharing {
  locks: Locks
  channel: (name: string) => Channel
  newId: () => string
}

export interface SharedOptions
  extends Pick<SocketOptions, 'ticket' | 'open' | 'clock' | 'random' | 'online' | 'onState'> {
  userId: string
  /**
   * Null if the browser has no locks or channels. Then each tab has its own socket and shows its own
   * notifications.
   */
  sharing: Sharing | null
  isVisible: () => boolean
  isFocused: () => boolean
  /** Called in every tab. */
  onOrder: (order: Order, receivedAt: number) => void
  /**
   * Called in every tab, after the missed orders. If not `gapless`, the page must read its orders over REST.
   */
  onWelcome: (gapless: boolean) => void
  /** Called for each change in one tab of the browser, which must show a toast or notification. */
  onNotify: (order: Order) => void
}

/**
 * One socket for all tabs of a user.
 *
 * One tab, the leader, holds the lead lock and has the socket. It posts each message of the socket on a
 * channel, and chooses the tab that shows each notification. The other tabs, the followers, wait for the lead
 * lock. When the leader's tab is closed, the browser grants the lock to the next tab. This tab becomes the
 * leader and continues at the last position it has received.
 *
 * Every tab keeps a change as due until the chosen tab reports that it has notified the user (message `told`).
 * If the chosen tab is closed before that, the leader, or the next leader, chooses another tab.
 *
 * Each tab also holds a lock of its own. The leader requests the locks of all tabs, and is granted one when
 * its tab is closed, however that happened. So tabs need no heartbeats.
 */
export class SharedSocket {
  readonly #options: SharedOptions
  readonly #names: ReturnType<typeof tabNames>
  readonly #leaderTimer: Timer
  #run: AbortController | null = null
  #leadership = new AbortController()
  #channel: Channel | null = null
  /** Only the leader has a socket. */
  #socket: PushSocket | null = null
  #state: ConnectionState = { phase: 'connecting' }
  #position: Position | null = null
  #welcomed = false
  #self: Tab = { id: '', visible: false, focusedAt: 0 }
  #tabs = new Map<string, Tab>()
  readonly #notified = new NotifiedOrders()

  constructor(options: SharedOptions) {
    this.#options = options
    this.#names = tabNames(options.userId)
    this.#leaderTimer = new Timer(options.clock)
  }

  start() {
    if (this.#run) return
    const run = new AbortController()
    this.#run = run
    this.#show({ phase: 'connecting' })
    const { sharing } = this.#options
    // A restarted tab gets a new id, so that it does not act on messages to its former id.
    this.#self = { id: sharing?.newId() ?? '', visible: false, focusedAt: 0 }
    this.#updateSelf()
    if (!sharing) return this.#lead()
    try {
      this.#channel = sharing.channel(this.#names.push)
    } catch {
      return this.#runAlone()
    }
    this.#channel.onmessage = ({ data }) => this.#onMessage(parseTabMessage(data))
    holdLock(sharing.locks, {
      name: this.#names.tab(this.#self.id),
      signal: run.signal,
      onHeld: () => {
        // The tab announces itself only now. If its lock were still free, a leader that knows the tab would be
        // granted the lock, and would conclude that the tab is closed.
        this.#announce()
        this.#requestLead(sharing.locks)
      },
      onLost: () => this.#runAlone(),
    })
  }

  stop() {
    if (!this.#run) return
    this.#run.abort()
    this.#run = null
    this.#leaderTimer.stop()
    this.#giveUpLead()
    this.#channel?.close()
    this.#channel = null
    // While this tab is stopped, other tabs may show and acknowledge changes that it does not receive.
    this.#position = null
    this.#notified.clearDue()
    this.#tabs.clear()
  }

  /** Connects because the user has pressed the button. */
  connect() {
    if (!this.#run || this.#socket) return this.#socket?.connect()
    this.#show({ phase: 'connecting' })
    this.#post({ type: 'connect' })
    this.#announce()
  }

  /** Checks the connection, because the computer slept, the page was shown, or the network is back. */
  wake() {
    if (this.#socket) this.#socket.wake()
    else this.#post({ type: 'wake' })
  }

  networkLost() {
    this.#socket?.networkLost()
  }

  /** Updates the other tabs after this page was shown, hidden or focused. */
  pageLooked() {
    if (!this.#run) return
    this.#updateSelf()
    this.#announce()
  }

  /**
   * Requests a notification of a change that was found by reading the orders. Several tabs can find the same
   * change.
   */
  notify(order: Order) {
    if (!this.#run) return
    this.#addNews(order)
    if (!this.#socket) this.#post({ type: 'news', order })
  }

  #updateSelf() {
    const { clock, isVisible, isFocused } = this.#options
    const focusedAt = isFocused() ? clock.now() : this.#self.focusedAt
    this.#self = { ...this.#self, visible: isVisible(), focusedAt }
    this.#tabs.set(this.#self.id, this.#self)
  }

  /** Posts that this tab exists, and whether it is visible. A leader replies with `standing`. */
  #announce() {
    this.#post({ type: 'here', tab: this.#self })
    if (!this.#socket) this.#leaderTimer.start(LEADER_REPLY_MS, () => this.#onLeaderSilent())
  }

  #onLeaderSilent() {
    // A hidden tab announces itself again when it is shown.
    const { sharing, isVisible } = this.#options
    if (sharing && isVisible()) this.#requestLead(sharing.locks, true)
  }

  #requestLead(locks: Locks, steal = false) {
    this.#leadership.abort()
    this.#leadership = new AbortController()
    holdLock(locks, {
      name: this.#names.push,
      signal: this.#leadership.signal,
      steal,
      onHeld: () => this.#lead(),
      onLost: () => this.#onLeadLost(locks),
    })
  }

  #lead() {
    this.#leaderTimer.stop()
    const { ticket, open, clock, random, online } = this.#options
    const socket: PushSocket = new PushSocket({
      ...{ ticket, open, clock, random, online, position: this.#position },
      onState: (state) => this.#socket === socket && this.#onSocketState(state),
      onOrder: (...message) => this.#onPushed(...message),
      onWelcome: (gapless) => {
        this.#position = socket.position
        this.#post({ type: 'welcome', gapless, position: this.#position })
        this.#welcome(gapless)
      },
    })
    this.#socket = socket
    // If the last leader was closed permanently (replaced or refused), the next one must not reconnect either.
    if (!isPermanentlyOffline(this.#state)) socket.connect()
    for (const id of this.#tabs.keys()) this.#watch(id)
    for (const { order, teller } of this.#notified.due) {
      if (teller === null) this.#assignToTab(order)
      else if (!this.#tabs.has(teller)) this.#watch(teller)
    }
  }

  #giveUpLead() {
    this.#leadership.abort()
    const socket = this.#socket
    this.#socket = null
    socket?.stop()
    this.#welcomed = false
  }

  /**
   * Handles that another tab stole the lead while this one was frozen, or that the browser refused the lock.
   */
  #onLeadLost(locks: Locks) {
    if (!this.#socket) return this.#runAlone()
    this.#giveUpLead()
    this.#requestLead(locks)
    this.#announce()
  }

  /** Stops sharing: this tab opens its own socket and shows its own notifications. */
  #runAlone() {
    if (this.#socket) return
    this.#channel?.close()
    this.#channel = null
    this.#tabs = new Map([[this.#self.id, this.#self]])
    this.#lead()
  }

  /** Requests the lock of another tab, which is granted when that tab is closed. */
  #watch(id: string) {
    const { sharing } = this.#options
    if (!this.#channel || !sharing || id === this.#self.id) return
    onTabClosed(sharing.locks, this.#names.tab(id), this.#leadership.signal, () => {
      this.#tabs.delete(id)
      for (const { order, teller } of this.#notified.due)
        if (teller === id) this.#assignToTab(order)
    })
  }

  #onPushed(order: Order, receivedAt: number) {
    this.#position = this.#socket?.position ?? null
    const teller = this.#notified.isNews(order) ? chooseTab(this.#tabs.values()) : null
    this.#post({ type: 'order', order, receivedAt, position: this.#position, teller })
    this.#options.onOrder(order, receivedAt)
    if (teller !== null) this.#assign(order, teller)
  }

  #addNews(order: Order) {
    if (!this.#notified.isNews(order)) return
    if (this.#socket) this.#assignToTab(order)
    else this.#notified.assign(order, null)
  }

  #assignToTab(order: Order) {
    const teller = chooseTab(this.#tabs.values())
    this.#post({ type: 'tell', order, teller })
    this.#assign(order, teller)
  }

  #assign(order: Order, teller: string | null) {
    if (!this.#notified.assign(order, teller) || teller !== this.#self.id) return
    const { id, version } = order
    this.#notified.markNotified(id, version)
    this.#post({ type: 'told', id, version })
    this.#options.onNotify(order)
  }

  /** The first welcome is never gapless, because this tab does not know what changed before it listened. */
  #welcome(gapless: boolean) {
    const first = !this.#welcomed
    this.#welcomed = true
    this.#options.onWelcome(gapless && !first)
  }

  #onSocketState(state: ConnectionState) {
    this.#show(state)
    this.#postStanding()
  }

  #show(state: ConnectionState) {
    this.#state = state
    this.#options.onState(state)
  }

  #postStanding() {
    this.#post({
      type: 'standing',
      state: this.#state,
      position: this.#position,
      tabs: [...this.#tabs.values()],
      told: this.#notified.versions,
      due: this.#notified.due,
    })
  }

  #post(message: TabMessage) {
    this.#channel?.postMessage(message)
  }

  #onMessage(message: TabMessage | null) {
    switch (message?.type) {
      case 'here':
        if (!this.#tabs.has(message.tab.id) && this.#socket) this.#watch(message.tab.id)
        this.#tabs.set(message.tab.id, message.tab)
        if (this.#socket) this.#postStanding()
        return
      case 'news':
        return this.#addNews(message.order)
      case 'tell':
        return this.#assign(message.order, message.teller)
      case 'told':
        return this.#notified.markNotified(message.id, message.version)
      case 'connect':
        return this.#socket?.connect()
      case 'wake':
        return this.#socket?.wake()
      // A leader can receive late messages of the previous leader. Its own socket delivers the same orders.
      // Only the choice of the notifying tab is new, and remains valid.
      case 'order':
        if (!this.#socket) this.#follow(message)
        if (message.teller !== null) this.#assign(message.order, message.teller)
        return
      case 'standing':
      case 'welcome':
        if (!this.#socket) this.#follow(message)
    }
  }

  /** Applies a message of the leader in a follower. */
  #follow(message: FromLeader) {
    this.#leaderTimer.start(LEADER_SILENCE_MS, () => this.#announce())
    this.#position = message.position
    if (message.type === 'order') {
      this.#options.onOrder(message.order, message.receivedAt)
    } else if (message.type === 'welcome') {
      this.#welcome(message.gapless)
    } else {
      this.#show(message.state)
      for (const [id, version] of message.told) this.#notified.markNotified(id, version)
      for (const { order, teller } of message.due) this.#assign(order, teller)
      this.#updateTabs(message.tabs)
      if (message.state.phase === 'live' && !this.#welcomed) this.#welcome(false)
    }
  }

  #updateTabs(tabs: readonly Tab[]) {
    this.#tabs = new Map(tabs.map((tab) => [tab.id, tab]))
    if (this.#tabs.has(this.#self.id)) return
    this.#tabs.set(this.#self.id, this.#self)
    this.#post({ type: 'here', tab: this.#self })
  }
}

function isPermanentlyOffline(state: ConnectionState): boolean {
  return state.phase === 'offline' && (state.why === 'replaced' || state.why === 'refused')
}
