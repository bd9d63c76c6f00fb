import type { Hop } from './api'

export interface Step {
  hop: string
  replica: string
  /**
   * Milliseconds since the first step. Clocks of replicas differ, so it can be less than for the step before.
   */
  since: number
  /** Start and end of this step on the time line, as shares of the whole journey. */
  from: number
  to: number
}

/** `shown` has a time of this device, whose clock may be wrong. So the length of the journey excludes it. */
export function steps(journey: readonly Hop[], shown?: Hop): Step[] {
  const hops = shown ? [...journey, shown] : journey
  const times = hops.map(({ at }) => milliseconds(at))
  const start = times[0] ?? 0
  const whole = Math.max(...times.slice(0, journey.length), start) - start || 1
  const share = (time: number) => Math.min(1, Math.max(0, (time - start) / whole))
  return hops.map(({ hop, replica }, i) => {
    const time = times[i] ?? start
    const before = share(times[i - 1] ?? start)
    return { hop, replica, since: time - start, from: before, to: Math.max(before, share(time)) }
  })
}

/** Parses a time with microseconds, which Date would drop. */
function milliseconds(at: string): number {
  const micros = /\.\d{3}(\d{1,3})/.exec(at)?.[1] ?? ''
  return Date.parse(at) + Number(micros.padEnd(3, '0')) / 1_000
}
