type Forms = Partial<Record<Intl.LDMLPluralRule, string>> & { other: string }

/** Which of a noun's forms goes with a number in this language. */
export function plural(language: string) {
  const rules = new Intl.PluralRules(language)
  return (n: number, forms: Forms): string => forms[rules.select(n)] ?? forms.other
}
