package social

import (
	"errors"
	"html"
	"net/url"
	"strings"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oauth2"
)

// GitHub is GitHub or, with Options.BaseURL, GitHub Enterprise: a server of one's own, or "https://example.ghe.com". Documentation
// looked up in 2026-11.
//
// The subject is the account's number, as logins can be changed and taken by somebody else. The e-mail address is the primary one of
// /user/emails, or another one that is verified, which GitHub says of each. Scopes: read:user, user:email. GitHub reports errors of
// its token endpoint with status 200.
//
//  1. Open Settings, Developer settings, OAuth Apps of the account or the organisation.
//  2. Choose New OAuth app and enter name and home page.
//  3. As authorization callback URL enter {BaseURL}/broker/{alias}/endpoint.
//  4. Register the application and copy its client ID.
//  5. Generate a client secret and copy it, which can be done once.
func GitHub(clientID, clientSecret string) *OAuth2 {
	return oAuth2Preset{
		vendor: vendor{brand: brand("GitHub", "GH", "#24292f", white), takes: []string{"BaseURL"}},
		config: oauth2.Config{
			ClientID: clientID, ClientSecret: clientSecret, AuthMethod: oauth2.ClientSecretPost,
			Scopes: []string{"read:user", "user:email"},
			// There is a later version, which servers of one's own refuse that are older.
			Header: map[string]string{"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"},
			Claims: oauth2.Claims{
				Subject: "id", Username: "login", Name: "name", Picture: "avatar_url", FirstName: "-", LastName: "-", Locale: "-", Groups: "-",
			},
		},
		configure: func(c *oauth2.Config, o *Options) error {
			base, api := o.base("https://github.com"), "https://api.github.com"
			if host, ok := strings.CutPrefix(base, "https://"); ok && strings.HasSuffix(host, ".ghe.com") {
				api = "https://api." + host
			} else if o.BaseURL != "" {
				api = base + "/api/v3"
			}
			c.Issuer = base + "/login/oauth"
			c.Endpoints = oauth2.Endpoints{
				Authorization: base + "/login/oauth/authorize", Token: base + "/login/oauth/access_token",
				UserInfo: api + "/user", Emails: api + "/user/emails",
			}
			return nil
		},
	}.build(Options{})
}

// facebookVersion is of Facebook's interface: the latest, of July 2026. Each lives about two years.
const facebookVersion = "v26.0"

// Facebook is Facebook Login. Documentation looked up in 2026-11.
//
// The subject is id, the user's number for this application. The e-mail address is not verified, as Facebook does not say that it is,
// and may be missing. Scopes: email, public_profile. Requests carry appsecret_proof, so that Require App Secret can be switched on.
// Options.Fields are fetched beside id, name, first_name, last_name, email and picture, and stand in Claims. There is no nonce, and
// Facebook documents PKCE for a trial of OpenID Connect only: the challenge is sent, but a code that was stolen on its way may be good
// in the thief's browser all the same. Insecure does not name that.
//
//  1. In Meta for Developers create an app that authenticates users with Facebook Login.
//  2. Under Facebook Login, Settings, enter the valid OAuth redirect URI {BaseURL}/broker/{alias}/endpoint.
//  3. Under App settings, Advanced, switch Require App Secret on.
//  4. Under App settings, Basic, copy app ID and app secret.
//  5. Get advanced access for the permission email, and publish the app.
func Facebook(appID, appSecret string) *OAuth2 {
	return oAuth2Preset{
		vendor: vendor{brand: brand("Facebook", "f", "#0866ff", white), takes: []string{"Fields"}},
		config: oauth2.Config{
			Issuer: "https://www.facebook.com", ClientID: appID, ClientSecret: appSecret, AuthMethod: oauth2.ClientSecretPost,
			Endpoints: oauth2.Endpoints{
				Authorization: "https://www.facebook.com/" + facebookVersion + "/dialog/oauth",
				Token:         "https://graph.facebook.com/" + facebookVersion + "/oauth/access_token",
				UserInfo:      "https://graph.facebook.com/" + facebookVersion + "/me",
			},
			Scopes: []string{"email", "public_profile"}, ScopeSeparator: ",",
			LoginParams: map[string]string{"auth_type": "reauthenticate"},
			ProofParam:  "appsecret_proof",
			Claims: oauth2.Claims{
				Subject: "id", FirstName: "first_name", LastName: "last_name", Picture: "picture.data.url",
				Username: "-", EmailVerified: "-", Locale: "-", Groups: "-",
			},
		},
		configure: func(c *oauth2.Config, o *Options) error {
			fields := append([]string{"id", "name", "first_name", "last_name", "email", "picture"}, o.Fields...)
			c.UserInfoParams = map[string]string{"fields": strings.Join(fields, ",")}
			return nil
		},
	}.build(Options{})
}

