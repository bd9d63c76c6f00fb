import type { SharedSocket } from './sharing'
import { type Clock, Timer } from './timer'

const TICK_MS = 5_000
const JUMP_MS = 15_000

type Followed = Pick<SharedSocket, 'start' | 'stop' | 'wake' | 'networkLost' | 'looked'>

interface Page {
  window: EventTarget
  document: EventTarget & Pick<Document, 'visibilityState'>
  clock: Clock
}

/** Runs the socket while the page lives, and tells it what the browser tells the page. */
export function runWith(socket: Followed, { window, document, clock }: Page): () => void {
  const ended = new AbortController()
  const on = (target: EventTarget, type: string, run: (event: Event) => void) =>
    target.addEventListener(type, run, { signal: ended.signal })

  on(window, 'online', () => socket.wake())
  on(window, 'offline', () => socket.networkLost())
  on(window, 'focus', () => socket.looked())
  on(document, 'visibilitychange', () => {
    socket.looked()
    if (document.visibilityState === 'visible') socket.wake()
  })
  // A page that the browser freezes, or keeps for the way back, leaves the lead to those that run.
  on(document, 'freeze', () => socket.stop())
  on(document, 'resume', () => socket.start())
  on(window, 'pagehide', () => socket.stop())
  on(window, 'pageshow', (event) => {
    if ((event as PageTransitionEvent).persisted) socket.start()
  })

  const ticks = wakeAfterSleep(clock, () => socket.wake())
  socket.start()
  return () => {
    ended.abort()
    ticks.stop()
    socket.stop()
  }
}

/** Nothing tells a page that the computer slept, but its clock jumps. */
function wakeAfterSleep(clock: Clock, wake: () => void): Timer {
  const timer = new Timer(clock)
  function tick(last: number) {
    const now = clock.now()
    if (now - last > JUMP_MS) wake()
    timer.start(TICK_MS, () => tick(now))
  }
  tick(clock.now())
  return timer
}
