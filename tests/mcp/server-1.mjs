// An MCP server as the first line of the SDK makes them: it knows nothing of tokens. It prints the port that
// it listens at.
import { createServer } from 'node:http';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { z } from 'zod';

const server = createServer(async (req, res) => {
	const mcp = new McpServer({ name: 'orders', version: '1.0.0' });
	mcp.registerTool('order', { description: 'Tells of an order', inputSchema: { number: z.number() } }, ({ number }) => ({
		content: [{
			type: 'text',
			text: `order ${number} for ${req.headers['x-passport-client']}, token ${req.headers.authorization ?? 'none'}, ` +
				`by ${req.headers['mcp-protocol-version']}`,
		}],
	}));
	const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined });
	res.on('close', () => { transport.close(); mcp.close(); });
	await mcp.connect(transport);
	await transport.handleRequest(req, res);
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
