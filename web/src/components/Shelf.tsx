import { type Good, goods } from '../goods'
import { text } from '../text'
import { Price } from './Price'

export function Shelf({ onTake }: { onTake: (good: Good) => void }) {
  return (
    <>
      <h2 id="shelf-title">{text.shelf.title}</h2>
      <ul className="shelf" aria-labelledby="shelf-title">
        {goods.map((good) => (
          <li key={good.name}>
            <button type="button" className="tag" onClick={() => onTake(good)}>
              <span>{good.name}</span>
              <Price kopecks={good.kopecks} />
            </button>
          </li>
        ))}
      </ul>
    </>
  )
}
