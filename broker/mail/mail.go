// Package mail delivers the broker's mail: over SMTP, or into a folder while one develops.
//
// It owns the two [broker.Mailer] that come with idbroker, and nothing of what a mail says: that is rendered by the broker,
// in the visitor's language. It is a package of its own so that a host with a mailer of its own links no SMTP client.
//
//	b, err := broker.New(broker.Config{
//		Mailer: &mail.SMTP{
//			Addr:     "smtp.example.com:587",
//			Username: "idbroker",
//			Password: os.Getenv("SMTP_PASSWORD"),
//			From:     "Example <no-reply@example.com>",
//		},
//		…
//	})
package mail

import (
	"fmt"
	"net/mail"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"

	"github.com/go-idbroker/idbroker/broker"
)

// compose makes of m what travels (RFC 5322): text first, and HTML for those who can show it.
func compose(from string, m *broker.Message, now time.Time) (*gomail.Msg, error) {
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	if err := msg.From(from); err != nil {
		return nil, fmt.Errorf("from: %w", err)
	}
	to, err := mail.ParseAddress(m.To)
	if err != nil || to.Name != "" || to.Address != m.To || strings.ContainsAny(m.To, "\r\n,;<>") {
		// The address is somebody's, so that the log does not need it.
		return nil, fmt.Errorf("to: is not one bare address")
	}
	if err := msg.To(m.To); err != nil {
		return nil, fmt.Errorf("to: is not one bare address")
	}
	msg.Subject(strings.Join(strings.Fields(m.Subject), " "))
	msg.SetDateWithValue(now)
	msg.SetMessageID()
	msg.SetGenHeader(gomail.HeaderContentLang, m.Language)
	msg.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834 §5: nobody's holiday notice answers
	msg.SetBodyString(gomail.TypeTextPlain, m.Text)
	if m.HTML != "" {
		msg.AddAlternativeString(gomail.TypeTextHTML, m.HTML)
	}
	return msg, nil
}
