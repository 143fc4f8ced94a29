package main

import (
	"context"
	"net/http"
	"regexp"
	"slices"
	"sync"

	"github.com/go-idbroker/idbroker/broker"
)

// A mailbox stands for those of your users: it shows whatever the broker mails to anybody. Yours would send with mail.SMTP.
type mailbox struct {
	url  string
	next broker.Mailer // keeps the mail as well

	mu    sync.Mutex
	mails []letter // the newest first
}

// A letter is what people see of a mail.
type letter struct{ To, Subject, Text, Link string }

var _ broker.Mailer = (*mailbox)(nil)

var (
	links = regexp.MustCompile(`https?://\S+`)
	blank = regexp.MustCompile(`\n\s*\n`)
)

// Send implements broker.Mailer.
func (m *mailbox) Send(ctx context.Context, message *broker.Message) error {
	if err := m.next.Send(ctx, message); err != nil {
		return err
	}
	l := letter{To: message.To, Subject: message.Subject, Link: links.FindString(message.Text)}
	l.Text = blank.ReplaceAllString(links.ReplaceAllString(message.Text, ""), "\n\n")
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mails = slices.Insert(m.mails, 0, l)
	return nil
}

func (m *mailbox) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", m.home)
	mux.Handle("/static/", static)
	return mux
}

func (m *mailbox) home(w http.ResponseWriter, _ *http.Request) {
	m.mu.Lock()
	mails := slices.Clone(m.mails)
	m.mu.Unlock()
	render(w, http.StatusOK, "mailbox", view{App: "Mailbox", Icon: "mailbox.svg", Class: "another", Data: mails})
}
