package broker

import "context"

// Mailer sends the broker's mail: proofs of an e-mail address, and news of one's own account. The package broker/mail has one
// over SMTP and one for development. Implementations are safe for concurrent use.
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
