import { describe, expect, test } from 'vitest'
import { amountForInput, parseAmount } from './money'

describe('parsing an amount typed by a person', () => {
  test.each([
    ['400', 40_000],
    ['400.50', 40_050],
    ['400,5', 40_050],
    ['0,01', 1],
    ['0.29', 29],
    ['1.15', 115],
    ['  12 ', 1_200],
    ['1 250,00', 125_000],
    ['1\u00a0250', 125_000],
    ['1\u202f250\u202f300.07 ₽', 125_030_007],
    ['007', 700],
    ['10000000000', 1_000_000_000_000],
  ])('%s is %i kopecks', (typed, kopecks) => {
    expect(parseAmount(typed)).toEqual({ ok: true, kopecks })
  })

  test.each([
    ['', 'empty'],
    ['  ', 'empty'],
    ['0', 'too_small'],
    ['0,00', 'too_small'],
    ['10000000000.01', 'too_large'],
    ['9'.repeat(400), 'too_large'],
    ['-5', 'malformed'],
    ['+5', 'malformed'],
    ['1e3', 'malformed'],
    ['0x10', 'malformed'],
    ['4.005', 'malformed'],
    ['1,000', 'malformed'],
    ['1.2.3', 'malformed'],
    ['40 0', 'malformed'],
    ['.5', 'malformed'],
    ['5.', 'malformed'],
    ['₽', 'malformed'],
    ['four', 'malformed'],
    ['٤٠٠', 'malformed'],
  ])('%s is refused as %s', (typed, error) => {
    expect(parseAmount(typed)).toEqual({ ok: false, error })
  })

  test('the text for a field parses to the same amount', () => {
    for (const kopecks of [1, 9, 10, 99, 100, 101, 38_550, 999_999_999_999, 1_000_000_000_000]) {
      expect(parseAmount(amountForInput(kopecks))).toEqual({ ok: true, kopecks })
    }
  })
})
