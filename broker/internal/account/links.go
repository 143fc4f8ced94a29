package account

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"slices"
	"strings"

	"github.com/go-idbroker/idbroker/broker/internal/gate"
	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/store"
)

// linkID names a link in a form, without saying who the user is at the provider.
func linkID(key store.LinkKey) string {
	sum := sha256.Sum256([]byte(key.Provider + "\x00" + key.Issuer + "\x00" + key.Subject))
	return base64.RawURLEncoding.EncodeToString(sum[:18])
}

func (s *Service) showLinks(v *visit, data *web.AccountData, w *ways) error {
	links, err := s.Store.LinksOf(v.Context(), v.user.ID)
	if err != nil {
		return err
	}
	linked, shown := map[string]bool{}, map[[2]string]bool{}
	for _, l := range links {
		linked[l.Provider] = true
		p, err := s.Gate.Provider(l.Provider)
		if err != nil || p.ShowInAccount == provider.AccountNever || shown[[2]string{l.Provider, l.Subject}] {
			continue
		}
		shown[[2]string{l.Provider, l.Subject}] = true
		row := web.AccountLink{ID: linkID(l.LinkKey), Provider: p.Title(), Icon: s.icon(p), ThemeData: p.ThemeData, As: l.Username, Off: p.Disabled}
		if row.As == "" {
			row.As = l.Email
		}
		row.Needed = s.last(w, l)
		data.Links = append(data.Links, row)
	}
	for _, p := range s.Gate.Linkable() {
		if linked[p.Alias] || p.ShowInAccount != provider.AccountAlways {
			continue
		}
		data.Linkable = append(data.Linkable, web.Button{
			Name: p.Title(), Icon: s.icon(p), ThemeData: p.ThemeData,
			URL: s.Base.String() + "/link?" + url.Values{"provider": {p.Alias}, "return_to": {v.base + "/"}}.Encode(),
		})
	}
	return nil
}

func (s *Service) icon(p *gate.Provider) string {
	if len(p.Icon) == 0 {
		return ""
	}
	return s.Base.Path + "/icon/" + p.Alias
}

// last reports whether nothing remains to sign in with once the link is gone. One that is no way in may always go, where it leaves
// some way; where there is none left at all it stays, too: what is off now may be on tomorrow.
func (s *Service) last(w *ways, l *store.Link) bool {
	n := w.count()
	if slices.ContainsFunc(w.links, func(o *store.Link) bool { return o.Provider == l.Provider && o.Subject == l.Subject }) {
		n--
	}
	return n == 0
}

// unlink handles POST …/unlink.
func (s *Service) unlink(v *visit) {
	if !s.recent(v, v.base+"/?notice=again") {
		return
	}
	links, err := s.Store.LinksOf(v.Context(), v.user.ID)
	if err != nil {
		s.fail(v, err)
		return
	}
	i := slices.IndexFunc(links, func(l *store.Link) bool { return linkID(l.LinkKey) == v.PostForm.Get("link") })
	if i < 0 {
		s.redirect(v, v.base+"/")
		return
	}
	l := links[i]
	p, err := s.Gate.Provider(l.Provider)
	if err != nil || p.ShowInAccount == provider.AccountNever {
		s.redirect(v, v.base+"/")
		return
	}
	if !s.confirmed(v, "unlink", map[string]string{"provider": p.Title()}, url.Values{"link": {linkID(l.LinkKey)}}) {
		return
	}
	s.alone(v, func() error {
		w, err := s.ways(v.Context(), v.user.ID)
		if err != nil {
			return err
		}
		if s.last(w, l) {
			s.done(v, "last_way")
			return nil
		}
		if err := s.Login.Unlink(v.Context(), l); err != nil {
			return err
		}
		s.Login.Changed(v.Request, v.user, "unlinked", l.Provider)
		s.tell(v, "unlinked", map[string]string{"provider": p.Title()})
		if err := s.endVouched(context.WithoutCancel(v.Context()), l); err != nil {
			return err
		}
		s.done(v, "unlinked")
		return nil
	})
}

// endVouched ends the sessions and the grants that a link has vouched for. Each is dead already, as its link is gone.
func (s *Service) endVouched(ctx context.Context, l *store.Link) error {
	return s.Logouts.EndWhere(ctx, "unlinked by the user", l.UserID, func(_ string, by store.LinkKey) bool {
		return by.Provider == l.Provider && by.Subject == l.Subject
	})
}

// plain reports whether a text may be part of a name: of a bounded length, and with nothing that cannot be seen.
func plain(text string) bool {
	return len(text) <= 254 && strings.ToValidUTF8(text, "") == text && !strings.ContainsFunc(text, hidden)
}
