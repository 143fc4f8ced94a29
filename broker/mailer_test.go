package broker_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/flow"
)

// An outbox keeps what would be sent.
type outbox struct {
	sent []broker.Message
	err  error
}

func (o *outbox) Send(_ context.Context, m *broker.Message) error {
	o.sent = append(o.sent, *m)
	return o.err
}

func (*outbox) Insecure() []string { return []string{"keeps it"} }

// mails is a step that sends a mail, if it can, and asks a page.
type mails struct{}

func (mails) Authenticate(ctx context.Context, t *flow.Turn) (flow.Result, error) {
	switch {
	case t.Input != nil:
		return flow.Success(), nil
	case t.Mail == nil:
		return flow.Deny("no_mail"), nil
	}
	return flow.Ask(flow.Page{Name: "ask"}), t.Mail(ctx, flow.Mail{
		Name: "verify-email", To: t.Draft.Profile.Email, Link: t.BaseURL + "/x", Args: map[string]string{"email": t.Draft.Profile.Email, "minutes": "5"},
	})
}

func TestMailer(t *testing.T) {
	t.Parallel()
	box, log := &outbox{}, &bytes.Buffer{}
	w := newWorld(t, func(c *broker.Config) {
		c.Mailer, c.Theme, c.Name = box, askTheme, "Example"
		c.Logger = slog.New(slog.NewTextHandler(log, nil))
		c.PostLogin = flow.Flow{{ID: "mail", Do: mails{}}}
	})
	if !strings.Contains(log.String(), "keeps it") {
		t.Errorf("what is insecure about the mailer was not logged:\n%s", log)
	}
	b := brokertest.NewBrowser(t)
	b.Get(w.Origin + "/id/login?ui_locales=de").Click("Demo").Submit(url.Values{"ok": {"1"}})
	if len(box.sent) != 1 {
		t.Fatalf("sent %+v", box.sent)
	}
	m := box.sent[0]
	if m.To != "alice@example.com" || m.Language != "de" || m.Subject != "Bestätigen Sie Ihre E-Mail-Adresse" ||
		!strings.Contains(m.Text, w.base+"/x") || !strings.Contains(m.HTML, `href="`+w.base+`/x"`) {
		t.Errorf("got %+v", m)
	}

	log.Reset()
	box.err = errors.New("the server is down")
	page := brokertest.NewBrowser(t).Get(w.Origin + "/").Click("Demo")
	if strings.Contains(page.Body, "is down") || !strings.Contains(log.String(), "is down") {
		t.Errorf("a mailer's error belongs into the log, not onto the page: status %d\n%s", page.Status, page.Body)
	}
}

func TestNoMailer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) {
		c.Theme = fstest.MapFS{"locales/en.json": {Data: []byte(`{"error.no_mail.title":"No mail","error.no_mail.text":"No mail here."}`)}}
		c.PostLogin = flow.Flow{{ID: "mail", Do: mails{}}}
	})
	if page := brokertest.NewBrowser(t).Get(w.Origin + "/").Click("Demo"); !strings.Contains(page.Body, "No mail here.") {
		t.Errorf("a step was lent a mailer that is not there: status %d\n%s", page.Status, page.Body)
	}
}
