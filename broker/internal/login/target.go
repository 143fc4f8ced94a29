// Package login takes a browser from the wish to sign in to a session: it chooses the provider, sends the browser there,
// checks what comes back, runs the flows, and writes the result once.
//
// It owns the way between HTTP and the package flow. It knows no protocol (a provider does) and no client (package op
// does, and hands it a [Target]).
//
// The stations, in this order, each in a file of its name: a [Target] comes in (target.go), a provider is chosen
// (choose.go), the login is pending while the browser is away (pending.go), it comes back (callback.go), a journey
// through the flows decides who it is (journey.go, flow.go), and all is written (commit.go).
package login

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/fence"
	"github.com/go-idbroker/idbroker/broker/internal/gate"
	"github.com/go-idbroker/idbroker/broker/internal/session"
	"github.com/go-idbroker/idbroker/broker/internal/vault"
	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
)

// A Target is what a login is for: a page of the host application, or a client of the OpenID Provider. While the browser
// is away only Start is kept, and the target is made from it, and so checked, again.
type Target struct {
	Start       string           // path and query below the base URL that begin the same login again; "" if none can
	Application string           // its name for people; "" if it has none
	Back        string           // URL that leads back to it without a login; "" if there is none
	Wishes      provider.Request // what it asks of the upstream
	Locales     string           // ui_locales of the request
	HasHint     bool             // Hint was given, be it empty
	Hint        string           // alias of the provider that it wants; empty switches the default off
	Choose      bool             // it wants the choice of accounts
	Passive     bool             // no page may be shown (prompt=none)
	Providers   []string         // aliases of those that may vouch; nil is all
	ByEmail     bool             // the visitor has filled in the e-mail form
	Notice      string           // id of a message for the login page
	NoticeBy    string           // alias of the provider that Notice is about
	Same        string           // id of the user who signs in again, and nobody else may; "" is anybody
	Link        string           // alias of the provider that the user wants linked; "" is none
	// Keep makes what Start names last until then; nil if nothing can go missing. It is called for somebody whom an upstream
	// has vouched for, and who is asked something.
	Keep func(ctx context.Context, until time.Time) error
	// Refuse returns the answer that tells the application why there is no login, by an OpenID Connect error code; nil
	// if it cannot be told.
	Refuse func(code string) Answer
	// Grant returns what the session, which need not be written yet, grants the application, or nil, and the answer. It
	// may be called again in one request if the login could not be written at first.
	Grant func(ctx context.Context, s *store.Session) (*store.Grant, Answer, error)

	via     string   // name of the provider that it went to
	retried bool     // this is the second attempt, made because the upstream asked for one
	fresh   bool     // the upstream is asked for a new proof, as it did not say how old the one before was
	again   string   // where trying again leads to, after an upstream has failed; "" is Start
	others  bool     // there are other ways to sign in than by that upstream
	linking *linking // what comes back is linked, and signs nobody in; nil for a login
}

// An Answer is where a browser goes in the end, and what it takes there.
type Answer struct {
	URL  string
	Form url.Values // to be posted to URL; nil is a redirect
}

// Service is the login of one broker. Its fields are set once; it is safe for concurrent use.
type Service struct {
	Base       *url.URL
	Home       string // URL of the host application
	Store      store.Store
	Gate       *gate.Gate
	Fences     *fence.Keeper // may be nil
	Sessions   *session.Manager
	Vault      *vault.Vault
	Pages      *web.Pages
	Sealer     *web.Sealer
	Cookies    web.Cookies
	Now        func() time.Time
	Log        *slog.Logger
	Default    string    // alias of the provider to redirect to at once; "" shows the page
	FirstLogin flow.Flow // for providers that have none of their own
	PostLogin  flow.Flow // likewise; nil is none
	Local      bool      // users may sign in with a password of the broker's own
	// Credentials are of users; nil if the broker keeps none. Passwords and Source are not nil.
	Credentials store.Credentials
	Passwords   flow.Passwords
	Passkeys    flow.Passkeys // with which users may sign in; nil for none
	Source      func(r *http.Request) string
	// Mail sends a mail in a language; nil if there is no mailer.
	Mail func(ctx context.Context, language string, m flow.Mail) error
	// Ended tells the applications of sessions that were deleted because others took their place.
	Ended func(ctx context.Context, reason string, sessionIDs ...string) (frames []string)
	// End ends sessions, and tells the applications.
	End func(ctx context.Context, reason string, sessionIDs ...string) (frames []string, err error)
	// EndEverything ends every session of a user, and all that was granted to outlive sessions.
	EndEverything func(ctx context.Context, reason, userID string) error
	// Resolve makes the target that Start names again, or says why it may not be served any more.
	Resolve func(ctx context.Context, start string) (*Target, error)

	resetting atomic.Int32 // mails to those who have forgotten their password, under way
}

// url returns the absolute URL of a path and query below the base.
func (s *Service) url(path string) string { return s.Base.String() + path }
