package broker

import (
	"net/http"

	"github.com/go-idbroker/idbroker/broker/internal/account"
	"github.com/go-idbroker/idbroker/broker/internal/web"
)

// Account serves the page on which users see and change their own account: linked identities, password, authenticator app,
// recovery codes and passkeys where the broker keeps Credentials, names, language and e-mail address, and the browsers in which they are signed
// in. Mount it, with all below it, on BaseURL's origin, wherever users are to find it:
//
//	http.Handle("/account/", b.Account())
//
// Who is not signed in signs in first. What changes how somebody signs in needs a proof of who they are that is not older than
// ten minutes, the last way in cannot be removed, and every change is mailed to the user, if there is a Mailer, and logged.
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
		Now: c.Now, Log: c.Logger,
	}
}
