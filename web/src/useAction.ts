import { useEffect, useRef, useState } from 'react'
import { asProblem, type Problem } from './problem'

const DOUBLE_CLICK_MS = 500

/**
 * Runs one request at a time, and holds its state for a form. While it is busy, the button must be
 * `aria-disabled`: `disabled` would remove the focus.
 */
export function useAction<Args extends unknown[]>(run: (...args: Args) => Promise<void>) {
  const [busy, setBusy] = useState(false)
  const [problem, setProblem] = useState<Problem | null>(null)
  // A ref, because a second click can come before the state of the first click is rendered.
  const running = useRef(false)
  const doneAt = useRef(Number.NEGATIVE_INFINITY)

  async function act(...args: Args) {
    if (running.current) return
    running.current = true
    setBusy(true)
    setProblem(null)
    try {
      await run(...args)
      doneAt.current = performance.now()
    } catch (error) {
      setProblem(asProblem(error))
    } finally {
      setBusy(false)
    }
  }

  useEffect(() => {
    if (!busy) running.current = false
  }, [busy])

  /** Whether the action has just ended, so that this may be the second click of a double click. */
  const justDone = () => performance.now() - doneAt.current < DOUBLE_CLICK_MS

  return { act, busy, problem, justDone }
}
