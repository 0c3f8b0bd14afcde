// The second line of the SDK: it speaks the revision 2026-07-28 where the server does.
export {
	Client, ClientCredentialsProvider, StreamableHTTPClientTransport, UnauthorizedError,
} from '@modelcontextprotocol/client';
export const options = { versionNegotiation: { mode: 'auto' } };
export const finish = (transport, back) => transport.finishAuth(back.searchParams); // it looks at iss (RFC 9207)