// X is X, formerly Twitter, by OAuth 2.0. Documentation looked up in 2026-11.
//
// The subject is data.id, the account's number, as usernames can be changed and taken by somebody else. The e-mail address is verified
// whenever there is one: X tells none that was not confirmed. Scopes: users.read, tweet.read, users.email.
//
//  1. Open the X developer portal and make a project with an app.
//  2. Under User authentication settings choose Web App, a confidential client, with the permission Read.
//  3. There tick Request email from users, and enter website, terms and privacy policy.
//  4. There enter the callback URI {BaseURL}/broker/{alias}/endpoint.
//  5. Copy the client ID and client secret of OAuth 2.0, not the keys of OAuth 1.0a.
func X(clientID, clientSecret string) *OAuth2 {
	return oAuth2Preset{
		vendor: vendor{brand: brand("X", "X", "#000", white), takes: []string{"Offline"}, offline: "offline.access"},
		config: oauth2.Config{
			Issuer: "https://x.com", ClientID: clientID, ClientSecret: clientSecret, AuthMethod: oauth2.ClientSecretBasic,
			Endpoints: oauth2.Endpoints{
				Authorization: "https://x.com/i/oauth2/authorize", Token: "https://api.x.com/2/oauth2/token",
				UserInfo: "https://api.x.com/2/users/me", Revocation: "https://api.x.com/2/oauth2/revoke",
			},
			Scopes:         []string{"users.read", "tweet.read", "users.email"},
			UserInfoParams: map[string]string{"user.fields": "confirmed_email,profile_image_url"},
			Claims: oauth2.Claims{
				Subject: "data.id", Username: "data.username", Name: "data.name", Email: "data.confirmed_email", Picture: "data.profile_image_url",
				EmailVerified: "-", FirstName: "-", LastName: "-", Locale: "-", Groups: "-",
			},
			EmailVerified: true,
		},
	}.build(Options{})
}

// Bitbucket is Bitbucket Cloud. Documentation looked up in 2026-11.
//
// The subject is uuid, with its braces. The e-mail address is one of /user/emails that is confirmed, the primary one if that is; an
// unconfirmed one counts as not verified. Scopes: account, email. A workspace is nobody and is refused. There is no nonce, and
// Bitbucket's documentation does not know PKCE: the challenge is sent, but a code that was stolen on its way may be good in the
// thief's browser all the same. Insecure does not name that.
//
//  1. Open the settings of the workspace, OAuth consumers, Add consumer.
//  2. Enter a name, and leave This is a private consumer ticked.
//  3. As callback URL enter {BaseURL}/broker/{alias}/endpoint.
//  4. Under Account tick the permissions Email and Read.
//  5. Save and copy key, which is the client's id, and secret.
func Bitbucket(key, secret string) *OAuth2 {
	return oAuth2Preset{
		vendor: vendor{brand: brand("Bitbucket", "B", "#0052cc", white), adjust: onlyPeople},
		config: oauth2.Config{
			Issuer: "https://bitbucket.org", ClientID: key, ClientSecret: secret, AuthMethod: oauth2.ClientSecretBasic,
			Endpoints: oauth2.Endpoints{
				Authorization: "https://bitbucket.org/site/oauth2/authorize", Token: "https://bitbucket.org/site/oauth2/access_token",
				UserInfo: "https://api.bitbucket.org/2.0/user", Emails: "https://api.bitbucket.org/2.0/user/emails",
			},
			Scopes: []string{"account", "email"},
			Claims: oauth2.Claims{
				Subject: "uuid", Username: "nickname", Name: "display_name", Picture: "links.avatar.href",
				FirstName: "-", LastName: "-", Locale: "-", Groups: "-",
			},
			EmailList: oauth2.EmailList{List: "values", Verified: "is_confirmed", Primary: "is_primary"},
		},
	}.build(Options{})
}

// onlyPeople refuses Bitbucket's workspaces.
func onlyPeople(_ *Options, id *provider.Identity) error {
	if id.Claims["type"] != "user" {
		return refuse(provider.Invalid, "the account is no user's")
	}
	return nil
}

