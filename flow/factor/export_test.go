package factor

import "context"

// CountWork does some work of p and says when it starts and ends.
func CountWork(p *Passwords, f func(start bool)) {
	_ = p.work(context.Background(), func() {
		f(true)
		f(false)
	})
}
