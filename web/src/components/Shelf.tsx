import { type Good, goods } from '../goods'
import { useLanguage } from '../language/useLanguage'
import { Price } from './Price'

export function Shelf({ onTake }: { onTake: (good: Good) => void }) {
  const { text } = useLanguage()
  return (
    <>
      <h2 id="shelf-title">{text.shelf.title}</h2>
      <ul className="shelf" aria-labelledby="shelf-title">
        {goods.map((good) => (
          <li key={good.name}>
            <button
              type="button"
              className="tag"
              onClick={() => onTake(good)}
              data-testid={`good-${good.name}`}
            >
              <span>{text.goods[good.name]}</span>
              <Price kopecks={good.kopecks} />
            </button>
          </li>
        ))}
      </ul>
    </>
  )
}
