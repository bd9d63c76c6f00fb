// Exits with 1 if AsyncAPI's parser reports anything about docs/asyncapi.yaml.
import { readFile } from 'node:fs/promises'
import { Parser } from '@asyncapi/parser'

// The parser would recommend version 3.1, which adds nothing that is used here. Not every tool can read it yet.
const ruleset = { rules: { 'asyncapi-latest-version': 'off' } }
const document = new URL('../../../docs/asyncapi.yaml', import.meta.url)

const parser = new Parser({ ruleset })
const { diagnostics } = await parser.parse(await readFile(document, 'utf8'))
for (const { message, path, range } of diagnostics) {
  console.error(`${range.start.line + 1}: ${path.join('.')}: ${message}`)
}
process.exitCode = diagnostics.length ? 1 : 0
