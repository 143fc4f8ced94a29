package oauth2

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/internal/claim"
	"github.com/go-idbroker/idbroker/provider/internal/oauth"
)

// userInfo fetches what the server says about the bearer of the access token.
func (p *Provider) userInfo(ctx context.Context, accessToken string) (map[string]any, error) {
	body, err := p.get(ctx, "userinfo", p.cfg.Endpoints.UserInfo, accessToken)
	if err != nil {
		return nil, err
	}
	document, err := parse(body)
	said, ok := document.(map[string]any)
	if err != nil || !ok {
		return nil, oauth.Fail(provider.Invalid, "userinfo: the answer is no JSON object")
	}
	return said, nil
}

// parse reads one JSON value and nothing after it. An object with two members of one name has an end that no two readers agree
// about: the last one counts, here as for everybody who reads Identity.Claims.
func parse(body []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows the document")
	}
	return v, nil
}

// identity maps userinfo. Who has no subject is nobody: all who lack one would be the same.
func (p *Provider) identity(said map[string]any, tokens *provider.Tokens) (*provider.Identity, error) {
	subject, ok := claim.ID(p.paths.subject.Find(said))
	if !ok {
		return nil, oauth.Fail(provider.Invalid, "userinfo: %q, which says who it is, is missing or cannot identify anybody", p.cfg.Claims.Subject)
	}
	if err := p.checkEssential(said); err != nil {
		return nil, err
	}
	id := &provider.Identity{
		Issuer:    p.cfg.Issuer,
		Subject:   subject,
		Username:  text(p.paths.username, said),
		FirstName: text(p.paths.firstName, said),
		LastName:  text(p.paths.lastName, said),
		Name:      text(p.paths.name, said),
		Locale:    text(p.paths.locale, said),
		Claims:    said,
		Tokens:    tokens,
	}
	if former, ok := claim.ID(p.paths.former.Find(said)); ok && p.paths.former != nil {
		id.FormerSubject = former
	}
	if s := text(p.paths.picture, said); strings.HasPrefix(s, "https://") || strings.HasPrefix(s, "http://") {
		id.Picture = s // it will stand in pages: no script, no data
	}
	if p.paths.groups != nil {
		for _, e := range claim.Elements(p.paths.groups.Find(said)) {
			if s, ok := e.(string); ok && claim.Usable(s) {
				id.Groups = append(id.Groups, s)
			}
		}
	}
	switch {
	case p.cfg.Endpoints.Emails != "": // that one alone says what is verified
	case p.paths.list != nil:
		list, _ := p.paths.list.Find(said).([]any) // no address, no list
		p.chooseEmail(id, list)
	default:
		id.Email = text(p.paths.email, said)
		id.EmailVerified = id.Email != "" && (p.cfg.EmailVerified || isTrue(p.paths.emailVerified, said))
	}
	return id, nil
}

// checkEssential looks for the claim without which nobody gets in.
func (p *Provider) checkEssential(said map[string]any) error {
	if p.paths.required == nil {
		return nil
	}
	for _, e := range claim.Elements(p.paths.essential.Find(said)) {
		if s, ok := claim.Scalar(e); ok && p.paths.required.MatchString(s) {
			return nil
		}
	}
	return oauth.Fail(provider.ClaimMismatch, "claim %q has no value that is required", p.cfg.EssentialClaim)
}

// emails asks for the user's e-mail addresses.
func (p *Provider) emails(ctx context.Context, id *provider.Identity) error {
	body, err := p.get(ctx, "emails", p.cfg.Endpoints.Emails, id.Tokens.AccessToken)
	if err != nil {
		return err
	}
	document, err := parse(body)
	if err == nil && p.paths.list != nil {
		object, _ := document.(map[string]any)
		document = p.paths.list.Find(object)
	}
	list, ok := document.([]any)
	if err != nil || !ok {
		return oauth.Fail(provider.Invalid, "emails: the answer has no list where one is to be")
	}
	p.chooseEmail(id, list)
	return nil
}

// chooseEmail sets the address that counts of a list, each of which says itself whether it is verified.
func (p *Provider) chooseEmail(id *provider.Identity, list []any) {
	best := 0
	for _, e := range list {
		one, _ := e.(map[string]any)
		address := text(p.paths.listEmail, one)
		if address == "" {
			continue
		}
		verified, primary := p.cfg.EmailVerified || isTrue(p.paths.listVerified, one), isTrue(p.paths.listPrimary, one)
		rank := 0
		switch {
		case verified && primary:
			rank = 3
		case verified:
			rank = 2
		case primary:
			rank = 1
		}
		if rank > best {
			best, id.Email, id.EmailVerified = rank, address, verified
		}
	}
}

// text returns a string for people, or "" if there is none that could be stored and shown. A number is one.
func text(at claim.Path, said map[string]any) string {
	if at == nil {
		return ""
	}
	s, ok := claim.Scalar(at.Find(said))
	if _, boolean := at.Find(said).(bool); !ok || boolean || !claim.Usable(s) {
		return ""
	}
	return s
}

// isTrue reports whether the server said so, by a boolean or, as some do, the text "true".
func isTrue(at claim.Path, said map[string]any) bool {
	if at == nil {
		return false
	}
	v := at.Find(said)
	return v == true || v == "true"
}