// StackOverflow is Stack Overflow. Its key is that of the application, beside id and secret. Documentation looked up in 2026-11.
//
// The subject is user_id, the user's number at Stack Overflow. There is no e-mail address, and the username is the display name, which
// others may have as well. Scopes: none. The answers of the token endpoint are forms, and the access token goes as a parameter.
//
//  1. Open Stack Apps and register an application.
//  2. Enter name, description and website.
//  3. As OAuth domain enter the host of {BaseURL}/broker/{alias}/endpoint, below which that is accepted.
//  4. Leave the implicit grant, the client-side flow, disabled.
//  5. Copy client ID, client secret and key.
func StackOverflow(clientID, clientSecret, key string) *OAuth2 {
	preset := oAuth2Preset{
		vendor: vendor{brand: brand("Stack Overflow", "SO", "#f48024", black), adjust: unescape},
		config: oauth2.Config{
			Issuer: "https://stackoverflow.com", ClientID: clientID, ClientSecret: clientSecret, AuthMethod: oauth2.ClientSecretPost,
			Endpoints: oauth2.Endpoints{
				Authorization: "https://stackoverflow.com/oauth", Token: "https://stackoverflow.com/oauth/access_token",
				UserInfo: "https://api.stackexchange.com/2.3/me",
			},
			FormTokens: true, AssumeBearer: true, TokenParam: "access_token",
			UserInfoParams: map[string]string{"site": "stackoverflow", "key": key},
			Claims: oauth2.Claims{
				Subject: "items[0].user_id", Username: "items[0].display_name", Name: "items[0].display_name",
				Picture: "items[0].profile_image",
				Email:   "-", EmailVerified: "-", FirstName: "-", LastName: "-", Locale: "-", Groups: "-",
			},
		},
	}
	if key == "" {
		preset.err = errors.New("key: is missing")
	}
	return preset.build(Options{})
}

// unescape undoes what Stack Exchange does to names: they are HTML.
func unescape(_ *Options, id *provider.Identity) error {
	if name := named(html.UnescapeString(id.Name)); name != "" {
		id.Name, id.Username = name, name
	}
	return nil
}

// PayPal is Log in with PayPal, with Options.Sandbox its sandbox. Documentation looked up in 2026-11.
//
// The subject is user_id, an address. The e-mail address is verified if PayPal says so (email_verified). Scopes: openid, profile, email,
// without which PayPal says nothing; its ID tokens, and with them a nonce, are not used. PayPal's documentation does not know PKCE
// either: the challenge is sent, but a code that was stolen on its way may be good in the thief's browser all the same. Insecure does
// not name that.
//
//  1. Open the PayPal developer dashboard, Apps & Credentials, and create an app, live or in the sandbox.
//  2. Switch Log in with PayPal on.
//  3. There enter the return URL {BaseURL}/broker/{alias}/endpoint, which cannot be on localhost.
//  4. There tick full name and e-mail address, and enter the links to privacy policy and user agreement.
//  5. Copy client ID and secret.
func PayPal(clientID, clientSecret string) *OAuth2 {
	return oAuth2Preset{
		vendor: vendor{brand: brand("PayPal", "P", "#003087", white), takes: []string{"Sandbox"}},
		config: oauth2.Config{
			ClientID: clientID, ClientSecret: clientSecret, AuthMethod: oauth2.ClientSecretBasic,
			Scopes: []string{"openid", "profile", "email"}, IgnoreIDToken: true,
			UserInfoParams: map[string]string{"schema": "openid"},
			Claims:         oauth2.Claims{Subject: "user_id", Username: "-", Groups: "-"},
		},
		configure: func(c *oauth2.Config, o *Options) error {
			domain := "paypal.com"
			if o.Sandbox {
				domain = "sandbox.paypal.com"
			}
			c.Issuer = "https://www." + domain
			c.Endpoints = oauth2.Endpoints{
				Authorization: "https://www." + domain + "/signin/authorize", Token: "https://api-m." + domain + "/v1/oauth2/token",
				UserInfo: "https://api-m." + domain + "/v1/identity/openidconnect/userinfo",
			}
			return nil
		},
	}.build(Options{})
}

