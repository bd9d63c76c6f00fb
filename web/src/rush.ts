import type { Api, NewOrder } from './api'
import { randomKey } from './intent'
import { asProblem, type Problem } from './problem'

const CONCURRENT_ORDERS = 12
const PRICE = 1_00
// Each tenth order costs more than any balance.
const UNAFFORDABLE_EVERY = 10
const UNAFFORDABLE_PRICE = 1_000_000_000_00

export interface Progress {
  placed: number
  failed: number
  /** The problem of the last failed order. */
  problem: Problem | null
}

/**
 * Tops up the account, then places many orders as one user, CONCURRENT_ORDERS at a time. A failed order is
 * counted and not repeated. After an abort, pending orders still end.
 */
export async function rush(
  api: Pick<Api, 'openAccount' | 'topUp' | 'placeOrder'>,
  count: number,
  onProgress: (progress: Progress, id?: string) => void,
  signal: AbortSignal,
  describe: (n: number) => string,
): Promise<Progress> {
  await openAndTopUp(api, count)
  const progress: Progress = { placed: 0, failed: 0, problem: null }
  let next = 0

  async function placeOneByOne() {
    while (next < count && !signal.aborted) {
      const order = newOrder(++next, describe)
      const id = await api.placeOrder(order, randomKey()).then(
        ({ id }) => id,
        (error) => {
          progress.problem = asProblem(error)
        },
      )
      progress[id ? 'placed' : 'failed']++
      onProgress({ ...progress }, id || undefined)
    }
  }

  await Promise.all(Array.from({ length: CONCURRENT_ORDERS }, placeOneByOne))
  return progress
}

async function openAndTopUp(api: Pick<Api, 'openAccount' | 'topUp'>, count: number) {
  try {
    await api.openAccount()
  } catch (error) {
    if (asProblem(error).status !== 409) throw error
  }
  await api.topUp(count * PRICE, randomKey())
}

function newOrder(n: number, describe: (n: number) => string): NewOrder {
  return {
    amount: n % UNAFFORDABLE_EVERY === 0 ? UNAFFORDABLE_PRICE : PRICE,
    description: describe(n),
  }
}
