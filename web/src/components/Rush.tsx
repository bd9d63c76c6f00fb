import { useLanguage } from '../language/useLanguage'
import type { Order } from '../orders'
import { ORDERS, type useRush } from '../useRush'
import { ProblemNote } from './ProblemNote'

interface RushProps {
  rush: ReturnType<typeof useRush>
  rows: readonly Order[]
}

export function Rush({ rush, rows }: RushProps) {
  const { text, format } = useLanguage()
  const words = text.behind.rush
  const { start, stop, progress, seconds, ids } = rush
  const decided = rows.filter(({ id, status }) => status !== 'NEW' && ids.has(id)).length

  return (
    <section className="card rush" aria-labelledby="rush-title">
      <h2 id="rush-title">{words.title}</h2>
      <p>{words.lead}</p>
      <div className="actions">
        <button
          type="button"
          className="primary"
          aria-disabled={start.busy}
          onClick={() => void start.act()}
          data-testid="rush"
        >
          {words.start(ORDERS)}
        </button>
        {start.busy && (
          <button type="button" onClick={stop}>
            {words.stop}
          </button>
        )}
      </div>
      <ProblemNote problem={start.problem ?? progress?.problem ?? null} />
      {progress && (
        <>
          <progress
            max={ORDERS}
            value={progress.placed + progress.failed}
            aria-label={words.title}
          />
          <div className="actions" data-testid="rush-progress">
            {/* Screen readers announce it only at the end, because it changes many times per second. */}
            <p role={seconds === null ? undefined : 'status'}>
              {seconds === null
                ? words.progress(progress.placed, ORDERS, progress.failed)
                : words.done(progress.placed, format.number(seconds), progress.failed)}
            </p>
            <p>{words.decided(decided)}</p>
          </div>
        </>
      )}
    </section>
  )
}
