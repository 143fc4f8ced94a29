package social_test

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/social"
)

// picture is where everybody's is.
const picture = "https://img.vendor.example/ann.png"

// facebook shows a document of Graph's, in which what the person did not allow is missing.
func facebook() *vendor {
	fault := func(status, code int, kind string) reply {
		return reply{status: status, body: toJSON(object{"error": object{"message": confidential, "type": kind, "code": code, "fbtrace_id": "A1"}})}
	}
	return &vendor{
		name: "Facebook", alias: "facebook",
		idp: func(c *http.Client) provider.IdentityProvider {
			return social.Facebook(clientID, clientSecret).With(social.Options{HTTPClient: c})
		},
		authorize: "https://www.facebook.com/v24.0/dialog/oauth", token: "https://graph.facebook.com/v24.0/oauth/access_token",
		scopes: "email public_profile", separator: ",", auth: "client_secret_post",
		denial: url.Values{"error": {"access_denied"}, "error_reason": {"user_denied"}, "error_description": {confidential}},
		answer: func(_ *double, _ *grant, access string, _ *http.Request) reply {
			return reply{body: toJSON(object{"access_token": access, "token_type": "bearer"})} // expires_in may be missing
		},
		apis: []api{{
			url: "https://graph.facebook.com/v24.0/me", proof: true, broken: fault(400, 190, "OAuthException"),
			query: map[string]string{"fields": "id,name,first_name,last_name,email,picture"},
			says: func(p *person) any {
				return with(some(object{
					"name": p.name, "first_name": p.first, "last_name": p.last, "email": p.email,
					"picture": object{"data": object{"height": 50, "is_silhouette": false, "url": p.picture, "width": 50}},
				}), "id", null(p.id))
			},
		}},
		badCode: fault(400, 100, "OAuthException"), badClient: fault(400, 1, "OAuthException"),
		issuer: "https://www.facebook.com", id: "10160000000000001", number: "4711",
		want: want{"10160000000000001", "ann@initech.example", "Ann Lee", "Ann", "Lee", picture},
	}
}

// linkedIn sends no nonce back, and has no client_id for those who come with a verifier. Its locale is an object.
func linkedIn() *vendor {
	const base = "https://www.linkedin.com/oauth"
	return &vendor{
		name: "LinkedIn", alias: "linkedin",
		idp: func(c *http.Client) provider.IdentityProvider {
			return social.LinkedIn(clientID, clientSecret).With(social.Options{HTTPClient: c})
		},
		authorize: base + "/v2/authorization", token: base + "/v2/accessToken", scopes: "openid profile email",
		auth: "client_secret_post", pkce: pkceRefused, issuer: base, denial: denied("user_cancelled_login"),
		answer: jsonTokens(object{"expires_in": 5183999, "scope": "email,openid,profile"}),
		openID: &openID{
			discovery: base + "/.well-known/openid-configuration", jwks: base + "/openid/jwks", alg: "RS256",
			document: object{
				"issuer": base, "authorization_endpoint": base + "/v2/authorization", "token_endpoint": base + "/v2/accessToken",
				"userinfo_endpoint": "https://api.linkedin.com/v2/userinfo", "jwks_uri": base + "/openid/jwks",
				"response_types_supported": list{"code"}, "subject_types_supported": list{"pairwise"},
				"id_token_signing_alg_values_supported": list{"RS256"}, "scopes_supported": list{"openid", "profile", "email"},
			},
			claims: func(p *person) object {
				o := with(standard(p), "locale", "en_US")
				if p.email != "" {
					o["email_verified"] = map[bool]string{true: "true", false: "false"}[p.verified]
				}
				return o
			},
		},
		apis: []api{{
			url: "https://api.linkedin.com/v2/userinfo", broken: reply{status: 401, body: toJSON(object{"status": 401, "serviceErrorCode": 65600, "message": confidential})},
			says: func(p *person) any { return with(standard(p), "locale", object{"country": "US", "language": "en"}) },
		}},
		badCode: oauthError(400, "invalid_request"), expired: notSetUp, badClient: oauthError(401, "invalid_client"),
		id: "aBcD12_xyZ", number: "4711", verifies: true,
		want: want{"aBcD12_xyZ", "ann@initech.example", "Ann Lee", "Ann", "Lee", picture},
	}
}

