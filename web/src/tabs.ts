import type { Tab } from './tabMessages'

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
  /** Aborts the request, or releases the lock. */
  signal: AbortSignal
  steal?: boolean
  onHeld: () => void
  /** Called if another tab stole the lock, or the browser refused it. */
  onLost: () => void
}

export function holdLock(locks: Locks, { name, signal, steal = false, onHeld, onLost }: Hold) {
  const ended = new Promise<void>((end) => signal.addEventListener('abort', () => end()))
  // The browser refuses `steal` together with `signal`. A stolen lock is granted without a wait.
  const request = locks.request(name, steal ? { steal } : { signal }, () => {
    // A request to steal cannot be aborted, so the signal is checked here.
    if (signal.aborted) return
    onHeld()
    return ended
  })
  request.catch(() => {
    if (!signal.aborted) onLost()
  })
}

/** Calls `onClosed` when the tab that holds the lock is closed or has crashed. */
export function onTabClosed(locks: Locks, name: string, signal: AbortSignal, onClosed: () => void) {
  locks
    .request(name, { signal }, onClosed)
    // The request was aborted by `signal`.
    .catch(() => {})
}

/** Returns the id of the tab that was focused last among the visible ones, or among all if none is visible. */
export function chooseTab(tabs: Iterable<Tab>): string {
  const [first, ...others] = tabs
  if (!first) throw new Error('chooseTab needs at least one tab')
  return others.reduce((best, tab) => (isBetter(tab, best) ? tab : best), first).id
}

function isBetter(tab: Tab, other: Tab): boolean {
  return tab.visible === other.visible ? tab.focusedAt > other.focusedAt : tab.visible
}
