import { text } from '../text'

export function Wordmark() {
  return <span className="wordmark">{text.name}</span>
}
