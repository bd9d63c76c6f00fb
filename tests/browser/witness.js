// Runs in each page before the page's own scripts and notes what may be gone before a test looks.
window.witness = { toasts: [], violations: [], sockets: 0, shifts: [] }

document.addEventListener('securitypolicyviolation', (event) => {
  witness.violations.push(`${event.effectiveDirective} ${event.blockedURI}`)
})

function note(node) {
  if (!(node instanceof Element)) return
  const toasts = node.matches('[data-sonner-toast]') ? [node] : node.querySelectorAll('[data-sonner-toast]')
  for (const toast of toasts) witness.toasts.push(toast.innerText)
}

new MutationObserver((changes) => {
  for (const { addedNodes } of changes) addedNodes.forEach(note)
}).observe(document, { childList: true, subtree: true })

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
