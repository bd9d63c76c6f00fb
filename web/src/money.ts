const MOST_KOPECKS = 1_000_000_000_000
const AMOUNT = /^(\d+|\d{1,3}(?:\s\d{3})+)(?:[.,](\d{1,2}))?(?:\s?₽)?$/u

export type ParsedAmount =
  | { ok: true; kopecks: number }
  | { ok: false; error: 'empty' | 'malformed' | 'too_small' | 'too_large' }

export function parseAmount(typed: string): ParsedAmount {
  const trimmed = typed.trim()
  if (trimmed === '') return { ok: false, error: 'empty' }
  const match = AMOUNT.exec(trimmed)
  if (!match) return { ok: false, error: 'malformed' }
  const [, roubles = '', fraction = ''] = match
  const digits = roubles.replace(/\s/gu, '') + fraction.padEnd(2, '0')
  // Compared as BigInt because a long enough row of digits is no exact Number any more.
  const kopecks = BigInt(digits)
  if (kopecks < 1n) return { ok: false, error: 'too_small' }
  if (kopecks > BigInt(MOST_KOPECKS)) return { ok: false, error: 'too_large' }
  return { ok: true, kopecks: Number(kopecks) }
}

export function amountForInput(kopecks: number): string {
  const roubles = Math.trunc(kopecks / 100)
  const rest = kopecks % 100
  return rest === 0 ? `${roubles}` : `${roubles}.${String(rest).padStart(2, '0')}`
}

const roubles = new Intl.NumberFormat('ru-RU', { style: 'currency', currency: 'RUB' })

export function formatMoney(kopecks: number): string {
  return roubles.format(kopecks / 100)
}

export interface MoneyParts {
  whole: string
  fraction: string
  unit: string
}

/** The pieces of formatMoney; joined they give the same text. */
export function moneyParts(kopecks: number): MoneyParts {
  const parts = roubles.formatToParts(kopecks / 100)
  const at = parts.findIndex((part) => part.type === 'decimal')
  const text = (from: number, to?: number) =>
    parts
      .slice(from, to)
      .map((part) => part.value)
      .join('')
  return { whole: text(0, at), fraction: text(at, at + 2), unit: text(at + 2) }
}
