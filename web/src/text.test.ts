import { expect, test } from 'vitest'
import { text } from './text'

test('a page that gave way to newer ones says so, and not that it was refused', () => {
  const label = text.connection.label({ phase: 'offline', why: 'replaced' }, 0)
  expect(label).toBe('Offline: open in too many places')
})
