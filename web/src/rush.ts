import type { Api, NewOrder } from './api'
import { randomKey } from './intent'
import { asProblem, type Problem } from './problem'

const AT_ONCE = 12
const PRICE = 1_00
// One in so many costs more than anybody has.
const DEAR_EVERY = 10
const DEAR = 1_000_000_000_00

export interface Progress {
  placed: number
  failed: number
  /** Of the last one that failed. */
  problem: Problem | null
}

/**
 * Places many orders as one user, a dozen at a time, after topping up what they cost. An order that fails is
 * counted and not repeated; a signal that is aborted lets those under way end.
 */
export async function rush(
  api: Pick<Api, 'openAccount' | 'topUp' | 'placeOrder'>,
  count: number,
  onProgress: (progress: Progress, id?: string) => void,
  signal: AbortSignal,
  describe: (n: number) => string,
): Promise<Progress> {
  await provide(api, count)
  const progress: Progress = { placed: 0, failed: 0, problem: null }
  let next = 0

  async function placeOneByOne() {
    while (next < count && !signal.aborted) {
      const order = orderNumber(++next, describe)
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

  await Promise.all(Array.from({ length: AT_ONCE }, placeOneByOne))
  return progress
}

async function provide(api: Pick<Api, 'openAccount' | 'topUp'>, count: number) {
  try {
    await api.openAccount()
  } catch (error) {
    if (asProblem(error).status !== 409) throw error
  }
  await api.topUp(count * PRICE, randomKey())
}

function orderNumber(n: number, describe: (n: number) => string): NewOrder {
  return { amount: n % DEAR_EVERY === 0 ? DEAR : PRICE, description: describe(n) }
}
