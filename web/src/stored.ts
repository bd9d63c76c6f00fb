/** One text in localStorage. Where the browser blocks site data it throws; the page works without it. */
export function stored(name: string) {
  return {
    read(): string | null {
      try {
        return localStorage.getItem(name)
      } catch {
        return null
      }
    },
    write(text: string | null) {
      try {
        if (text === null) localStorage.removeItem(name)
        else localStorage.setItem(name, text)
      } catch {
        // As above.
      }
    },
  }
}
