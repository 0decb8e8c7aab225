package main

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

const clusterKeys = 300

func connectCluster(ports []string, protocol int) *redis.ClusterClient {
	return redis.NewClusterClient(clusterOptions(ports, protocol))
}

func clusterOptions(ports []string, protocol int) *redis.ClusterOptions {
	addresses := make([]string, len(ports))
	for at, port := range ports {
		addresses[at] = "127.0.0.1:" + port
	}
	// A dead node's slots are asked for elsewhere only when the state was loaded again; a minute by default.
	return &redis.ClusterOptions{
		Addrs:                      addresses,
		Protocol:                   protocol,
		ReadTimeout:                20 * time.Second,
		ClusterStateReloadInterval: time.Second,
	}
}

func clusterWhole(r *redis.ClusterClient) {
	for number := range clusterKeys {
		same(must(r.Set(ctx, fmt.Sprint("k:", number), number, 0).Result()), "OK")
	}
	for number := range clusterKeys {
		same(must(r.Get(ctx, fmt.Sprint("k:", number)).Result()), fmt.Sprint(number))
	}
	pipe := r.Pipeline()
	for number := range clusterKeys {
		pipe.Incr(ctx, fmt.Sprint("n:", number))
	}
	for _, command := range must(pipe.Exec(ctx)) {
		same(must(command.(*redis.IntCmd).Result()), 1)
	}
	same(must(r.MSet(ctx, "{tag}a", 1, "{tag}b", 2).Result()), "OK")
}

// clusterShardChannels subscribes where a client that reads from replicas does: at a node that follows in the channel's shard.
func clusterShardChannels(options *redis.ClusterOptions, publisher *redis.ClusterClient) {
	options.ReadOnly = true
	reader := redis.NewClusterClient(options)
	defer reader.Close()
	for number := range 12 {
		channel := fmt.Sprint("channel:", number)
		listener := reader.SSubscribe(ctx, channel)
		must(listener.ReceiveTimeout(ctx, 5*time.Second))
		same(must(publisher.SPublish(ctx, channel, "hi").Result()), 1)
		message := must(listener.ReceiveMessage(ctx))
		same(message.Channel+" "+message.Payload, channel+" hi")
		must(0, listener.SUnsubscribe(ctx, channel))
		must(0, listener.Close())
	}
}

func clusterFailover(r *redis.ClusterClient) {
	errors := 0
	fmt.Println("KILL A NODE")
	for lap := range 3 {
		for number := range clusterKeys {
			until(func() bool {
				err := r.Set(ctx, fmt.Sprint("k:", number), lap, 0).Err()
				if err != nil {
					errors++
				}
				return err == nil
			}, "a new leader")
		}
	}
	ok(errors < 100, fmt.Sprint(errors, " errors before the client found the new leaders"))
	for number := range clusterKeys {
		same(must(r.Get(ctx, fmt.Sprint("k:", number)).Result()), "2")
	}
}

// mainCluster runs the cluster-aware client, under with-cluster, which kills a node when it is told to.
func mainCluster(ports []string) {
	for _, protocol := range []int{2, 3} {
		r := connectCluster(ports, protocol)
		run(fmt.Sprintf("go-redis cluster RESP%d whole", protocol), func() {
			must(0, r.ForEachMaster(ctx, func(ctxOf context.Context, node *redis.Client) error { return node.FlushAll(ctxOf).Err() }))
			clusterWhole(r)
		})
		run(fmt.Sprintf("go-redis cluster RESP%d shard channels at replicas", protocol), func() {
			clusterShardChannels(clusterOptions(ports, protocol), r)
		})
		r.Close()
	}
	var held *heldLock
	run("redsync before a failover", func() { held = holdThroughFailover(ports) })
	r := connectCluster(ports, 3)
	run("go-redis cluster follows a failover", func() { clusterFailover(r) })
	r.Close()
	run("redsync holds through a failover", func() { held.check() })
}
