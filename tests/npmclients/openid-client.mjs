// Goes through the grants with openid-client, as oauth4webapi.mjs does.
import * as client from 'openid-client'
import { createInterface } from 'node:readline'

const { ISSUER, API, CLIENT_ID, CLIENT_SECRET, REDIRECT_URI } = process.env
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
const person = async (what) => {
  console.log(JSON.stringify(what))
  return (await lines.next()).value
}
const assert = (condition, what) => {
  if (!condition) throw new Error(what)
}

const config = await client.discovery(
  new URL(ISSUER), CLIENT_ID, undefined, CLIENT_SECRET ? client.ClientSecretPost(CLIENT_SECRET) : client.None(),
  { algorithm: 'oauth2', execute: [client.allowInsecureRequests] },
)
const call = async (token) => {
  try {
    const response = await client.fetchProtectedResource(config, token, new URL(API), 'GET')
    return [response.status, await response.text()]
  } catch (error) {
    return [error.status ?? error.cause?.status, String(error)]
  }
}

const pkceCodeVerifier = client.randomPKCECodeVerifier()
const expectedState = client.randomState()
const back = await person({
  authorize: client.buildAuthorizationUrl(config, {
    redirect_uri: REDIRECT_URI, scope: 'read write', state: expectedState,
    code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier), code_challenge_method: 'S256',
  }).href,
})
let tokens = await client.authorizationCodeGrant(config, new URL(back), { pkceCodeVerifier, expectedState })
let [status, body] = await call(tokens.access_token)
assert(status === 200 && body === 'orders of ada', `the API: ${status} ${body}`)

tokens = await client.refreshTokenGrant(config, tokens.refresh_token)
assert(tokens.refresh_token && tokens.expiresIn() > 0, JSON.stringify(tokens))

if (CLIENT_SECRET) {
  const answer = await client.tokenIntrospection(config, tokens.access_token)
  assert(answer.active === true && answer.username === 'ada', JSON.stringify(answer))
}

const device = await client.initiateDeviceAuthorization(config, { scope: 'read' })
const polled = client.pollDeviceAuthorizationGrant(config, device)
await person({ device: device.verification_uri_complete, user_code: device.user_code })
const given = await polled
;[status, body] = await call(given.access_token)
assert(status === 200, `the device at the API: ${status} ${body}`)

await client.tokenRevocation(config, tokens.refresh_token)
;[status, body] = await call(tokens.access_token)
assert(status === 401, `after revoking: ${status} ${body}`)
console.log(JSON.stringify({ done: true }))
process.exit(0)
