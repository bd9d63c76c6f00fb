import { stored } from '../stored'

export type Language = 'en' | 'ru'

export const languages: Record<Language, string> = { en: 'English', ru: 'Русский' }

const choice = stored('gozon.language')

/** Returns the chosen language, or else the first language of the browser that the page has. */
export function preferred(ofBrowser: readonly string[]): Language {
  for (const tag of [choice.read(), ...ofBrowser]) {
    const language = tag?.toLowerCase().split('-')[0]
    if (language === 'en' || language === 'ru') return language
  }
  return 'en'
}

export function remember(language: Language) {
  choice.write(language)
}
