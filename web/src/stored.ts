/** Reads and writes one text in localStorage. If the browser blocks site data, the page works without it. */
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
        // The browser blocks site data.
      }
    },
  }
}