// Discord is Discord. Documentation looked up in 2026-11.
//
// The subject is id, the user's number. The e-mail address is verified if Discord says so (verified). Scopes: identify, email.
//
//  1. Open the Discord developer portal and choose New Application.
//  2. Open OAuth2.
//  3. Add the redirect {BaseURL}/broker/{alias}/endpoint.
//  4. Copy the client ID.
//  5. Choose Reset Secret and copy the client secret.
func Discord(clientID, clientSecret string) *OAuth2 {
	return oAuth2Preset{
		vendor: vendor{brand: brand("Discord", "D", "#5865f2", white), adjust: discordAvatar},
		config: oauth2.Config{
			Issuer: "https://discord.com", ClientID: clientID, ClientSecret: clientSecret, AuthMethod: oauth2.ClientSecretPost,
			Endpoints: oauth2.Endpoints{
				Authorization: "https://discord.com/oauth2/authorize", Token: "https://discord.com/api/oauth2/token",
				UserInfo: "https://discord.com/api/v10/users/@me", Revocation: "https://discord.com/api/oauth2/token/revoke",
			},
			Scopes: []string{"identify", "email"},
			// Discord wants a name in this form, and may turn others away.
			Header: map[string]string{"User-Agent": "DiscordBot (https://github.com/go-idbroker/idbroker, 1)"},
			Claims: oauth2.Claims{
				Subject: "id", Username: "username", Name: "global_name", EmailVerified: "verified",
				FirstName: "-", LastName: "-", Picture: "-", Groups: "-",
			},
		},
	}.build(Options{})
}

// discordAvatar makes an address of the avatar's hash.
func discordAvatar(_ *Options, id *provider.Identity) error {
	if hash, _ := id.Claims["avatar"].(string); hash != "" {
		id.Picture = "https://cdn.discordapp.com/avatars/" + url.PathEscape(id.Subject) + "/" + url.PathEscape(hash) + ".png"
	}
	return nil
}

// Spotify is Spotify. Documentation looked up in 2026-11.
//
// The subject is account_id, which Spotify gives since May 2026 for this very purpose: id, which is the username here, may change. The
// e-mail address is not verified, as Spotify's documentation says, and new applications that are still in development mode are told
// none. Scopes: user-read-email.
//
//  1. Open the Spotify developer dashboard and create an app.
//  2. Enter the redirect URI {BaseURL}/broker/{alias}/endpoint, which has to be https, and tick Web API.
//  3. Under Settings copy the client ID.
//  4. There view and copy the client secret.
//  5. Add the users who may try it, or request extended quota for everybody.
func Spotify(clientID, clientSecret string) *OAuth2 {
	return oAuth2Preset{
		vendor: vendor{brand: brand("Spotify", "S", "#1ed760", black)},
		config: oauth2.Config{
			Issuer: "https://accounts.spotify.com", ClientID: clientID, ClientSecret: clientSecret, AuthMethod: oauth2.ClientSecretBasic,
			Endpoints: oauth2.Endpoints{
				Authorization: "https://accounts.spotify.com/authorize", Token: "https://accounts.spotify.com/api/token",
				UserInfo: "https://api.spotify.com/v1/me",
			},
			Scopes: []string{"user-read-email"},
			Claims: oauth2.Claims{
				Subject: "account_id", Username: "id", Name: "display_name", Picture: "images[0].url",
				EmailVerified: "-", FirstName: "-", LastName: "-", Locale: "-", Groups: "-",
			},
		},
	}.build(Options{})
}

// Amazon is Login with Amazon. Documentation looked up in 2026-11.
//
// The subject is user_id, the customer's id for the developer's account. The e-mail address is not verified: Amazon does not say that
// it is. Scopes: profile.
//
//  1. Open the Amazon developer console, Login with Amazon, and create a security profile.
//  2. Enter a name, a description and the address of the privacy notice.
//  3. Under Web Settings enter the allowed return URL {BaseURL}/broker/{alias}/endpoint.
//  4. There copy the client ID.
//  5. There show and copy the client secret.
func Amazon(clientID, clientSecret string) *OAuth2 {
	return oAuth2Preset{
		vendor: vendor{brand: brand("Amazon", "a", "#ff9900", black)},
		config: oauth2.Config{
			Issuer: "https://www.amazon.com", ClientID: clientID, ClientSecret: clientSecret, AuthMethod: oauth2.ClientSecretPost,
			Endpoints: oauth2.Endpoints{
				Authorization: "https://www.amazon.com/ap/oa", Token: "https://api.amazon.com/auth/o2/token",
				UserInfo: "https://api.amazon.com/user/profile",
			},
			Scopes: []string{"profile"},
			Claims: oauth2.Claims{
				Subject: "user_id", Username: "-", EmailVerified: "-", FirstName: "-", LastName: "-", Locale: "-", Picture: "-", Groups: "-",
			},
		},
	}.build(Options{})
}

