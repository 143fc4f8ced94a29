package login

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/gate"
	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/token"
)

const (
	flowCookie      = "flow-" // followed by the journey's id
	flowPurpose     = "flow"
	journeyLifetime = 30 * time.Minute
	maxAnswer       = 64 << 10
	fieldTurn       = "turn" // of every page's form: which page it answers
)

// pause keeps the journey until its page is answered, and sends the browser to that page.
func (s *Service) pause(w http.ResponseWriter, r *http.Request, j *journey) {
	if err := s.keep(w, r, j); err != nil {
		s.Fail(w, r, j.target, err)
		return
	}
	s.leave(w, r, s.flowURL(j))
}

// leaveFlow keeps the journey and sends the browser to another upstream, which a step asks to vouch as well.
func (s *Service) leaveFlow(w http.ResponseWriter, r *http.Request, j *journey, alias string) {
	p, err := s.Gate.Enabled(alias)
	if err == nil {
		err = s.keep(w, r, j)
	}
	if err != nil {
		s.Fail(w, r, j.target, err)
		return
	}
	s.begin(w, r, j.target, p, j.ID)
}

// keep stores the journey under the hash of a handle that only this browser has.
func (s *Service) keep(w http.ResponseWriter, r *http.Request, j *journey) error {
	if j.Key == "" {
		var handle string
		handle, j.Key = token.NewHandle(flowPurpose)
		s.Cookies.Trim(w, r, flowCookie, maxPending-1, maxPendingSize)
		s.Cookies.Set(w, flowCookie+j.ID, handle, journeyLifetime, false)
		if j.target.Keep != nil {
			if err := j.target.Keep(r.Context(), j.Expires); err != nil {
				return err
			}
		}
	}
	plain, err := json.Marshal(j)
	if err != nil {
		return err
	}
	return s.Store.Put(r.Context(), flowPurpose, j.Key, plain, j.Expires)
}

// kept reads the journey that the browser claims with read, which is the store's Get or Take.
func (s *Service) kept(r *http.Request, id string,
	read func(ctx context.Context, purpose, key string) ([]byte, error)) (*journey, error) {
	key := token.HashHandle(flowPurpose, s.Cookies.Get(r, flowCookie+id))
	plain, err := read(r.Context(), flowPurpose, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, flow.ErrStale
	}
	if err != nil {
		return nil, err
	}
	j := &journey{}
	d := json.NewDecoder(bytes.NewReader(plain))
	d.UseNumber() // as claims have them
	if err := d.Decode(j); err != nil {
		return nil, flow.ErrStale // another version of the broker has written it
	}
	// Whoever or whatever was switched off meanwhile takes part no more.
	if j.target, err = s.Resolve(r.Context(), j.Start); err != nil {
		return nil, err
	}
	if j.provider, err = s.entrance(j); err != nil {
		return nil, err
	}
	j.target.via = j.provider.Title()
	if j.provider.TransientUsers != (j.Transient != nil) { // its users are kept from now on, or no more
		return nil, flow.ErrStale
	}
	if err := s.stillProved(r.Context(), j); errors.Is(err, errUnproved) {
		return nil, flow.ErrStale
	} else if err != nil {
		return nil, err
	}
	if j.Linked == "" {
		return j, nil
	}
	if err := s.lookUp(r.Context(), j); err != nil {
		return nil, err
	}
	if s.overtaken(j) {
		return nil, flow.ErrStale
	}
	return j, nil
}

// ShowFlow handles GET /flow/{id}: the page that the journey has paused at, as often as it is asked for.
func (s *Service) ShowFlow(w http.ResponseWriter, r *http.Request) {
	j, err := s.kept(r, r.PathValue("id"), s.Store.Get)
	if err != nil {
		s.flowFailed(w, r, j, err)
		return
	}
	page := j.State.Page()
	if page == nil {
		s.Expired(w, r, j.target, "")
		return
	}
	reset := ""
	if page.Name == "password" && s.mayReset() {
		reset = s.url("/reset?" + url.Values{fieldJourney: {j.ID}}.Encode())
	}
	s.Render(w, r, j.target, web.Page{Name: page.Name, Status: http.StatusOK, Data: web.FlowData{
		Reset:  reset,
		Action: s.flowURL(j),
		Hidden: map[string]string{fieldTurn: j.State.Token()},
		Data:   page.Data,
		Errors: page.Errors,
	}})
}

