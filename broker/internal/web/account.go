package web

import (
	"net/url"
	"time"
)

// AccountData is the data of the page "account": what a user may see and change of their own account. Every form is posted to Base
// and a word.
type AccountData struct {
	Base      string // path of the account page, without a slash at its end
	Account   string // user name
	Rename    bool   // it can be changed
	Notice    string // message id "account.notice.<id>"; an unknown one is not shown
	Bad       bool   // the notice is about something that did not happen
	Transient bool   // nobody keeps the account: there is nothing to change, and only Sessions are shown
	Profile   AccountProfile
	Email     string
	Verified  bool
	Mail      bool // the address can be changed
	Links     []AccountLink
	Linkable  []Button
	Local     *AccountCredentials // nil if the broker keeps none
	Sessions  []AccountSession    // the visitor's own first
	Logout    string              // URL to sign out
}

// AccountProfile is the profile as a form, and what is wrong with it.
type AccountProfile struct {
	FirstName, LastName, Name, Locale string
	Locales                           []AccountLocale
	Errors                            map[string]string // see [FlowData]
}

// An AccountLocale is a language that the user may choose.
type AccountLocale struct {
	Tag, Name string
	Chosen    bool
}

// An AccountLink is an identity that the user is linked to.
type AccountLink struct {
	ID        string // for the form
	Provider  string
	Icon      string            // see [Button]
	ThemeData map[string]string // likewise
	As        string            // who they are there; may be empty
	Off       bool              // nobody can sign in with it
	Needed    bool              // it is the last way in
}

// AccountCredentials are what the broker itself keeps for the user.
type AccountCredentials struct {
	Password *AccountCredential
	Needed   bool // the password is the last way in
	App      *AccountCredential
	Codes    int // recovery codes that are left
	Passkeys []AccountCredential
	// MorePasskeys says that there can be some, and NeedsPasskey that the only one is the last way in.
	MorePasskeys, NeedsPasskey bool
	NoPasswords                bool // no login asks for one, so that none is offered
	NoApps                     bool // likewise, for their codes
}

// An AccountCredential is one of them.
type AccountCredential struct {
	ID, Label   string
	Since, Used time.Time // Used is zero if it was not
}

// An AccountSession is a browser in which the user is signed in.
type AccountSession struct {
	ID          string
	Current     bool
	By          string // the provider that vouched; "" is a password, or a passkey
	Passkey     bool
	Since, Seen time.Time
}

// ConfirmData is the data of the page "account-confirm". What it asks are the messages "confirm.<Question>.title", ".text" and
// ".submit". The answer is posted to Action as Field, "yes" or "no".
type ConfirmData struct {
	Question string
	Args     map[string]string
	Action   string
	Hidden   url.Values
	Field    string
	Danger   bool // it takes something away
}

// AccountFormData is the data of the pages "account-password", "account-totp", "account-email", "account-username" and "account-passkey", which makes a
// passkey or, where it Has one, names it.
type AccountFormData struct {
	Base, Action string
	Hidden       url.Values
	Account      string
	Has          bool   // there is one already
	QR           string // a data: URL of an image
	Secret       string // the same as text
	Value        string
	Options      string            // for navigator.credentials.create, as JSON
	Errors       map[string]string // see [FlowData]
}

// RecoveryData is the data of the page "account-recovery", which is shown once.
type RecoveryData struct {
	Base  string
	Codes []string
}

// ResetData is the data of the page "reset": it asks who has forgotten their password, says that a mail was sent if there is such
// an account, asks for the new password, and says that it was set.
type ResetData struct {
	Stage    string // "ask", "sent", "set" or "done"
	Action   string
	Hidden   url.Values
	Value    string
	Continue string // URL to go on signing in; "" for none
	Errors   map[string]string
}

func sampleAccount(page string) (data any, builtin bool) {
	form := AccountFormData{
		Base: "/", Action: "/", Hidden: url.Values{"k": {"v"}}, Account: "a", Has: true, QR: "data:image/png;base64,AAAA", Secret: "A", Value: "v",
		Errors: map[string]string{"password": "refused"},
	}
	switch page {
	case "account":
		return AccountData{
			Notice: "profile", Account: "a", Email: "a@a.example", Mail: true,
			Profile:  AccountProfile{Locales: []AccountLocale{{Tag: "en", Name: "English", Chosen: true}}, Errors: map[string]string{"name": "invalid"}},
			Links:    []AccountLink{{ID: "a", Provider: "A", As: "a"}},
			Linkable: []Button{{Name: "A", URL: "/"}},
			Local: &AccountCredentials{
				Password: &AccountCredential{ID: "a"}, App: &AccountCredential{ID: "b"}, Codes: 1, Passkeys: []AccountCredential{{ID: "c", Label: "c"}}, MorePasskeys: true,
			},
			Sessions: []AccountSession{{ID: "a", Current: true}, {ID: "b", By: "A"}, {ID: "c", Passkey: true}}, Logout: "/",
		}, true
	case "account-confirm":
		return ConfirmData{Question: "link", Action: "/", Hidden: url.Values{"k": {"v"}}, Field: "f", Danger: true}, true
	case "account-password", "account-totp", "account-email", "account-username":
		return form, true
	case "account-passkey":
		return AccountFormData{Base: "/", Action: "/", Options: "{}", Errors: map[string]string{"credential": "refused", "label": "invalid"}}, true
	case "account-recovery":
		return RecoveryData{Base: "/", Codes: []string{"A"}}, true
	case "reset":
		return ResetData{Stage: "set", Action: "/", Hidden: url.Values{"k": {"v"}}, Continue: "/", Errors: map[string]string{"password": "too_short"}}, true
	}
	return nil, false
}

// Languages returns the tags of the languages that there are messages in, English first.
func (p *Pages) Languages() []string { return append([]string(nil), p.words.langs...) }
