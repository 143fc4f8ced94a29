package login

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/firstlogin"
	"github.com/go-idbroker/idbroker/store"
)

const (
	fieldLink   = "link" // of the address that was mailed and of its page's form
	fieldNumber = "number"
	maxProof    = 4 << 10
)

// ShowProof handles GET /proof: somebody, or their mail server, has opened a link that was mailed. It changes nothing.
func (s *Service) ShowProof(w http.ResponseWriter, r *http.Request) {
	s.askProof(w, r, r.URL.Query().Get(fieldLink), "")
}

// askProof asks whoever has opened the link to confirm it. problem says why their answer did not, "" for who has given none.
func (s *Service) askProof(w http.ResponseWriter, r *http.Request, handle, problem string) {
	p, err := firstlogin.ReadProof(r.Context(), s.Store, handle, s.Now())
	t := s.proofTarget(r.Context(), p)
	if err != nil {
		s.proofFailed(w, r, t, err)
		return
	}
	data, err := s.proofData(r, p)
	if err != nil {
		s.proofFailed(w, r, t, err)
		return
	}
	data.Hidden, data.Problem = url.Values{fieldLink: {handle}}, problem
	s.Render(w, r, t, web.Page{Name: "proof", Status: http.StatusOK, Data: *data})
}

// proofData returns what the page says of a mailed link that is good still.
func (s *Service) proofData(r *http.Request, p *firstlogin.Proof) (*web.ProofData, error) {
	provider, err := s.proofProvider(p)
	if err != nil {
		return nil, err
	}
	data := &web.ProofData{
		Action: s.url("/proof"), Provider: provider, Username: p.Upstream, Account: p.Account, Elsewhere: s.waiting(r, p) == nil,
	}
	if p.Verifies {
		data.Email = p.Email
	}
	if p.UserID == "" {
		return data, nil
	}
	user, err := s.addressees(p).User(r.Context(), p.UserID)
	if err == nil && user.Email != p.Email && !p.Verifies {
		err = firstlogin.ErrProofRevoked
	}
	if err == nil && s.Gate.Transient(user, p.UserID, p.Link) != nil {
		err = s.Gate.User(user)
	}
	if err != nil {
		return nil, err
	}
	data.Disowns = !user.EmailVerified && !p.Verifies
	return data, nil
}

// waiting returns the login that has asked for the mail if it is under way in the browser of the request, otherwise nil. One that
// nobody has asked for here may be a stranger's, in whichever browser it is.
func (s *Service) waiting(r *http.Request, p *firstlogin.Proof) *journey {
	j, err := s.kept(r, p.Journey, s.Store.Get)
	if err != nil || j.Unasked {
		return nil
	}
	return j
}

// addressees are the users whom mailed links are about. A transient one, whom no store has, is there for as long as a login with who
// has vouched for them would be theirs.
type addressees struct {
	*Service
	by store.LinkKey
}

func (s *Service) addressees(p *firstlogin.Proof) addressees { return addressees{s, p.Link} }

// User returns the user with this id; of a transient one that is all that is known.
func (a addressees) User(ctx context.Context, id string) (*store.User, error) {
	u := &store.User{ID: id}
	if a.Gate.Transient(u, id, a.by) == nil {
		return u, nil
	}
	return a.Store.User(ctx, id)
}

// proofProvider returns what the provider is called that has vouched for who has asked for the mail, if it still may; "" if none has.
func (s *Service) proofProvider(p *firstlogin.Proof) (string, error) {
	if p.Verifies && p.Link.Provider == "" {
		return "", nil
	}
	provider, err := s.Gate.Enabled(p.Link.Provider)
	if err != nil {
		return "", err
	}
	return provider.Title(), nil
}

// AnswerProof handles POST /proof: who has opened the link confirms. In the browser that has asked for the mail the login goes on
// at once; in any other they have to know the number that the login's page shows there, and are sent back to it.
func (s *Service) AnswerProof(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxProof)
	if err := r.ParseForm(); err != nil {
		s.Fail(w, r, nil, &Problem{Status: http.StatusBadRequest, Message: "bad_request", Err: err})
		return
	}
	answer := firstlogin.Confirmation{Handle: r.PostForm.Get(fieldLink), Number: r.PostForm.Get(fieldNumber)}
	read, err := firstlogin.ReadProof(r.Context(), s.Store, answer.Handle, s.Now())
	t := s.proofTarget(r.Context(), read)
	if err == nil {
		_, err = s.proofProvider(read)
	}
	var j *journey
	if err == nil {
		if j = s.waiting(r, read); j != nil {
			answer.Journey = j.ID
		}
		_, err = firstlogin.ConfirmProof(r.Context(), s.Store, s.addressees(read), answer, s.Now())
	}
	switch {
	case errors.Is(err, firstlogin.ErrProofNumber):
		web.RecordOf(r.Context()).Err = err
		problem := "wrong"
		if strings.TrimSpace(answer.Number) == "" {
			problem = "required"
		}
		s.askProof(w, r, answer.Handle, problem)
		return
	case err != nil:
		s.proofFailed(w, r, t, err)
		return
	}
	web.RecordOf(r.Context()).Note("user", read.UserID)
	switch {
	case j == nil: // another browser, or the login is over
		s.Render(w, r, t, web.Page{Name: "proof", Status: http.StatusOK, Data: s.proofDone(t)})
	case j.State.Page() == nil || j.State.Page().Name != firstlogin.PageVerifyEmail:
		s.leave(w, r, s.flowURL(j))
	default:
		s.resume(w, r, j.ID, &flow.Turn{Token: j.State.Token(), Input: url.Values{"confirmed": {"1"}}})
	}
}

func (s *Service) proofDone(t *Target) web.ProofData {
	data := web.ProofData{Done: true}
	if t != nil {
		data.Application, data.Back = t.Application, t.Back
		if t.Start != "" {
			data.Restart = s.url(t.Start)
		}
	}
	return data
}

// proofTarget returns what the login was for that has asked for the mail, nil if that cannot be told.
func (s *Service) proofTarget(ctx context.Context, p *firstlogin.Proof) *Target {
	if p == nil || p.Start == "" {
		return nil
	}
	t, err := s.Resolve(ctx, p.Start)
	if err != nil {
		return nil
	}
	t.Passive = false // there is somebody to show a page to
	if provider, err := s.Gate.Enabled(p.Link.Provider); err == nil {
		t.via = provider.Title()
	}
	return t
}

// proofFailed shows why a mailed link proves nothing, and the way back to the application.
func (s *Service) proofFailed(w http.ResponseWriter, r *http.Request, t *Target, err error) {
	for _, known := range []struct {
		err     error
		status  int
		message string
	}{
		{firstlogin.ErrProofUsed, http.StatusConflict, "proof_used"},
		{firstlogin.ErrProofExpired, http.StatusGone, "proof_expired"},
		{firstlogin.ErrProofRevoked, http.StatusGone, "proof_expired"},
		{store.ErrNotFound, http.StatusGone, "proof_expired"},
	} {
		if errors.Is(err, known.err) {
			s.Fail(w, r, t, &Problem{Status: known.status, Message: known.message, Err: err})
			return
		}
	}
	s.Fail(w, r, t, err)
}
