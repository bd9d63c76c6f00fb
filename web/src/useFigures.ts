import { useEffect, useState } from 'react'
import type { Api, Snapshot } from './api'
import { type Figures, figures } from './figures'
import { asProblem } from './problem'

const EVERY_MS = 1_000
const KEPT_SECONDS = 120
// A rate over a longer time, as after a pause, would pass for one of now.
const COMPARED_MS = 5_000

export type Watched = 'loading' | 'live' | 'stale' | 'off'

/** The last two minutes, for as long as somebody looks. */
export function useFigures(api: Api) {
  const [state, setState] = useState<Watched>('loading')
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
        // The server keeps a snapshot for a moment, so it may be the same one again.
        const passed = before ? Date.parse(snapshot.at) - Date.parse(before.at) : 0
        if (before && passed > 0 && passed < COMPARED_MS) {
          const now = figures(before, snapshot)
          setHistory((history) => [...history, now].filter(({ at }) => at > now.at - KEPT_SECONDS))
          setState('live')
        }
      } catch (error) {
        if (left) return
        if (asProblem(error).status === 404) return setState('off')
        setState('stale')
      }
      timer = window.setTimeout(next, EVERY_MS)
    }

    function next() {
      if (document.hidden) timer = window.setTimeout(next, EVERY_MS)
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
