package main

import (
	"reflect"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/oauth2"
)

// An oauth2Server is what a provider of the type oauth2 has below its key oauth2. A field with the name of one of oauth2.Config is
// that one.
type oauth2Server struct {
	Endpoints                    oauth2Endpoints   `yaml:"endpoints"`
	Issuer                       string            `yaml:"issuer"`
	RequireResponseIssuer        bool              `yaml:"require_response_issuer"`
	ClientID                     string            `yaml:"client_id"`
	ClientSecret                 secret            `yaml:"client_secret"`
	ClientKey                    *privateKey       `yaml:"client_key"`
	AuthMethod                   string            `yaml:"auth_method"`
	AssertionAudience            string            `yaml:"assertion_audience"`
	Scopes                       []string          `yaml:"scopes"`
	ScopeSeparator               string            `yaml:"scope_separator"`
	AuthParams                   map[string]string `yaml:"auth_params"`
	ForwardParams                []string          `yaml:"forward_params"`
	ForwardLoginHint             bool              `yaml:"forward_login_hint"`
	ForwardUILocales             bool              `yaml:"forward_ui_locales"`
	LoginParams                  map[string]string `yaml:"login_params"`
	FormPost                     bool              `yaml:"form_post"`
	TokenParams                  map[string]string `yaml:"token_params"`
	FormTokens                   bool              `yaml:"form_tokens"`
	AssumeBearer                 bool              `yaml:"assume_bearer"`
	UserInfoParams               map[string]string `yaml:"userinfo_params"`
	TokenParam                   string            `yaml:"token_param"`
	TokenScheme                  string            `yaml:"token_scheme"`
	IgnoreIDToken                bool              `yaml:"ignore_id_token"`
	ProofParam                   string            `yaml:"proof_param"`
	Header                       map[string]string `yaml:"header"`
	Claims                       oauth2Claims      `yaml:"claims"`
	EmailList                    oauth2EmailList   `yaml:"email_list"`
	EmailVerified                bool              `yaml:"email_verified"`
	EssentialClaim               string            `yaml:"essential_claim"`
	EssentialValue               string            `yaml:"essential_value"`
	InsecureAllowPrivateNetworks bool              `yaml:"insecure_allow_private_networks"`
	InsecureAllowHTTP            bool              `yaml:"insecure_allow_http"`
	InsecureSkipPKCE             bool              `yaml:"insecure_skip_pkce"`
}

type oauth2Endpoints struct {
	Authorization string `yaml:"authorization"`
	Token         string `yaml:"token"`
	UserInfo      string `yaml:"userinfo"`
	Emails        string `yaml:"emails"`
	Revocation    string `yaml:"revocation"`
}

type oauth2Claims struct {
	Subject       string `yaml:"subject"`
	Username      string `yaml:"username"`
	Email         string `yaml:"email"`
	EmailVerified string `yaml:"email_verified"`
	FirstName     string `yaml:"first_name"`
	LastName      string `yaml:"last_name"`
	Name          string `yaml:"name"`
	Locale        string `yaml:"locale"`
	Picture       string `yaml:"picture"`
	Groups        string `yaml:"groups"`
	FormerSubject string `yaml:"former_subject"`
}

type oauth2EmailList struct {
	List     string `yaml:"list"`
	Email    string `yaml:"email"`
	Verified string `yaml:"verified"`
	Primary  string `yaml:"primary"`
}

// oauth2Provider makes a provider of the type oauth2. Its mistakes are told; o is nil if checkType has told that.
func (s *setup) oauth2Provider(path string, o *oauth2Server) (provider.IdentityProvider, error) {
	if o == nil {
		return mistaken{}, nil
	}
	idp, err := oauth2.New(s.oauth2(path, *o))
	if err != nil {
		s.doc.explain(err, reflect.TypeFor[oauth2Server](), path)
		return nil, err
	}
	return idp, nil
}

func (s *setup) oauth2(path string, o oauth2Server) oauth2.Config {
	var made oauth2.Config
	s.assign(&made, o)
	s.assign(&made.Endpoints, o.Endpoints)
	s.assign(&made.Claims, o.Claims)
	s.assign(&made.EmailList, o.EmailList)
	made.HTTPClient = s.client(provider.HTTPOptions{
		InsecureAllowPrivateNetworks: o.InsecureAllowPrivateNetworks, InsecureAllowHTTP: o.InsecureAllowHTTP,
	})
	if o.ClientKey != nil {
		var err error
		if made.ClientKey, err = newKey(*o.ClientKey); err != nil {
			made.AuthMethod = oauth2.NoClientAuth // so that it does not count as one more mistake
			if !s.doc.has(path + ".client_key") {
				s.doc.problem(path+".client_key", "%v", err)
			}
		}
	}
	return made
}