// gitLab is gitlab.com or an installation of its own.
func gitLab(base string) *vendor {
	o := social.Options{}
	v := &vendor{
		name: "GitLab", alias: "gitlab", scopes: "openid profile email", auth: "client_secret_basic client_secret_post", pkce: pkceTaken,
		authorize: base + "/oauth/authorize", token: base + "/oauth/token", issuer: base, denial: denied("access_denied"),
		answer: jsonTokens(object{"expires_in": 7200, "refresh_token": "gl-r1", "scope": "openid profile email", "created_at": 1763800000}),
		openID: &openID{
			discovery: base + "/.well-known/openid-configuration", jwks: base + "/oauth/discovery/keys", alg: "RS256", nonce: true,
			document: object{
				"issuer": base, "authorization_endpoint": base + "/oauth/authorize", "token_endpoint": base + "/oauth/token",
				"revocation_endpoint": base + "/oauth/revoke", "userinfo_endpoint": base + "/oauth/userinfo", "jwks_uri": base + "/oauth/discovery/keys",
				"response_types_supported": list{"code"}, "response_modes_supported": list{"query", "fragment", "form_post"},
				"token_endpoint_auth_methods_supported": list{"client_secret_basic", "client_secret_post"}, "subject_types_supported": list{"public"},
				"id_token_signing_alg_values_supported": list{"RS256"}, "code_challenge_methods_supported": list{"plain", "S256"},
			},
			claims: func(p *person) object { return gitLabClaims(p) },
		},
		apis: []api{{
			url: base + "/oauth/userinfo", broken: oauthError(401, "invalid_token"), says: func(p *person) any { return gitLabClaims(p) },
		}},
		badCode: oauthError(400, "invalid_grant"), expired: tryAgain, badClient: oauthError(401, "invalid_client"),
		id: "90210", number: "4711", user: "ann-lee", verifies: true,
		want: want{"90210", "ann-lee", "Ann Lee", "", "", picture},
	}
	if base != "https://gitlab.com" {
		v.alias, o.BaseURL = "gitlab-own", base
	}
	v.idp = func(c *http.Client) provider.IdentityProvider {
		o.HTTPClient = c
		return social.GitLab(clientID, clientSecret).With(o)
	}
	return v
}

func gitLabClaims(p *person) object {
	o := some(object{
		"sub_legacy": "0123", "name": p.name, "nickname": p.user, "preferred_username": p.user, "email": p.email, "picture": p.picture,
		"profile": "https://gitlab.com/" + p.user, "groups_direct": list{"team"},
	})
	if p.email != "" {
		o["email_verified"] = p.verified
	}
	return with(o, "sub", null(p.id))
}

func discord() *vendor {
	return &vendor{
		name: "Discord", alias: "discord",
		idp: func(c *http.Client) provider.IdentityProvider {
			return social.Discord(clientID, clientSecret).With(social.Options{HTTPClient: c})
		},
		authorize: "https://discord.com/oauth2/authorize", token: "https://discord.com/api/oauth2/token", scopes: "identify email",
		auth: "client_secret_basic client_secret_post", pkce: pkceTaken, denial: denied("access_denied"),
		answer: jsonTokens(object{"expires_in": 604800, "refresh_token": "D-1", "scope": "identify email"}),
		apis: []api{{
			url: "https://discord.com/api/v10/users/@me", header: map[string]string{"User-Agent": ""},
			broken: reply{status: 401, body: toJSON(object{"message": confidential, "code": 0})},
			says: func(p *person) any {
				return object{
					"id": null(p.id), "username": p.user, "discriminator": "0", "global_name": null(p.name), "avatar": "8342729096ea3675442027381ff50dfe",
					"verified": p.verified, "email": null(p.email), "locale": "en-US", "mfa_enabled": true, "flags": 0,
				}
			},
		}},
		badCode: oauthError(400, "invalid_grant"), expired: tryAgain, badClient: oauthError(401, "invalid_client"),
		issuer: "https://discord.com", id: "80351110224678912", number: "4711", user: "ann.lee", verifies: true,
		want: want{"80351110224678912", "ann.lee", "Ann Lee", "", "", "https://cdn.discordapp.com/avatars/80351110224678912/8342729096ea3675442027381ff50dfe.png"},
	}
}

// slack says "ok", and says so with status 200 if it is not.
func slack() *vendor {
	const base = "https://slack.com"
	claims := func(p *person) object {
		o := with(standard(p), "https://slack.com/team_id", "T0INIT")
		if p.domain != "initech.example" {
			o["https://slack.com/team_id"] = p.domain
		}
		o["https://slack.com/user_id"], o["date_email_verified"], o["locale"] = null(p.id), 1700000000, "en-US"
		return o
	}
	fault := func(code string) reply {
		return reply{body: toJSON(object{"ok": false, "error": code, "hint": confidential})}
	}
	return &vendor{
		name: "Slack", alias: "slack",
		idp: func(c *http.Client) provider.IdentityProvider {
			return social.Slack(clientID, clientSecret).With(social.Options{HTTPClient: c})
		},
		authorize: base + "/openid/connect/authorize", token: base + "/api/openid.connect.token", scopes: "openid profile email",
		auth: "client_secret_basic client_secret_post", issuer: base, denial: denied("access_denied"),
		answer: jsonTokens(object{"ok": true}),
		openID: &openID{
			discovery: base + "/.well-known/openid-configuration", jwks: base + "/openid/connect/keys", alg: "RS256", nonce: true,
			document: object{
				"issuer": base, "authorization_endpoint": base + "/openid/connect/authorize", "token_endpoint": base + "/api/openid.connect.token",
				"userinfo_endpoint": base + "/api/openid.connect.userInfo", "jwks_uri": base + "/openid/connect/keys",
				"scopes_supported": list{"openid", "profile", "email"}, "response_types_supported": list{"code"},
				"response_modes_supported": list{"query"}, "grant_types_supported": list{"authorization_code"}, "subject_types_supported": list{"public"},
				"id_token_signing_alg_values_supported": list{"RS256"}, "claims_supported": list{"sub", "auth_time", "iss"},
				"token_endpoint_auth_methods_supported": list{"client_secret_post", "client_secret_basic"},
			},
			claims: claims,
		},
		apis: []api{{
			url: base + "/api/openid.connect.userInfo", broken: fault("invalid_auth"),
			says: func(p *person) any { return with(claims(p), "ok", true) },
		}},
		badCode: fault("invalid_code"), expired: tryAgain, badClient: fault("bad_client_secret"),
		id: "U0ANN", verifies: true,
		want: want{"T0INIT.U0ANN", "ann@initech.example", "Ann Lee", "Ann", "Lee", picture},
	}
}

