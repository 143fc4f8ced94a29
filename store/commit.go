package store

import (
	"context"
	"errors"
	"time"
)

// Commit writes l to s: in one transaction where s is a [Committer], otherwise part by part, or as [Parts] says.
//
// Part by part, the mark comes first, so that a login which failed half-way is not repeated by a replay. Then come a new
// user, the links, the user, the grant and the session, and the first that fails ends it. Of a link that takes another's place
// the new one comes first, so that a crash in between leaves both; the old one is deleted whatever its version, and where it is
// gone already so is the new one. A user who was created but could
// not be linked is removed again, and so is a grant without its session; a crash exactly between the two leaves a user
// without a link, whom the next login of the same identity meets as an existing account, or a grant. Any later failure
// leaves a user who is linked but not signed in: if there is a session or a grant, nobody was told its secret.
func Commit(ctx context.Context, s Store, l *Login) error {
	if c, ok := s.(Committer); ok {
		return c.Commit(ctx, l)
	}
	var parts Parts
	switch s := s.(type) { // by its type: what embeds Parts may have methods of its own
	case Parts:
		parts = s
	case *Parts:
		parts = *s
	default:
		parts = Parts{s, s, s, s, s, s}
	}
	for _, w := range parts.writes(l) {
		if err := w.do(ctx); err != nil {
			return errors.Join(err, w.undo(ctx, l, err))
		}
	}
	return nil
}

const undoWithin = 5 * time.Second // a store that is down is not waited for much longer

// undo takes back what was written before w, which failed, and would be in the way of the next login or of no use without
// w. What became of w itself is unknown unless the error is a sentinel.
func (w *write) undo(ctx context.Context, l *Login, failed error) (err error) {
	// The request may be what ended; the repair must not end with it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoWithin)
	defer cancel()
	unknown := !errors.Is(failed, ErrExists) && !errors.Is(failed, ErrConflict)
	alone := w.login.NewUser != nil && w.committer == nil
	linking := w.login.NewUser == nil && (w.login.NewLink != nil || w.login.Link != nil)
	if w.login.OldLink != nil && w.committer == nil && errors.Is(failed, ErrConflict) && l.NewLink != nil {
		err = unlessMissing(w.parts.DeleteLink(ctx, l.NewLink.LinkKey))
	}
	if l.NewUser != nil && (linking || alone && unknown) {
		err = errors.Join(err, unlessMissing(w.parts.DeleteUser(ctx, l.NewUser.ID)))
	}
	granted := w.login.Grant == nil && w.login.Session != nil
	granting := w.login.Grant != nil && w.login.Session == nil
	if l.Grant != nil && (granted || granting && unknown) {
		err = errors.Join(err, unlessMissing(w.parts.DeleteGrant(ctx, l.Grant.ID)))
	}
	return err
}
