import { type Language, languages } from '../language/choice'
import { useLanguage } from '../language/useLanguage'

export function LanguageSwitch() {
  const { language, text, choose } = useLanguage()
  return (
    <fieldset className="languages">
      <legend className="visually-hidden">{text.language}</legend>
      {(Object.keys(languages) as Language[]).map((one) => (
        <button
          type="button"
          key={one}
          lang={one}
          title={languages[one]}
          aria-pressed={one === language}
          onClick={() => choose(one)}
          data-testid={`language-${one}`}
        >
          {one.toUpperCase()}
        </button>
      ))}
    </fieldset>
  )
}