// x calls an address that is there a confirmed one, and a code that was used a bad request.
func x() *vendor {
	return &vendor{
		name: "X", alias: "x",
		idp: func(c *http.Client) provider.IdentityProvider {
			return social.X(clientID, clientSecret).With(social.Options{HTTPClient: c})
		},
		authorize: "https://x.com/i/oauth2/authorize", token: "https://api.x.com/2/oauth2/token", scopes: "users.read tweet.read users.email",
		auth: "client_secret_basic", pkce: pkceTaken, denial: denied("access_denied"),
		answer: func(_ *double, _ *grant, access string, _ *http.Request) reply {
			return reply{body: toJSON(object{"token_type": "bearer", "expires_in": 7200, "access_token": access, "scope": "users.email tweet.read users.read"})}
		},
		apis: []api{{
			url: "https://api.x.com/2/users/me", query: map[string]string{"user.fields": "confirmed_email,profile_image_url"},
			broken: reply{status: 401, contentType: "application/problem+json", body: toJSON(object{"title": confidential, "type": "about:blank", "status": 401})},
			says: func(p *person) any {
				data := some(object{"name": p.name, "username": p.user, "profile_image_url": p.picture})
				if p.verified { // an address that is not confirmed is not told
					data = some(with(data, "confirmed_email", p.email))
				}
				return object{"data": with(data, "id", null(p.id))}
			},
		}},
		badCode: oauthError(400, "invalid_request"), expired: notSetUp, badClient: oauthError(401, "unauthorized_client"),
		issuer: "https://x.com", id: "2244994945", number: "4711", user: "AnnLee", verifies: true, onlyVerified: true,
		want: want{"2244994945", "annlee", "Ann Lee", "", "", picture},
	}
}

func bitbucket() *vendor {
	broken := reply{status: 401, body: toJSON(object{"type": "error", "error": object{"message": confidential}})}
	return &vendor{
		name: "Bitbucket", alias: "bitbucket",
		idp: func(c *http.Client) provider.IdentityProvider {
			return social.Bitbucket(clientID, clientSecret).With(social.Options{HTTPClient: c})
		},
		authorize: "https://bitbucket.org/site/oauth2/authorize", token: "https://bitbucket.org/site/oauth2/access_token", scopes: "account email",
		auth: "client_secret_basic client_secret_post", denial: denied("access_denied"),
		answer: func(_ *double, _ *grant, access string, _ *http.Request) reply {
			return reply{body: toJSON(object{
				"access_token": access, "scopes": "account email", "token_type": "bearer", "expires_in": 7200, "state": "authorization_code", "refresh_token": "bb-r1",
			})}
		},
		apis: []api{{
			url: "https://api.bitbucket.org/2.0/user", broken: broken,
			says: func(p *person) any {
				return object{
					"type": "user", "uuid": null(p.id), "account_id": "557058:0001", "nickname": p.user, "username": p.user, "display_name": p.name,
					"links": object{"avatar": object{"href": p.picture}, "self": object{"href": "https://api.bitbucket.org/2.0/users/1"}},
				}
			},
		}, {
			url: "https://api.bitbucket.org/2.0/user/emails", broken: broken,
			says: func(p *person) any {
				values := list{}
				if p.email != "" {
					values = list{
						object{"email": "unconfirmed@initech.example", "is_primary": false, "is_confirmed": false, "type": "email"},
						object{"email": p.email, "is_primary": true, "is_confirmed": p.verified, "type": "email"},
					}
				}
				return object{"pagelen": 10, "page": 1, "size": len(values), "values": values}
			},
		}},
		badCode: oauthError(400, "invalid_grant"), expired: tryAgain, badClient: oauthError(401, "invalid_client"),
		issuer: "https://bitbucket.org", id: "{9f2c0f3c-0000-4000-8000-000000000001}", user: "ann", verifies: true,
		want: want{"{9f2c0f3c-0000-4000-8000-000000000001}", "ann", "Ann Lee", "", "", picture},
	}
}

