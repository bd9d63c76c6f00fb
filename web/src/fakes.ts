import type { Order } from './orders'
import type { Channel } from './sharing'
import type { Wire } from './socket'
import type { Locks } from './tabs'
import type { Clock } from './timer'

/** Replaces a WebSocket in tests. */
export class FakeWire {
  onmessage: ((event: { data: unknown }) => void) | null = null
  onclose: ((event: { code: number; reason: string }) => void) | null = null
  readonly sent: unknown[] = []
  closed = false

  constructor(
    readonly query: string,
    readonly protocols: string[],
  ) {}

  send(data: string) {
    this.sent.push(JSON.parse(data))
  }

  close() {
    this.closed = true
  }

  receive(frame: unknown) {
    if (!this.closed) this.onmessage?.({ data: JSON.stringify(frame) })
  }

  end(code: number, reason = '') {
    this.closed = true
    this.onclose?.({ code, reason })
  }
}

/** The orders of one user and the stream of their changes, as docs/push.md describes it. */
export class FakeServer {
  readonly orders = new Map<string, Order>()
  readonly wires: FakeWire[] = []
  readonly #tabs = new Map<FakeWire, FakeTab>()
  #epoch = 1
  #offset = 0
  #messages: { o: number; order: Order }[] = []

  get connected(): FakeWire[] {
    return this.wires.filter((wire) => !wire.closed)
  }

  isOf(wire: FakeWire, tab: FakeTab): boolean {
    return this.#tabs.get(wire) === tab
  }

  open(tab: FakeTab, query: string, protocols: string[]): Wire {
    const wire = new FakeWire(query, protocols)
    this.wires.push(wire)
    this.#tabs.set(wire, tab)
    tab.onEnd(() => wire.close())
    const given = new URLSearchParams(query)
    const since = given.has('o') ? Number(given.get('o')) : this.#acknowledged()
    const known = !given.has('e') || given.get('e') === `e${this.#epoch}`
    tab.task(() => wire.receive(this.#welcome(known ? since : 0, known)))
    return wire as unknown as Wire
  }

  place(id: string): Order {
    const order: Order = { id, amount: 1, description: '', status: 'NEW', version: 1 }
    this.orders.set(id, order)
    return order
  }

  /** Finishes an order. With `quietly`, its message is lost, as when Redis restarts empty. */
  finish(id: string, { quietly = false } = {}) {
    const order: Order = { ...this.place(id), status: 'FINISHED', version: 2 }
    this.orders.set(id, order)
    if (quietly) return
    this.#messages.push({ o: ++this.#offset, order })
    this.#send({ type: 'order', o: this.#offset, id: `event-${id}`, order })
  }

  loseStream() {
    this.#epoch++
    this.#offset = 0
    this.#messages = []
    this.#send(this.#welcome(0, false))
  }

  ping() {
    this.#send({ type: 'ping' })
  }

  close(code: number) {
    for (const wire of this.connected) this.#tabs.get(wire)?.task(() => wire.end(code))
  }

  #send(frame: object) {
    for (const wire of this.connected) this.#tabs.get(wire)?.task(() => wire.receive(frame))
  }

  #acknowledged(): number {
    const acks = this.wires.flatMap(({ sent }) => sent as { type: string; o: number }[])
    return Math.max(0, ...acks.filter(({ type }) => type === 'ack').map(({ o }) => o))
  }

  #welcome(since: number, recovered: boolean) {
    const missed = this.#messages
      .filter(({ o }) => o > since)
      .map(({ o, order }) => ({ type: 'order', o, id: `event-${order.id}`, order }))
    const [epoch, offset] = [`e${this.#epoch}`, this.#offset]
    return { type: 'welcome', epoch, offset, recovered, missed, replica: 'notifier-1' }
  }
}

interface LockRequest {
  tab: FakeTab
  granted: () => Promise<void> | void
  signal: AbortSignal | null
  resolve: () => void
  reject: (reason: unknown) => void
}

/**
 * Web Locks and channels that behave as in a browser:
 *
 * - Each event in a tab is a task of its own, and tasks run in the order of their causes.
 * - Messages are cloned, and do not reach their sender.
 * - The end of a tab releases its locks.
 */
export class FakeBrowser {
  readonly #held = new Map<string, LockRequest>()
  readonly #queues = new Map<string, LockRequest[]>()
  readonly #channels = new Map<Channel, { tab: FakeTab; name: string }>()

  readonly #tasks: (() => void)[] = []

  /**
   * With `fastLocks`, a released lock is granted before the last messages of its former holder are delivered.
   * Chromium does so at times.
   */
  constructor(readonly fastLocks = false) {}

