import type { SharedSocket } from './sharing'
import { type Clock, Timer } from './timer'

const TICK_MS = 5_000
const JUMP_MS = 15_000

type PageSocket = Pick<SharedSocket, 'start' | 'stop' | 'wake' | 'networkLost' | 'pageLooked'>

interface Page {
  window: EventTarget
  document: EventTarget & Pick<Document, 'visibilityState'>
  clock: Clock
}

/** Starts the socket, and passes page and network events on to it until the returned function is called. */
export function runForPage(socket: PageSocket, { window, document, clock }: Page): () => void {
  const ended = new AbortController()
  const on = (target: EventTarget, type: string, run: (event: Event) => void) =>
    target.addEventListener(type, run, { signal: ended.signal })

  on(window, 'online', () => socket.wake())
  on(window, 'offline', () => socket.networkLost())
  on(window, 'focus', () => socket.pageLooked())
  on(document, 'visibilitychange', () => {
    socket.pageLooked()
    if (document.visibilityState === 'visible') socket.wake()
  })
  // If the browser freezes the page, or keeps it in its back/forward cache, another tab must take the lead.
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

/** Calls `wake` after the computer has slept. No event reports that, but the clock jumps. */
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
