import { moneyParts } from '../money'

export function Price({ kopecks }: { kopecks: number }) {
  const { whole, fraction, unit } = moneyParts(kopecks)
  return (
    <span className="price">
      {whole}
      <span className="kopecks">{fraction}</span>
      {unit}
    </span>
  )
}
