const STORED_AS = 'gozon.user'
const FORM = /^[A-Za-z0-9._-]{1,64}$/

export function isUserId(value: string): boolean {
  return FORM.test(value)
}

export function recallUserId(): string | null {
  // Reading localStorage throws where the browser blocks site data; the page works without it.
  try {
    const stored = localStorage.getItem(STORED_AS)
    return stored !== null && isUserId(stored) ? stored : null
  } catch {
    return null
  }
}

export function rememberUserId(userId: string | null) {
  try {
    if (userId === null) localStorage.removeItem(STORED_AS)
    else localStorage.setItem(STORED_AS, userId)
  } catch {
    // As above.
  }
}

const kinds = ['quiet', 'bright', 'early', 'snowy', 'kind', 'brave', 'merry', 'calm']
const animals = ['fox', 'hare', 'crane', 'otter', 'lynx', 'owl', 'marten', 'elk']

export function inventUserId(random = Math.random): string {
  const pick = (words: readonly string[]) => words[Math.floor(random() * words.length)]
  return `${pick(kinds)}-${pick(animals)}-${Math.floor(1000 + random() * 9000)}`
}
