package broker

import (
	"net/http"
	"slices"

	"github.com/go-idbroker/idbroker/broker/internal/account"
	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/factor"
)

// Account serves the page on which users see and change their own account: linked identities, password, authenticator app,
// recovery codes and passkeys where the broker keeps Credentials, names, language and e-mail address, and the browsers in which they are signed
// in. Mount it, with all below it, on BaseURL's origin, wherever users are to find it:
//
//	http.Handle("/account/", b.Account())
//
// Who is not signed in signs in first. What changes how somebody signs in needs a proof of who they are that is not older than
// ten minutes, the last way in cannot be removed, and every change is mailed to the user, if there is a Mailer, and logged.
//
// A new password ends the user's other sessions and what was granted to outlive them. A passkey or a password that is removed ends
// those that began with one, whichever that was, and a link that is removed those that its provider has vouched for; the session in
// which it is done goes on. Logins that wait at a page, and have taken a password or a passkey by then, end with these.
//
// It offers what signs people in and nothing that only looks so: a password can be set where LocalLogin or a step of a PostLogin takes
// one (see [factor.TakesPassword]), and an authenticator app set up where one of these asks for its codes. What somebody has already
// they can change and remove everywhere.
func (b *Broker) Account() http.Handler {
	guarded := b.sameSite()(b.account.ServeHTTP)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		web.Recorded(w, r, r.URL.Path, b.log, b.now, guarded)
	})
}

func (b *Broker) accountService(c *Config, sealer *web.Sealer) *account.Service {
	return &account.Service{
		Base: b.base, Product: c.Name, Store: c.Store, Gate: b.gate, Fences: b.fences, Sessions: b.sessions, Login: b.login,
		Logouts: b.logouts, Pages: b.pages, Sealer: sealer, Credentials: c.Credentials,
		Passkeys: c.Passkeys, Local: c.LocalLogin, ChangeUsername: c.ChangeUsername,
		TakesPasswords: c.takes(factor.TakesPassword), TakesCodes: c.takes(factor.TakesCode),
		Now: c.Now, Log: c.Logger,
	}
}

// takes reports whether users can sign in by what asks for, or are asked for it when they do. That an account may once have to prove
// itself by it in a first login is not enough: who sets a password, or an app, expects more of it.
func (c *Config) takes(asks func(flow.Flow) bool) bool {
	return c.LocalLogin || asks(c.PostLogin) || slices.ContainsFunc(c.Providers, func(p Provider) bool { return asks(p.PostLogin) })
}
