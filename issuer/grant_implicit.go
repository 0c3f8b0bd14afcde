package issuer

// implicit gives an access token by way of the browser, without the token endpoint (RFC 6749 §4.2). It is off unless
// the configuration names it: RFC 9700 §2.1.2 advises against it, for the token is in a URL. The authorization endpoint
// makes the token by [Issuer.newGift] and [Issuer.giveAll]; there is never a refresh token with it (§4.2.2).
var implicit = &grant{
	name:        "implicit",
	wire:        "implicit",
	discouraged: "access tokens get into URLs, histories and logs: use authorization_code with PKCE",
}
