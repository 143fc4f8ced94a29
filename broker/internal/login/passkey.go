package login

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/factor"
	"github.com/go-idbroker/idbroker/store"
)

const (
	stepPasskey     = "local-passkey"
	fieldBegun      = "begun" // of the login page's form: what was begun, sealed
	fieldCredential = "credential"
	passkeyPurpose  = "passkey login"
	passkeyCookie   = "passkey" // names the browser, so that what was begun in it is good nowhere else
	passkeyLifetime = 10 * time.Minute
)

// passkeyFlow is what somebody passes who signs in with a passkey: it is two factors in one.
var passkeyFlow = flow.Flow{
	{ID: stepPasskey, Do: factor.Passkey{}},
	{ID: "local-update", Do: factor.UpdatePassword{}},
}

// A begunPasskey is a login by passkey whose challenge is on the login page: nothing is kept for somebody who has proved nothing.
// To the flow it is what has begun, and ends, with that challenge.
type begunPasskey struct {
	ID      string    `json:"i"`
	State   []byte    `json:"s"`
	Expires time.Time `json:"e"`

	flow.Passkeys `json:"-"`
	marks         store.Transient
}

// BeginLogin returns what was begun; its options are on the page.
func (b *begunPasskey) BeginLogin(context.Context, store.Credentials, *store.User) (options, state []byte, err error) {
	return []byte("{}"), b.State, nil
}

// FinishLogin takes one proof.
func (b *begunPasskey) FinishLogin(ctx context.Context, c store.Credentials, users func(context.Context, string) (*store.User, error),
	state, answer []byte, now time.Time) (*flow.PasskeyProof, error) {
	proof, err := b.Passkeys.FinishLogin(ctx, c, users, state, answer, now)
	if err != nil {
		return nil, err
	}
	switch err := b.marks.Add(ctx, passkeyPurpose, b.ID, nil, b.Expires); {
	case errors.Is(err, store.ErrExists):
		return nil, fmt.Errorf("%w: the answer was used before", factor.ErrRefused)
	case err != nil:
		return nil, fmt.Errorf("mark passkey login: %w", err)
	}
	return proof, nil
}

// recordedPasskeys are those that steps are lent: why one was refused, which no page tells, is logged.
type recordedPasskeys struct{ flow.Passkeys }

// FinishLogin takes one proof, or notes why it is none.
func (p recordedPasskeys) FinishLogin(ctx context.Context, c store.Credentials, users func(context.Context, string) (*store.User, error),
	state, answer []byte, now time.Time) (*flow.PasskeyProof, error) {
	proof, err := p.Passkeys.FinishLogin(ctx, c, users, state, answer, now)
	if errors.Is(err, factor.ErrRefused) {
		web.RecordOf(ctx).Err = err
	}
	return proof, err
}

// passkeyForm asks on the login page for anybody's passkey.
func (s *Service) passkeyForm(w http.ResponseWriter, r *http.Request, t *Target) (*web.PasskeyForm, error) {
	options, state, err := s.Passkeys.BeginLogin(r.Context(), s.Credentials, nil)
	if err != nil {
		return nil, err
	}
	plain, err := json.Marshal(begunPasskey{ID: rand.Text(), State: state, Expires: s.Now().Add(passkeyLifetime).UTC()})
	if err != nil {
		return nil, err
	}
	browser := s.Cookies.Get(r, passkeyCookie)
	if !isState(browser) {
		browser = rand.Text()
	}
	s.Cookies.Set(w, passkeyCookie, browser, passkeyLifetime, false)
	return &web.PasskeyForm{
		Action: s.url("/login/passkey"), Options: string(options),
		Hidden: url.Values{fieldStart: {t.Start}, fieldBegun: {s.Sealer.Seal(passkeyPurpose, browser, plain)}},
	}, nil
}

// begun returns what the browser that sent r has begun. It has no state if that was nothing, or too long ago, and proves nothing then.
func (s *Service) begun(r *http.Request) *begunPasskey {
	var b begunPasskey
	plain, err := s.Sealer.Open(passkeyPurpose, s.Cookies.Get(r, passkeyCookie), r.PostForm.Get(fieldBegun))
	if err != nil || json.Unmarshal(plain, &b) != nil || !s.Now().Before(b.Expires) {
		b = begunPasskey{}
	}
	b.Passkeys, b.marks = s.Passkeys, s.Store
	return &b
}

// AnswerPasskey handles POST /login/passkey: what the browser answered to the challenge on the login page.
func (s *Service) AnswerPasskey(w http.ResponseWriter, r *http.Request) {
	if t, ok := s.localTarget(w, r, true); ok {
		s.local(w, r, &journey{target: t, Passkey: true, begun: s.begun(r)}, url.Values{
			fieldCredential: {r.PostForm.Get(fieldCredential)},
		})
	}
}
