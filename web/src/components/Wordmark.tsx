import { en } from '../language/en'

/** The same in every language. */
export function Wordmark() {
  return <span className="wordmark">{en.name}</span>
}
