package social

import (
	"github.com/go-idbroker/idbroker/provider/oauth2"
)

// GitHub is GitHub or, with Options.BaseURL, GitHub Enterprise Server. Documentation looked up in 2026-11.
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
			Header: map[string]string{"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"},
			Claims: oauth2.Claims{
				Subject: "id", Username: "login", Name: "name", Picture: "avatar_url", FirstName: "-", LastName: "-", Locale: "-", Groups: "-",
			},
		},
		configure: func(c *oauth2.Config, o *Options) error {
			base, api := o.base("https://github.com"), "https://api.github.com"
			if o.BaseURL != "" {
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
