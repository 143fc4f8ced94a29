package oauth

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	maxAnswer         = 1 << 20
	minSecretBytes    = 32 // for an HMAC with SHA-256, RFC 7518 §3.2
)

// A Client is the broker at an authorization server.
type Client struct {
	ID         string
	Secret     string
	SecretFunc func() (string, error) // returns the secret of the moment; instead of Secret
	Key        token.Key              // for private_key_jwt
	// Method is one of the registry in OpenID Connect Core §9 and RFC 7591 §2, or client_secret_basic_unencoded, where id and
	// secret are sent as they are.
	Method   string
	Audience string // of assertions; the token endpoint if empty
	Now      func() time.Time
}

// CheckAuth reports what would keep the client from authenticating.
func (c *Client) CheckAuth(bad func(format string, args ...any)) {
	if c.SecretFunc != nil && (c.Secret != "" || !strings.HasPrefix(c.Method, "client_secret_") || c.Method == "client_secret_jwt") {
		bad("ClientSecretFunc: cannot stand beside ClientSecret, nor with AuthMethod %q", c.Method)
	}
	need := func(atLeast int) {
		switch {
		case c.SecretFunc != nil || len(c.Secret) >= atLeast:
		case c.Secret == "":
			bad("ClientSecret: is missing: %q needs one", c.Method)
		default:
			bad("ClientSecret: %q needs one of at least %d bytes", c.Method, atLeast)
		}
	}
	switch c.Method {
	case "":
		bad("AuthMethod: with ClientSecret or ClientKey it is known; with both, or with neither, it must be said (%q)", "none")
	case "client_secret_basic", "client_secret_post", "client_secret_basic_unencoded":
		need(1)
	case "client_secret_jwt":
		need(minSecretBytes)
	case "private_key_jwt":
		// Only a signature shows that the key can make one.
		if _, err := c.Key.Sign(assertionType, struct{}{}); err != nil {
			bad("ClientKey: %w", err)
		}
	case "none":
	default:
		bad("AuthMethod: %q is unknown", c.Method)
	}
	if c.Method == "client_secret_basic_unencoded" && strings.Contains(c.ID, ":") {
		bad("ClientID: has a colon, which cannot be sent with AuthMethod %q", c.Method)
	}
}

// DefaultMethod returns how a client authenticates that does not say: "" where that is not clear.
func (c *Client) DefaultMethod() string {
	switch hasKey := c.Key.Private != nil; {
	case (c.Secret != "" || c.SecretFunc != nil) && !hasKey:
		return "client_secret_basic"
	case c.Secret == "" && hasKey:
		return "private_key_jwt"
	}
	return ""
}