// stackOverflow packs every answer of its interface, escapes names for HTML, and knows the token as a parameter only.
func stackOverflow() *vendor {
	const key = "the-key-of-the-application"
	return &vendor{
		name: "Stack Overflow", alias: "stackoverflow",
		idp: func(c *http.Client) provider.IdentityProvider {
			return social.StackOverflow(clientID, clientSecret, key).With(social.Options{HTTPClient: c})
		},
		authorize: "https://stackoverflow.com/oauth", token: "https://stackoverflow.com/oauth/access_token",
		auth: "client_secret_post", pkce: pkceTaken, denial: denied("access_denied"),
		answer: func(_ *double, _ *grant, access string, _ *http.Request) reply {
			return reply{contentType: "text/plain; charset=utf-8", body: url.Values{"access_token": {access}, "expires": {"86400"}}.Encode()}
		},
		apis: []api{{
			url: "https://api.stackexchange.com/2.3/me", tokenIn: "query", gzip: true,
			query:  map[string]string{"site": "stackoverflow", "key": key},
			broken: reply{status: 400, body: toJSON(object{"error_id": 403, "error_message": confidential, "error_name": "access_denied"})},
			says: func(p *person) any {
				escaped := strings.NewReplacer("&", "&amp;", "'", "&#39;").Replace(p.name)
				one := object{
					"account_id": 1, "user_id": number(p.id), "user_type": "registered", "display_name": escaped, "reputation": 1,
					"link": "https://stackoverflow.com/users/" + p.id + "/ann-lee", "profile_image": p.picture,
				}
				return object{"items": list{one}, "has_more": false, "quota_max": 10000, "quota_remaining": 9999}
			},
		}},
		badCode:   reply{status: 400, contentType: "text/plain", body: "error=invalid_request&message=" + confidential},
		expired:   "",
		badClient: reply{status: 400, contentType: "text/plain", body: "error=invalid_client&message=" + confidential},
		issuer:    "https://stackoverflow.com", id: "90210", number: "4711", numbers: true, noEmail: true,
		want: want{"90210", "ann lee", "Ann Lee", "", "", picture},
	}
}

// twitch tells no more than the parameter "claims" asks for, and sends its scopes as a list.
func twitch() *vendor {
	const base = "https://id.twitch.tv/oauth2"
	return &vendor{
		name: "Twitch", alias: "twitch",
		idp: func(c *http.Client) provider.IdentityProvider {
			return social.Twitch(clientID, clientSecret).With(social.Options{HTTPClient: c})
		},
		authorize: base + "/authorize", token: base + "/token", scopes: "openid user:read:email", auth: "client_secret_post", issuer: base,
		wantsClaims: []string{"email", "email_verified", "preferred_username", "picture"}, denial: denied("access_denied"),
		answer: jsonTokens(object{"expires_in": 14124, "refresh_token": "tw-r1", "scope": list{"openid", "user:read:email"}, "token_type": "bearer"}),
		openID: &openID{
			discovery: base + "/.well-known/openid-configuration", jwks: base + "/keys", alg: "RS256", nonce: true,
			document: object{
				"issuer": base, "authorization_endpoint": base + "/authorize", "token_endpoint": base + "/token", "userinfo_endpoint": base + "/userinfo",
				"jwks_uri": base + "/keys", "claims_parameter_supported": true, "scopes_supported": list{"openid"}, "subject_types_supported": list{"public"},
				"response_types_supported":              list{"id_token", "code", "token", "code id_token", "token id_token"},
				"id_token_signing_alg_values_supported": list{"RS256"}, "token_endpoint_auth_methods_supported": list{"client_secret_post"},
			},
			claims: func(p *person) object { return twitchClaims(p) },
		},
		apis: []api{{
			url: base + "/userinfo", broken: reply{status: 401, body: toJSON(object{"status": 401, "message": confidential})},
			says: func(p *person) any { return twitchClaims(p) },
		}},
		badCode: reply{status: 400, body: toJSON(object{"status": 400, "message": confidential})}, expired: "",
		badClient: reply{status: 403, body: toJSON(object{"status": 403, "message": confidential})},
		id:        "713936733", number: "4711", user: "AnnLee", verifies: true,
		want: want{"713936733", "annlee", "AnnLee", "", "", picture},
	}
}

func twitchClaims(p *person) object {
	o := some(object{"preferred_username": p.user, "picture": p.picture, "email": p.email, "azp": clientID})
	if p.email != "" {
		o["email_verified"] = p.verified
	}
	return with(o, "sub", null(p.id))
}

