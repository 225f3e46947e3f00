package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// The kinds of failure that callers branch on with errors.Is. A *StatusError carries the server's words.
var (
	// ErrNotFound says that there is no such blob, volume or collection; a wrong cookie looks the same.
	ErrNotFound = errors.New("not found")
	// ErrNoFreeVolumes says that the masters have no volume to write to and cannot make one.
	ErrNoFreeVolumes = errors.New("no free volumes")
	// ErrTooLarge says that a blob exceeds the server's limit, or an answer this client's.
	ErrTooLarge = errors.New("too large")
	// ErrUnavailable says that no server that could answer did: unreachable, overloaded, without a leader,
	// or unable to take writes now. The outcome of a write that fails so is unknown.
	ErrUnavailable = errors.New("unavailable")
	// ErrNotReached says, besides ErrUnavailable, that there was no connection: nothing was asked for.
	ErrNotReached = errors.New("not reached")
	// ErrInvalid says that a parameter is malformed: a fid, ttl, replication, header or data center.
	ErrInvalid = errors.New("invalid")
	// ErrForbidden says that the cookie does not fit the blob that is there, or that access is denied.
	ErrForbidden = errors.New("forbidden")
	// ErrNoSpace says that the volume server's disk is full.
	ErrNoSpace = errors.New("no space")
	// ErrClosed says that the Client was closed.
	ErrClosed = errors.New("client is closed")
)

// StatusError is an HTTP answer that is not a success.
type StatusError struct {
	Status     int           // HTTP status
	Message    string        // the server's `error` text, or the status text
	URL        string        // host and path that answered, without a scheme
	RetryAfter time.Duration // from the Retry-After header, 0 when absent
}

// Error tells the status, the message and who answered.
func (e *StatusError) Error() string {
	return fmt.Sprintf("%s: %d %s", e.URL, e.Status, e.Message)
}

// Unwrap returns the sentinel that fits the answer, nil where none does.
func (e *StatusError) Unwrap() error {
	// The texts are part of the HTTP contract; the statuses alone (404, 500) would be misread.
	if strings.HasPrefix(e.Message, "No free volumes left") || strings.HasPrefix(e.Message, "Cannot grow volume group") {
		return ErrNoFreeVolumes
	}
	switch e.Status {
	case http.StatusNotFound, http.StatusGone:
		return ErrNotFound
	case http.StatusRequestEntityTooLarge:
		return ErrTooLarge
	case http.StatusBadRequest, http.StatusNotAcceptable, http.StatusRequestedRangeNotSatisfiable:
		return ErrInvalid
	case http.StatusUnauthorized, http.StatusForbidden:
		return ErrForbidden
	case http.StatusInsufficientStorage:
		return ErrNoSpace
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return ErrUnavailable
	}
	return nil
}

// unavailable wraps a failure of the transport: it is ErrUnavailable and what the system said.
func unavailable(host string, err error) error {
	if isTimeout(err) {
		// net's time-outs claim to be context.DeadlineExceeded; the caller's context has not ended.
		return fmt.Errorf("%w: %s: %v", ErrUnavailable, host, err)
	}
	return fmt.Errorf("%w: %s: %w", ErrUnavailable, host, err)
}

// orContext returns the context's error if it has ended, else err.
func orContext(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// tryElsewhere reports whether another server may do better: this one was not reached, gave up, broke off
// or failed in itself.
func tryElsewhere(err error) bool {
	var spent spentError
	if errors.As(err, &spent) {
		return false
	}
	var s *StatusError
	if errors.As(err, &s) {
		return s.Status >= 500 && s.Status != http.StatusNotImplemented && !errors.Is(err, ErrNoFreeVolumes) ||
			s.Status == http.StatusTooManyRequests
	}
	return errors.Is(err, ErrUnavailable)
}

// retryAfter returns how long the server asks to wait, 0 when it does not.
func retryAfter(err error) time.Duration {
	var s *StatusError
	if errors.As(err, &s) && (s.Status == http.StatusServiceUnavailable || s.Status == http.StatusTooManyRequests) {
		return s.RetryAfter
	}
	return 0
}
