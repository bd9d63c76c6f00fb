import type { Order } from './orders'
import { type ConnectionState, type Position, PushSocket, type SocketOptions } from './socket'
import { chooseTeller, hold, type Locks, whenGone } from './tabs'
import { Timer } from './timer'
import { Told } from './told'
import { type FromLeader, names, parseWord, type Tab, type Word } from './words'

// A leader that does not run (its tab is suspended, or stands in a debugger) keeps its lock. So a
// visible tab asks when it has heard nothing for a while, and takes the lock if there is no answer.
const QUIET_MS = 60_000
const ANSWER_MS = 5_000

export interface Channel {
  onmessage: ((event: MessageEvent) => void) | null
  postMessage(word: unknown): void
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
  /** Null where the browser has no locks or channels: each tab has a socket then, and tells. */
  sharing: Sharing | null
  isVisible: () => boolean
  isFocused: () => boolean
  /** In every tab. */
  onOrder: (order: Order, receivedAt: number) => void
  /** In every tab, after what was missed. Not `gapless`, only REST can say what is still missing. */
  onWelcome: (gapless: boolean) => void
  /** Only in the tab that shall show it, once a browser for each change. */
  onTell: (order: Order) => void
}

/**
 * One socket for all tabs of a user. The tab that holds a lock leads: it has the socket, says on a
 * channel what it hears, and chooses which tab tells the user. The others follow, and wait for the
 * lock, which the browser hands on when the tab of the leader is gone. The next leader goes on from
 * the position that it heard last.
 *
 * A change stays due in every tab until the tab that was chosen says that it has told it. If that tab
 * is gone before, the leader chooses another, and so does the next leader. Each tab holds a lock of its
 * own, which the leader waits for, so that a tab need not say that it is alive, nor that it goes.
 */
export class SharedSocket {
  readonly #options: SharedOptions
  readonly #names: ReturnType<typeof names>
  readonly #patience: Timer
  #run: AbortController | null = null
  #leadership = new AbortController()
  #channel: Channel | null = null
  /** Only the leader has one. */
  #socket: PushSocket | null = null
  #state: ConnectionState = { phase: 'connecting' }
  #position: Position | null = null
  #welcomed = false
  #self: Tab = { id: '', visible: false, focusedAt: 0 }
  #tabs = new Map<string, Tab>()
  readonly #told = new Told()

  constructor(options: SharedOptions) {
    this.#options = options
    this.#names = names(options.userId)
    this.#patience = new Timer(options.clock)
  }

