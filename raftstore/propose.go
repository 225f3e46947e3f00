package raftstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// Propose has the state machine apply command on every server and returns what this server's Apply
// returned, once a majority holds the command durably. A result that is an error is returned as err.
//
// Errors: *NotLeaderError, ErrNoLeader and ErrClosed say that nothing was proposed. ErrOutcomeUnknown says
// that the command may be applied or not: leadership was lost, or ctx ended (whose error it then wraps too).
func (s *Store) Propose(ctx context.Context, command []byte) (any, error) {
	var result any
	err := s.await(ctx, func() error {
		future := s.raft.Apply(command, 0)
		if err := future.Error(); err != nil {
			return s.explain(err)
		}
		result = future.Response()
		return nil
	})
	if err != nil {
		return nil, err
	}
	if refused, ok := result.(error); ok {
		return nil, refused
	}
	return result, nil
}

// Ready returns nil when this server leads and its state machine has applied everything that was
// acknowledged before it became leader; until then its state may lack acknowledged commands. It costs
// nothing after the first success in a term. Errors are those of Propose.
func (s *Store) Ready(ctx context.Context) error {
	if s.IsLeader() && s.readyTerm.Load() == s.raft.CurrentTerm() {
		return nil
	}
	select {
	case s.readySlot <- struct{}{}:
		defer func() { <-s.readySlot }()
	case <-ctx.Done():
		return fmt.Errorf("wait for raft: %w", ctx.Err())
	}
	term := s.raft.CurrentTerm()
	if s.IsLeader() && s.readyTerm.Load() == term {
		return nil
	}
	if err := s.await(ctx, func() error { return s.explain(s.raft.Barrier(0).Error()) }); err != nil {
		return err
	}
	// A barrier that began and ended within one term was this leader's own.
	if s.raft.CurrentTerm() != term {
		return ErrNoLeader
	}
	s.readyTerm.Store(term)
	return nil
}

// VerifyLeader asks a majority whether this server still leads. Errors are those of Propose.
func (s *Store) VerifyLeader(ctx context.Context) error {
	return s.await(ctx, func() error { return s.explain(s.raft.VerifyLeader().Error()) })
}

// Lease is how long after the beginning of a successful VerifyLeader no other server can lead, unless this one
// hands leadership over.
func (s *Store) Lease() time.Duration { return s.cfg.Timeouts.Lease }

// await runs a call into Raft, which knows no contexts, and returns early when ctx ends. What the call
// captured may be read only after a nil error.
func (s *Store) await(ctx context.Context, call func() error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("wait for raft: %w", err)
	}
	if err := s.begin(); err != nil {
		return err
	}
	if ctx.Done() == nil {
		defer s.calls.Done()
		return call()
	}
	done := make(chan error, 1)
	go func() {
		defer s.calls.Done()
		done <- call()
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrOutcomeUnknown, ctx.Err())
	}
}

// explain turns Raft's errors into those of this package. An error that it does not know may come from the
// disk, after the command was written.
func (s *Store) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress),
		errors.Is(err, raft.ErrEnqueueTimeout):
		if leader, ok := s.Leader(); ok && leader != s.cfg.ID {
			return &NotLeaderError{Leader: leader}
		}
		return ErrNoLeader
	default:
		return fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
	}
}
