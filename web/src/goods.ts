import type { Text } from './language/en'

export interface Good {
  name: keyof Text['goods']
  kopecks: number
}

export const goods: readonly Good[] = [
  { name: 'mandarins', kopecks: 54_000 },
  { name: 'honey', kopecks: 69_050 },
  { name: 'wreath', kopecks: 129_000 },
  { name: 'socks', kopecks: 38_500 },
  { name: 'boots', kopecks: 349_000 },
  { name: 'tea', kopecks: 21_575 },
]
