import { stored } from './stored'

const FORM = /^[A-Za-z0-9._-]{1,64}$/

const chosen = stored('gozon.user')

export function isUserId(value: string): boolean {
  return FORM.test(value)
}

export function recallUserId(): string | null {
  const userId = chosen.read()
  return userId !== null && isUserId(userId) ? userId : null
}

export const rememberUserId = chosen.write

const kinds = ['quiet', 'bright', 'early', 'snowy', 'kind', 'brave', 'merry', 'calm']
const animals = ['fox', 'hare', 'crane', 'otter', 'lynx', 'owl', 'marten', 'elk']

export function inventUserId(random = Math.random): string {
  const pick = (words: readonly string[]) => words[Math.floor(random() * words.length)]
  return `${pick(kinds)}-${pick(animals)}-${Math.floor(1000 + random() * 9000)}`
}
