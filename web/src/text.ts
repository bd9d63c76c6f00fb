import type { OrderStatus } from './orders'
import type { ConnectionState } from './socket'

export const text = {
  name: 'Gozon',
  welcome: {
    title: 'Who is shopping?',
    lead: 'Pick any name. It opens your own account, orders and notifications, and stays in this browser.',
    label: 'User id',
    hint: '1 to 64 letters, digits, dots, dashes or underscores',
    invalid: 'Use 1 to 64 of the characters A–Z, a–z, 0–9, dot, dash and underscore.',
    invent: 'Invent one',
    enter: 'Enter the shop',
  },
  user: { shopping: 'Shopping as', change: 'Change' },
  account: {
    title: 'Account',
    balance: 'Balance',
    none: 'You have no account yet. Orders placed without one are cancelled.',
    open: 'Open an account',
    opening: 'Opening…',
    loading: 'Reading the balance…',
    quick: 'Quick amounts',
    amount: 'Top up by, ₽',
    topUp: 'Top up',
    toppingUp: 'Topping up…',
  },
  shelf: { title: 'On the shelf this winter' },
  order: {
    title: 'Your order',
    amount: 'Amount, ₽',
    description: 'What is it',
    place: 'Place the order',
    placing: 'Placing…',
  },
  orders: {
    title: 'Orders',
    empty: 'Nothing ordered yet. What you order appears here and changes by itself.',
    loading: 'Reading your orders…',
    older: 'Older orders',
    loadingOlder: 'Reading…',
    untitled: 'No description',
  },
  status: {
    NEW: 'In progress',
    FINISHED: 'Paid',
    CANCELLED: 'Cancelled',
  } satisfies Record<OrderStatus, string>,
  reason: (reason: string | null | undefined): string => {
    if (reason === 'no_account') return 'There was no account to pay from.'
    if (reason === 'insufficient_funds') return 'There was not enough money on the account.'
    return reason ? `Reason: ${reason}.` : 'No reason was given.'
  },
  toasts: {
    region: 'Notifications',
    close: 'Close',
    finished: 'Order paid',
    cancelled: 'Order cancelled',
  },
  connection: {
    label: (state: ConnectionState, seconds: number): string => {
      if (state.phase === 'connecting') return 'Connecting'
      if (state.phase === 'live') return 'Live'
      if (state.phase === 'reconnecting') return `Reconnecting in ${seconds} s`
      if (state.why === 'replaced') return 'Offline: open in too many places'
      if (state.why === 'refused') return 'Offline: refused by the server'
      return 'Offline'
    },
    via: 'via',
    reconnect: 'Reconnect',
  },
  amount: {
    empty: 'Enter an amount.',
    malformed: 'Write it like 400 or 400.50.',
    too_small: 'The least is one kopeck.',
    too_large: 'The most is 10 000 000 000 ₽.',
  },
  problem: {
    unreachable: 'The shop cannot be reached',
    unreachableDetail: 'Check the connection and try again; nothing will be done twice.',
    unexpected: 'Something went wrong',
    status: (status: number) => `The shop answered with error ${status}`,
    retry: 'Try again',
  },
}