func spotify() *vendor {
	return &vendor{
		name: "Spotify", alias: "spotify",
		idp: func(c *http.Client) provider.IdentityProvider {
			return social.Spotify(clientID, clientSecret).With(social.Options{HTTPClient: c})
		},
		authorize: "https://accounts.spotify.com/authorize", token: "https://accounts.spotify.com/api/token", scopes: "user-read-email",
		auth: "client_secret_basic", pkce: pkceTaken, denial: denied("access_denied"),
		answer: jsonTokens(object{"expires_in": 3600, "refresh_token": "sp-r1", "scope": "user-read-email"}),
		apis: []api{{
			url: "https://api.spotify.com/v1/me", broken: reply{status: 401, body: toJSON(object{"error": object{"status": 401, "message": confidential}})},
			says: func(p *person) any {
				return with(some(object{
					"display_name": p.name, "email": p.email, "images": list{object{"url": p.picture, "height": nil, "width": nil}}, "type": "user",
					"uri": "spotify:user:" + p.id, "followers": object{"href": nil, "total": 1},
				}), "id", null(p.id))
			},
		}},
		badCode: oauthError(400, "invalid_grant"), expired: tryAgain, badClient: oauthError(400, "invalid_client"),
		issuer: "https://accounts.spotify.com", id: "ann31", number: "4711",
		want: want{"ann31", "ann31", "Ann Lee", "", "", picture},
	}
}

func amazon() *vendor {
	return &vendor{
		name: "Amazon", alias: "amazon",
		idp: func(c *http.Client) provider.IdentityProvider {
			return social.Amazon(clientID, clientSecret).With(social.Options{HTTPClient: c})
		},
		authorize: "https://www.amazon.com/ap/oa", token: "https://api.amazon.com/auth/o2/token", scopes: "profile",
		auth: "client_secret_basic client_secret_post", pkce: pkceTaken, denial: denied("access_denied"),
		answer: jsonTokens(object{"token_type": "bearer", "expires_in": 3600, "refresh_token": "Atzr|1"}),
		apis: []api{{
			url: "https://api.amazon.com/user/profile", broken: oauthError(400, "invalid_token"),
			says: func(p *person) any {
				return with(some(object{"email": p.email, "name": p.name, "postal_code": "98101"}), "user_id", null(p.id))
			},
		}},
		badCode: oauthError(400, "invalid_grant"), expired: tryAgain, badClient: oauthError(401, "invalid_client"),
		issuer: "https://www.amazon.com", id: "amzn1.account.AAAA0001", number: "4711",
		want: want{"amzn1.account.AAAA0001", "ann@initech.example", "Ann Lee", "", "", ""},
	}
}

// payPal is the live one or its sandbox.
func payPal(sandbox bool) *vendor {
	www, apiBase, alias := "https://www.paypal.com", "https://api-m.paypal.com", "paypal"
	if sandbox {
		www, apiBase, alias = "https://www.sandbox.paypal.com", "https://api-m.sandbox.paypal.com", "paypal-sandbox"
	}
	const account = "https://www.paypal.com/webapps/auth/identity/user/ANN1"
	return &vendor{
		name: "PayPal", alias: alias,
		idp: func(c *http.Client) provider.IdentityProvider {
			return social.PayPal(clientID, clientSecret).With(social.Options{HTTPClient: c, Sandbox: sandbox})
		},
		authorize: www + "/signin/authorize", token: apiBase + "/v1/oauth2/token", scopes: "openid profile email", auth: "client_secret_basic",
		denial: denied("access_denied"),
		answer: jsonTokens(object{"scope": "openid profile email", "expires_in": 28800, "refresh_token": "R-1", "nonce": "n", "id_token": "not.to.be-used"}),
		apis: []api{{
			url: apiBase + "/v1/identity/oauth2/userinfo", query: map[string]string{"schema": "paypalv1.1"},
			broken: reply{status: 401, body: toJSON(object{"name": "AUTHENTICATION_FAILURE", "message": confidential, "debug_id": "1"})},
			says: func(p *person) any {
				o := some(object{"name": p.name, "given_name": p.first, "family_name": p.last, "payer_id": "ANNPAYER1", "verified_account": "true"})
				if p.email != "" {
					o["emails"] = list{
						object{"value": "unconfirmed@initech.example", "primary": false, "confirmed": false},
						object{"value": p.email, "primary": true, "confirmed": p.verified},
					}
				}
				return with(with(o, "user_id", null(p.id)), "sub", null(p.id))
			},
		}},
		badCode: oauthError(400, "invalid_grant"), expired: tryAgain, badClient: oauthError(401, "invalid_client"),
		issuer: www, id: account, number: "4711", verifies: true,
		want: want{account, "ann@initech.example", "Ann Lee", "Ann", "Lee", ""},
	}
}

