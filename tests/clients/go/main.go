// All Go scenarios against a started server: go-redis, and redsync on it, what an application does with them.
//
// usage: go run . PORT, or go run . cluster CLUSTERPORT…    (exit code 1 when a scenario failed)
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

var ctx = context.Background()

func connect(port string, protocol int) *redis.Client {
	return redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + port, Protocol: protocol, ReadTimeout: 20 * time.Second})
}

func stringsScenario(r *redis.Client) {
	same(must(r.Set(ctx, "s", "one", 0).Result()), "OK")
	same(must(r.Get(ctx, "s").Result()), "one")
	ok(errors.Is(r.Get(ctx, "none").Err(), redis.Nil), "a missing key is not nil")
	same(must(r.SetNX(ctx, "s", "two", 0).Result()), false)
	same(must(r.SetArgs(ctx, "s", "two", redis.SetArgs{Get: true}).Result()), "one")
	same(must(r.Append(ctx, "s", "+").Result()), 4)
	same(must(r.GetRange(ctx, "s", 0, 1).Result()), "tw")
	same(must(r.MSet(ctx, "m1", 1, "m2", 2).Result()), "OK")
	values := must(r.MGet(ctx, "m1", "none", "m2").Result())
	ok(values[0] == "1" && values[1] == nil && values[2] == "2", fmt.Sprint(values))
	same(must(r.GetDel(ctx, "m1").Result()), "1")
	same(must(r.SetBit(ctx, "bits", 7, 1).Result()), 0)
	same(must(r.BitCount(ctx, "bits", nil).Result()), 1)
	same(must(r.Exists(ctx, "s", "m1", "m2").Result()), 2)
	same(must(r.Rename(ctx, "s", "{s}t").Result()), "OK")
	same(must(r.Del(ctx, "{s}t", "m2").Result()), 2)
}

func counters(r *redis.Client) {
	same(must(r.Incr(ctx, "n").Result()), 1)
	same(must(r.IncrBy(ctx, "n", 41).Result()), 42)
	same(must(r.Decr(ctx, "n").Result()), 41)
	same(must(r.IncrByFloat(ctx, "f", 0.5).Result()), 0.5)
	must(r.Set(ctx, "text", "abc", 0).Result())
	ok(strings.Contains(r.Incr(ctx, "text").Err().Error(), "ERR value is not an integer or out of range"), "INCR of a text")
}

func expiry(r *redis.Client) {
	must(r.Set(ctx, "e", 1, 60*time.Millisecond).Result())
	until(func() bool { return errors.Is(r.Get(ctx, "e").Err(), redis.Nil) }, "the key to expire")
	must(r.SetEx(ctx, "e", "x", 100*time.Second).Result())
	left := must(r.TTL(ctx, "e").Result())
	ok(left >= 98*time.Second && left <= 100*time.Second, left.String())
	same(must(r.ExpireGT(ctx, "e", 50*time.Second).Result()), false)
	same(must(r.Persist(ctx, "e").Result()), true)
	same(must(r.TTL(ctx, "e").Result()), -1)
	same(must(r.PTTL(ctx, "none").Result()), -2)
}

func pipelines(r *redis.Client) {
	must(r.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for number := range 10_000 {
			pipe.Set(ctx, fmt.Sprint("p:", number), number, 0)
		}
		return nil
	}))
	replies := must(r.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for number := range 10_000 {
			pipe.Get(ctx, fmt.Sprint("p:", number))
		}
		return nil
	}))
	for number, reply := range replies {
		same(reply.(*redis.StringCmd).Val(), fmt.Sprint(number))
	}
}

func transactions(r *redis.Client) {
	var count *redis.IntCmd
	must(r.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.Set(ctx, "t", 1, 0)
		count = pipe.Incr(ctx, "t")
		return nil
	}))
	same(count.Val(), 2)
	err := r.Watch(ctx, func(tx *redis.Tx) error {
		must(r.Set(ctx, "t", 100, 0).Result())
		_, err := tx.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
			pipe.Set(ctx, "t", 0, 0)
			return nil
		})
		return err
	}, "t")
	ok(errors.Is(err, redis.TxFailedErr), fmt.Sprint("EXEC after a change of a watched key: ", err))
	same(must(r.Get(ctx, "t").Result()), "100")
	_, err = r.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.Set(ctx, "u", 1, 0)
		pipe.Do(ctx, "NOSUCH")
		return nil
	})
	ok(err != nil, "EXEC went through although a command was refused")
	same(must(r.Exists(ctx, "u").Result()), 0)
}