  start() {
    if (this.#run) return
    const run = new AbortController()
    this.#run = run
    this.#show({ phase: 'connecting' })
    const { sharing } = this.#options
    // A tab that starts again is a new one: what was said to the former is not for it.
    this.#self = { id: sharing?.newId() ?? '', visible: false, focusedAt: 0 }
    this.#look()
    if (!sharing) return this.#lead()
    try {
      this.#channel = sharing.channel(this.#names.push)
    } catch {
      return this.#keepToItself()
    }
    this.#channel.onmessage = ({ data }) => this.#hear(parseWord(data))
    hold(sharing.locks, {
      name: this.#names.tab(this.#self.id),
      signal: run.signal,
      held: () => {
        // Not before: a leader that hears of this tab takes its lock, if it is free, for its end.
        this.#ask()
        this.#queue(sharing.locks)
      },
      lost: () => this.#keepToItself(),
    })
  }

  stop() {
    if (!this.#run) return
    this.#run.abort()
    this.#run = null
    this.#patience.stop()
    this.#resign()
    this.#channel?.close()
    this.#channel = null
    // While it is stopped, others may be told and acknowledge what this tab does not hear.
    this.#position = null
    this.#told.dropDue()
    this.#tabs.clear()
  }

  /** The user asks for it. */
  connect() {
    if (!this.#run || this.#socket) return this.#socket?.connect()
    this.#show({ phase: 'connecting' })
    this.#say({ type: 'connect' })
    this.#ask()
  }

  /** Timers were late, the page was shown, or there is a network again. */
  wake() {
    if (this.#socket) this.#socket.wake()
    else this.#say({ type: 'wake' })
  }

  networkLost() {
    this.#socket?.networkLost()
  }

  /** The page was shown, hidden or focused. */
  looked() {
    if (!this.#run) return
    this.#look()
    this.#ask()
  }

  /** Of a change that was found by reading. Each tab that finds it may say so. */
  tell(order: Order) {
    if (!this.#run) return
    this.#note(order)
    if (!this.#socket) this.#say({ type: 'news', order })
  }

  #look() {
    const { clock, isVisible, isFocused } = this.#options
    const focusedAt = isFocused() ? clock.now() : this.#self.focusedAt
    this.#self = { ...this.#self, visible: isVisible(), focusedAt }
    this.#tabs.set(this.#self.id, this.#self)
  }

  /** Says that this tab is here, and how; a leader answers. */
  #ask() {
    this.#say({ type: 'here', tab: this.#self })
    if (!this.#socket) this.#patience.start(ANSWER_MS, () => this.#unanswered())
  }

  #unanswered() {
    // A hidden tab asks again when it is shown.
    const { sharing, isVisible } = this.#options
    if (sharing && isVisible()) this.#queue(sharing.locks, true)
  }

  #queue(locks: Locks, steal = false) {
    this.#leadership.abort()
    this.#leadership = new AbortController()
    hold(locks, {
      name: this.#names.push,
      signal: this.#leadership.signal,
      steal,
      held: () => this.#lead(),
      lost: () => this.#dismissed(locks),
    })
  }

  #lead() {
    this.#patience.stop()
    const { ticket, open, clock, random, online } = this.#options
    const socket: PushSocket = new PushSocket({
      ...{ ticket, open, clock, random, online, position: this.#position },
      onState: (state) => this.#socket === socket && this.#enter(state),
      onOrder: (...message) => this.#pushed(...message),
      onWelcome: (gapless) => {
        this.#position = socket.position
        this.#say({ type: 'welcome', gapless, position: this.#position })
        this.#welcome(gapless)
      },
    })
    this.#socket = socket
    // What sent the last leader away for good holds for the next as well.
    if (!isForGood(this.#state)) socket.connect()
    for (const id of this.#tabs.keys()) this.#watch(id)
    for (const { order, teller } of this.#told.due) {
      if (teller === null) this.#choose(order)
      else if (!this.#tabs.has(teller)) this.#watch(teller)
    }
  }

  #resign() {
    this.#leadership.abort()
    const socket = this.#socket
    this.#socket = null
    socket?.stop()
    this.#welcomed = false
  }

  /** Another took the lead from this tab while it did not run. Or there are no locks to be had. */
  #dismissed(locks: Locks) {
    if (!this.#socket) return this.#keepToItself()
    this.#resign()
    this.#queue(locks)
    this.#ask()
  }

  #keepToItself() {
    if (this.#socket) return
    this.#channel?.close()
    this.#channel = null
    this.#tabs = new Map([[this.#self.id, this.#self]])
    this.#lead()
  }

  #watch(id: string) {
    const { sharing } = this.#options
    if (!this.#channel || !sharing || id === this.#self.id) return
    whenGone(sharing.locks, this.#names.tab(id), this.#leadership.signal, () => {
      this.#tabs.delete(id)
      for (const { order, teller } of this.#told.due) if (teller === id) this.#choose(order)
    })
  }

  #pushed(order: Order, receivedAt: number) {
    this.#position = this.#socket?.position ?? null
    const teller = this.#told.isNews(order) ? chooseTeller(this.#tabs.values()) : null
    this.#say({ type: 'order', order, receivedAt, position: this.#position, teller })
    this.#options.onOrder(order, receivedAt)
    if (teller !== null) this.#assign(order, teller)
  }

  #note(order: Order) {
    if (!this.#told.isNews(order)) return
    if (this.#socket) this.#choose(order)
    else this.#told.assign(order, null)
  }

  #choose(order: Order) {
    const teller = chooseTeller(this.#tabs.values())
    this.#say({ type: 'tell', order, teller })
    this.#assign(order, teller)
  }

  #assign(order: Order, teller: string | null) {
    if (!this.#told.assign(order, teller) || teller !== this.#self.id) return
    const { id, version } = order
    this.#told.mark(id, version)
    this.#say({ type: 'told', id, version })
    this.#options.onTell(order)
  }

  /** The first one leaves open what changed before this tab listened. */
  #welcome(gapless: boolean) {
    const first = !this.#welcomed
    this.#welcomed = true
    this.#options.onWelcome(gapless && !first)
  }

  #enter(state: ConnectionState) {
    this.#show(state)
    this.#sayStanding()
  }

  #show(state: ConnectionState) {
    this.#state = state
    this.#options.onState(state)
  }

  #sayStanding() {
    this.#say({
      type: 'standing',
      state: this.#state,
      position: this.#position,
      tabs: [...this.#tabs.values()],
      told: this.#told.versions,
      due: this.#told.due,
    })
  }

  #say(word: Word) {
    this.#channel?.postMessage(word)
  }

  #hear(word: Word | null) {
    switch (word?.type) {
      case 'here':
        if (!this.#tabs.has(word.tab.id) && this.#socket) this.#watch(word.tab.id)
        this.#tabs.set(word.tab.id, word.tab)
        if (this.#socket) this.#sayStanding()
        return
      case 'news':
        return this.#note(word.order)
      case 'tell':
        return this.#assign(word.order, word.teller)
      case 'told':
        return this.#told.mark(word.id, word.version)
      case 'connect':
        return this.#socket?.connect()
      case 'wake':
        return this.#socket?.wake()
      // A leader may hear the last words of the one before. Its own socket brings all of it, but
      // for the choice of who tells, which holds.
      case 'order':
        if (!this.#socket) this.#follow(word)
        if (word.teller !== null) this.#assign(word.order, word.teller)
        return
      case 'standing':
      case 'welcome':
        if (!this.#socket) this.#follow(word)
    }
  }

  #follow(word: FromLeader) {
    this.#patience.start(QUIET_MS, () => this.#ask())
    this.#position = word.position
    if (word.type === 'order') {
      this.#options.onOrder(word.order, word.receivedAt)
    } else if (word.type === 'welcome') {
      this.#welcome(word.gapless)
    } else {
      this.#show(word.state)
      for (const [id, version] of word.told) this.#told.mark(id, version)
      for (const { order, teller } of word.due) this.#assign(order, teller)
      this.#meet(word.tabs)
      if (word.state.phase === 'live' && !this.#welcomed) this.#welcome(false)
    }
  }

  #meet(tabs: readonly Tab[]) {
    this.#tabs = new Map(tabs.map((tab) => [tab.id, tab]))
    if (this.#tabs.has(this.#self.id)) return
    this.#tabs.set(this.#self.id, this.#self)
    this.#say({ type: 'here', tab: this.#self })
  }
}

function isForGood(state: ConnectionState): boolean {
  return state.phase === 'offline' && (state.why === 'replaced' || state.why === 'refused')
}
