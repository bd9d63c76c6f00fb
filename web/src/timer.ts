export interface Clock {
  now(): number
  setTimeout(run: () => void, ms: number): number
  clearTimeout(handle: number): void
}

/** One timeout. Starting it again replaces the pending one. */
export class Timer {
  #handle: number | null = null

  constructor(private readonly clock: Clock) {}

  get pending() {
    return this.#handle !== null
  }

  start(ms: number, run: () => void) {
    this.stop()
    this.#handle = this.clock.setTimeout(() => {
      this.#handle = null
      run()
    }, ms)
  }

  stop() {
    if (this.#handle !== null) this.clock.clearTimeout(this.#handle)
    this.#handle = null
  }
}