// salesforce is the place for everybody or, with a base, one organisation's.
func salesforce(base string) *vendor {
	o := social.Options{BaseURL: base}
	v := &vendor{
		name: "Salesforce", alias: "salesforce", scopes: "openid profile email", auth: "client_secret_basic client_secret_post", pkce: pkceTaken,
		denial: denied("access_denied"), verifies: true, number: "4711", user: "ann@initech.sf",
		badCode: oauthError(400, "invalid_grant"), expired: tryAgain, badClient: oauthError(400, "invalid_client"),
		answer: jsonTokens(object{
			"signature": "c2ln", "scope": "openid profile email", "instance_url": "https://initech.my.salesforce.com", "issued_at": "1763800000000",
			"id": "https://login.salesforce.com/id/00D1/0051",
		}),
	}
	if base == "" {
		base = "https://login.salesforce.com"
	} else {
		v.alias = "salesforce-own"
	}
	v.issuer, v.authorize, v.token = base, base+"/services/oauth2/authorize", base+"/services/oauth2/token"
	v.id = base + "/id/00D1/0051"
	v.want = want{v.id, "ann@initech.sf", "Ann Lee", "Ann", "Lee", picture}
	v.openID = &openID{
		discovery: base + "/.well-known/openid-configuration", jwks: base + "/id/keys", alg: "RS256", nonce: true,
		document: object{
			"issuer": base, "authorization_endpoint": v.authorize, "token_endpoint": v.token, "userinfo_endpoint": base + "/services/oauth2/userinfo",
			"revocation_endpoint": base + "/services/oauth2/revoke", "jwks_uri": base + "/id/keys", "subject_types_supported": list{"public"},
			"response_types_supported": list{"code", "token"}, "id_token_signing_alg_values_supported": list{"RS256"},
			"token_endpoint_auth_methods_supported": list{"client_secret_post", "client_secret_basic", "private_key_jwt"},
		},
		claims: func(p *person) object { return object{"sub": null(p.id)} },
	}
	v.apis = []api{{
		url: base + "/services/oauth2/userinfo", broken: reply{status: 403, contentType: "text/html", body: "Bad_OAuth_Token " + confidential},
		says: func(p *person) any {
			return with(with(with(standard(p), "preferred_username", p.user), "organization_id", "00D1"), "active", true)
		},
	}}
	v.idp = func(c *http.Client) provider.IdentityProvider {
		o.HTTPClient = c
		return social.Salesforce(clientID, clientSecret).With(o)
	}
	return v
}

func okta() *vendor {
	const base = "https://initech.okta.com/oauth2/default"
	return &vendor{
		name: "Okta", alias: "okta",
		idp: func(c *http.Client) provider.IdentityProvider {
			return social.Okta("initech.okta.com/oauth2/default", clientID, clientSecret).With(social.Options{HTTPClient: c})
		},
		authorize: base + "/v1/authorize", token: base + "/v1/token", scopes: "openid profile email", auth: "client_secret_basic client_secret_post", pkce: pkceTaken,
		issuer: base, denial: denied("access_denied"), answer: jsonTokens(object{"expires_in": 3600, "scope": "openid profile email"}),
		openID: &openID{
			discovery: base + "/.well-known/openid-configuration", jwks: base + "/v1/keys", alg: "RS256", nonce: true,
			document: object{
				"issuer": base, "authorization_endpoint": base + "/v1/authorize", "token_endpoint": base + "/v1/token", "userinfo_endpoint": base + "/v1/userinfo",
				"jwks_uri": base + "/v1/keys", "response_types_supported": list{"code"}, "subject_types_supported": list{"public"},
				"id_token_signing_alg_values_supported": list{"RS256"}, "code_challenge_methods_supported": list{"S256"},
				"token_endpoint_auth_methods_supported": list{"client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt", "none"},
				"end_session_endpoint":                  base + "/v1/logout",
			},
			claims: func(p *person) object {
				o := some(object{"name": p.name, "email": p.email, "preferred_username": p.user, "ver": 1, "jti": "ID.1", "amr": list{"pwd"}, "idp": "00o1"})
				return with(o, "sub", null(p.id))
			},
		},
		apis: []api{{
			url: base + "/v1/userinfo", broken: reply{status: 401},
			says: func(p *person) any { return with(standard(p), "preferred_username", p.user) },
		}},
		badCode: oauthError(400, "invalid_grant"), expired: tryAgain, badClient: oauthError(401, "invalid_client"),
		id: "00u0ann", number: "4711", user: "ann@initech.okta", verifies: true,
		want: want{"00u0ann", "ann@initech.okta", "Ann Lee", "Ann", "Lee", picture},
	}
}

