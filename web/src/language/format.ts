import type { Language } from './choice'

export interface MoneyParts {
  whole: string
  fraction: string
  unit: string
}

export type Format = ReturnType<typeof formatIn>

const locales: Record<Language, string> = { en: 'en-GB', ru: 'ru-RU' }

/** Formats for a language. Amounts are given in kopecks and shown in roubles. */
export function formatIn(language: Language) {
  const locale = locales[language]
  const roubles = new Intl.NumberFormat(locale, {
    style: 'currency',
    currency: 'RUB',
    currencyDisplay: 'narrowSymbol',
  })
  const whole = new Intl.NumberFormat(locale, {
    style: 'currency',
    currency: 'RUB',
    currencyDisplay: 'narrowSymbol',
    maximumFractionDigits: 0,
  })
  const signed = new Intl.NumberFormat(locale, {
    style: 'currency',
    currency: 'RUB',
    currencyDisplay: 'narrowSymbol',
    signDisplay: 'always',
  })
  const moment = new Intl.DateTimeFormat(locale, { dateStyle: 'medium', timeStyle: 'short' })
  const number = new Intl.NumberFormat(locale, { maximumFractionDigits: 1 })
  const change = new Intl.NumberFormat(locale, { maximumFractionDigits: 1, signDisplay: 'always' })
  return {
    money: (kopecks: number) => roubles.format(kopecks / 100),
    signedMoney: (kopecks: number) => signed.format(kopecks / 100),
    /** Without kopecks, for whole roubles. */
    wholeMoney: (kopecks: number) => whole.format(kopecks / 100),
    moment: (date: Date) => moment.format(date),
    number: (value: number) => number.format(value),
    change: (value: number) => change.format(value),
    /** Splits the text of `money` into parts that can be styled. */
    moneyParts(kopecks: number): MoneyParts {
      const parts = roubles.formatToParts(kopecks / 100)
      const at = parts.findIndex((part) => part.type === 'decimal')
      const text = (from: number, to?: number) =>
        parts
          .slice(from, to)
          .map((part) => part.value)
          .join('')
      return { whole: text(0, at), fraction: text(at, at + 2), unit: text(at + 2) }
    },
  }
}
