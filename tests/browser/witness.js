// Runs in each page before the page's own scripts and notes what may be gone before a test looks.
window.witness = { toasts: [], titles: [], violations: [], sockets: 0, shifts: [] }

document.addEventListener('securitypolicyviolation', (event) => {
  witness.violations.push(`${event.effectiveDirective} ${event.blockedURI}`)
})

function note(node) {
  if (!(node instanceof Element)) return
  const toasts = node.matches('[data-sonner-toast]') ? [node] : node.querySelectorAll('[data-sonner-toast]')
  for (const toast of toasts) {
    witness.toasts.push(toast.innerText)
    witness.titles.push(toast.querySelector('.toast-link').innerText)
  }
}

function noteNewWords(text) {
  const title = text.parentElement?.closest('.toast-link')
  if (title) witness.titles.push(title.innerText)
}

new MutationObserver((changes) => {
  for (const { type, target, addedNodes } of changes) {
    if (type === 'characterData') noteNewWords(target)
    else addedNodes.forEach(note)
  }
}).observe(document, { childList: true, characterData: true, subtree: true })

new PerformanceObserver((list) => {
  for (const { value, hadRecentInput, sources } of list.getEntries()) {
    if (!hadRecentInput) witness.shifts.push([value, ...sources.map(({ node }) => node?.className ?? '')])
  }
}).observe({ type: 'layout-shift', buffered: true })

window.WebSocket = class extends WebSocket {
  constructor(...given) {
    super(...given)
    witness.sockets++
  }
}
