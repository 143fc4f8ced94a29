package op

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/go-idbroker/idbroker/store"
)

// maxClaims bounds the claims parameter.
const maxClaims = 4 << 10

// claimScopes are the claims that can be asked for one by one, with the scope that each belongs to. A client that may not
// have the scope may not have the claim.
var claimScopes = map[string]string{
	"name": "profile", "given_name": "profile", "family_name": "profile", "preferred_username": "profile",
	"picture": "profile", "locale": "profile", "updated_at": "profile", "email": "email", "email_verified": "email",
}

// Where a claim is asked for, as in the parameter and as [store.Grant.ClaimsRequest] begins.
const (
	inUserInfo = "userinfo:"
	inIDToken  = "id_token:"
)

// A claimsRequest is what the claims parameter asks for (OpenID Connect Core §5.5). Claims that nobody here knows are
// ignored, and a claim that is essential is treated as one that is not: both are as §5.5.1 has it.
type claimsRequest struct {
	named []string // as in store.Grant.ClaimsRequest
	acr   []string // one of which has to be met (§5.5.1.1); nil is any
	wish  []string // one of which would be welcome
	sub   []string // nobody else gets a code (§3.1.2.2); nil is anybody
}

// A claimWish is how a claim is asked for; nil is without more words.
type claimWish struct {
	Essential bool  `json:"essential"`
	Value     any   `json:"value"`
	Values    []any `json:"values"`
}

// strings are the values that are asked for, and whether they are such as these claims can have.
func (c *claimWish) strings() (list []string, ok bool) {
	if c == nil {
		return nil, true
	}
	values := c.Values
	if c.Value != nil {
		values = append([]any{c.Value}, values...)
	}
	for _, v := range values {
		s, isText := v.(string)
		if !isText || s == "" {
			return nil, false
		}
		list = append(list, s)
	}
	return list, true
}

// readClaims reads the claims parameter.
func (req *authRequest) readClaims(params url.Values) error {
	raw := params.Get("claims")
	if raw == "" {
		return nil
	}
	var doc struct {
		UserInfo map[string]*claimWish `json:"userinfo"`
		IDToken  map[string]*claimWish `json:"id_token"`
	}
	if len(raw) > maxClaims || json.Unmarshal([]byte(raw), &doc) != nil {
		return &authError{"invalid_request", "claims is not a JSON object as in OpenID Connect Core 5.5, or too large"}
	}
	req.nameClaims(inUserInfo, doc.UserInfo)
	req.nameClaims(inIDToken, doc.IDToken)
	slices.Sort(req.claims.named)
	acr, okACR := doc.IDToken["acr"].strings()
	sub, okSub := doc.IDToken["sub"].strings()
	if !okACR || !okSub {
		return &authError{"invalid_request", "the values of acr and sub in claims must be strings"}
	}
	if wish := doc.IDToken["acr"]; wish != nil && wish.Essential {
		req.claims.acr = acr
	}
	req.claims.wish, req.claims.sub = acr, sub
	return nil
}

func (req *authRequest) nameClaims(where string, wishes map[string]*claimWish) {
	for name := range wishes {
		if scope := claimScopes[name]; scope != "" && req.mayAsk(scope) {
			req.claims.named = append(req.claims.named, where+name)
		}
	}
}

// scopes are those that the named claims belong to, sorted.
func (c *claimsRequest) scopes() []string {
	var list []string
	for _, entry := range c.named {
		_, name, _ := strings.Cut(entry, ":")
		list = append(list, claimScopes[name])
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// met reports whether the session's authentication is of a kind that the request insists on.
func (c *claimsRequest) met(s *store.Session) bool {
	return len(c.acr) == 0 || slices.Contains(c.acr, s.ACR)
}

// names reports whether the user is one whom the request insists on, if it does.
func (c *claimsRequest) names(userID string) bool {
	return len(c.sub) == 0 || slices.Contains(c.sub, userID)
}

// add puts the claims in that the grant names for a place, whatever its scope.
func (c *userClaims) add(u *store.User, g *store.Grant, where string) {
	if len(g.ClaimsRequest) == 0 {
		return
	}
	all := claimsOf(u, defaultScopes)
	for _, entry := range g.ClaimsRequest {
		name, ok := strings.CutPrefix(entry, where)
		if !ok {
			continue
		}
		switch name {
		case "name":
			c.Name = all.Name
		case "given_name":
			c.GivenName = all.GivenName
		case "family_name":
			c.FamilyName = all.FamilyName
		case "preferred_username":
			c.Username = all.Username
		case "picture":
			c.Picture = all.Picture
		case "locale":
			c.Locale = all.Locale
		case "updated_at":
			c.UpdatedAt = all.UpdatedAt
		case "email":
			c.Email = all.Email
		case "email_verified":
			c.EmailVerified = all.EmailVerified
		}
	}
}
