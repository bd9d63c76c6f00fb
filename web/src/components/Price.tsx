import { useLanguage } from '../language/useLanguage'

export function Price({ kopecks }: { kopecks: number }) {
  const { format } = useLanguage()
  const { whole, fraction, unit } = format.moneyParts(kopecks)
  return (
    <span className="price">
      {whole}
      <span className="kopecks">{fraction}</span>
      {unit}
    </span>
  )
}
