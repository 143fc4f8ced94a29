package web

import (
	"errors"
	"hash/fnv"
	"html/template"
	"net/url"
	"strings"
	"unicode"
)

// LoginData is the data of the page "login": where a visitor chooses how to sign in.
type LoginData struct {
	Providers   []Button
	Notice      string            // message id, "notice.<id>" or "error.<id>.text"; "" for none
	NoticeArgs  map[string]string // its placeholders
	Application string            // name of the application that the visitor signs in to; "" if it has none
	Email       *EmailForm        // asks for the e-mail address to find the provider by its domain; nil for none
	Local       *LocalForm        // asks for a password of the broker's own; nil for none
	Passkey     *PasskeyForm      // asks for a passkey; nil for none
	Back        *Link             // to the application; nil for none
}

// LocalForm is the part of the login page that asks for a password. It is posted to Action as "username", "password" and "start".
type LocalForm struct {
	Action   string
	Start    string
	Username string            // what was entered the last time
	Errors   map[string]string // field to message id, as in [FlowData]
	Reset    string            // URL for who has forgotten the password; "" for none
}

// PasskeyForm is the part of the login page that asks for a passkey. The browser's answer is posted to Action as "credential".
type PasskeyForm struct {
	Action  string
	Hidden  url.Values
	Options string // for navigator.credentials.get, as JSON
	Error   string // message id, as in [FlowData]; "" for none
}

// A Button leads to a provider. If it is the only way to sign in, it is shown as the page's main button.
type Button struct {
	Name string
	URL  string
	// Icon is a path on this origin or a data:image/ URL. Anything else would be stopped by the page's
	// Content-Security-Policy, so that a tile with the name's initial stands in its place, as it does if Icon is "".
	Icon string
	// ThemeData is what the host gives to the templates of its theme.
	ThemeData map[string]string
	Last      bool // the visitor chose it the last time
}

// EmailForm is the part of the login page that asks for an e-mail address. It is posted to Action as "email".
type EmailForm struct {
	Action string
	Hidden url.Values
	Value  string // what was entered the last time
	Error  string // message id, "email.error.<id>"; "" for none
}

// A Link leads elsewhere. Its Text is shown as it is, in whatever language; if empty, the page says "Back to …".
type Link struct{ Text, URL string }

// ErrorData is the data of the page "error".
type ErrorData struct {
	Message     string            // message id: "error.<id>.title" and "error.<id>.text", perhaps "error.<id>.retry"; an unknown one is "generic"
	Args        map[string]string // placeholders; "provider" and "application" have words for when they are missing
	Retry       string            // URL to try again; "" for none
	Other       string            // URL to sign in in another way; "" for none
	Back        string            // URL of the application; "" for none
	Application string            // its name; "" if it has none
}

// ExpiredData is the data of the page "expired": a step of a login was answered that is not the one it stands at.
type ExpiredData struct {
	Continue    string // URL of the step that the login stands at; "" for none
	Restart     string // URL to start over; "" for none
	Back        string // URL of the application; "" for none
	Application string
}

// LogoutData is the data of the page "logout": it asks whether the visitor wants to sign out.
type LogoutData struct {
	Action      string // URL to post the answer to
	Hidden      url.Values
	Back        string // URL of the application; "" for none
	Application string // its name; "" if it has none
}

// ContinueData is the data of the page "continue", which takes the visitor to URL at once. It stands in for a redirect
// after a form was posted: form-action of the Content-Security-Policy covers the redirects that follow a post in some
// browsers, and the way on leads to other origins.
type ContinueData struct {
	URL string // http, https, a path, or a private-use scheme of a native app with a dot in it (RFC 8252 §7.1)
}

func (d ContinueData) check() error { return checkURL(d.URL) }

// PostData is the data of the page "post", which posts Fields to an upstream or an application at once, or by its button
// where scripts are off.
type PostData struct {
	URL         string // http or https
	Fields      url.Values
	Application string // name of the application that they go to; "" if it is an upstream
}

func (d PostData) check() error {
	u, err := url.Parse(d.URL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return errURL
	}
	return checkURL(d.URL)
}

// ProofData is the data of the page "proof", which somebody sees who has opened a mailed link: it asks whether Username at Provider
// shall sign in to Account from now on or, if there is an Email, whether that is the visitor's and they have signed in like that just
// now; if Done, it says that this is settled.
type ProofData struct {
	Action                      string // URL to post the answer to
	Hidden                      url.Values
	Provider, Username, Account string
	Email                       string // to be verified; "" if it is the link that is to be confirmed
	Disowns                     bool   // every other way to sign in to Account goes with it
	Elsewhere                   bool   // it is not the browser that waits: ask for the number that is shown there
	Problem                     string // of the number; "" for none

	Done        bool
	Application string // its name; "" if it has none
	Back        string // URL of the application; "" for none
	Restart     string // URL to start over; "" for none
}

// FlowData is the data of a page that a flow step shows, in a template of ours or of the theme.
type FlowData struct {
	Action      string            // URL to post the answer to
	Hidden      map[string]string // fields to send along
	Data        map[string]any    // the step's own
	Errors      map[string]string // field to message id: "field.<field>.<id>" or "field.<id>"
	Application string
	Reset       string // URL for who has forgotten the password that the page asks for; "" for none
}

