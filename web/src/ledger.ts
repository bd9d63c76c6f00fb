import type { LedgerEntry } from './api'

/**
 * Merges a page into the held entries, newest first. A page with a gap to them replaces them; versions have no
 * gaps.
 */
export function mergeEntries(
  held: readonly LedgerEntry[],
  page: readonly LedgerEntry[],
): readonly LedgerEntry[] {
  const lowest = page.at(-1)?.version ?? 0
  const highest = held[0]?.version ?? 0
  if (lowest > highest + 1) return page
  // The page was requested before the list was replaced, and does not adjoin it any more.
  if (held.length > 0 && (page[0]?.version ?? 0) < (held.at(-1)?.version ?? 0) - 1) return held
  const byVersion = new Map([...held, ...page].map((entry) => [entry.version, entry]))
  return [...byVersion.values()].sort((a, b) => b.version - a.version)
}

/** Returns the cursor for older entries, or null if there are none. */
export function olderThan(entries: readonly LedgerEntry[]): number | null {
  const last = entries.at(-1)
  return last && last.version > 1 ? last.version : null
}
