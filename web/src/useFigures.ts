import { useEffect, useState } from 'react'
import type { Api, Snapshot } from './api'
import { type Figures, figures } from './figures'
import { asProblem } from './problem'

const POLL_MS = 1_000
const KEPT_SECONDS = 120
// Longer intervals, as after a pause, give no rate: it would not be the current one.
const INTERVAL_LIMIT_MS = 5_000

export type FiguresState = 'loading' | 'live' | 'stale' | 'off'

/** Polls backstage while the page is visible, and keeps the figures of the last two minutes. */
export function useFigures(api: Api) {
  const [state, setState] = useState<FiguresState>('loading')
  const [history, setHistory] = useState<readonly Figures[]>([])

  useEffect(() => {
    let last: Snapshot | null = null
    let timer = 0
    let left = false

    async function read() {
      try {
        const snapshot = await api.backstage()
        if (left) return
        const before = last
        last = snapshot
        // The server caches its snapshot for a moment, so this can be the same one again.
        const passed = before ? Date.parse(snapshot.at) - Date.parse(before.at) : 0
        if (before && passed > 0 && passed < INTERVAL_LIMIT_MS) {
          const now = figures(before, snapshot)
          setHistory((history) => [...history, now].filter(({ at }) => at > now.at - KEPT_SECONDS))
          setState('live')
        }
      } catch (error) {
        if (left) return
        if (asProblem(error).status === 404) return setState('off')
        setState('stale')
      }
      timer = window.setTimeout(next, POLL_MS)
    }

    function next() {
      if (document.hidden) timer = window.setTimeout(next, POLL_MS)
      else void read()
    }

    next()
    return () => {
      left = true
      window.clearTimeout(timer)
    }
  }, [api])

  return { state, history }
}
