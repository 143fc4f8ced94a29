package main

import (
	"context"

	"github.com/go-idbroker/idbroker/flow"
)

// Terms lets nobody become a user who has not accepted the terms of service, and keeps with the user which version that was.
type Terms struct{ Version string }

// Authenticate asks on the page "terms", until the box is ticked that is for this version.
func (a Terms) Authenticate(_ context.Context, t *flow.Turn) (flow.Result, error) {
	page := flow.Page{Name: "terms", Data: map[string]any{"version": a.Version}}
	switch {
	case t.Input == nil: // the flow has just come here
		return flow.Ask(page), nil
	case t.Input.Has("decline"):
		return flow.Deny("terms_declined"), nil
	case t.Input.Get("accept") != a.Version:
		page.Errors = map[string]string{"accept": "required"}
		return flow.Ask(page), nil
	}
	t.Draft.Profile.Attributes["terms"] = []string{a.Version}
	return flow.Success(), nil
}
