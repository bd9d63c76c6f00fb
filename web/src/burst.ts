const SINGLY = 3
const CALM_MS = 2_000

export interface Counted {
  finished: number
  cancelled: number
}

/** News that come faster than anybody reads are counted instead of told one by one, until it is calm again. */
export class Burst {
  #times: number[] = []
  #counted: Counted = { finished: 0, cancelled: 0 }

  constructor(private readonly now: () => number) {}

  /** Null for what is to be told by itself, otherwise how many are to be told together by now. */
  add(finished: boolean): Counted | null {
    const now = this.now()
    this.#times = [...this.#times.filter((time) => time > now - CALM_MS), now].slice(-SINGLY - 1)
    if (this.#times.length <= SINGLY) {
      this.#counted = { finished: 0, cancelled: 0 }
      return null
    }
    this.#counted[finished ? 'finished' : 'cancelled']++
    return { ...this.#counted }
  }
}