// AnswerFlow handles POST /flow/{id}: the answer to that page. Of two answers at once the store gives one the journey.
func (s *Service) AnswerFlow(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxAnswer)
	if err := r.ParseForm(); err != nil {
		s.Fail(w, r, nil, &Problem{Status: http.StatusBadRequest, Message: "bad_request", Err: err})
		return
	}
	input := r.PostForm
	if input == nil {
		input = url.Values{}
	}
	s.resume(w, r, r.PathValue("id"), &flow.Turn{Token: input.Get(fieldTurn), Input: input})
}

// returned goes on with a journey that had sent the browser to another upstream, which has vouched now.
func (s *Service) returned(w http.ResponseWriter, r *http.Request, p *gate.Provider, id *provider.Identity, flowID string) {
	back := &flow.Returned{Alias: p.Alias, Identity: id}
	who := &journey{Alias: p.Alias, Identity: id, provider: p}
	err := mapLookup(p, id)
	if err == nil {
		err = s.lookUp(r.Context(), who)
	}
	if err != nil {
		s.Fail(w, r, nil, err)
		return
	}
	if who.account.user != nil {
		back.UserID = who.account.user.ID
	}
	s.resume(w, r, flowID, &flow.Turn{Returned: back})
}

func (s *Service) resume(w http.ResponseWriter, r *http.Request, id string, turn *flow.Turn) {
	j, err := s.kept(r, id, s.Store.Take)
	if err != nil {
		s.flowFailed(w, r, j, err)
		return
	}
	if turn.Returned != nil {
		turn.Token = j.State.Token()
	}
	s.proceed(w, r, j, turn)
}

// turn completes what the visitor answered, if anything, with what every step may see.
func (s *Service) turn(r *http.Request, j *journey, answered *flow.Turn) *flow.Turn {
	t := &flow.Turn{}
	if answered != nil {
		*t = *answered
	}
	t.Provider = flow.Provider{Alias: j.Alias, Name: j.provider.Title(), TrustEmail: j.provider.TrustEmail}
	t.Identity, t.Draft, t.Accounts, t.Now = j.Identity, &j.Draft, s.accounts(j), s.Now()
	t.Language = s.Pages.Language(r, j.target.Locales)
	t.Lent = s.lend(r, j)
	return t
}

// accounts are those of the store, but who signs in is as the login will write them: what a provider says of them this time is
// known to the steps that decide by it.
type accounts struct {
	store.Store
	service *Service
	journey *journey
}

func (a accounts) User(ctx context.Context, id string) (*store.User, error) {
	u, err := a.Store.User(ctx, id)
	if err != nil || id != a.journey.Draft.UserID || a.journey.Stage != stagePostLogin {
		return u, err
	}
	_, err = a.service.sync(ctx, a.journey, u)
	return u, err
}

// flowFailed shows why a journey, nil if there is none, cannot go on now. One that was answered wrongly, or whose step
// could not be done, is kept as it was.
func (s *Service) flowFailed(w http.ResponseWriter, r *http.Request, j *journey, err error) {
	rec := web.RecordOf(r.Context())
	rec.Err = err
	if j == nil {
		if errors.Is(err, flow.ErrStale) {
			s.Expired(w, r, nil, "")
			return
		}
		s.Fail(w, r, nil, err)
		return
	}
	again := ""
	if j.Key != "" {
		if keepErr := s.keep(w, r, j); keepErr != nil {
			s.Fail(w, r, j.target, errors.Join(err, keepErr))
			return
		}
		again = s.flowURL(j)
	}
	if errors.Is(err, flow.ErrStale) {
		s.Expired(w, r, j.target, again)
		return
	}
	s.Fail(w, r, j.target, err)
}

// Forget makes the browser forget whatever was under way in it: who signs out does not want to be signed in by a page
// that was left open.
func (s *Service) Forget(w http.ResponseWriter, r *http.Request) {
	s.Cookies.Trim(w, r, flowCookie, 0, 0)
	s.Cookies.Trim(w, r, pendingCookie, 0, 0)
}

func (s *Service) flowURL(j *journey) string { return s.url("/flow/" + j.ID) }
