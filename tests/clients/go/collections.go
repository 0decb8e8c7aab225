package main

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// collections is a hash, a list, a set and a sorted set, as an application uses them.
func collections(r *redis.Client) {
	same(must(r.HSet(ctx, "h", "a", 1, "b", "x").Result()), 2)
	same(must(r.HIncrBy(ctx, "h", "a", 41).Result()), 42)
	all := must(r.HGetAll(ctx, "h").Result())
	ok(len(all) == 2 && all["a"] == "42" && all["b"] == "x", fmt.Sprint(all))
	same(must(r.RPush(ctx, "l", 1, 2, 3).Result()), 3)
	ok(slices.Equal(must(r.LRange(ctx, "l", 0, -1).Result()), []string{"1", "2", "3"}), "LRANGE")
	same(must(r.LPop(ctx, "l").Result()), "1")
	ok(redis.HasErrorPrefix(r.HGet(ctx, "l", "a").Err(), "WRONGTYPE"), "HGET of a list")
	same(must(r.SAdd(ctx, "{s}a", 1, 2, 3).Result()), 3)
	same(must(r.SAdd(ctx, "{s}b", 2, 3, 4).Result()), 3)
	both := must(r.SInter(ctx, "{s}a", "{s}b").Result())
	slices.Sort(both)
	ok(slices.Equal(both, []string{"2", "3"}), fmt.Sprint(both))
	same(must(r.ZAdd(ctx, "z", redis.Z{Score: 2.5, Member: "b"}, redis.Z{Score: 1, Member: "a"}).Result()), 2)
	ranked := must(r.ZRangeWithScores(ctx, "z", 0, -1).Result())
	ok(len(ranked) == 2 && ranked[0].Member == "a" && ranked[1].Score == 2.5, fmt.Sprint(ranked))
	same(must(r.ZIncrBy(ctx, "z", 2, "a").Result()), 3)
	same(must(r.ZPopMin(ctx, "z").Result())[0].Member.(string), "b")
}

// blockingPops are waiters that are served by others, and that give up in time.
func blockingPops(r *redis.Client) {
	ok(errors.Is(r.BLPop(ctx, time.Second, "none").Err(), redis.Nil), "BLPOP of nothing")
	const tasks, workers = 200, 5
	var mutex sync.Mutex
	var taken []string
	done := make(chan error, workers)
	for range workers {
		go func() {
			for {
				task, err := r.BLPop(ctx, 2*time.Second, "tasks", "more tasks").Result()
				if err != nil {
					done <- err
					return
				}
				mutex.Lock()
				taken = append(taken, task[1])
				mutex.Unlock()
			}
		}()
	}
	for task := range tasks {
		must(r.RPush(ctx, []string{"tasks", "more tasks"}[task%2], task).Result())
	}
	for range workers {
		ok(errors.Is(<-done, redis.Nil), "a waiter ended with an error")
	}
	slices.Sort(taken)
	same(len(taken), tasks)
	same(len(slices.Compact(taken)), tasks)
	go func() { r.LPush(ctx, "{q}from", "moved") }()
	same(must(r.BLMove(ctx, "{q}from", "{q}to", "LEFT", "RIGHT", 5*time.Second).Result()), "moved")
	go func() { r.ZAdd(ctx, "z", redis.Z{Score: 1.5, Member: "m"}) }()
	popped := must(r.BZPopMin(ctx, 5*time.Second, "z").Result())
	ok(popped.Key == "z" && popped.Member == "m" && popped.Score == 1.5, fmt.Sprint(popped))
}
