import type { Snapshot } from './api'

type Replica = Snapshot['replicas'][number]

/** The rates between two snapshots, and the state at the second. Null means unknown. */
export interface Figures {
  /** Seconds since 1970. */
  at: number
  accepted: number
  decided: number
  delivered: number
  /** Milliseconds from accepting an order to its toast: the median, and the 99th percentile. */
  median: number | null
  slowest: number | null
  waiting: Snapshot['waiting']
  queues: Snapshot['queues']
  replicas: readonly Replica[]
}

export function figures(before: Snapshot, after: Snapshot): Figures {
  const at = Date.parse(after.at) / 1_000
  const seconds = at - Date.parse(before.at) / 1_000
  const rate = (count: (replica: Replica) => number) => growth(before, after, count) / seconds
  const toasts = toastsBetween(before, after)
  return {
    at,
    accepted: rate((replica) => (replica.service === 'orders' ? replica.accepted : 0)),
    decided: rate((replica) =>
      replica.service === 'orders' ? replica.finished + replica.cancelled : 0,
    ),
    delivered: rate((replica) => (replica.service === 'notifier' ? replica.delivered : 0)),
    median: quantile(0.5, after.toast_buckets, toasts),
    slowest: quantile(0.99, after.toast_buckets, toasts),
    waiting: after.waiting,
    queues: after.queues,
    replicas: after.replicas,
  }
}

/** Returns the number of toasts in each bucket; the last number counts toasts above all bounds. */
function toastsBetween(before: Snapshot, after: Snapshot): number[] {
  // During an update, replicas of two versions can have different bounds. Their counts cannot be compared.
  if (`${before.toast_buckets}` !== `${after.toast_buckets}`) return []
  const upTo = [...after.toast_buckets, Number.POSITIVE_INFINITY].map((_, i) =>
    growth(before, after, (replica) =>
      replica.service === 'notifier' ? (replica.toasts[i] ?? 0) : 0,
    ),
  )
  return upTo.map((count, i) => Math.max(0, count - (upTo[i - 1] ?? 0)))
}

/** Sums the growth over the replicas. A restarted replica counts from zero. A new one does not count yet. */
function growth(before: Snapshot, after: Snapshot, of: (replica: Replica) => number): number {
  const known = new Map(before.replicas.map((replica) => [replica.name, of(replica)]))
  return after.replicas.reduce((sum, replica) => {
    const now = of(replica)
    const then = known.get(replica.name) ?? now
    return sum + (now < then ? now : now - then)
  }, 0)
}

/**
 * Returns the quantile in milliseconds, or null without toasts. It assumes that a bucket's toasts are spread
 * evenly.
 */
export function quantile(
  share: number,
  bounds: readonly number[],
  counts: readonly number[],
): number | null {
  let left = share * counts.reduce((sum, count) => sum + count, 0)
  if (left === 0) return null
  for (const [i, upper] of bounds.entries()) {
    const count = counts[i] ?? 0
    const lower = bounds[i - 1] ?? 0
    if (left <= count) return 1_000 * (lower + ((upper - lower) * left) / count)
    left -= count
  }
  return 1_000 * (bounds.at(-1) ?? 0)
}
