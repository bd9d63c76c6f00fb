const MAX_KOPECKS = 1_000_000_000_000
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
  // BigInt, because a Number is not exact for many digits.
  const kopecks = BigInt(digits)
  if (kopecks < 1n) return { ok: false, error: 'too_small' }
  if (kopecks > BigInt(MAX_KOPECKS)) return { ok: false, error: 'too_large' }
  return { ok: true, kopecks: Number(kopecks) }
}

export function amountForInput(kopecks: number): string {
  const roubles = Math.trunc(kopecks / 100)
  const rest = kopecks % 100
  return rest === 0 ? `${roubles}` : `${roubles}.${String(rest).padStart(2, '0')}`
}
