package mail_test

import (
	"fmt"

	"github.com/go-idbroker/idbroker/broker/mail"
)

func ExampleSMTP() {
	m := &mail.SMTP{
		Addr:     "smtp.example.com:587",
		Username: "idbroker",
		Password: "from your secrets",
		From:     "Example <no-reply@example.com>",
	}
	fmt.Println(m.Check())
	// Output: <nil>
}
