// The package has no types of its own, and @types/swagger-ui-dist stopped at version 3.
declare module 'swagger-ui-dist/swagger-ui-es-bundle.js' {
  interface Options {
    dom_id: string
    url: string
    deepLinking: boolean
    persistAuthorization: boolean
    tryItOutEnabled: boolean
    validatorUrl: string | null
  }

  export default function SwaggerUI(options: Options): void
}
