package broker

import (
	"context"

	"github.com/go-idbroker/idbroker/broker/internal/web"
	"github.com/go-idbroker/idbroker/flow"
)

// Mailer sends the broker's mail: proofs of an e-mail address, and news of one's own account. The package broker/mail has one
// over SMTP and one for development. Implementations are safe for concurrent use. One that has a method Check() error is asked by
// [New]; what Insecure() []string names, if it has that, is logged at start.
type Mailer interface {
	// Send hands m over to a mail server, and returns when that has taken it. It ends when ctx does. Its error reaches the log
	// and never the visitor: it should not repeat the text, whose links are secrets.
	Send(ctx context.Context, m *Message) error
}

// A Message is one mail to one person.
type Message struct {
	To       string // one address, without a name
	Subject  string // one line
	Text     string // the whole message as plain text
	HTML     string // the same as a page of its own, without anything to be loaded
	Language string // BCP 47, of the text
}

// mail renders what steps send, and sends it.
func (c *Config) mail(pages *web.Pages) func(ctx context.Context, language string, m flow.Mail) error {
	return func(ctx context.Context, language string, m flow.Mail) error {
		rendered, err := pages.Mail(language, web.Mail{Name: m.Name, Args: m.Args, Link: m.Link, Code: m.Code})
		if err != nil {
			return err
		}
		return c.Mailer.Send(ctx, &Message{
			To: m.To, Subject: rendered.Subject, Text: rendered.Text, HTML: rendered.HTML, Language: language,
		})
	}
}
