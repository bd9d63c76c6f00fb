import react from '@vitejs/plugin-react'
import type { Plugin } from 'vite'
import { defineConfig } from 'vitest/config'

// At import sonner adds its style sheet as a <style> element, which "style-src 'self'" refuses.
// The same sheet is bundled from sonner/dist/styles.css, so the call can go.
function sonnerWithoutStyleElement(): Plugin {
  return {
    name: 'sonner-without-style-element',
    apply: 'build',
    transform: {
      filter: { id: /\/sonner\/dist\/index\.mjs$/ },
      handler(code) {
        const quiet = code.replace(/^__insertCSS\(".*"\);?$/m, '')
        if (quiet === code) this.error('sonner no longer injects its style the way this expects')
        return { code: quiet, map: null }
      },
    },
  }
}

const backEnd = 'http://127.0.0.1:8080'

export default defineConfig({
  plugins: [react(), sonnerWithoutStyleElement()],
  server: {
    host: '127.0.0.1',
    proxy: {
      // The API's page is this project's own, the rest of /api is the back end's.
      '^/api/(?!docs)': backEnd,
      // The notifier admits only origins it knows, and the dev server's is not among them.
      '/ws': { target: backEnd, ws: true, changeOrigin: true, rewriteWsOrigin: true },
    },
  },
  // As strict as production, so that what the policy would refuse is seen here.
  preview: { host: '127.0.0.1', headers: { 'Content-Security-Policy': "default-src 'self'" } },
  build: {
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: { input: { shop: 'index.html', docs: 'api/docs/index.html' } },
    // Swagger UI comes as one file of this size, and only its own page loads it.
    chunkSizeWarningLimit: 2000,
  },
  test: { include: ['src/**/*.test.ts'] },
})