// auth0 ends its issuer with a slash, and calls a wrong secret "access_denied".
func auth0() *vendor {
	const base = "https://initech.eu.auth0.com"
	claims := func(p *person) object { return some(with(standard(p), "nickname", p.user)) }
	return &vendor{
		name: "Auth0", alias: "auth0",
		idp: func(c *http.Client) provider.IdentityProvider {
			return social.Auth0("initech.eu.auth0.com", clientID, clientSecret).With(social.Options{HTTPClient: c})
		},
		authorize: base + "/authorize", token: base + "/oauth/token", scopes: "openid profile email", auth: "client_secret_post", pkce: pkceTaken,
		issuer: base + "/", denial: denied("unauthorized"), answer: jsonTokens(object{"expires_in": 86400, "scope": "openid profile email"}),
		openID: &openID{
			discovery: base + "/.well-known/openid-configuration", jwks: base + "/.well-known/jwks.json", alg: "RS256", nonce: true,
			document: object{
				"issuer": base + "/", "authorization_endpoint": base + "/authorize", "token_endpoint": base + "/oauth/token",
				"userinfo_endpoint": base + "/userinfo", "jwks_uri": base + "/.well-known/jwks.json", "response_types_supported": list{"code"},
				"subject_types_supported": list{"public"}, "id_token_signing_alg_values_supported": list{"HS256", "RS256", "PS256"},
				"token_endpoint_auth_methods_supported": list{"client_secret_basic", "client_secret_post", "private_key_jwt"},
				"code_challenge_methods_supported":      list{"S256", "plain"}, "end_session_endpoint": base + "/oidc/logout",
			},
			claims: claims,
		},
		apis:    []api{{url: base + "/userinfo", broken: reply{status: 401, contentType: "text/plain", body: confidential}, says: func(p *person) any { return claims(p) }}},
		badCode: oauthError(403, "invalid_grant"), expired: tryAgain, badClient: oauthError(401, "access_denied"),
		id: "auth0|ann", number: "4711", user: "ann-lee", verifies: true,
		want: want{"auth0|ann", "ann-lee", "Ann Lee", "Ann", "Lee", picture},
	}
}

// yandex has a word of its own before its tokens, and says for whom it issued one.
func yandex() *vendor {
	return &vendor{
		name: "Yandex", alias: "yandex",
		idp: func(c *http.Client) provider.IdentityProvider {
			return social.Yandex(clientID, clientSecret).With(social.Options{HTTPClient: c})
		},
		authorize: "https://oauth.yandex.com/authorize", token: "https://oauth.yandex.com/token", scopes: "login:email login:info login:avatar",
		auth: "client_secret_basic client_secret_post", pkce: pkceTaken, denial: denied("access_denied"),
		answer: jsonTokens(object{"token_type": "bearer", "expires_in": 31536000, "refresh_token": "1:ya:r", "scope": "login:email login:info login:avatar"}),
		apis: []api{{
			url: "https://login.yandex.ru/info", tokenIn: "OAuth", broken: reply{status: 401, contentType: "text/plain", body: confidential},
			says: func(p *person) any {
				o := object{
					"login": p.user, "id": null(p.id), "client_id": clientID, "psuid": "1.AA.one", "first_name": p.first, "last_name": p.last,
					"display_name": "annlee", "real_name": p.name, "default_avatar_id": "131652443", "is_avatar_empty": false, "sex": "female",
				}
				if p.email != "" {
					o["default_email"], o["emails"] = p.email, list{p.email}
				}
				return o
			},
		}},
		badCode: oauthError(400, "invalid_grant"), expired: tryAgain, badClient: oauthError(400, "invalid_client"),
		issuer: "https://oauth.yandex.com", id: "1000034426", number: "4711", user: "ann-lee",
		want: want{"1000034426", "ann-lee", "Ann Lee", "Ann", "Lee", "https://avatars.yandex.net/get-yapic/131652443/islands-200"},
	}
}

// kakao repeats the code in its error, and says of an address both whether it is verified and whether it is still this account's.
func kakao() *vendor {
	return &vendor{
		name: "Kakao", alias: "kakao",
		idp: func(c *http.Client) provider.IdentityProvider {
			return social.Kakao(clientID, clientSecret).With(social.Options{HTTPClient: c})
		},
		authorize: "https://kauth.kakao.com/oauth/authorize", token: "https://kauth.kakao.com/oauth/token",
		scopes: "account_email profile_nickname profile_image", separator: ",", auth: "client_secret_post", denial: denied("access_denied"),
		answer: jsonTokens(object{
			"token_type": "bearer", "expires_in": 21599, "refresh_token": "ka-r1", "refresh_token_expires_in": 5183999, "scope": "account_email profile_image",
		}),
		apis: []api{{
			url: "https://kapi.kakao.com/v2/user/me", broken: reply{status: 401, body: toJSON(object{"msg": confidential, "code": -401})},
			says: func(p *person) any {
				account := object{
					"profile_nickname_needs_agreement": false, "has_email": p.email != "", "email_needs_agreement": false,
					"profile": object{"nickname": p.name, "profile_image_url": p.picture, "thumbnail_image_url": p.picture, "is_default_image": false},
				}
				if p.email != "" {
					account["is_email_valid"], account["is_email_verified"], account["email"] = true, p.verified, p.email
				}
				return object{"id": number(p.id), "connected_at": "2026-11-01T00:00:00Z", "kakao_account": account}
			},
		}},
		badCode: reply{status: 400, body: toJSON(object{
			"error": "invalid_grant", "error_description": "authorization code not found for code=" + confidential, "error_code": "KOE320",
		})},
		expired: tryAgain, badClient: reply{status: 401, body: toJSON(object{"error": "invalid_client", "error_description": confidential, "error_code": "KOE010"})},
		issuer: "https://kauth.kakao.com", id: "123456789", number: "4711", numbers: true, verifies: true,
		want: want{"123456789", "ann@initech.example", "Ann Lee", "", "", picture},
	}
}

