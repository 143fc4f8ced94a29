package broker

import (
	"bytes"
	"errors"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/go-idbroker/idbroker/broker/internal/login"
	"github.com/go-idbroker/idbroker/broker/internal/op"
	"github.com/go-idbroker/idbroker/broker/internal/web"
)

// routes is everything the broker serves, below its base.
func (b *Broker) routes(p *op.Provider) http.Handler {
	sameSite := b.sameSite()
	mux := http.NewServeMux()
	table := map[string]map[string]http.Handler{
		// People.
		"/login":                 {"GET": http.HandlerFunc(b.hostLogin), "POST": sameSite(b.hostLogin)},
		"/login/password":        {"POST": sameSite(b.login.AnswerPassword)},
		"/login/passkey":         {"POST": sameSite(b.login.AnswerPasskey)},
		"/reset":                 {"GET": http.HandlerFunc(b.login.ShowReset), "POST": sameSite(b.login.AskReset)},
		"/reset/set":             {"POST": sameSite(b.login.SetReset)},
		"/link":                  {"GET": http.HandlerFunc(b.hostLink), "POST": sameSite(b.login.AnswerLink)},
		"/link/{handle}":         {"GET": http.HandlerFunc(b.login.FinishLink)},
		"/logout":                b.logout(p, sameSite),
		"/device":                {"GET": http.HandlerFunc(p.Device), "POST": sameSite(p.DeviceAnswer)},
		"/broker/{alias}/login":  {"GET": http.HandlerFunc(b.login.StartProvider)},
		"/broker/{alias}/logout": {"GET": http.HandlerFunc(b.logouts.StartUpstream)},
		"/consent":               {"GET": http.HandlerFunc(p.ShowConsent), "POST": sameSite(p.AnswerConsent)},
		"/flow/{id}":             {"GET": http.HandlerFunc(b.login.ShowFlow), "POST": sameSite(b.login.AnswerFlow)},
		"/proof":                 {"GET": http.HandlerFunc(b.login.ShowProof), "POST": sameSite(b.login.AnswerProof)},
		"/icon/{alias}":          {"GET": http.HandlerFunc(b.icon)},
		"/static/{file}":         {"GET": b.pages.Static()},
		// Upstreams, whose POST comes from their own pages: the sealed state guards it.
		"/broker/{alias}/endpoint":        {"GET": http.HandlerFunc(b.login.Callback), "POST": http.HandlerFunc(b.login.Callback)},
		"/broker/{alias}/endpoint/logout": {"GET": http.HandlerFunc(b.logouts.Browser), "POST": http.HandlerFunc(b.logouts.Browser)},
		"/broker/{alias}/logout_response": {"GET": http.HandlerFunc(b.logouts.Returned)},
		// Upstreams without a browser: their message is signed, what they fetch is public.
		"/broker/{alias}/backchannel_logout":  {"POST": http.HandlerFunc(b.logouts.Receive)},
		"/broker/{alias}/endpoint/descriptor": {"GET": http.HandlerFunc(b.descriptor)},
		// Applications, which may be on any site.
		"/.well-known/openid-configuration":       public(p.Discovery),
		"/.well-known/oauth-authorization-server": public(p.Discovery),
		"/jwks":                 public(p.JWKS),
		"/authorize":            {"GET": http.HandlerFunc(p.Authorize), "POST": http.HandlerFunc(p.Authorize)},
		"/par":                  shared(p, p.Push, "POST"),
		"/device_authorization": shared(p, p.DeviceAuthorization, "POST"),
		"/token":                shared(p, p.Token, "POST"),
		"/introspect":           shared(p, p.Introspect, "POST"),
		"/revoke":               shared(p, p.Revoke, "POST"),
		"/userinfo":             shared(p, p.UserInfo, "GET", "POST"),
		"/broker/{alias}/token": {
			"GET": p.Shared(p.UpstreamToken), "POST": p.Shared(p.AskUpstreamToken), "OPTIONS": http.HandlerFunc(p.Preflight),
		},
	}
	for pattern, methods := range table {
		for method, h := range methods {
			mux.Handle(method+" "+pattern, h)
		}
		mux.Handle(pattern, b.wrongMethod(slices.Sorted(maps.Keys(methods))))
	}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, b.base.String()+"/login", http.StatusSeeOther)
	})
	mux.HandleFunc("/", b.notFound)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The mux would redirect an unclean path, and to a URL outside the base at that.
		if path.Clean(r.URL.Path) != r.URL.Path {
			b.notFound(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// public is an endpoint that scripts of every site may read.
func public(h http.HandlerFunc) map[string]http.Handler {
	return map[string]http.Handler{"GET": op.Public(h), "OPTIONS": op.Public(op.PublicPreflight)}
}

// shared is an endpoint that scripts may call from the origins of the client that they are part of.
func shared(p *op.Provider, h http.HandlerFunc, methods ...string) map[string]http.Handler {
	all := map[string]http.Handler{"OPTIONS": http.HandlerFunc(p.Preflight)}
	for _, method := range methods {
		all[method] = p.Shared(h)
	}
	return all
}

// sameSite refuses requests that another site's page made the browser send.
func (b *Broker) sameSite() func(http.HandlerFunc) http.Handler {
	guard := http.NewCrossOriginProtection()
	// Behind a proxy the Host header may be another than the one that browsers know. The origin was checked in New.
	_ = guard.AddTrustedOrigin(b.base.Scheme + "://" + b.base.Host)
	guard.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.login.Fail(w, r, nil, &login.Problem{Status: http.StatusForbidden, Message: "cross_site"})
	}))
	return func(h http.HandlerFunc) http.Handler { return guard.Handler(h) }
}

func (b *Broker) notFound(w http.ResponseWriter, r *http.Request) {
	b.login.Fail(w, r, nil, &login.Problem{Status: http.StatusNotFound, Message: "not_found"})
}

func (b *Broker) wrongMethod(allowed []string) http.Handler {
	allow := strings.Join(allowed, ", ")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", allow)
		b.login.Fail(w, r, nil, &login.Problem{Status: http.StatusMethodNotAllowed, Message: "method"})
	})
}

// icon serves the image on a provider's button. Wherever an SVG is opened by itself, its policy keeps scripts in it from
// running.
func (b *Broker) icon(w http.ResponseWriter, r *http.Request) {
	p, err := b.gate.Provider(r.PathValue("alias"))
	if err != nil || len(p.Icon) == 0 {
		b.notFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", iconType(p.Icon))
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; sandbox")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "public, max-age=3600")
	if _, err := w.Write(p.Icon); err != nil { //nolint:gosec // the host's own image, sandboxed by the policy above
		web.RecordOf(r.Context()).Err = errors.Join(errors.New("write icon"), err)
	}
}

// iconType returns the media type of an image, "" if it is none that buttons can show.
func iconType(image []byte) string {
	switch t := http.DetectContentType(image); t {
	case "image/png", "image/jpeg", "image/gif", "image/webp":
		return t
	}
	head := bytes.TrimSpace(image[:min(len(image), 1024)])
	if bytes.HasPrefix(head, []byte("<svg")) || bytes.HasPrefix(head, []byte("<?xml")) && bytes.Contains(head, []byte("<svg")) {
		return "image/svg+xml"
	}
	return ""
}
