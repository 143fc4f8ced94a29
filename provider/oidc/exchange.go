package oidc

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/token"
)

const (
	assertionType     = token.IDToken // its typ is "JWT", RFC 7523 §3 asks for no other
	assertionLifetime = time.Minute
	maxExpiry         = 10 * 365 * 24 * time.Hour
)

// tokenAnswer is what a token endpoint sends, RFC 6749 §5.1 and §5.2, OpenID Connect Core §3.1.3.3.
type tokenAnswer struct {
	AccessToken  string          `json:"access_token"`
	TokenType    string          `json:"token_type"`
	RefreshToken string          `json:"refresh_token"`
	IDToken      string          `json:"id_token"`
	Scope        string          `json:"scope"`
	ExpiresIn    json.RawMessage `json:"expires_in"`
	Error        string          `json:"error"`
}

// exchange gets the tokens for a code. No error of it repeats what the endpoint sent but an error code, since providers
// are known to repeat code and secret in theirs.
func (p *Provider) exchange(ctx context.Context, up *upstream, code string, l *login) (*provider.Tokens, error) {
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {l.RedirectURI}}
	if l.Verifier != "" {
		form.Set("code_verifier", l.Verifier)
	}
	req, err := p.tokenRequest(ctx, up, form)
	if err != nil {
		return nil, err
	}
	asked := p.now()
	status, contentType, body, err := p.do(req)
	if err != nil {
		return nil, fail(provider.Unavailable, "redeem code: %w", err)
	}
	var a tokenAnswer
	unreadable := json.Unmarshal(body, &a) != nil
	if status != http.StatusOK || (!unreadable && a.Error != "") {
		return nil, p.tokenError(up, status, a.Error)
	}
	switch {
	case !isMedia(contentType, "application/json"):
		return nil, fail(provider.Invalid, "redeem code: answer is %s, want application/json", quote(contentType))
	case unreadable:
		return nil, fail(provider.Invalid, "redeem code: answer is not the JSON of a token response")
	case !strings.EqualFold(a.TokenType, "Bearer"):
		return nil, fail(provider.Invalid, "redeem code: token type is %s, want Bearer", quote(a.TokenType))
	case a.AccessToken == "":
		return nil, fail(provider.Invalid, "redeem code: no access token")
	case a.IDToken == "":
		return nil, fail(provider.Invalid, "redeem code: no ID token; is %q an OpenID Provider?", p.cfg.Issuer)
	}
	return &provider.Tokens{
		AccessToken:  a.AccessToken,
		TokenType:    "Bearer",
		RefreshToken: a.RefreshToken,
		IDToken:      a.IDToken,
		Scope:        a.Scope,
		Expiry:       expiry(asked, a.ExpiresIn),
	}, nil
}

// tokenError says what an error of the token endpoint means.
func (p *Provider) tokenError(up *upstream, status int, code string) error {
	kind, ok := kindOf(code)
	if !ok {
		kind = provider.Misconfigured
	}
	if status >= 500 || status == http.StatusTooManyRequests {
		kind = provider.Unavailable
	}
	err := fmt.Errorf("redeem code: the token endpoint answered with status %d", status)
	if code == "invalid_client" && up.authMethods != nil {
		err = fmt.Errorf("%w; this client uses %s, the provider says that it takes %s",
			err, p.cfg.AuthMethod, quote(strings.Join(up.authMethods, " ")))
	}
	return &provider.Error{Kind: kind, Code: safeCode(code), Err: err}
}

// tokenRequest builds a request to the token endpoint in which the client authenticates, in the one configured way.
func (p *Provider) tokenRequest(ctx context.Context, up *upstream, form url.Values) (*http.Request, error) {
	id, secret := p.cfg.ClientID, p.cfg.ClientSecret
	basicID, basicSecret := "", ""
	switch p.cfg.AuthMethod {
	case ClientSecretBasic:
		basicID, basicSecret = url.QueryEscape(id), url.QueryEscape(secret)
	case ClientSecretBasicUnencoded:
		basicID, basicSecret = id, secret
	case ClientSecretPost:
		form.Set("client_id", id)
		form.Set("client_secret", secret)
	case NoClientAuth:
		form.Set("client_id", id)
	case ClientSecretJWT, PrivateKeyJWT:
		assertion, err := p.assertion(up)
		if err != nil {
			return nil, fail(provider.Misconfigured, "sign client assertion: %w", err)
		}
		form.Set("client_id", id)
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", assertion)
	default:
		return nil, fail(provider.Misconfigured, "client authentication %q is unknown", p.cfg.AuthMethod)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, up.tokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, fail(provider.Misconfigured, "token endpoint: bad address")
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	if basicID != "" {
		req.SetBasicAuth(basicID, basicSecret)
	}
	return req, nil
}

// assertion builds the JWT by which the client authenticates (RFC 7523 §3, OpenID Connect Core §9).
func (p *Provider) assertion(up *upstream) (string, error) {
	now := p.now()
	claims := struct {
		Issuer   string `json:"iss"`
		Subject  string `json:"sub"`
		Audience string `json:"aud"`
		ID       string `json:"jti"`
		Issued   int64  `json:"iat"`
		Expires  int64  `json:"exp"`
	}{p.cfg.ClientID, p.cfg.ClientID, p.cfg.AssertionAudience, rand.Text(), now.Unix(), now.Add(assertionLifetime).Unix()}
	if claims.Audience == "" {
		claims.Audience = up.tokenURL
	}
	if p.cfg.AuthMethod == PrivateKeyJWT {
		return p.cfg.ClientKey.Sign(assertionType, claims)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	return signHS256(p.cfg.ClientSecret, payload), nil
}

// signHS256 signs with the client secret, which no key of package token may be.
func signHS256(secret string, payload []byte) string {
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encode(payload)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(signed))
	return signed + "." + encode(mac.Sum(nil))
}

// expiry reads expires_in, which some send as a string and some as a fraction. What is not a time is left out: nothing
// depends on it but when to refresh.
func expiry(asked time.Time, raw json.RawMessage) time.Time {
	seconds, err := strconv.ParseFloat(string(bytes.Trim(raw, `"`)), 64)
	if err != nil || !(seconds > 0) {
		return time.Time{}
	}
	return asked.Add(time.Duration(min(seconds, maxExpiry.Seconds())) * time.Second)
}

func isMedia(contentType, want string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && media == want
}
