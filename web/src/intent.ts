/**
 * One Idempotency-Key per intended action. A retry after a failure keeps the key, because the first request
 * may have arrived. A success or another body ends the intent.
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
  // Browsers have no randomUUID outside secure contexts, such as plain http on a LAN.
  if ('randomUUID' in crypto) return crypto.randomUUID()
  const bytes = (crypto as Crypto).getRandomValues(new Uint8Array(16))
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}