  tab(): FakeTab {
    return new FakeTab(this)
  }

  /**
   * Queues a task. Fake timers alone would not keep the order: a timer set by a timer is a millisecond late.
   */
  task(run: () => void, overtakes = false) {
    if (overtakes) this.#tasks.unshift(run)
    else this.#tasks.push(run)
    setTimeout(() => this.#tasks.shift()?.())
  }

  locks(tab: FakeTab): Locks {
    return {
      request: (name, options, granted) =>
        new Promise<void>((resolve, reject) => {
          const signal = 'signal' in options ? options.signal : null
          const request = { tab, granted, signal, resolve, reject }
          if (signal?.aborted) return reject(aborted())
          signal?.addEventListener('abort', () => {
            if (this.#withdraw(name, request)) reject(aborted())
          })
          const queue = this.#queue(name)
          if (signal) queue.push(request)
          else {
            const former = this.#held.get(name)
            this.#held.delete(name)
            former?.tab.task(() => former.reject(aborted()))
            queue.unshift(request)
          }
          this.#grant(name)
        }),
    }
  }

  channel(tab: FakeTab, name: string): Channel {
    const channel: Channel = {
      onmessage: null,
      postMessage: (message) => {
        for (const [other, { tab, name: itsName }] of this.#channels) {
          if (itsName !== name || other === channel) continue
          const event = { data: structuredClone(message) } as MessageEvent
          tab.task(() => this.#channels.has(other) && other.onmessage?.(event))
        }
      },
      close: () => this.#channels.delete(channel),
    }
    this.#channels.set(channel, { tab, name })
    return channel
  }

  end(tab: FakeTab) {
    for (const [channel, { tab: owner }] of this.#channels) if (owner === tab) channel.close()
    for (const [name, queue] of this.#queues) {
      for (const request of queue) if (request.tab === tab) this.#withdraw(name, request)
    }
    for (const [name, request] of this.#held) if (request.tab === tab) this.#release(name, request)
  }

  #queue(name: string): LockRequest[] {
    const queue = this.#queues.get(name) ?? []
    this.#queues.set(name, queue)
    return queue
  }

  #withdraw(name: string, request: LockRequest): boolean {
    const queue = this.#queue(name)
    this.#queues.set(
      name,
      queue.filter((waiting) => waiting !== request),
    )
    return queue.includes(request)
  }

  #grant(name: string) {
    if (this.#held.has(name)) return
    const request = this.#queue(name).shift()
    if (!request) return
    this.#held.set(name, request)
    const run = async () => {
      try {
        if (request.signal?.aborted) throw aborted()
        await request.granted()
        request.resolve()
      } catch (error) {
        request.reject(error)
      }
      this.#release(name, request)
    }
    request.tab.task(run, this.fastLocks)
  }

  #release(name: string, request: LockRequest) {
    if (this.#held.get(name) !== request) return
    this.#held.delete(name)
    this.#grant(name)
  }
}

const aborted = () => new DOMException('aborted', 'AbortError')

/** A tab that can be frozen. Its tasks then wait until it is thawed. */
export class FakeTab {
  readonly locks: Locks
  readonly clock: Clock
  readonly #onEnd: (() => void)[] = []
  #state: 'runs' | 'frozen' | 'ended' = 'runs'
  #backlog: (() => void)[] = []

  constructor(private readonly browser: FakeBrowser) {
    this.locks = browser.locks(this)
    const timers = new Set<number>()
    this.clock = {
      now: () => Date.now(),
      setTimeout: (run, ms) => {
        const expired = () => this.#run(() => timers.delete(handle) && run())
        const handle = setTimeout(expired, ms) as unknown as number
        timers.add(handle)
        return handle
      },
      clearTimeout: (handle) => {
        timers.delete(handle)
        clearTimeout(handle)
      },
    }
    this.onEnd(() => timers.forEach(this.clock.clearTimeout))
  }

  channel(name: string): Channel {
    return this.browser.channel(this, name)
  }

  task(run: () => void, overtakes = false) {
    this.browser.task(() => this.#run(run), overtakes)
  }

  freeze() {
    this.#state = 'frozen'
  }

  thaw() {
    this.#state = 'runs'
    for (const run of this.#backlog.splice(0)) run()
  }

  /** Ends the tab without any message, as a crash does. */
  end() {
    this.#state = 'ended'
    this.browser.end(this)
    for (const run of this.#onEnd) run()
  }

  onEnd(run: () => void) {
    this.#onEnd.push(run)
  }

  #run(run: () => void) {
    if (this.#state === 'frozen') this.#backlog.push(run)
    else if (this.#state === 'runs') run()
  }
}
