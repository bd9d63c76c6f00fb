import type { Tab } from './words'

/** The part of `navigator.locks` that is used. */
export interface Locks {
  request(
    name: string,
    options: { signal: AbortSignal } | { steal: true },
    granted: () => Promise<void> | void,
  ): Promise<unknown>
}

interface Hold {
  name: string
  /** Ends the wait or the hold. */
  signal: AbortSignal
  steal?: boolean
  held: () => void
  /** Taken away by another tab, or never granted by this browser. */
  lost: () => void
}

export function hold(locks: Locks, { name, signal, steal = false, held, lost }: Hold) {
  const ended = new Promise<void>((end) => signal.addEventListener('abort', () => end()))
  // The browser refuses both options at once; what is stolen is granted without a wait.
  const request = locks.request(name, steal ? { steal } : { signal }, () => {
    // What is stolen cannot be called back on its way.
    if (signal.aborted) return
    held()
    return ended
  })
  request.catch(() => {
    if (!signal.aborted) lost()
  })
}

/** The browser gives a tab's lock to who waits for it when the tab is gone, however it went. */
export function whenGone(locks: Locks, name: string, signal: AbortSignal, gone: () => void) {
  locks
    .request(name, { signal }, gone)
    // Whoever waited no longer wants to know.
    .catch(() => {})
}

/** The tab that the user looks at; if it is none, the one looked at last. */
export function chooseTeller(tabs: Iterable<Tab>): string {
  const [first, ...others] = tabs
  if (!first) throw new Error('there is always the tab that asks')
  return others.reduce((best, tab) => (isNearer(tab, best) ? tab : best), first).id
}

function isNearer(tab: Tab, other: Tab): boolean {
  return tab.visible === other.visible ? tab.focusedAt > other.focusedAt : tab.visible
}
