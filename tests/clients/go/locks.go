package main

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-redsync/redsync/v4"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/redis/go-redis/v9"
)

const lockTime = 30 * time.Second

func mutex(r *redis.Client, name string, options ...redsync.Option) *redsync.Mutex {
	return redsync.New(goredis.NewPool(r)).NewMutex(name, append([]redsync.Option{redsync.WithExpiry(lockTime)}, options...)...)
}

// taken tells whether a try failed for no other reason than that somebody else has the lock.
func taken(err error) bool {
	var why *redsync.ErrTaken
	return errors.As(err, &why)
}

func lockHeldAndReleased(r *redis.Client) {
	mine, theirs := mutex(r, "lock"), mutex(r, "lock")
	ok(mine.Lock() == nil, "a free lock was refused")
	same(must(r.Get(ctx, "lock").Result()), mine.Value())
	ok(taken(theirs.TryLock()), "a lock had two holders")
	must(r.PExpire(ctx, "lock", 5*time.Second).Result())
	same(must(mine.Extend()), true)
	ok(must(r.PTTL(ctx, "lock").Result()) > lockTime-5*time.Second, "an extension did nothing")
	stranger := mutex(r, "lock", redsync.WithValue("not the owner's"))
	extended, _ := stranger.Extend()
	released, err := stranger.Unlock()
	ok(!extended && !released && taken(err), fmt.Sprint("a lock was changed by who does not own it: ", err))
	same(must(r.Exists(ctx, "lock").Result()), 1)
	same(must(mine.Unlock()), true)
	_, err = mine.Unlock()
	ok(errors.Is(err, redsync.ErrLockAlreadyExpired), fmt.Sprint("a second release: ", err))
	ok(theirs.TryLock() == nil, "a released lock was refused")
	same(must(theirs.Unlock()), true)
}

func lockExpires(r *redis.Client) {
	// redsync gives up a request after a part of the lock's time: here all of it.
	short := mutex(r, "short", redsync.WithExpiry(150*time.Millisecond), redsync.WithTimeoutFactor(1))
	ok(short.Lock() == nil, "a free lock was refused")
	next := mutex(r, "short", redsync.WithTries(2000), redsync.WithRetryDelay(5*time.Millisecond))
	ok(next.Lock() == nil, "a lock that is over was refused")
	ok(time.Now().After(short.Until()), "a lock ended before its time")
	released, _ := short.Unlock()
	extended, _ := short.Extend()
	ok(!released && !extended, "who had lost a lock still had it")
	same(must(r.Get(ctx, "short").Result()), next.Value())
	again := mutex(r, "kept", redsync.WithSetNXOnExtend())
	ok(again.Lock() == nil, "a free lock was refused")
	must(r.Del(ctx, "kept").Result())
	same(must(again.Extend()), true)
	same(must(r.Get(ctx, "kept").Result()), again.Value())
}

func lockContention(r *redis.Client) {
	const workers, laps = 20, 5
	must(r.Set(ctx, "count", 0, 0).Result())
	done := make(chan error, workers)
	for range workers {
		go func() { done <- countUnderLock(r, laps) }()
	}
	for range workers {
		if err := <-done; err != nil {
			panic(err)
		}
	}
	same(must(r.Get(ctx, "count").Int()), workers*laps)
}

// countUnderLock adds to a counter in a way that loses additions unless only one does so at a time.
func countUnderLock(r *redis.Client, laps int) error {
	for range laps {
		lock := mutex(r, "busy", redsync.WithTries(10_000), redsync.WithRetryDelay(5*time.Millisecond))
		if err := lock.Lock(); err != nil {
			return err
		}
		value, err := r.Get(ctx, "count").Int()
		if err != nil {
			return err
		}
		time.Sleep(time.Millisecond)
		if err := r.Set(ctx, "count", value+1, 0).Err(); err != nil {
			return err
		}
		if _, err := lock.Unlock(); err != nil {
			return err
		}
	}
	return nil
}

// heldLock is a lock in a shard that node 1 leads, asked for and extended all the time while that node dies.
type heldLock struct {
	first, r, other *redis.Client
	mine, theirs    *redsync.Mutex
	mutex           sync.Mutex
	laps            int
	ending          bool
	done            chan error
}

// holdThroughFailover takes the lock. A node's port for cluster-aware clients, which tells whether it leads a key, is 1000
// above the one for all others.
func holdThroughFailover(clusterPorts []string) *heldLock {
	plain := make([]*redis.Client, len(clusterPorts))
	for at, port := range clusterPorts {
		var number int
		must(fmt.Sscan(port, &number))
		plain[at] = connect(fmt.Sprint(number-1000), 3)
	}
	asked := connect(clusterPorts[0], 3)
	defer asked.Close()
	name := ""
	for number := 0; name == ""; number++ {
		candidate := fmt.Sprint("held:", number)
		err := asked.Exists(ctx, candidate).Err()
		ok(err == nil || strings.HasPrefix(err.Error(), "MOVED"), fmt.Sprint(err))
		if err == nil {
			name = candidate
		}
	}
	held := &heldLock{first: plain[0], r: plain[1], other: plain[2], done: make(chan error, 1)}
	// All of the lock's time may pass until a request is answered: an election takes some of it.
	held.mine = mutex(held.r, name, redsync.WithTimeoutFactor(1))
	held.theirs = mutex(held.other, name, redsync.WithTimeoutFactor(1))
	ok(held.mine.TryLock() == nil, "a free lock was refused")
	go func() { held.done <- held.watch() }()
	return held
}

func (held *heldLock) watch() error {
	for {
		held.mutex.Lock()
		held.laps++
		ending := held.ending
		held.mutex.Unlock()
		if ending {
			return nil
		}
		if err := held.theirs.TryLock(); !taken(err) {
			return fmt.Errorf("a try to get a lock that is held: %v", err)
		}
		if extended, err := held.mine.Extend(); !extended {
			return fmt.Errorf("an extension failed: %v", err)
		}
	}
}

// check is to be called when node 1 has died.
func (held *heldLock) check() {
	ok(held.first.Ping(ctx).Err() != nil, "node 1 is alive")
	held.mutex.Lock()
	before := held.laps
	held.mutex.Unlock()
	var early error
	until(func() bool {
		select {
		case early = <-held.done:
			return true
		default:
		}
		held.mutex.Lock()
		defer held.mutex.Unlock()
		held.ending = held.laps > before+2
		return held.ending
	}, "the lock to be asked for again")
	if early == nil {
		early = <-held.done
	}
	ok(early == nil, fmt.Sprint(early))
	same(must(held.mine.Unlock()), true)
	ok(held.theirs.TryLock() == nil, "a released lock was refused")
}
