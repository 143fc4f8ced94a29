package social_test

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/social"
)

// gitHub is github.com or, with a base, an installation of its own.
func gitHub(base, apiBase string) *vendor {
	options := social.Options{BaseURL: base}
	v := &vendor{
		name: "GitHub", alias: "ghes", auth: "client_secret_post", pkce: pkceTaken, scopes: "read:user user:email",
		denial: url.Values{"error": {"access_denied"}, "error_description": {confidential},
			"error_uri": {"https://docs.github.com/apps"}},
		id: "90210", number: "4711", numbers: true, user: "Ann-Lee", verifies: true,
		want: want{"90210", "ann-lee", "Ann Lee", "", "", picture},
		badCode: reply{body: toJSON(object{"error": "bad_verification_code", "error_description": confidential,
			"error_uri": "https://docs.github.com/apps"})},
		expired: tryAgain,
		badClient: reply{body: toJSON(object{
			"error": "incorrect_client_credentials", "error_description": confidential, "error_uri": "https://docs.github.com/apps",
		})},
	}
	if base == "" {
		v.alias, base, apiBase, v.iss = "github", "https://github.com", "https://api.github.com", "https://github.com/login/oauth"
	}
	if strings.HasSuffix(base, ".ghe.com") {
		v.alias = "ghe"
	}
	v.issuer = base + "/login/oauth"
	v.authorize, v.token = base+"/login/oauth/authorize", base+"/login/oauth/access_token"
	v.idp = func(c *http.Client) provider.IdentityProvider {
		options := options
		options.HTTPClient = c
		return social.GitHub(clientID, clientSecret).With(options)
	}
	// Without an Accept header it is a form.
	v.answer = func(_ *double, g *grant, access string, r *http.Request) reply {
		if !strings.Contains(r.Header.Get("Accept"), "application/json") {
			form := url.Values{"access_token": {access}, "scope": {strings.Join(g.scope, ",")}, "token_type": {"bearer"}}
			return reply{contentType: "application/x-www-form-urlencoded; charset=utf-8", body: form.Encode()}
		}
		return reply{body: toJSON(object{"access_token": access, "scope": strings.Join(g.scope, ","), "token_type": "bearer"})}
	}
	headers := map[string]string{"User-Agent": "", "Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
	broken := reply{status: 401, body: toJSON(object{"message": confidential,
		"documentation_url": "https://docs.github.com/rest", "status": "401"})}
	v.apis = []api{{
		url: apiBase + "/user", header: headers, broken: broken,
		says: func(p *person) any {
			return object{
				"login": p.user, "id": number(p.id), "node_id": "U_1", "avatar_url": p.picture, "gravatar_id": "",
				"type": "User", "site_admin": false,
				"name": null(p.name), "company": nil, "email": "public@initech.example", "hireable": nil, "bio": nil,
				"two_factor_authentication": true,
			}
		},
	}, {
		url: apiBase + "/user/emails", header: headers, broken: broken,
		says: func(p *person) any {
			if p.email == "" {
				return list{}
			}
			return list{
				object{"email": "4711+ann@users.noreply.github.com", "primary": false, "verified": false, "visibility": nil},
				object{"email": p.email, "primary": true, "verified": p.verified, "visibility": "private"},
			}
		},
	}}
	return v
}

// facebook shows a document of Graph's, in which what the person did not allow is missing.
func facebook() *vendor {
	fault := func(status, code int, kind string) reply {
		return reply{status: status, body: toJSON(object{"error": object{"message": confidential, "type": kind, "code": code,
			"fbtrace_id": "A1"}})}
	}
	return &vendor{
		name: "Facebook", alias: "facebook",
		idp: func(c *http.Client) provider.IdentityProvider {
			return social.Facebook(clientID, clientSecret).With(social.Options{HTTPClient: c})
		},
		authorize: "https://www.facebook.com/v26.0/dialog/oauth", token: "https://graph.facebook.com/v26.0/oauth/access_token",
		scopes: "email public_profile", separator: ",", auth: "client_secret_post",
		denial: url.Values{"error": {"access_denied"}, "error_reason": {"user_denied"}, "error_description": {confidential}},
		answer: func(_ *double, _ *grant, access string, _ *http.Request) reply {
			return reply{body: toJSON(object{"access_token": access, "token_type": "bearer"})} // expires_in may be missing
		},
		apis: []api{{
			url: "https://graph.facebook.com/v26.0/me", proof: true, broken: fault(400, 190, "OAuthException"),
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

func discord() *vendor {
	return &vendor{
		name: "Discord", alias: "discord",
		idp: func(c *http.Client) provider.IdentityProvider {
			return social.Discord(clientID, clientSecret).With(social.Options{HTTPClient: c})
		},
		authorize: "https://discord.com/oauth2/authorize", token: "https://discord.com/api/oauth2/token", scopes: "identify email",
		auth: "client_secret_basic client_secret_post", pkce: pkceTaken, iss: "https://discord.com", denial: denied("access_denied"),
		answer: jsonTokens(object{"expires_in": 604800, "refresh_token": "D-1", "scope": "identify email"}),
		apis: []api{{
			url: "https://discord.com/api/v10/users/@me", header: map[string]string{"User-Agent": "DiscordBot ("},
			broken: reply{status: 401, body: toJSON(object{"message": confidential, "code": 0})},
			says: func(p *person) any {
				return object{
					"id": null(p.id), "username": p.user, "discriminator": "0", "global_name": null(p.name),
					"avatar":   "8342729096ea3675442027381ff50dfe",
					"verified": p.verified, "email": null(p.email), "locale": "en-US", "mfa_enabled": true, "flags": 0,
				}
			},
		}},
		badCode: oauthError(400, "invalid_grant"), expired: tryAgain, badClient: oauthError(401, "invalid_client"),
		issuer: "https://discord.com", id: "80351110224678912", number: "4711", user: "ann.lee", verifies: true,
		want: want{"80351110224678912", "ann.lee", "Ann Lee", "", "",
			"https://cdn.discordapp.com/avatars/80351110224678912/8342729096ea3675442027381ff50dfe.png"},
	}
}

// x calls an address that is there a confirmed one, and a code that was used a bad request.
func x() *vendor {
	return &vendor{
		name: "X", alias: "x",
		idp: func(c *http.Client) provider.IdentityProvider {
			return social.X(clientID, clientSecret).With(social.Options{HTTPClient: c})
		},
		authorize: "https://x.com/i/oauth2/authorize", token: "https://api.x.com/2/oauth2/token",
		scopes: "users.read tweet.read users.email",
		auth:   "client_secret_basic", pkce: pkceTaken, denial: denied("access_denied"),
		answer: func(_ *double, _ *grant, access string, _ *http.Request) reply {
			return reply{body: toJSON(object{"token_type": "bearer", "expires_in": 7200, "access_token": access,
				"scope": "users.email tweet.read users.read"})}
		},
		apis: []api{{
			url: "https://api.x.com/2/users/me", query: map[string]string{"user.fields": "confirmed_email,profile_image_url"},
			broken: reply{status: 401, contentType: "application/problem+json",
				body: toJSON(object{"title": confidential, "type": "about:blank", "status": 401})},
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
		authorize: "https://bitbucket.org/site/oauth2/authorize", token: "https://bitbucket.org/site/oauth2/access_token",
		scopes: "account email",
		auth:   "client_secret_basic client_secret_post", denial: denied("access_denied"),
		answer: func(_ *double, _ *grant, access string, _ *http.Request) reply {
			return reply{body: toJSON(object{
				"access_token": access, "scopes": "account email", "token_type": "bearer", "expires_in": 7200,
				"state": "authorization_code", "refresh_token": "bb-r1",
			})}
		},
		apis: []api{{
			url: "https://api.bitbucket.org/2.0/user", broken: broken,
			says: func(p *person) any {
				return object{
					"type": "user", "uuid": null(p.id), "account_id": "557058:0001", "nickname": p.user, "username": p.user,
					"display_name": p.name,
					"links": object{"avatar": object{"href": p.picture},
						"self": object{"href": "https://api.bitbucket.org/2.0/users/1"}},
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
			return reply{contentType: "text/plain; charset=utf-8",
				body: url.Values{"access_token": {access}, "expires": {"86400"}}.Encode()}
		},
		apis: []api{{
			url: "https://api.stackexchange.com/2.3/me", tokenIn: "query", gzip: true,
			query: map[string]string{"site": "stackoverflow", "key": key},
			broken: reply{status: 400, body: toJSON(object{"error_id": 403, "error_message": confidential,
				"error_name": "access_denied"})},
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

func spotify() *vendor {
	return &vendor{
		name: "Spotify", alias: "spotify",
		idp: func(c *http.Client) provider.IdentityProvider {
			return social.Spotify(clientID, clientSecret).With(social.Options{HTTPClient: c})
		},
		authorize: "https://accounts.spotify.com/authorize", token: "https://accounts.spotify.com/api/token",
		scopes: "user-read-email",
		auth:   "client_secret_basic", pkce: pkceTaken, denial: denied("access_denied"),
		answer: jsonTokens(object{"expires_in": 3600, "refresh_token": "sp-r1", "scope": "user-read-email"}),
		apis: []api{{
			url: "https://api.spotify.com/v1/me", broken: reply{status: 401,
				body: toJSON(object{"error": object{"status": 401, "message": confidential}})},
			says: func(p *person) any {
				return with(some(object{
					"display_name": p.name, "email": p.email, "id": p.user,
					"images": list{object{"url": p.picture, "height": nil, "width": nil}}, "type": "user",
					"uri": "spotify:user:" + p.user, "followers": object{"href": nil, "total": 1},
				}), "account_id", null(p.id))
			},
		}},
		badCode: oauthError(400, "invalid_grant"), expired: tryAgain, badClient: oauthError(400, "invalid_client"),
		issuer: "https://accounts.spotify.com", id: "acc-ann1", number: "4711", user: "ann31",
		want: want{"acc-ann1", "ann31", "Ann Lee", "", "", picture},
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
		authorize: www + "/signin/authorize", token: apiBase + "/v1/oauth2/token", scopes: "openid profile email",
		auth:   "client_secret_basic",
		denial: denied("access_denied"),
		answer: jsonTokens(object{"scope": "openid profile email", "expires_in": 28800, "refresh_token": "R-1", "nonce": "n",
			"id_token": "not.to.be-used"}),
		apis: []api{{
			url: apiBase + "/v1/identity/openidconnect/userinfo", query: map[string]string{"schema": "openid"},
			broken: reply{status: 401, body: toJSON(object{"name": "AUTHENTICATION_FAILURE", "message": confidential,
				"debug_id": "1"})},
			says: func(p *person) any {
				o := with(with(standard(p), "payer_id", "ANNPAYER1"), "verified_account", true)
				return with(o, "user_id", null(p.id))
			},
		}},
		badCode: oauthError(400, "invalid_grant"), expired: tryAgain, badClient: oauthError(401, "invalid_client"),
		issuer: www, id: account, number: "4711", verifies: true,
		want: want{account, "ann@initech.example", "Ann Lee", "Ann", "Lee", picture},
	}
}

// yandex has a word of its own before its tokens, and says for whom it issued one.
func yandex() *vendor {
	return &vendor{
		name: "Yandex", alias: "yandex",
		idp: func(c *http.Client) provider.IdentityProvider {
			return social.Yandex(clientID, clientSecret).With(social.Options{HTTPClient: c})
		},
		authorize: "https://oauth.yandex.com/authorize", token: "https://oauth.yandex.com/token",
		scopes: "login:email login:info login:avatar",
		auth:   "client_secret_basic client_secret_post", pkce: pkceTaken, denial: denied("access_denied"),
		answer: jsonTokens(object{"token_type": "bearer", "expires_in": 31536000, "refresh_token": "1:ya:r",
			"scope": "login:email login:info login:avatar"}),
		apis: []api{{
			url: "https://login.yandex.ru/info", tokenIn: "OAuth",
			broken: reply{status: 401, contentType: "text/plain", body: confidential},
			says: func(p *person) any {
				o := object{
					"login": p.user, "id": null(p.id), "client_id": clientID, "psuid": "1.AA.one", "first_name": p.first,
					"last_name":    p.last,
					"display_name": "annlee", "real_name": p.name, "default_avatar_id": "131652443", "is_avatar_empty": false,
					"sex": "female",
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
		scopes: "account_email profile_nickname profile_image", separator: ",", auth: "client_secret_post", pkce: pkceTaken,
		denial: denied("access_denied"),
		answer: jsonTokens(object{
			"token_type": "bearer", "expires_in": 21599, "refresh_token": "ka-r1", "refresh_token_expires_in": 5183999,
			"scope": "account_email profile_image",
		}),
		apis: []api{{
			url:    "https://kapi.kakao.com/v2/user/me",
			broken: reply{status: 401, body: toJSON(object{"msg": confidential, "code": -401})},
			says: func(p *person) any {
				account := object{
					"profile_nickname_needs_agreement": false, "has_email": p.email != "", "email_needs_agreement": false,
					"profile": object{"nickname": p.name, "profile_image_url": p.picture, "thumbnail_image_url": p.picture,
						"is_default_image": false},
				}
				if p.email != "" {
					account["is_email_valid"], account["is_email_verified"], account["email"] = true, p.verified, p.email
				}
				return object{"id": number(p.id), "connected_at": "2026-11-01T00:00:00Z", "kakao_account": account}
			},
		}},
		badCode: reply{status: 400, body: toJSON(object{
			"error": "invalid_grant", "error_description": "authorization code not found for code=" + confidential,
			"error_code": "KOE320",
		})},
		expired: tryAgain, badClient: reply{status: 401,
			body: toJSON(object{"error": "invalid_client", "error_description": confidential, "error_code": "KOE010"})},
		issuer: "https://kauth.kakao.com", id: "123456789", number: "4711", numbers: true, verifies: true,
		want: want{"123456789", "ann@initech.example", "Ann Lee", "", "", picture},
	}
}
