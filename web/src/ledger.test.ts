import { expect, test } from 'vitest'
import type { LedgerEntry } from './api'
import { mergeEntries, olderThan } from './ledger'

const entries = (from: number, to: number): LedgerEntry[] =>
  Array.from({ length: from - to + 1 }, (_, i) => ({
    id: `${from - i}`,
    kind: 'top_up',
    amount: 1,
    version: from - i,
    balance_after: from - i,
    created_at: '2026-11-24T00:00:00Z',
  }))

const versions = (list: readonly LedgerEntry[]) => list.map(({ version }) => version)

test('a page without a gap is merged with the held entries, newest first', () => {
  expect(versions(mergeEntries(entries(3, 1), entries(5, 2)))).toEqual([5, 4, 3, 2, 1])
  expect(versions(mergeEntries(entries(3, 1), entries(5, 4)))).toEqual([5, 4, 3, 2, 1])
  expect(versions(mergeEntries(entries(5, 4), entries(3, 2)))).toEqual([5, 4, 3, 2])
})

test('a page with a gap replaces the held entries', () => {
  expect(versions(mergeEntries(entries(3, 1), entries(9, 6)))).toEqual([9, 8, 7, 6])
})

test('a page that was requested before the list was replaced is dropped', () => {
  expect(versions(mergeEntries(entries(120, 101), entries(49, 30)))).toEqual(
    versions(entries(120, 101)),
  )
})

test('older entries have a cursor until the first entry is held', () => {
  expect(olderThan(entries(5, 3))).toBe(3)
  expect(olderThan(entries(5, 1))).toBeNull()
  expect(olderThan([])).toBeNull()
})
