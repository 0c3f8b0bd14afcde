// An authorization server as node-oidc-provider makes it. The file KEYS has its JWK set with the private keys; it signs
// by the first one. It reads them anew on SIGHUP. It prints a line for whatever the test waits for.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import Provider from 'oidc-provider';

const { PORT, KEYS, CLIENT_SECRET, REDIRECT_URI } = process.env;
const issuer = `http://127.0.0.1:${PORT}`;

// The APIs that tokens may be for, by RFC 8707.
const resources = {
	'https://api.example/orders': { audience: 'orders-api', accessTokenTTL: 3600 },
	'https://api.example/orders?short': { audience: 'orders-api', accessTokenTTL: 1 },
	'https://api.example/orders?opaque': { audience: 'orders-api', accessTokenTTL: 3600, accessTokenFormat: 'opaque' },
	'https://api.example/stock': { audience: 'stock-api', accessTokenTTL: 3600 },
};

const ttl = (ctx, token) => token.resourceServer?.accessTokenTTL ?? 3600;

function make() {
	const { keys } = JSON.parse(readFileSync(KEYS, 'utf8'));
	const { alg } = keys[0];
	return new Provider(issuer, {
		jwks: { keys },
		cookies: { keys: [CLIENT_SECRET] },
		scopes: ['openid', 'read', 'write', 'orders:read'],
		clients: [{
			client_id: 'orders-sync',
			client_secret: CLIENT_SECRET,
			grant_types: ['client_credentials'],
			redirect_uris: [],
			response_types: [],
			scope: 'read write orders:read',
			id_token_signed_response_alg: alg,
		}, {
			client_id: 'shop',
			client_secret: CLIENT_SECRET,
			redirect_uris: [REDIRECT_URI],
			scope: 'openid read',
			id_token_signed_response_alg: alg,
		}, {
			client_id: 'gateway', // asks about tokens, and gets none
			client_secret: CLIENT_SECRET,
			grant_types: [],
			redirect_uris: [],
			response_types: [],
			id_token_signed_response_alg: alg,
		}],
		features: {
			clientCredentials: { enabled: true },
			devInteractions: { enabled: false },
			introspection: { enabled: true },
			revocation: { enabled: true },
			resourceIndicators: {
				enabled: true,
				getResourceServerInfo: (ctx, resource) => ({
					scope: 'read write orders:read',
					accessTokenFormat: 'jwt',
					jwt: { sign: { alg } },
					...resources[resource],
				}),
				useGrantedResource: () => true,
			},
		},
		findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
		extraTokenClaims: (ctx, token) => token.accountId && { preferred_username: `${token.accountId}@shop.example` },
		interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
		ttl: { AccessToken: ttl, AuthorizationCode: 60, ClientCredentials: ttl, Grant: 3600, IdToken: 3600,
			Interaction: 600, Session: 3600 },
	});
}

// interact stands for the page where a person signs in and agrees.
async function interact(req, res) {
	const { params } = await provider.interactionDetails(req, res);
	const grant = new provider.Grant({ accountId: 'ada', clientId: params.client_id });
	grant.addOIDCScope(params.scope);
	grant.addResourceScope(params.resource, params.scope);
	const grantId = await grant.save();
	await provider.interactionFinished(req, res, { login: { accountId: 'ada' }, consent: { grantId } });
}

let provider = make();
createServer(async (req, res) => {
	if (req.url.startsWith('/interaction/')) {
		await interact(req, res);
		return;
	}
	if (req.url === '/jwks') {
		console.log('keys fetched');
	}
	provider.callback()(req, res);
}).listen(Number(PORT), '127.0.0.1', () => console.log('ready'));

process.stdin.on('end', () => process.exit()).resume(); // the test is gone
process.on('SIGHUP', () => {
	provider = make();
	console.log('reloaded');
});
