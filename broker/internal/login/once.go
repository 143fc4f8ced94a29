package login

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
)

// vouchedPurpose is of the marks that say what an upstream has vouched by already.
const vouchedPurpose = "vouched"

// once refuses what the upstream said by something that was used before, on any node (provider.Identity.Once).
func (s *Service) once(ctx context.Context, alias string, id *provider.Identity) error {
	if id.Once == nil {
		return nil
	}
	if id.Once.ID == "" {
		return &provider.Error{Kind: provider.Invalid, Err: errors.New("what is to be used once has no name")}
	}
	until := id.Once.Until
	if least := s.Now().Add(time.Minute); until.Before(least) {
		until = least
	}
	// A hash, since the issuer chooses how long its ids are.
	sum := sha256.Sum256([]byte(alias + "\x00" + id.Issuer + "\x00" + id.Once.ID))
	switch err := s.Store.Add(ctx, vouchedPurpose, base64.RawURLEncoding.EncodeToString(sum[:]), nil, until); {
	case errors.Is(err, store.ErrExists):
		return &Problem{Status: http.StatusConflict, Message: "already_used", Err: errors.New("the upstream's answer was used before")}
	case err != nil:
		return fmt.Errorf("mark upstream's answer: %w", err)
	}
	return nil
}
