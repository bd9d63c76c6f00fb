export interface Good {
  name: string
  kopecks: number
}

export const goods: readonly Good[] = [
  { name: 'Mandarins, 3 kg', kopecks: 54_000 },
  { name: 'Linden honey, 500 g', kopecks: 69_050 },
  { name: 'Spruce wreath', kopecks: 129_000 },
  { name: 'Wool socks', kopecks: 38_500 },
  { name: 'Felt boots', kopecks: 349_000 },
  { name: 'Rosehip tea, 100 g', kopecks: 21_575 },
]