// TokenRequest builds a request to the token endpoint in which the client authenticates, in the one configured way.
func (c *Client) TokenRequest(ctx context.Context, tokenURL string, form url.Values) (*http.Request, error) {
	basicID, basicSecret, secret := "", "", c.Secret
	if c.SecretFunc != nil {
		var err error
		if secret, err = c.SecretFunc(); err == nil && secret == "" {
			err = errors.New("it is empty")
		}
		if err != nil {
			return nil, Fail(provider.Misconfigured, "client secret: %w", err)
		}
	}
	switch c.Method {
	case "client_secret_basic": // RFC 6749 §2.3.1
		basicID, basicSecret = url.QueryEscape(c.ID), url.QueryEscape(secret)
	case "client_secret_basic_unencoded":
		basicID, basicSecret = c.ID, secret
	case "client_secret_post":
		form.Set("client_id", c.ID)
		form.Set("client_secret", secret)
	case "none":
		form.Set("client_id", c.ID)
	case "client_secret_jwt", "private_key_jwt":
		assertion, err := c.assertion(tokenURL)
		if err != nil {
			return nil, Fail(provider.Misconfigured, "sign client assertion: %w", err)
		}
		form.Set("client_id", c.ID)
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", assertion)
	default:
		return nil, Fail(provider.Misconfigured, "client authentication %q is unknown", c.Method)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, tokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, Fail(provider.Misconfigured, "token endpoint: bad address")
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	if basicID != "" {
		req.SetBasicAuth(basicID, basicSecret)
	}
	return req, nil
}

// assertion builds the JWT by which the client authenticates (RFC 7523 §3, OpenID Connect Core §9).
func (c *Client) assertion(tokenURL string) (string, error) {
	now := c.Now()
	claims := struct {
		Issuer   string `json:"iss"`
		Subject  string `json:"sub"`
		Audience string `json:"aud"`
		ID       string `json:"jti"`
		Issued   int64  `json:"iat"`
		Expires  int64  `json:"exp"`
	}{c.ID, c.ID, c.Audience, rand.Text(), now.Unix(), now.Add(assertionLifetime).Unix()}
	if claims.Audience == "" {
		claims.Audience = tokenURL
	}
	if c.Method == "private_key_jwt" {
		return c.Key.Sign(assertionType, claims)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	return signHS256(c.Secret, payload), nil
}

// signHS256 signs with the client secret, which no key of package token may be.
func signHS256(secret string, payload []byte) string {
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encode(payload)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(signed))
	return signed + "." + encode(mac.Sum(nil))
}

// TokenAnswer is what a token endpoint sends, RFC 6749 §5.1 and §5.2, OpenID Connect Core §3.1.3.3.
type TokenAnswer struct {
	AccessToken  string          `json:"access_token"`
	TokenType    string          `json:"token_type"`
	RefreshToken string          `json:"refresh_token"`
	IDToken      string          `json:"id_token"`
	Scope        string          `json:"scope"`
	ExpiresIn    json.RawMessage `json:"expires_in"`
	Error        string          `json:"error"`

	words []string // in which an error is told; they are nobody's to repeat
}

// UnmarshalJSON reads an answer. Scopes may be a list, as Twitch sends them, and an error an object, as Facebook's is: it has no code.
func (a *TokenAnswer) UnmarshalJSON(data []byte) error {
	type plain TokenAnswer
	of := struct {
		*plain
		Scope       json.RawMessage `json:"scope"`
		Error       json.RawMessage `json:"error"`
		Description json.RawMessage `json:"error_description"`
		Message     json.RawMessage `json:"message"`
	}{plain: (*plain)(a)}
	if err := json.Unmarshal(data, &of); err != nil {
		return err
	}
	a.Scope, a.Error = words(of.Scope), words(of.Error)
	a.words = []string{a.Error, words(of.Description), words(of.Message)}
	return nil
}

// words returns a string, or the strings of a list.
func words(raw json.RawMessage) string {
	var list []string
	var one string
	if json.Unmarshal(raw, &one) != nil && json.Unmarshal(raw, &list) == nil {
		return strings.Join(list, " ")
	}
	return one
}

// TokenError says what an error of the token endpoint, which was asked to do what, means. It repeats nothing that the endpoint
// sent but the code, since providers are known to repeat code and secret in theirs. hint is for a client that was refused; it
// may be "".
func TokenError(what string, status int, code, hint string) *provider.Error {
	kind, ok := KindOf(code)
	if !ok {
		kind = provider.Misconfigured
	}
	switch {
	case status >= 500 || status == http.StatusTooManyRequests:
		kind = provider.Unavailable
	case kind == provider.Denied && status == http.StatusUnauthorized:
		kind = provider.Misconfigured // of the client, that is: so does Auth0 call a wrong secret
	}
	err := fmt.Errorf("%s: the token endpoint answered with status %d", what, status)
	if code == "invalid_client" && hint != "" {
		err = fmt.Errorf("%w; %s", err, hint)
	}
	return &provider.Error{Kind: kind, Code: SafeCode(code), Err: err}
}

// Expiry reads expires_in, which some send as a string and some as a fraction. What is not a time is left out: nothing
// depends on it but when to refresh.
func Expiry(asked time.Time, raw json.RawMessage) time.Time {
	seconds, err := strconv.ParseFloat(string(bytes.Trim(raw, `"`)), 64)
	if err != nil || !(seconds > 0) {
		return time.Time{}
	}
	return asked.Add(time.Duration(min(seconds, maxExpiry.Seconds())) * time.Second)
}

// IsMedia reports whether a Content-Type is of this media type.
func IsMedia(contentType, want string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && media == want
}

// Do sends req and reads the whole answer, whatever its status. Its errors name no more of the address than its path.
func Do(client *http.Client, req *http.Request) (status int, contentType string, body []byte, err error) {
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", nil, fmt.Errorf("%s %s: %w", req.Method, Redact(req.URL.String()), withoutURL(err))
	}
	defer resp.Body.Close()
	// The guarded client has a cap of its own; a client that the host gave may have none.
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(body) > maxAnswer {
		err = fmt.Errorf("answer of more than %d bytes", maxAnswer)
	}
	if err != nil {
		return 0, "", nil, fmt.Errorf("%s %s: %w", req.Method, Redact(req.URL.String()), err)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), body, nil
}

// withoutURL unpacks what net/http wraps, since the URL in it may have parameters.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// CheckURL refuses what is no absolute https URL, or could not be fetched as it stands.
func CheckURL(raw string, allowHTTP bool) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return errors.New("is not a URL") // the error would repeat it, password included
	case u.Scheme != "https" && (u.Scheme != "http" || !allowHTTP):
		return fmt.Errorf("%s is not an https address (InsecureAllowHTTP allows http)", Redact(raw))
	case u.Host == "" || u.Opaque != "":
		return fmt.Errorf("%s has no host", Redact(raw))
	case u.User != nil:
		return fmt.Errorf("%s has a user name or password in it", Redact(raw))
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return fmt.Errorf("%s has a fragment", Redact(raw))
	}
	return nil
}

// Redact returns a URL without what could be secret in it.
func Redact(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return "an address that is none"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// IsWord reports whether s can stand in a list that is separated by spaces (RFC 6749 §3.3).
func IsWord(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' || s[i] == '"' || s[i] == '\\' {
			return false
		}
	}
	return s != ""
}