// errURL does not say which: an address may hold a code.
var errURL = errors.New("address that a page must not lead to")

// checkURL refuses what a page must not lead to, above all scripts: allowed are http and https with a host, paths, and
// private-use schemes with a dot in them (RFC 8252 §7.1).
func checkURL(s string) error {
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' || r == '"' }) {
		return errURL // browsers drop or change these before they look for a scheme
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return errURL
	case u.Scheme == "http" || u.Scheme == "https":
		if u.Host == "" {
			return errURL
		}
	case u.Scheme == "":
		if u.Host != "" || !strings.HasPrefix(s, "/") || strings.HasPrefix(s, "//") {
			return errURL
		}
	case !strings.Contains(u.Scheme, "."):
		return errURL
	}
	return nil
}

// link returns the address if a page may lead to it, otherwise "".
func link(s string) template.URL {
	if s == "" || checkURL(s) != nil {
		return ""
	}
	return template.URL(s) //nolint:gosec // checked just now
}

// icon returns the address of an image if the page's policy lets it load, otherwise "".
func icon(s string) template.URL {
	if strings.HasPrefix(s, "data:image/") || strings.HasPrefix(s, "/") && checkURL(s) == nil {
		return template.URL(s) //nolint:gosec // a path, or an image, in which no script runs
	}
	return ""
}

// letter returns the first letter or digit of a name, as a capital.
func letter(name string) string {
	for _, r := range name {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return string(unicode.ToUpper(r))
		}
	}
	return "•"
}

// digits sets a number apart digit by digit, as it is to be read aloud: 0471 is neither four hundred nor seventy-one.
func digits(number string) string { return strings.Join(strings.Split(number, ""), " ") }

// hue returns a number from 0 to 5 that stays the same for a name.
func hue(name string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	return (h.Sum32() >> 8) % 6 // the lowest bits hardly differ between short names
}

// flowPages are the pages of the steps in flow/factor and flow/firstlogin, with an error for each of their fields.
var flowPages = map[string]map[string]string{
	"review":          {"username": "invalid", "email": "required", "name": "required", "first_name": "required", "last_name": "required"},
	"confirm-link":    {},
	"override-link":   {},
	"verify-email":    {"mail": "failed", "confirmed": "not_yet"},
	"choose-provider": {"provider": "not_linked"},

	"password":     {"username": "required", "password": "refused", "credential": "refused"},
	"otp":          {"code": "refused"},
	"recovery":     {"code": "refused"},
	"new-password": {"password": "too_short", "repeat": "not_repeated"},
	"passkey":      {"credential": "refused"},
}

// sample returns data with which a page is tried in [NewPages], and whether the page is one of ours.
func sample(page string) (data any, builtin bool) {
	switch page {
	case "login":
		return LoginData{
			Providers: []Button{{Name: "A", URL: "/a", Icon: "/a.svg"}, {Name: "B", URL: "/b", Last: true}},
			Notice:    "denied", Application: "A", Back: &Link{URL: "/"},
			Email:   &EmailForm{Action: "/", Hidden: url.Values{"k": {"v"}}, Value: "v", Error: "invalid"},
			Passkey: &PasskeyForm{Action: "/", Hidden: url.Values{"k": {"v"}}, Options: "{}", Error: "refused"},
			Local:   &LocalForm{Action: "/", Start: "/", Username: "a", Errors: map[string]string{"username": "required", "password": "refused"}, Reset: "/"},
		}, true
	case "error":
		return ErrorData{Message: "generic", Retry: "/", Other: "/", Back: "/", Application: "A"}, true
	case "expired":
		return ExpiredData{Continue: "/", Restart: "/", Back: "/", Application: "A"}, true
	case "signedout":
		return SignedOutData{
			Login: "/", Back: "/", Application: "A", Upstream: &Link{Text: "A", URL: "/"}, Unconfirmed: true, Onward: "/",
			Frames: []string{"https://a.example/"},
		}, true
	case "logout":
		return LogoutData{Action: "/", Hidden: url.Values{"k": {"v"}}, Back: "/", Application: "A"}, true
	case "consent":
		return ConsentData{
			Application: "A", Account: "a@a.example", Scopes: []string{"openid", "other"}, Action: "/",
			Hidden: url.Values{"k": {"v"}}, Field: "decision",
		}, true
	case "proof":
		return ProofData{
			Action: "/", Hidden: url.Values{"k": {"v"}}, Provider: "A", Username: "u", Account: "a", Email: "a@a.example", Disowns: true, Elsewhere: true, Problem: "wrong", Application: "A", Back: "/", Restart: "/",
		}, true
	case "continue":
		return ContinueData{URL: "/"}, true
	case "post":
		return PostData{URL: "https://a.example/", Fields: url.Values{"k": {"v"}}, Application: "A"}, true
	}
	if data, ok := sampleAccount(page); ok {
		return data, true
	}
	if data, ok := sampleDevice(page); ok {
		return data, true
	}
	flow := FlowData{Action: "/", Hidden: map[string]string{"k": "v"}, Errors: map[string]string{"f": "invalid"}}
	errors, builtin := flowPages[page]
	if builtin {
		flow.Data, flow.Errors = map[string]any{"another": true, "field": "email", "provider": "A", "email": "a@a.example", "minutes": "1", "number": "0", "passkey": "{}"}, errors
	}
	return flow, builtin
}
