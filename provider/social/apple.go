package social

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/token"
)

// appleSecretLifetime is for one request. Apple allows six months.
const appleSecretLifetime = 5 * time.Minute

func (o *Options) now() time.Time {
	if o.Now == nil {
		return time.Now()
	}
	return o.Now()
}

// signer reads the key.
func (k AppleKey) signer() (token.Key, error) {
	if k.TeamID == "" || k.ID == "" {
		return token.Key{}, errors.New("AppleKey: TeamID or ID is missing")
	}
	block, rest := pem.Decode(k.PEM)
	if block == nil || block.Type != "PRIVATE KEY" || strings.TrimSpace(string(rest)) != "" {
		return token.Key{}, errors.New("AppleKey: PEM is not one private key, as the file AuthKey_….p8 is")
	}
	private, err := token.ParseKey(block.Bytes)
	if err != nil {
		return token.Key{}, fmt.Errorf("AppleKey: PEM: %w", err)
	}
	key := token.Key{ID: k.ID, Algorithm: token.ES256, Private: private}
	if _, err := key.Sign(token.IDToken, struct{}{}); err != nil { // only a signature shows that it can make one
		return token.Key{}, fmt.Errorf("AppleKey: %w", err)
	}
	return key, nil
}

// appleSecret makes a client secret.
func appleSecret(key token.Key, team, client string, now time.Time) (string, error) {
	return key.Sign(token.IDToken, struct {
		Issuer   string `json:"iss"`
		Issued   int64  `json:"iat"`
		Expires  int64  `json:"exp"`
		Audience string `json:"aud"`
		Subject  string `json:"sub"`
	}{team, now.Unix(), now.Add(appleSecretLifetime).Unix(), "https://appleid.apple.com", client})
}

// appleName takes the name from the parameter "user". Whatever else it says, an e-mail address above all, is nobody's word.
func appleName(id *provider.Identity, params url.Values) {
	values := params["user"]
	if len(values) != 1 || len(values[0]) > 4<<10 {
		return
	}
	var user struct {
		Name struct{ FirstName, LastName string }
	}
	if json.Unmarshal([]byte(values[0]), &user) != nil {
		return
	}
	first, last := named(user.Name.FirstName), named(user.Name.LastName)
	if id.FirstName == "" && id.LastName == "" && id.Name == "" {
		id.FirstName, id.LastName, id.Name = first, last, strings.TrimSpace(first+" "+last)
	}
}

// named returns s if it can be shown as a name.
func named(s string) string {
	if len(s) > 255 || strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || r == unicode.ReplacementChar }) {
		return ""
	}
	return strings.TrimSpace(s)
}
