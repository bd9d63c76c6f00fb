type Forms = Partial<Record<Intl.LDMLPluralRule, string>> & { other: string }

/** Returns a function that selects the form of a noun for a number, by the rules of the language. */
export function plural(language: string) {
  const rules = new Intl.PluralRules(language)
  return (n: number, forms: Forms): string => forms[rules.select(n)] ?? forms.other
}
