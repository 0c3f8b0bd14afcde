// Goes through the grants with oauth4webapi. What a person has to do it says on standard output, one line of JSON each;
// where the person came out it reads from standard input.
import * as oauth from 'oauth4webapi'
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
const insecure = { [oauth.allowInsecureRequests]: true } // the test has no certificate

const issuer = new URL(ISSUER)
const as = await oauth.processDiscoveryResponse(
  issuer,
  await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...insecure }),
)
const client = { client_id: CLIENT_ID }
const auth = CLIENT_SECRET ? oauth.ClientSecretBasic(CLIENT_SECRET) : oauth.None()

const call = async (token) => {
  try {
    const response = await oauth.protectedResourceRequest(token, 'GET', new URL(API), undefined, null, insecure)
    return [response.status, await response.text()]
  } catch (error) {
    return [error.status, error.cause?.[0]?.parameters?.error]
  }
}

// authorization code with PKCE, state and iss
const verifier = oauth.generateRandomCodeVerifier()
const state = oauth.generateRandomState()
const url = new URL(as.authorization_endpoint)
for (const [name, value] of Object.entries({
  client_id: CLIENT_ID, redirect_uri: REDIRECT_URI, response_type: 'code', scope: 'read write', state,
  code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256',
})) url.searchParams.set(name, value)
const back = await person({ authorize: url.href })
assert(as.authorization_response_iss_parameter_supported === true, 'the metadata does not promise iss')
const params = oauth.validateAuthResponse(as, client, new URL(back), state)
let tokens = await oauth.processAuthorizationCodeResponse(as, client, await oauth.authorizationCodeGrantRequest(
  as, client, auth, params, REDIRECT_URI, verifier, insecure,
))
assert(tokens.scope === 'read write', `scope: ${tokens.scope}`)
let [status, body] = await call(tokens.access_token)
assert(status === 200 && body === 'orders of ada', `the API: ${status} ${body}`)

// the access token by RFC 9068, as a resource server of the library sees it
const claims = await oauth.validateJwtAccessToken(
  as, new Request(API, { headers: { authorization: `Bearer ${tokens.access_token}` } }), ISSUER, insecure,
)
assert(claims.client_id === CLIENT_ID && claims.scope === 'read write', JSON.stringify(claims))

// refresh with less
tokens = await oauth.processRefreshTokenResponse(as, client, await oauth.refreshTokenGrantRequest(
  as, client, auth, tokens.refresh_token, { additionalParameters: { scope: 'read' }, ...insecure },
))
assert(tokens.scope === 'read' && tokens.refresh_token, `after a refresh: ${tokens.scope}`)

if (CLIENT_SECRET) {
  const answer = await oauth.processIntrospectionResponse(
    as, client, await oauth.introspectionRequest(as, client, auth, tokens.access_token, insecure),
  )
  assert(answer.active === true && answer.username === 'ada', JSON.stringify(answer))
}

// device
const device = await oauth.processDeviceAuthorizationResponse(
  as, client, await oauth.deviceAuthorizationRequest(as, client, auth, { scope: 'read' }, insecure),
)
await person({ device: device.verification_uri, user_code: device.user_code })
const given = await oauth.processDeviceCodeResponse(
  as, client, await oauth.deviceCodeGrantRequest(as, client, auth, device.device_code, insecure),
)
;[status, body] = await call(given.access_token)
assert(status === 200, `the device at the API: ${status} ${body}`)

// revoking the refresh token ends what came of it
await oauth.processRevocationResponse(await oauth.revocationRequest(as, client, auth, tokens.refresh_token, insecure))
;[status, body] = await call(tokens.access_token)
assert(status === 401 && body === 'invalid_token', `after revoking: ${status} ${body}`)
console.log(JSON.stringify({ done: true }))
process.exit(0)
