import type { Hop } from './api'

export interface Step {
  hop: string
  replica: string
  /** Milliseconds since the first step. Clocks of two replicas may differ, so it can be less than the step before. */
  since: number
  /** Where the way to this step begins and ends, as shares of the whole way. */
  from: number
  to: number
}

export function steps(journey: readonly Hop[]): Step[] {
  const times = journey.map(({ at }) => milliseconds(at))
  const start = times[0] ?? 0
  const whole = Math.max(...times, start) - start || 1
  const share = (time: number) => Math.min(1, Math.max(0, (time - start) / whole))
  return journey.map(({ hop, replica }, i) => {
    const time = times[i] ?? start
    const before = share(times[i - 1] ?? start)
    return { hop, replica, since: time - start, from: before, to: Math.max(before, share(time)) }
  })
}

/** Date keeps whole milliseconds only, and services write microseconds. */
function milliseconds(at: string): number {
  const micros = /\.\d{3}(\d{1,3})/.exec(at)?.[1] ?? ''
  return Date.parse(at) + Number(micros.padEnd(3, '0')) / 1_000
}
