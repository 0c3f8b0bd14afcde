// An MCP client as the SDK makes them, for a person: a public client with an ID that it was given before. It prints the
// URL at which the person has to allow it, waits for the URL that the person's browser is sent back to, and prints what
// it has asked for and what a tool answers, as JSON.
import { createInterface } from 'node:readline/promises';

const { Client, StreamableHTTPClientTransport, UnauthorizedError, finish, options } = await import(process.env.SDK);
const { MCP_URL, ISSUER, CLIENT_ID, REDIRECT_URI } = process.env;
const requests = [];
let tokens, verifier, state, revision, refreshed = 0;
const provider = {
	redirectUrl: REDIRECT_URI,
	clientMetadata: {
		client_name: 'Desk', redirect_uris: [REDIRECT_URI], grant_types: ['authorization_code', 'refresh_token'],
		response_types: ['code'], token_endpoint_auth_method: 'none',
	},
	state: () => (state = crypto.randomUUID()),
	clientInformation: () => ({ client_id: CLIENT_ID }),
	tokens: () => tokens,
	saveTokens: (saved) => { refreshed += tokens ? 1 : 0; tokens = saved; },
	redirectToAuthorization: (url) => console.log(String(url)),
	saveCodeVerifier: (saved) => { verifier = saved; },
	codeVerifier: () => verifier,
};
const open = () => new StreamableHTTPClientTransport(new URL(MCP_URL), {
	authProvider: provider,
	fetch: async (input, init) => {
		const answer = await fetch(input, init);
		requests.push(`${init?.method ?? 'GET'} ${new URL(String(input)).pathname} ${answer.status}`);
		return answer;
	},
});
const call = async (transport) => {
	const client = new Client({ name: 'test', version: '1.0.0' }, options);
	await client.connect(transport);
	const result = await client.callTool({ name: 'order', arguments: { number: 17 } });
	revision = transport.protocolVersion;
	await client.close();
	return result.content[0].text;
};

const first = open();
try {
	await call(first);
	throw new Error('it connects without a token');
} catch (error) {
	if (!(error instanceof UnauthorizedError)) throw error;
}
const input = createInterface({ input: process.stdin });
const back = new URL((await input[Symbol.asyncIterator]().next()).value);
if (back.searchParams.get('state') !== state) throw new Error(`the answer is to another question: ${back}`);
await finish(first, back, ISSUER);
const text = await call(open());
tokens = { ...tokens, access_token: 'one that is good no more' }; // so that it is refreshed
const again = await call(open());
console.log(JSON.stringify({ requests, revision, text, again, refreshed }));
process.exit(0);
