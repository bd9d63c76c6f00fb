import { useEffect, useRef, useState } from 'react'
import type { Api } from './api'
import { useLanguage } from './language/useLanguage'
import { type Progress, rush } from './rush'
import { useAction } from './useAction'

export const ORDERS = 300

/** A rush of orders. It continues on other pages of the shop, and ends when the shopper leaves the shop. */
export function useRush(api: Api) {
  const { text } = useLanguage()
  const [progress, setProgress] = useState<Progress | null>(null)
  const [seconds, setSeconds] = useState<number | null>(null)
  const [ids, setIds] = useState<ReadonlySet<string>>(new Set())
  const stopping = useRef<AbortController | null>(null)

  const start = useAction(async () => {
    const began = performance.now()
    const stop = new AbortController()
    stopping.current = stop
    setIds(new Set())
    setSeconds(null)
    setProgress(null)
    const onProgress = (now: Progress, id?: string) => {
      setProgress(now)
      if (id) setIds((ids) => new Set(ids).add(id))
    }
    await rush(api, ORDERS, onProgress, stop.signal, (n) => `${text.behind.rush.title} ${n}`)
    setSeconds((performance.now() - began) / 1_000)
  })

  useEffect(() => () => stopping.current?.abort(), [])

  return { start, stop: () => stopping.current?.abort(), progress, seconds, ids }
}