func publishSubscribe(r *redis.Client) {
	sub := r.Subscribe(ctx, "news")
	defer sub.Close()
	must(sub.ReceiveTimeout(ctx, 5*time.Second))
	if err := sub.PSubscribe(ctx, "n*"); err != nil {
		panic(err)
	}
	must(sub.ReceiveTimeout(ctx, 5*time.Second))
	same(must(r.Publish(ctx, "news", "\x00\xffhello").Result()), 2)
	for range 2 {
		message := must(sub.ReceiveTimeout(ctx, 5*time.Second)).(*redis.Message)
		same(message.Payload, "\x00\xffhello")
		same(message.Channel, "news")
	}
	same(must(r.PubSubNumSub(ctx, "news").Result())["news"], 1)
	same(must(r.PubSubNumPat(ctx).Result()), 1)
}

func scan(r *redis.Client) {
	var pairs []any
	var expected []string
	for number := range 2000 {
		key := fmt.Sprint("scan:", number)
		expected = append(expected, key)
		pairs = append(pairs, key, "x")
	}
	must(r.MSet(ctx, pairs...).Result())
	var found []string
	for iterator := r.Scan(ctx, 0, "scan:*", 100).Iterator(); iterator.Next(ctx); {
		found = append(found, iterator.Val())
	}
	slices.Sort(found)
	slices.Sort(expected)
	ok(slices.Equal(slices.Compact(found), expected), fmt.Sprint(len(found), " keys by SCAN"))
}

func largeAndBinary(r *redis.Client) {
	value := make([]byte, 5_000_000)
	rand.Read(value)
	must(r.Set(ctx, "large\x00\r\n", value, 0).Result())
	ok(bytes.Equal(must(r.Get(ctx, "large\x00\r\n").Bytes()), value), "a large value came back changed")
}

func reconnect(r *redis.Client) {
	options := *r.Options()
	options.ClientName = "victim"
	options.PoolSize = 1
	victim := redis.NewClient(&options)
	defer victim.Close()
	first := must(victim.ClientID(ctx).Result())
	same(must(r.ClientKillByFilter(ctx, "ID", fmt.Sprint(first)).Result()), 1)
	same(must(victim.Set(ctx, "back", "again", 0).Result()), "OK")
	ok(must(victim.ClientID(ctx).Result()) != first, "the same connection after CLIENT KILL")
	same(must(victim.ClientGetName(ctx).Result()), "victim")
}

func manyConnections(r *redis.Client) {
	done := make(chan error, 64)
	for range cap(done) {
		go func() {
			var err error
			for range 50 {
				if err == nil {
					err = r.Incr(ctx, "together").Err()
				}
			}
			done <- err
		}()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			panic(err)
		}
	}
	same(must(r.Get(ctx, "together").Result()), "3200")
}

func main() {
	if os.Args[1] == "cluster" {
		mainCluster(os.Args[2:])
	} else {
		mainPlain(os.Args[1])
	}
	fmt.Printf("go: %d passed, %d failed\n", passed, failed)
	if failed > 0 {
		os.Exit(1)
	}
}

func mainPlain(port string) {
	scenarios := []struct {
		name string
		run  func(*redis.Client)
	}{
		{"strings", stringsScenario},
		{"counters", counters},
		{"expiry", expiry},
		{"pipelines", pipelines},
		{"transactions", transactions},
		{"publishSubscribe", publishSubscribe},
		{"collections", collections},
		{"blockingPops", blockingPops},
		{"scan", scan},
		{"largeAndBinary", largeAndBinary},
		{"reconnect", reconnect},
		{"manyConnections", manyConnections},
		{"redsync held and released", lockHeldAndReleased},
		{"redsync expires", lockExpires},
		{"redsync contention", lockContention},
	}
	for _, protocol := range []int{2, 3} {
		r := connect(port, protocol)
		for _, scenario := range scenarios {
			run(fmt.Sprintf("go-redis RESP%d %s", protocol, scenario.name), func() {
				must(r.FlushAll(ctx).Result())
				scenario.run(r)
			})
		}
		r.Close()
	}
}
