import { afterEach, describe, expect, test, vi } from 'vitest'
import { preferred } from './choice'
import { en } from './en'
import { formatIn } from './format'
import { ru } from './ru'

afterEach(() => vi.unstubAllGlobals())

describe('the language', () => {
  test.each([
    [['ru-RU', 'en'], 'ru'],
    [['de', 'RU', 'en'], 'ru'],
    [['en-US', 'ru'], 'en'],
    [['rue'], 'en'],
    [[], 'en'],
  ] as const)('%j is served in %s', (ofBrowser, language) => {
    expect(preferred(ofBrowser)).toBe(language)
  })

  test('a chosen language overrides the languages of the browser', () => {
    vi.stubGlobal('localStorage', { getItem: () => 'ru' })
    expect(preferred(['en'])).toBe('ru')
    vi.stubGlobal('localStorage', { getItem: () => 'nonsense' })
    expect(preferred(['en'])).toBe('en')
  })
})

describe('Russian', () => {
  test.each([
    [1, 0, '1 заказ оплачен'],
    [3, 0, '3 заказа оплачено'],
    [11, 1, '11 заказов оплачено, 1 заказ отменён'],
    [21, 5, '21 заказ оплачен, 5 заказов отменено'],
    [0, 2, '2 заказа отменено'],
  ])('%d paid and %d cancelled have the right endings', (finished, cancelled, words) => {
    expect(ru.toasts.many(finished, cancelled)).toBe(words)
  })

  test('has no English text and no missing text', () => {
    const words = (texts: object): string[] =>
      Object.values(texts).flatMap((text) =>
        typeof text === 'object'
          ? words(text)
          : [typeof text === 'function' ? text(1, 2, 3) : text],
      )
    for (const text of words(ru)) expect(text).toMatch(/[а-яё]|^(Gozon|API)$/i)
    expect(words(ru)).toHaveLength(words(en).length)
  })
})

describe('money', () => {
  const plain = (text: string) => text.replace(/\s/gu, ' ')

  test('amounts are shown in roubles', () => {
    expect(plain(formatIn('ru').money(125_050))).toBe('1 250,50 ₽')
    expect(plain(formatIn('en').money(125_050))).toBe('₽1,250.50')
    expect(plain(formatIn('ru').wholeMoney(100_000))).toBe('1 000 ₽')
  })

  test('a change has its sign', () => {
    expect(plain(formatIn('ru').signedMoney(5_000))).toBe('+50,00 ₽')
    expect(plain(formatIn('en').signedMoney(-5_000))).toBe('-₽50.00')
  })

  test('the largest amount keeps its last kopeck', () => {
    expect(plain(formatIn('ru').money(999_999_999_999))).toBe('9 999 999 999,99 ₽')
  })

  test.each(['en', 'ru'] as const)('in %s the joined parts are the whole text', (language) => {
    const format = formatIn(language)
    const { whole, fraction, unit } = format.moneyParts(125_007)
    expect(whole + fraction + unit).toBe(format.money(125_007))
    expect(fraction).toMatch(/^[.,]07$/)
  })
})
