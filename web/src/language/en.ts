import { plural } from './plural'

const count = plural('en')

const orders = (n: number) => `${n} ${count(n, { one: 'order', other: 'orders' })}`

export const en = {
  name: 'Gozon',
  nav: {
    label: 'Pages',
    shop: 'Shop',
    behind: 'Behind the scenes',
    api: 'API',
    skip: 'Skip to the content',
  },
  language: 'Language',
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
  ledger: {
    title: 'Ledger',
    empty: 'Nothing has been booked yet.',
    loading: 'Reading the ledger…',
    kind: { top_up: 'Top-up', debit: 'Payment' },
    balanceAfter: (money: string) => `then ${money}`,
    order: 'Show the order',
    older: 'Older entries',
  },
  shelf: { title: 'On the shelf this winter' },
  goods: {
    mandarins: 'Mandarins, 3 kg',
    honey: 'Linden honey, 500 g',
    wreath: 'Spruce wreath',
    socks: 'Wool socks',
    boots: 'Felt boots',
    tea: 'Rosehip tea, 100 g',
  },
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
    emptyOf: 'None of your orders is in this state.',
    loading: 'Reading your orders…',
    older: 'Older orders',
    loadingOlder: 'Reading…',
    untitled: 'No description',
    filter: 'Show',
    all: 'All',
  },
  status: {
    NEW: 'In progress',
    FINISHED: 'Paid',
    CANCELLED: 'Cancelled',
  },
  reason: (reason: string | null | undefined): string => {
    if (reason === 'no_account') return 'There was no account to pay from.'
    if (reason === 'insufficient_funds') return 'There was not enough money on the account.'
    return reason ? `Reason: ${reason}.` : 'No reason was given.'
  },
  remedy: (reason: string | null | undefined): string =>
    reason === 'no_account'
      ? 'Open an account, top it up and order again.'
      : 'Top up the account and order again.',
  page: {
    back: 'All orders',
    id: 'Order',
    placed: 'Placed',
    loading: 'Reading the order…',
    waiting: 'The payment is under way. This page changes by itself.',
    paid: 'Paid from your account.',
  },
  journey: {
    title: 'The way of this order',
    lead: 'Each step by the clock of the replica that made it, in milliseconds since the first.',
    took: (ms: string) => `${ms} ms from accepting to the final status`,
    hop: {
      accepted: 'Order accepted and stored',
      relayed: 'Handed to the message broker',
      received: 'Taken in by payments',
      settled: 'Decided and booked',
      result_relayed: 'Result handed to the broker',
      updated: 'Status of the order changed',
      shown: 'Shown on this page',
    } as Record<string, string>,
    step: (ms: string) => `${ms} ms`,
    here: 'this device, by its own clock',
  },
  toasts: {
    region: 'Notifications',
    close: 'Close',
    finished: 'Order paid',
    cancelled: 'Order cancelled',
    many: (finished: number, cancelled: number): string =>
      [
        finished > 0 && `${orders(finished)} paid`,
        cancelled > 0 && `${orders(cancelled)} cancelled`,
      ]
        .filter(Boolean)
        .join(', '),
  },
  notify: {
    ask: 'Notify me when this page is hidden',
    on: 'You are notified when this page is hidden',
    denied: 'The browser does not let this page notify you',
  },
  connection: {
    connecting: 'Connecting',
    live: 'Live',
    reconnecting: (seconds: number) => `Reconnecting in ${seconds} s`,
    offline: 'Offline',
    replaced: 'Offline: open in too many places',
    refused: 'Offline: refused by the server',
    noNetwork: 'Offline: no network',
    via: 'via',
    reconnect: 'Reconnect',
  },
  amount: {
    empty: 'Enter an amount.',
    malformed: 'Write it like 400 or 400.50.',
    too_small: 'The least is one kopeck.',
    too_large: 'The most is 10 000 000 000 ₽.',
  },
  field: {
    amount: 'This amount is not possible.',
    description: 'Say in 1 to 500 characters what it is.',
    other: (field: string) => `This is not right: ${field}`,
  },
  problem: {
    title: 'That did not work',
    retry: 'Try again',
    unreachable:
      'The shop cannot be reached. Check the connection and try again: nothing is done twice.',
    unexpected: 'Something went wrong on this page. Reload it.',
    unavailable: 'The shop has a short break. Try again in a moment: nothing is done twice.',
    unanswered:
      'The shop did not answer in time. Try again: if the first try has arrived, it is not done twice.',
    invalid: 'Something in it is not right. Correct it and try again.',
    unknownUser: 'The shop does not know who you are. Choose your user id anew.',
    noAccount: 'You have no account. Open one first.',
    accountExists: 'You have an account already.',
    orderNotFound: 'You have no order with this number.',
    balanceLimit: 'The account cannot hold that much. Top up less.',
    keyReused: 'This was sent before with other contents. Look through your orders and try again.',
    tooLarge: 'That is too much at once. Make the text shorter.',
    tooMany: 'That was too fast. Wait a moment and try again.',
    notFound: 'The shop has nothing at this address. Reload the page: it may be out of date.',
    internal: 'The shop has made a mistake. Try again, and tell us if it stays.',
    other: (status: number) => `The shop answered with error ${status}. Try again in a moment.`,
  },
  behind: {
    title: 'Behind the scenes',
    lead: 'What all replicas of the shop are doing right now, read once a second.',
    off: 'This view is switched off in this shop.',
    stale: 'No figures are coming. The last ones are shown.',
    loading: 'Reading the first figures…',
    rush: {
      title: 'Rush',
      lead: 'Places many orders at once as you, most of them payable, and tops up what they cost.',
      start: (n: number) => `Place ${n} orders`,
      stop: 'Stop',
      progress: (placed: number, of: number, failed: number) =>
        `${placed} of ${of} placed${failed > 0 ? `, ${failed} failed` : ''}`,
      done: (placed: number, seconds: string, failed: number) =>
        `${orders(placed)} accepted in ${seconds} s${failed > 0 ? `, ${failed} failed` : ''}`,
      decided: (n: number) => `${n} decided`,
    },
    perSecond: 'Orders a second',
    accepted: 'accepted',
    decided: 'decided',
    waiting: 'Rows waiting',
    ordersOutbox: 'orders outbox',
    paymentsInbox: 'payments inbox',
    paymentsOutbox: 'payments outbox',
    queues: 'Messages in the queues',
    latency: 'From order to toast, ms',
    median: 'half of them within',
    slowest: '99 of 100 within',
    toasts: 'Toasts a second',
    delivered: 'delivered',
    socketsNow: (n: number) => count(n, { one: 'socket', other: 'sockets' }),
    replicas: 'Replicas',
    unknown: 'unknown',
    chart: (title: string, series: string) => `${title}. Now: ${series}`,
  },
}

export type Text = typeof en
