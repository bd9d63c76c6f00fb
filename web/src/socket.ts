import type { Order } from './orders'
import { type Clock, Timer } from './timer'

/** The close codes of notifier/close_codes.py, and 1008, the standard code for a policy violation. */
export const closeCode = {
  policy: 1008,
  internalError: 1011,
  restarting: 1012,
  tryAgain: 1013,
  badMessage: 4400,
  badTicket: 4401,
  noPong: 4402,
  expired: 4403,
  tooSlow: 4408,
  replaced: 4409,
  tooManyMessages: 4429,
} as const

const MIN_DELAY_MS = 500
const FIRST_DELAY_LIMIT_MS = 2_000
const DELAY_LIMIT_MS = 20_000
const HINT_LIMIT_MS = 60_000
const TOO_MANY_MESSAGES_MS = 5_000
const ACK_INTERVAL_MS = 1_000
// The server pings a silent client every 25 s. A page that was just woken reconnects if a ping is overdue.
// Otherwise a ping can be late, so the page waits longer.
const WAKE_SILENCE_MS = 30_000
const SILENCE_MS = 40_000
// The backoff restarts only after a connection of at least this time. Otherwise a page would reconnect every
// second to a server that accepts sockets and closes them immediately.
const STABLE_MS = 10_000

export type ConnectionState =
  | { phase: 'connecting' }
  | { phase: 'live'; replica: string }
  | { phase: 'reconnecting'; at: number }
  | { phase: 'offline'; why: 'stopped' | 'replaced' | 'refused' | 'no-network' }

export interface OrderMessage {
  type: 'order'
  o: number
  id: string
  order: Order
}

/** A position in the user's stream: the offset of the last message, and the epoch of the offset. */
export interface Position {
  epoch: string
  offset: number
}

interface Welcome {
  type: 'welcome'
  epoch: string
  offset: number
  recovered: boolean
  missed: OrderMessage[]
  replica: string
}

type Frame = Welcome | OrderMessage | { type: 'ping' } | { type: 'renew'; within: number }
type ClientFrame = { type: 'pong' } | { type: 'ack'; o: number } | { type: 'renew'; ticket: string }

/** The part of WebSocket that is used. */
export type Wire = Pick<WebSocket, 'send' | 'close' | 'onmessage' | 'onclose'>

export interface SocketOptions {
  ticket: () => Promise<string>
  open: (query: string, protocols: string[]) => Wire
  clock: Clock
  random: () => number
  /** Whether the browser reports a network. */
  online: () => boolean
  /** The position to continue from. */
  position?: Position | null
  onState: (state: ConnectionState) => void
  /** `receivedAt` is in milliseconds since 1970, by this browser's clock. */
  onOrder: (order: Order, receivedAt: number) => void
  /** Called after the missed messages. If `gapless` is false, the page must read its orders over REST. */
  onWelcome: (gapless: boolean) => void
}

/**
 * A WebSocket to the notifier that reconnects, resumes at its position, acknowledges, and renews its identity.
 */
export class PushSocket {
  readonly #options: SocketOptions
  readonly #watchdog: Timer
  readonly #retryTimer: Timer
  readonly #ackTimer: Timer
  readonly #renewTimer: Timer
  #state: ConnectionState = { phase: 'offline', why: 'stopped' }
  #wire: Wire | null = null
  #position: Position | null
  #attempt = 0
  #renewing = false
  #failures = 0
  #liveSince: number | null = null
  #heardAt = 0
  #ackedAt = Number.NEGATIVE_INFINITY

  constructor(options: SocketOptions) {
    this.#options = options
    this.#position = options.position ?? null
    this.#watchdog = new Timer(options.clock)
    this.#retryTimer = new Timer(options.clock)
    this.#ackTimer = new Timer(options.clock)
    this.#renewTimer = new Timer(options.clock)
  }

  get position(): Position | null {
    return this.#position
  }

  /** Connects immediately: for the first time, instead of waiting, or after a permanent close. */
  connect() {
    const { phase } = this.#state
    if (phase === 'offline' || phase === 'reconnecting') void this.#connect()
  }

  /**
   * Reconnects if the connection is waiting or silent, because the page was shown, the computer slept, or the
   * network is back.
   */
  wake() {
    const late = this.#options.clock.now() - this.#heardAt >= WAKE_SILENCE_MS
    if (this.#isWaiting() || (this.#wire && late)) void this.#connect()
  }

  /** Closes the connection. Without a network it may be dead unnoticed, and retries would fail. */
  networkLost() {
    if (this.#state.phase !== 'offline' && !this.#options.online()) this.#goOffline('no-network')
  }

  stop() {
    if (this.#ackTimer.pending) this.#ack()
    this.#disconnect()
    this.#setState({ phase: 'offline', why: 'stopped' })
  }

  async #connect() {
    this.#disconnect()
    const attempt = this.#attempt
    this.#setState({ phase: 'connecting' })
    try {
      const ticket = await this.#options.ticket()
      if (attempt !== this.#attempt) return
      const wire = this.#options.open(this.#query(), ['gozon.v1', `ticket.${ticket}`])
      wire.onmessage = ({ data }) => this.#receive(data)
      wire.onclose = ({ code, reason }) => this.#closed(code, reason)
      this.#wire = wire
      this.#watch()
    } catch {
      if (attempt === this.#attempt) this.#retry()
    }
  }

  #query(): string {
    if (!this.#position) return ''
    const { epoch, offset } = this.#position
    return `?${new URLSearchParams({ e: epoch, o: `${offset}` })}`
  }

  /** Whether the socket should reconnect when woken. After a permanent close, only the button reconnects. */
  #isWaiting(): boolean {
    if (this.#state.phase !== 'offline') return this.#state.phase === 'reconnecting'
    return this.#state.why === 'no-network' && this.#options.online()
  }

  #receive(data: unknown) {
    this.#watch()
    const frame = parseFrame(data)
    if (frame?.type === 'welcome') this.#welcome(frame)
    else if (frame?.type === 'order') this.#order(frame)
    else if (frame?.type === 'ping') this.#send({ type: 'pong' })
    else if (frame?.type === 'renew') this.#renewWithin(frame.within * 1_000)
  }

  /**
   * Handles a welcome. It comes again on an open connection when the server has lost the stream and begun a
   * new one.
   */
  #welcome({ epoch, offset, recovered, missed, replica }: Welcome) {
    this.#liveSince ??= this.#options.clock.now()
    // The position moves only after all missed messages. A tab that takes over from an earlier position then
    // receives the welcome again, and so learns whether there is a gap.
    for (const message of missed) this.#deliver(message)
    // The first connection has no position, so changes since the page has read its orders may be unknown.
    const gapless = recovered && this.#position !== null
    this.#position = { epoch, offset }
    this.#options.onWelcome(gapless)
    this.#setState({ phase: 'live', replica })
    if (missed.length > 0 || !recovered) this.#ackSoon()
  }

  #order(message: OrderMessage) {
    if (this.#position) {
      const { epoch, offset } = this.#position
      this.#position = { epoch, offset: Math.max(offset, message.o) }
      this.#ackSoon()
    }
    this.#deliver(message)
  }

  #deliver({ order }: OrderMessage) {
    this.#options.onOrder(order, this.#heardAt)
  }

