/**
 * One Idempotency-Key per thing a person means to do. Trying the same again after a failure keeps
 * the key, since the first try may have arrived; success or another body ends the intent.
 */
export class Intent {
  #body = ''
  #key = ''

  constructor(private readonly newKey = randomKey) {}

  keyFor(body: unknown): string {
    const text = JSON.stringify(body)
    if (this.#key === '' || text !== this.#body) {
      this.#body = text
      this.#key = this.newKey()
    }
    return this.#key
  }

  settled() {
    this.#key = ''
  }
}

export function randomKey(): string {
  // randomUUID is missing where the page is not in a secure context (plain http on a LAN).
  if ('randomUUID' in crypto) return crypto.randomUUID()
  const bytes = (crypto as Crypto).getRandomValues(new Uint8Array(16))
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}
