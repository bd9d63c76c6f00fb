const SINGLE_LIMIT = 3
const QUIET_MS = 2_000

export interface Counted {
  finished: number
  cancelled: number
}

/**
 * Decides whether changes are shown singly. In a burst they are counted and shown together, until it is quiet
 * again.
 */
export class Burst {
  #times: number[] = []
  #counted: Counted = { finished: 0, cancelled: 0 }

  constructor(private readonly now: () => number) {}

  /** Returns null if this change is shown singly, otherwise the counts of the burst so far. */
  add(finished: boolean): Counted | null {
    const now = this.now()
    this.#times = [...this.#times.filter((time) => time > now - QUIET_MS), now].slice(
      -SINGLE_LIMIT - 1,
    )
    if (this.#times.length <= SINGLE_LIMIT) {
      this.#counted = { finished: 0, cancelled: 0 }
      return null
    }
    this.#counted[finished ? 'finished' : 'cancelled']++
    return { ...this.#counted }
  }
}
