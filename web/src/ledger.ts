import type { LedgerEntry } from './api'

/** Newest first. Versions have no gaps, so a page that does not reach what is held takes its place. */
export function mergeEntries(
  held: readonly LedgerEntry[],
  page: readonly LedgerEntry[],
): readonly LedgerEntry[] {
  const lowest = page.at(-1)?.version ?? 0
  const highest = held[0]?.version ?? 0
  if (lowest > highest + 1) return page
  // Asked for before the list was replaced, it no longer joins on.
  if (held.length > 0 && (page[0]?.version ?? 0) < (held.at(-1)?.version ?? 0) - 1) return held
  const byVersion = new Map([...held, ...page].map((entry) => [entry.version, entry]))
  return [...byVersion.values()].sort((a, b) => b.version - a.version)
}

/** The cursor of the entries before these; null where they begin with the first. */
export function olderThan(entries: readonly LedgerEntry[]): number | null {
  const last = entries.at(-1)
  return last && last.version > 1 ? last.version : null
}
