// The first line of the SDK, whose newest revision of the protocol is 2025-11-25.
export { Client } from '@modelcontextprotocol/sdk/client/index.js';
export { UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js';
export { ClientCredentialsProvider } from '@modelcontextprotocol/sdk/client/auth-extensions.js';
export { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
export const options = {};
// It does not look at iss (RFC 9207) by itself.
export async function finish(transport, back, issuer) {
	if (back.searchParams.get('iss') !== issuer) throw new Error(`the answer is another issuer's: ${back}`);
	await transport.finishAuth(back.searchParams.get('code'));
}
