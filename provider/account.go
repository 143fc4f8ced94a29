package provider

// An AccountMode says whether users see a provider on their account page.
type AccountMode int

// Account modes. None of them says who may sign in.
const (
	AccountAlways     AccountMode = iota // those who have linked it can unlink it, the others can link it
	AccountWhenLinked                    // only those who have linked it
	AccountNever                         // nobody
)
