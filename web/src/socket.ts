import type { Order } from './orders'
import { type Clock, Timer } from './timer'

/** Named as in the notifier's closes.py; 1008 is the protocol's own word for a refusal. */
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
const FIRST_CEILING_MS = 2_000
const MAX_DELAY_MS = 20_000
const MAX_HINT_MS = 60_000
const CALM_MS = 5_000
const ACK_EVERY_MS = 1_000
// The server pings every 25 s. A page that has just been woken gives up a wire that missed one;
// otherwise it may be late.
const LATE_MS = 30_000
const SILENCE_MS = 40_000
// A connection that broke sooner does not start the backoff anew, or a server that admits and
// drops at once would be asked again every second.
const STEADY_MS = 10_000

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

/** Where a client stands in its user's stream. */
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
type Said = { type: 'pong' } | { type: 'ack'; o: number } | { type: 'renew'; ticket: string }

export type Wire = Pick<WebSocket, 'send' | 'close' | 'onmessage' | 'onclose'>

export interface SocketOptions {
  ticket: () => Promise<string>
  open: (query: string, protocols: string[]) => Wire
  clock: Clock
  random: () => number
  /** What the browser says of its network. */
  online: () => boolean
  /** Where to go on from. */
  position?: Position | null
  onState: (state: ConnectionState) => void
  /** `receivedAt` is in milliseconds since 1970, by this browser's clock. */
  onOrder: (order: Order, receivedAt: number) => void
  /** After the missed messages. Without `recovered` there is a gap that only REST can fill. */
  onWelcome: (recovered: boolean) => void
}

export class PushSocket {
  readonly #options: SocketOptions
  readonly #watchdog: Timer
  readonly #retryTimer: Timer
  readonly #ackTimer: Timer
  readonly #renewTimer: Timer
  #state: ConnectionState = { phase: 'offline', why: 'stopped' }
  #wire: Wire | null = null
  #position: Position | null
  #turn = 0
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

  /** Connects now, be it the first time, instead of waiting, or after a close for good. */
  connect() {
    const { phase } = this.#state
    if (phase === 'offline' || phase === 'reconnecting') void this.#connect()
  }

  /** Something has changed: the page is looked at again, the computer slept, there is a network. */
  wake() {
    const late = this.#options.clock.now() - this.#heardAt >= LATE_MS
    if (this.#waits() || (this.#wire && late)) void this.#connect()
  }

  /** Without a network a wire cannot be told from a dead one, and trying again is in vain. */
  networkLost() {
    if (this.#state.phase !== 'offline' && !this.#options.online()) this.#giveUp('no-network')
  }

  stop() {
    if (this.#ackTimer.pending) this.#ack()
    this.#drop()
    this.#enter({ phase: 'offline', why: 'stopped' })
  }

  async #connect() {
    this.#drop()
    const turn = this.#turn
    this.#enter({ phase: 'connecting' })
    try {
      const ticket = await this.#options.ticket()
      if (turn !== this.#turn) return
      const wire = this.#options.open(this.#query(), ['gozon.v1', `ticket.${ticket}`])
      wire.onmessage = ({ data }) => this.#receive(data)
      wire.onclose = ({ code, reason }) => this.#closed(code, reason)
      this.#wire = wire
      this.#watch()
    } catch {
      if (turn === this.#turn) this.#retry()
    }
  }

  #query(): string {
    if (!this.#position) return ''
    const { epoch, offset } = this.#position
    return `?${new URLSearchParams({ e: epoch, o: `${offset}` })}`
  }

  /** One that was told to stay away is asked back only by its button. */
  #waits(): boolean {
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

  /** Comes again on an open wire when the stream was lost, and another has been begun. */
  #welcome({ epoch, offset, recovered, missed, replica }: Welcome) {
    this.#liveSince ??= this.#options.clock.now()
    // The position moves after them all: who goes on from it has to hear the verdict on the gap, too.
    for (const message of missed) this.#give(message)
    // The first time there is no position to go on from, so whatever changed since the page read its orders is unknown.
    const gapless = recovered && this.#position !== null
    this.#position = { epoch, offset }
    this.#options.onWelcome(gapless)
    this.#enter({ phase: 'live', replica })
    if (missed.length > 0 || !recovered) this.#ackSoon()
  }

  #order(message: OrderMessage) {
    if (this.#position) {
      const { epoch, offset } = this.#position
      this.#position = { epoch, offset: Math.max(offset, message.o) }
      this.#ackSoon()
    }
    this.#give(message)
  }

  #give({ order }: OrderMessage) {
    this.#options.onOrder(order, this.#heardAt)
  }

  /** Acks are cumulative, so one that waits carries whatever arrives until it leaves. */
  #ackSoon() {
    if (this.#ackTimer.pending) return
    const wait = this.#ackedAt + ACK_EVERY_MS - this.#options.clock.now()
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

  /** Shows a new ticket on the wire that was asked for it. In vain, the server closes when the time is up. */
  async #renew(until: number, failures = 0) {
    const turn = this.#turn
    try {
      const ticket = await this.#options.ticket()
      if (turn !== this.#turn) return
      this.#renewing = false
      this.#send({ type: 'renew', ticket })
      // The server waits anew before its next ping, and what it sent last may be a while ago.
      this.#watch()
    } catch {
      if (turn !== this.#turn) return
      const pause = this.#pause(failures)
      this.#renewing = this.#options.clock.now() + pause < until
      if (this.#renewing) this.#renewTimer.start(pause, () => void this.#renew(until, failures + 1))
    }
  }

  #send(frame: Said) {
    this.#wire?.send(JSON.stringify(frame))
  }

  #closed(code: number, reason: string) {
    if (code === closeCode.replaced) this.#giveUp('replaced')
    else if (code === closeCode.policy || code === closeCode.badMessage) this.#giveUp('refused')
    else this.#retry(delayHint(reason), code === closeCode.tooManyMessages ? CALM_MS : 0)
  }

  #giveUp(why: 'replaced' | 'refused' | 'no-network') {
    this.#drop()
    this.#enter({ phase: 'offline', why })
  }

  #retry(hint?: number, calm = 0) {
    // Asked only after a failure: what a browser says of its network is not always so.
    if (!this.#options.online()) return this.#giveUp('no-network')
    this.#drop()
    const pause = this.#pause(this.#failures++)
    const delay = calm + (hint ?? pause)
    this.#retryTimer.start(delay, () => void this.#connect())
    this.#enter({ phase: 'reconnecting', at: this.#options.clock.now() + delay })
  }

  #pause(failures: number): number {
    const ceiling = Math.min(MAX_DELAY_MS, FIRST_CEILING_MS * 2 ** failures)
    return MIN_DELAY_MS + this.#options.random() * (ceiling - MIN_DELAY_MS)
  }

  #watch() {
    this.#heardAt = this.#options.clock.now()
    this.#watchdog.start(SILENCE_MS, () => this.#retry())
  }

  /** Lets go at once: the close event of a dead connection can take minutes. */
  #drop() {
    this.#turn++
    const liveFor = this.#options.clock.now() - (this.#liveSince ?? Number.POSITIVE_INFINITY)
    if (liveFor >= STEADY_MS) this.#failures = 0
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

  #enter(state: ConnectionState) {
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
    return Math.min(MAX_HINT_MS, Math.max(MIN_DELAY_MS, ms))
  } catch {
    return undefined
  }
}
