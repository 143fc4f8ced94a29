package logout

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
)

const (
	maxMessage  = 64 << 10
	seenPurpose = "logout_token"
)

// A refusal is what an upstream is told about its message (Back-Channel Logout §2.8, RFC 6749 §5.2).
type refusal struct {
	status            int
	code, description string
}

var (
	noSuchThing = refusal{http.StatusNotFound, "not_found", "nothing takes logout messages here"}
	badMessage  = refusal{http.StatusBadRequest, "invalid_request", "the message is not, or no longer, valid"}
	notDone     = refusal{http.StatusBadRequest, "server_error", "the message could not be carried out now"}
)

// Receive handles POST /broker/{alias}/backchannel_logout: an upstream says, without a browser, whom it has signed out. It
// is all that is known: only what the provider has verified, and only once, ends anything.
func (s *Service) Receive(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	rec := web.RecordOf(r.Context())
	p, err := s.Gate.Enabled(r.PathValue("alias"))
	if err != nil {
		refuse(w, rec, noSuchThing, err)
		return
	}
	rec.Note("provider", p.Alias)
	receiver, ok := p.IdP.(provider.LogoutReceiver)
	if !ok {
		refuse(w, rec, noSuchThing, errors.New("the provider sends no logout messages"))
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxMessage)
	if err := r.ParseForm(); err != nil {
		refuse(w, rec, badMessage, err)
		return
	}
	at := s.tripURL(p.Alias, "/backchannel_logout")
	if r.URL.RawQuery != "" {
		at += "?" + r.URL.RawQuery
	}
	l, err := receiver.ReceiveLogout(r.Context(), provider.LogoutMessage{URL: at, Params: r.PostForm})
	if err != nil {
		refuse(w, rec, refusalOf(err), err)
		return
	}
	if err := s.carryOut(r.Context(), p.Alias, l); err != nil {
		refuse(w, rec, refusalOf(err), err)
		return
	}
	w.WriteHeader(http.StatusOK)
}

var errReplayed = errors.New("the message was received before")

// carryOut ends what an upstream's message names, once. A message that could not be carried out may come again.
func (s *Service) carryOut(ctx context.Context, alias string, l *provider.Logout) error {
	if l.Session == "" && l.Subject == "" || l.ID == "" || slices.Contains(l.MoreSessions, "") {
		return &provider.Error{Kind: provider.Invalid, Err: errors.New("the message names nothing")}
	}
	mark := messageKey(alias, l)
	expires := l.Expires
	if least := s.Now().Add(time.Minute); expires.Before(least) {
		expires = least
	}
	switch err := s.Store.Add(ctx, seenPurpose, mark, nil, expires); {
	case errors.Is(err, store.ErrExists):
		return &provider.Error{Kind: provider.Invalid, Err: errReplayed}
	case err != nil:
		return fmt.Errorf("mark logout message: %w", err)
	}
	var err error
	for _, session := range append([]string{l.Session}, l.MoreSessions...) {
		query := store.SessionQuery{Provider: alias, Issuer: l.Issuer, Subject: l.Subject, UpstreamSession: session}
		err = errors.Join(err, s.endFound(ctx, "ended at the upstream", query))
	}
	if err != nil {
		_, again := s.Store.Take(context.WithoutCancel(ctx), seenPurpose, mark)
		return errors.Join(err, again)
	}
	return nil
}

// messageKey names a message for ever. It is a hash, since the issuer chooses how long its ids are.
func messageKey(alias string, l *provider.Logout) string {
	sum := sha256.Sum256([]byte(alias + "\x00" + l.Issuer + "\x00" + l.ID))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// refusalOf tells a bad message from one that could not be looked at.
func refusalOf(err error) refusal {
	if failure, ok := errors.AsType[*provider.Error](err); ok && failure.Kind == provider.Invalid {
		return badMessage
	}
	return notDone
}

func refuse(w http.ResponseWriter, rec *web.Record, f refusal, err error) {
	rec.Err = err
	body, _ := json.Marshal(map[string]string{"error": f.code, "error_description": f.description}) // text always has a JSON form
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(f.status)
	_, _ = w.Write(append(body, '\n')) // who has gone needs no answer
}
