package issuer

import (
	"errors"
	"time"
)

// RetryAfter tells for how long somebody has to wait whom a method of [Issuer] refuses because the machine is busy with
// the passwords of others, or after wrong guesses. Such an error is no fault of what was asked for.
func RetryAfter(err error) (wait time.Duration, ok bool) {
	if e, ok := errors.AsType[*tooManyError](err); ok {
		return e.RetryAfter, true
	}
	return 0, false
}
