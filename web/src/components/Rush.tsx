import { useEffect, useRef, useState } from 'react'
import type { Api } from '../api'
import { useLanguage } from '../language/useLanguage'
import type { Order } from '../orders'
import { type Progress, rush } from '../rush'
import { useAction } from '../useAction'
import { ProblemNote } from './ProblemNote'

const ORDERS = 300

export function Rush({ api, rows }: { api: Api; rows: readonly Order[] }) {
  const { text, format } = useLanguage()
  const words = text.behind.rush
  const [progress, setProgress] = useState<Progress | null>(null)
  const [seconds, setSeconds] = useState<number | null>(null)
  const [ids, setIds] = useState<ReadonlySet<string>>(new Set())
  const stopping = useRef<AbortController | null>(null)
  const decided = rows.filter(({ id, status }) => status !== 'NEW' && ids.has(id)).length

  const start = useAction(async () => {
    const began = performance.now()
    const stop = new AbortController()
    stopping.current = stop
    setIds(new Set())
    setSeconds(null)
    setProgress({ placed: 0, failed: 0 })
    const onProgress = (now: Progress, id?: string) => {
      setProgress(now)
      if (id) setIds((ids) => new Set(ids).add(id))
    }
    await rush(api, ORDERS, onProgress, stop.signal, (n) => `${words.title} ${n}`)
    setSeconds((performance.now() - began) / 1_000)
  })

  useEffect(() => () => stopping.current?.abort(), [])

  return (
    <section className="card rush" aria-labelledby="rush-title">
      <h2 id="rush-title">{words.title}</h2>
      <p>{words.lead}</p>
      <div className="actions">
        <button
          type="button"
          className="primary"
          disabled={start.busy}
          onClick={() => void start.act()}
          data-testid="rush"
        >
          {words.start(ORDERS)}
        </button>
        {start.busy && (
          <button type="button" onClick={() => stopping.current?.abort()}>
            {words.stop}
          </button>
        )}
      </div>
      <ProblemNote problem={start.problem} />
      {progress && (
        <>
          <progress
            max={ORDERS}
            value={progress.placed + progress.failed}
            aria-label={words.title}
          />
          <p role="status" data-testid="rush-progress">
            {seconds === null
              ? words.progress(progress.placed, ORDERS, progress.failed)
              : words.done(progress.placed, decided, format.number(seconds))}
          </p>
        </>
      )}
    </section>
  )
}
