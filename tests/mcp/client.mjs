// An MCP client as the SDK makes them, with a client ID that it was given before. It prints what it has asked for and
// what a tool answers, as JSON.
const { Client, ClientCredentialsProvider, StreamableHTTPClientTransport, options } = await import(process.env.SDK);
const { MCP_URL, ISSUER, CLIENT_ID, CLIENT_SECRET, SCOPE } = process.env;
const requests = [];
const transport = new StreamableHTTPClientTransport(new URL(MCP_URL), {
	authProvider: new ClientCredentialsProvider({
		clientId: CLIENT_ID, clientSecret: CLIENT_SECRET, expectedIssuer: ISSUER, scope: SCOPE,
	}),
	fetch: async (input, init) => {
		const answer = await fetch(input, init);
		requests.push(`${init?.method ?? 'GET'} ${new URL(String(input)).pathname} ${answer.status}`);
		return answer;
	},
});
const client = new Client({ name: 'test', version: '1.0.0' }, options);
await client.connect(transport);
const result = await client.callTool({ name: 'order', arguments: { number: 17 } });
console.log(JSON.stringify({ requests, revision: transport.protocolVersion, text: result.content[0].text }));
await client.close();
