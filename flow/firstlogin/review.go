package firstlogin

import (
	"context"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-idbroker/idbroker/flow"
)

// A ReviewMode says when [ReviewProfile] shows its page.
type ReviewMode int

// The modes are Keycloak's.
const (
	ReviewMissing ReviewMode = iota // if the e-mail address or the name is missing, or not valid
	ReviewOn                        // always
	ReviewOff                       // never by itself
)

// String returns the mode as Keycloak writes it.
func (m ReviewMode) String() string {
	switch m {
	case ReviewMissing:
		return "missing"
	case ReviewOn:
		return "on"
	case ReviewOff:
		return "off"
	}
	return "unknown"
}

// ReviewProfile shows visitors what the upstream says about them, to be completed and changed before they become a user. What they
// put in for an e-mail address is vouched for by nobody: it counts as not verified, and an account that has it is never linked by
// it. The draft remembers that, and the next step decides about what was put in.
//
// The page is "review". It is shown as the mode says; on request of [ConfirmLink]; and whatever the mode where there is neither a
// username nor an e-mail address in its place. It asks for a username, an e-mail address (which may be missing with ReviewOff)
// and a name. The step always succeeds in the end; it decides nothing.
type ReviewProfile struct {
	Mode ReviewMode
}

// String returns the step with its mode.
func (r ReviewProfile) String() string { return "firstlogin.ReviewProfile (" + r.Mode.String() + ")" }

// maxProfileField bounds what travels with the login, in bytes.
const maxProfileField = 255

// Authenticate shows the page if it has to.
func (r ReviewProfile) Authenticate(_ context.Context, t *flow.Turn) (flow.Result, error) {
	d := t.Draft
	wanted := d.Review == flow.ReviewWanted
	if r.Mode != ReviewOff {
		d.Review = max(d.Review, flow.ReviewAgain)
	}
	before := d.Profile
	single := before.Name != "" && before.FirstName == "" && before.LastName == "" // one name is all that the upstream gave
	if t.Input == nil {
		if !wanted && !r.needed(t) {
			return flow.Success(), nil
		}
		return flow.Ask(r.page(map[string]string{
			"username": before.Username, "email": before.Email,
			"name": before.Name, "first_name": before.FirstName, "last_name": before.LastName,
		}, single)), nil
	}
	typed := map[string]string{}
	for _, field := range []string{"username", "email", "name", "first_name", "last_name"} {
		typed[field] = strings.TrimSpace(t.Input.Get(field))
	}
	page := r.page(typed, single)
	if page.Errors = r.check(typed, single); len(page.Errors) > 0 {
		return flow.Ask(page), nil
	}
	// Nobody may take an address for a name that is not theirs as far as we know.
	if name := Username(typed["username"]); strings.Contains(name, "@") && name != Username(before.Username) && name != Email(typed["email"]) {
		page.Errors = map[string]string{"username": "invalid"}
		return flow.Ask(page), nil
	}
	p := &d.Profile
	if email := Email(typed["email"]); email != Email(before.Email) {
		p.Email, p.EmailVerified, d.EditedEmail = email, false, true
	}
	if username := Username(typed["username"]); username != Username(before.Username) {
		p.Username, d.EditedUsername = username, true
	}
	switch {
	case single:
		p.Name = typed["name"]
	case typed["first_name"] != p.FirstName || typed["last_name"] != p.LastName || p.Name == "":
		p.FirstName, p.LastName = typed["first_name"], typed["last_name"]
		p.Name = p.FirstName + " " + p.LastName
	}
	if wanted {
		d.Review = flow.ReviewAgain
	}
	return flow.Success(), nil
}

func (r ReviewProfile) needed(t *flow.Turn) bool {
	p := &t.Draft.Profile
	noEmail := Email(p.Email) == ""
	if noEmail && Username(p.Username) == "" { // somebody has to choose what the user is called
		return true
	}
	switch r.Mode {
	case ReviewOn:
		return true
	case ReviewOff:
		return false
	}
	return noEmail || strings.TrimSpace(p.Name) == "" && (strings.TrimSpace(p.FirstName) == "" || strings.TrimSpace(p.LastName) == "")
}

func (r ReviewProfile) page(values map[string]string, single bool) flow.Page {
	data := map[string]any{"single": single, "email_optional": r.Mode == ReviewOff}
	for field, value := range values {
		if len(value) > maxProfileField {
			value = strings.ToValidUTF8(value[:maxProfileField], "")
		}
		data[field] = value
	}
	return flow.Page{Name: "review", Data: data}
}

func (r ReviewProfile) check(typed map[string]string, single bool) map[string]string {
	errs := map[string]string{}
	names := []string{"first_name", "last_name"}
	if single {
		names = []string{"name"}
	}
	for _, field := range names {
		switch {
		case typed[field] == "":
			errs[field] = "required"
		case len(typed[field]) > maxProfileField || !utf8.ValidString(typed[field]) || strings.ContainsFunc(typed[field], unicode.IsControl):
			errs[field] = "invalid"
		}
	}
	switch {
	case typed["email"] == "" && r.Mode != ReviewOff:
		errs["email"] = "required"
	case typed["email"] != "" && Email(typed["email"]) == "":
		errs["email"] = "invalid"
	}
	switch {
	case typed["username"] == "" && typed["email"] == "":
		errs["username"] = "required"
	case typed["username"] != "" && Username(typed["username"]) == "":
		errs["username"] = "invalid"
	}
	return errs
}