// Yandex is Yandex ID. Documentation looked up in 2026-11.
//
// The subject is id, the user's number. The e-mail address is not verified: Yandex does not say that it is. Scopes: login:email,
// login:info, login:avatar.
//
//  1. Open oauth.yandex.com and create an app, for web services.
//  2. Enter name and icon.
//  3. As redirect URI enter {BaseURL}/broker/{alias}/endpoint.
//  4. Select access to e-mail address, name and avatar.
//  5. Copy ClientID and client secret.
func Yandex(clientID, clientSecret string) *OAuth2 {
	return oAuth2Preset{
		vendor: vendor{brand: brand("Yandex", "Y", "#fc3f1d", black), adjust: yandexAvatar},
		config: oauth2.Config{
			Issuer: "https://oauth.yandex.com", ClientID: clientID, ClientSecret: clientSecret, AuthMethod: oauth2.ClientSecretPost,
			Endpoints: oauth2.Endpoints{
				Authorization: "https://oauth.yandex.com/authorize", Token: "https://oauth.yandex.com/token",
				UserInfo: "https://login.yandex.ru/info",
			},
			Scopes:         []string{"login:email", "login:info", "login:avatar"},
			TokenScheme:    "OAuth",
			UserInfoParams: map[string]string{"format": "json"},
			Claims: oauth2.Claims{
				Subject: "id", Username: "login", Email: "default_email", FirstName: "first_name", LastName: "last_name", Name: "real_name",
				EmailVerified: "-", Locale: "-", Picture: "-", Groups: "-",
			},
		},
	}.build(Options{})
}

// yandexAvatar makes an address of the avatar's id.
func yandexAvatar(_ *Options, id *provider.Identity) error {
	if avatar, _ := id.Claims["default_avatar_id"].(string); avatar != "" && id.Claims["is_avatar_empty"] != true {
		// Its id may have a slash of its own.
		id.Picture = (&url.URL{Scheme: "https", Host: "avatars.yandex.net", Path: "/get-yapic/" + avatar + "/islands-200"}).String()
	}
	return nil
}

// Kakao is Kakao Login. Its client's id is the REST API key. Documentation looked up in 2026-11.
//
// The subject is id, the user's number for this app. The e-mail address is verified if Kakao says that it is both valid, which one is
// not that another account has taken over, and verified. Scopes: account_email, profile_nickname, profile_image. There is no nonce; that
// Kakao knows PKCE stands in its metadata and not in its guides.
//
//  1. Open Kakao Developers and add an app, a business app if e-mail addresses are wanted.
//  2. Under Kakao Login activate it.
//  3. There enter the redirect URI {BaseURL}/broker/{alias}/endpoint.
//  4. Under Consent items enable nickname, profile image and account e-mail.
//  5. Copy the REST API key, and under Security generate and activate a client secret.
func Kakao(clientID, clientSecret string) *OAuth2 {
	return oAuth2Preset{
		vendor: vendor{brand: brand("Kakao", "K", "#fee500", black), adjust: kakaoEmail},
		config: oauth2.Config{
			Issuer: "https://kauth.kakao.com", ClientID: clientID, ClientSecret: clientSecret, AuthMethod: oauth2.ClientSecretPost,
			Endpoints: oauth2.Endpoints{
				Authorization: "https://kauth.kakao.com/oauth/authorize", Token: "https://kauth.kakao.com/oauth/token",
				UserInfo: "https://kapi.kakao.com/v2/user/me",
			},
			Scopes: []string{"account_email", "profile_nickname", "profile_image"}, ScopeSeparator: ",",
			LoginParams: map[string]string{"prompt": "login"},
			Claims: oauth2.Claims{
				Subject: "id", Name: "kakao_account.profile.nickname", Email: "kakao_account.email",
				EmailVerified: "kakao_account.is_email_verified", Picture: "kakao_account.profile.profile_image_url",
				Username: "-", FirstName: "-", LastName: "-", Locale: "-", Groups: "-",
			},
		},
	}.build(Options{})
}

// kakaoEmail distrusts an address that is another account's now.
func kakaoEmail(_ *Options, id *provider.Identity) error {
	account, _ := id.Claims["kakao_account"].(map[string]any)
	id.EmailVerified = id.EmailVerified && account["is_email_valid"] == true
	return nil
}
