// An MCP server as the second line of the SDK makes them, for the revision 2026-07-28 and for those before: it knows
// nothing of tokens. It prints the port that it listens at.
import { createServer } from 'node:http';
import { toNodeHandler } from '@modelcontextprotocol/node';
import { McpServer, createMcpHandler } from '@modelcontextprotocol/server';
import { z } from 'zod';

const handler = createMcpHandler(({ requestInfo: { headers } }) => {
	const mcp = new McpServer({ name: 'orders', version: '1.0.0' });
	mcp.registerTool('order', {
		description: 'Tells of an order', inputSchema: z.object({ number: z.number() }),
	}, ({ number }) => ({
		content: [{
			type: 'text',
			text: `order ${number} for ${headers.get('x-passport-client')}, token ${headers.get('authorization') ?? 'none'}, ` +
				`by ${headers.get('mcp-protocol-version')}`,
		}],
	}));
	return mcp;
});
const server = createServer(toNodeHandler(handler));
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
