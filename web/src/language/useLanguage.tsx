import { createContext, type ReactNode, use, useEffect, useMemo, useState } from 'react'
import { type Language, preferred, remember } from './choice'
import { en, type Text } from './en'
import { type Format, formatIn } from './format'
import { ru } from './ru'

const texts: Record<Language, Text> = { en, ru }

interface Spoken {
  language: Language
  text: Text
  format: Format
  choose: (language: Language) => void
}

const Context = createContext<Spoken | null>(null)

export function LanguageProvider({ children }: { children: ReactNode }) {
  const [language, setLanguage] = useState(() => preferred(navigator.languages))

  useEffect(() => {
    document.documentElement.lang = language
  }, [language])

  const spoken = useMemo(
    () => ({
      language,
      text: texts[language],
      format: formatIn(language),
      choose(next: Language) {
        remember(next)
        setLanguage(next)
      },
    }),
    [language],
  )
  return <Context value={spoken}>{children}</Context>
}

export function useLanguage(): Spoken {
  const spoken = use(Context)
  if (!spoken) throw new Error('there is no LanguageProvider around this')
  return spoken
}