  /**
   * Schedules an acknowledgement. It is cumulative, so it also covers messages that arrive before it is sent.
   */
  #ackSoon() {
    if (this.#ackTimer.pending) return
    const wait = this.#ackedAt + ACK_INTERVAL_MS - this.#options.clock.now()
    this.#ackTimer.start(Math.max(0, wait), () => this.#ack())
  }

  #ack() {
    if (!this.#position) return
    this.#ackedAt = this.#options.clock.now()
    this.#send({ type: 'ack', o: this.#position.offset })
  }

  #renewWithin(ms: number) {
    if (this.#renewing) return
    this.#renewing = true
    void this.#renew(this.#options.clock.now() + ms)
  }

  /**
   * Sends a new ticket on the same connection. If none can be had until the deadline, the server closes the
   * socket.
   */
  async #renew(until: number, failures = 0) {
    const attempt = this.#attempt
    try {
      const ticket = await this.#options.ticket()
      if (attempt !== this.#attempt) return
      this.#renewing = false
      this.#send({ type: 'renew', ticket })
      // The server restarts its ping interval after this message, so the watchdog restarts too.
      this.#watch()
    } catch {
      if (attempt !== this.#attempt) return
      const pause = this.#pause(failures)
      this.#renewing = this.#options.clock.now() + pause < until
      if (this.#renewing) this.#renewTimer.start(pause, () => void this.#renew(until, failures + 1))
    }
  }

  #send(frame: ClientFrame) {
    this.#wire?.send(JSON.stringify(frame))
  }

  #closed(code: number, reason: string) {
    if (code === closeCode.replaced) this.#goOffline('replaced')
    else if (code === closeCode.policy || code === closeCode.badMessage) this.#goOffline('refused')
    else
      this.#retry(delayHint(reason), code === closeCode.tooManyMessages ? TOO_MANY_MESSAGES_MS : 0)
  }

  #goOffline(why: 'replaced' | 'refused' | 'no-network') {
    this.#disconnect()
    this.#setState({ phase: 'offline', why })
  }

  #retry(hint?: number, calm = 0) {
    // `online` is checked only after a failure, because browsers report the network wrongly at times.
    if (!this.#options.online()) return this.#goOffline('no-network')
    this.#disconnect()
    const pause = this.#pause(this.#failures++)
    const delay = calm + (hint ?? pause)
    this.#retryTimer.start(delay, () => void this.#connect())
    this.#setState({ phase: 'reconnecting', at: this.#options.clock.now() + delay })
  }

  #pause(failures: number): number {
    const limit = Math.min(DELAY_LIMIT_MS, FIRST_DELAY_LIMIT_MS * 2 ** failures)
    return MIN_DELAY_MS + this.#options.random() * (limit - MIN_DELAY_MS)
  }

  #watch() {
    this.#heardAt = this.#options.clock.now()
    this.#watchdog.start(SILENCE_MS, () => this.#retry())
  }

  /**
   * Drops the connection without waiting for its close event, which can take minutes if the connection is
   * dead.
   */
  #disconnect() {
    this.#attempt++
    const liveFor = this.#options.clock.now() - (this.#liveSince ?? Number.POSITIVE_INFINITY)
    if (liveFor >= STABLE_MS) this.#failures = 0
    this.#liveSince = null
    this.#watchdog.stop()
    this.#retryTimer.stop()
    this.#ackTimer.stop()
    this.#renewTimer.stop()
    this.#renewing = false
    if (!this.#wire) return
    this.#wire.onmessage = null
    this.#wire.onclose = null
    this.#wire.close()
    this.#wire = null
  }

  #setState(state: ConnectionState) {
    this.#state = state
    this.#options.onState(state)
  }
}

function parseFrame(data: unknown): Frame | null {
  try {
    return JSON.parse(String(data))
  } catch {
    return null
  }
}

function delayHint(reason: string): number | undefined {
  try {
    const ms: unknown = JSON.parse(reason)?.retry_after_ms
    if (typeof ms !== 'number' || !Number.isFinite(ms)) return undefined
    return Math.min(HINT_LIMIT_MS, Math.max(MIN_DELAY_MS, ms))
  } catch {
    return undefined
  }
}