// line signs with the secret, and tells the address in the ID token alone.
func line() *vendor {
	const base = "https://access.line.me"
	return &vendor{
		name: "LINE", alias: "line",
		idp: func(c *http.Client) provider.IdentityProvider {
			return social.LINE(clientID, clientSecret).With(social.Options{HTTPClient: c})
		},
		authorize: base + "/oauth2/v2.1/authorize", token: "https://api.line.me/oauth2/v2.1/token", scopes: "openid profile email",
		auth: "client_secret_post", pkce: pkceTaken, issuer: base, denial: denied("access_denied"),
		answer: jsonTokens(object{"expires_in": 2592000, "refresh_token": "li-r1", "scope": "profile openid email"}),
		openID: &openID{
			discovery: base + "/.well-known/openid-configuration", jwks: "https://api.line.me/oauth2/v2.1/certs", alg: "HS256", nonce: true,
			document: object{
				"issuer": base, "authorization_endpoint": base + "/oauth2/v2.1/authorize", "token_endpoint": "https://api.line.me/oauth2/v2.1/token",
				"userinfo_endpoint": "https://api.line.me/oauth2/v2.1/userinfo", "jwks_uri": "https://api.line.me/oauth2/v2.1/certs",
				"response_types_supported": list{"code"}, "subject_types_supported": list{"pairwise"},
				"id_token_signing_alg_values_supported": list{"ES256"}, "code_challenge_methods_supported": list{"S256"},
			},
			claims: func(p *person) object {
				o := some(object{"name": p.name, "picture": p.picture, "email": p.email, "amr": list{"linesso"}})
				return with(o, "sub", null(p.id))
			},
		},
		apis: []api{{
			url: "https://api.line.me/oauth2/v2.1/userinfo", broken: oauthError(401, "invalid_token"),
			says: func(p *person) any {
				return with(some(object{"name": p.name, "picture": p.picture}), "sub", null(p.id))
			},
		}},
		badCode: oauthError(400, "invalid_grant"), expired: tryAgain, badClient: oauthError(400, "invalid_client"),
		id: "U0123456789abcdef0123456789abcdef", number: "4711",
		want: want{"U0123456789abcdef0123456789abcdef", "ann@initech.example", "Ann Lee", "", "", picture},
	}
}

func keycloak(realm string) *vendor {
	issuer := "https://sso.initech.example/realms/" + realm
	at := issuer + "/protocol/openid-connect"
	claims := func(p *person) object {
		return with(with(standard(p), "preferred_username", p.user), "typ", "ID")
	}
	return &vendor{
		name: "Keycloak", alias: "keycloak-" + realm,
		idp: func(c *http.Client) provider.IdentityProvider {
			return social.Keycloak("https://sso.initech.example", realm, clientID, clientSecret).With(social.Options{HTTPClient: c})
		},
		authorize: at + "/auth", token: at + "/token", scopes: "openid profile email", auth: "client_secret_basic client_secret_post", pkce: pkceTaken,
		iss: issuer, issuer: issuer, denial: denied("access_denied"),
		extra:  func(*person) url.Values { return url.Values{"session_state": {"s-1"}} },
		answer: jsonTokens(object{"expires_in": 300, "refresh_expires_in": 1800, "not-before-policy": 0, "scope": "openid email profile"}),
		openID: &openID{
			discovery: issuer + "/.well-known/openid-configuration", jwks: at + "/certs", alg: "RS256", nonce: true,
			document: object{
				"issuer": issuer, "authorization_endpoint": at + "/auth", "token_endpoint": at + "/token", "userinfo_endpoint": at + "/userinfo",
				"jwks_uri": at + "/certs", "end_session_endpoint": at + "/logout", "response_types_supported": list{"code", "none", "id_token"},
				"subject_types_supported": list{"public", "pairwise"}, "id_token_signing_alg_values_supported": list{"PS256", "RS256", "ES256", "HS256"},
				"token_endpoint_auth_methods_supported": list{"private_key_jwt", "client_secret_basic", "client_secret_post", "tls_client_auth"},
				"code_challenge_methods_supported":      list{"plain", "S256"}, "authorization_response_iss_parameter_supported": true,
			},
			claims: claims,
		},
		apis:    []api{{url: at + "/userinfo", broken: oauthError(401, "invalid_token"), says: func(p *person) any { return claims(p) }}},
		badCode: oauthError(400, "invalid_grant"), expired: tryAgain, badClient: oauthError(401, "unauthorized_client"),
		id: "f81d4fae-7dec-11d0-a765-00a0c91e6bf6", number: "4711", user: "ann", verifies: true,
		want: want{"f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "ann", "Ann Lee", "Ann", "Lee", picture},
	}
}
