package oidc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/go-idbroker/idbroker/provider"
)

const maxText = 2048

// claims are the members of a JSON object, numbers as json.Number. Their names are exact.
type claims map[string]any

// parseClaims reads one JSON object and nothing after it.
func parseClaims(data []byte) (claims, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var c claims
	if err := d.Decode(&c); err != nil || c == nil {
		return nil, errors.New("the claims are no JSON object")
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows the claims")
	}
	return c, nil
}

// must returns a string that has to be there.
func (c claims) must(name string) (string, error) {
	s, ok := c[name].(string)
	if !ok || s == "" {
		return "", fmt.Errorf("%s is missing or no string", name)
	}
	return s, nil
}

// time returns a NumericDate (RFC 7519 §2), and whether it is there.
func (c claims) time(name string) (t time.Time, there bool, err error) {
	v, there := c[name]
	if !there {
		return t, false, nil
	}
	n, ok := v.(json.Number)
	if !ok {
		return t, true, fmt.Errorf("%s is no number", name)
	}
	seconds, err := strconv.ParseFloat(string(n), 64)
	if err != nil || seconds < 0 || seconds > 253402300799 { // the end of the year 9999
		return t, true, fmt.Errorf("%s is no date", name)
	}
	return time.Unix(int64(seconds), 0), true, nil
}

// audience returns "aud", which is a string or a list of them (RFC 7519 §4.1.3).
func (c claims) audience() ([]string, error) {
	switch v := c["aud"].(type) {
	case string:
		return []string{v}, nil
	case []any:
		audience := make([]string, len(v))
		for i, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, errors.New("aud has other than strings")
			}
			audience[i] = s
		}
		return audience, nil
	}
	return nil, errors.New("aud is missing, or neither a string nor a list")
}

// text returns a string for people, or "" if there is none that could be stored and shown.
func (c claims) text(name string) string {
	s, _ := c[name].(string)
	if len(s) > maxText || strings.ContainsFunc(s, unicode.IsControl) {
		return ""
	}
	return s
}

// values returns a claim, or the elements of one that is a list, as text. Objects have none.
func (c claims) values(name string) []string {
	list, ok := c[name].([]any)
	if !ok {
		list = []any{c[name]}
	}
	var values []string
	for _, e := range list {
		switch v := e.(type) {
		case string:
			values = append(values, v)
		case json.Number:
			values = append(values, v.String())
		case bool:
			values = append(values, strconv.FormatBool(v))
		}
	}
	return values
}

// texts returns a string or the strings of a list.
func (c claims) texts(name string) []string {
	list, ok := c[name].([]any)
	if !ok {
		list = []any{c[name]}
	}
	var texts []string
	for _, e := range list {
		if s, ok := e.(string); ok && s != "" {
			texts = append(texts, s)
		}
	}
	return texts
}

// with returns c with what userinfo says about the user. Who it is, for whom, by whom, when and how remains the ID token's
// to say. E-mail address and whether it is verified come from one document, or one provider's tick would vouch for
// another's address.
func (c claims) with(info claims) claims {
	all := maps.Clone(c)
	if info["email"] != nil {
		delete(all, "email_verified")
	}
	for name, value := range info {
		switch name {
		case "iss", "sub", "aud", "azp", "exp", "iat", "nbf", "jti", "nonce", "at_hash", "c_hash", "auth_time", "acr", "amr", "sid",
			"tid":
		case "email", "email_verified":
			if info["email"] != nil {
				all[name] = value
			}
		default:
			all[name] = value
		}
	}
	return all
}

// identity maps the standard claims (OpenID Connect Core §5.1). They have been checked.
func (c claims) identity(groups string, tokens *provider.Tokens) *provider.Identity {
	authTime, _, _ := c.time("auth_time")
	id := &provider.Identity{
		Issuer:        c.text("iss"),
		Subject:       c.text("sub"),
		Username:      c.text("preferred_username"),
		Email:         c.text("email"),
		EmailVerified: c["email_verified"] == true || c["email_verified"] == "true",
		FirstName:     c.text("given_name"),
		LastName:      c.text("family_name"),
		Name:          c.text("name"),
		Locale:        c.text("locale"),
		Picture:       c.picture(),
		Groups:        c.texts(groups),
		ACR:           c.text("acr"),
		AMR:           c.texts("amr"),
		AuthTime:      authTime,
		Session:       c.text("sid"),
		Claims:        c,
		Tokens:        tokens,
	}
	if id.Email == "" {
		id.EmailVerified = false
	}
	if id.Username == "" {
		id.Username = id.Email
	}
	if id.Username == "" {
		id.Username = id.Subject
	}
	return id
}

// picture returns the address of a picture, which will stand in pages: no script, no data.
func (c claims) picture() string {
	s := c.text("picture")
	if strings.HasPrefix(s, "https://") || strings.HasPrefix(s, "http://") {
		return s
	}
	return ""
}
