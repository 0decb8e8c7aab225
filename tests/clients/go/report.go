package main

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// scenarioTimeMax is how long one scenario may take: a client that waits for ever must not hold up
// the others.
const scenarioTimeMax = 60 * time.Second

var passed, failed int

// run prints one line per scenario, the same in every language of tests/clients: `ok NAME` or
// `FAILED NAME: why`.
func run(name string, scenario func()) {
	done := make(chan string, 1)
	go func() {
		defer func() {
			if problem := recover(); problem != nil {
				done <- fmt.Sprint(problem)
				return
			}
			done <- ""
		}()
		scenario()
	}()
	problem := fmt.Sprintf("not done in %v", scenarioTimeMax)
	select {
	case problem = <-done:
	case <-time.After(scenarioTimeMax):
	}
	if problem == "" {
		passed++
		fmt.Println("ok", name)
		return
	}
	failed++
	fmt.Printf("FAILED %s: %s\n", name, strings.ReplaceAll(problem, "\n", " "))
}

// same ends the scenario when got is not want.
func same[T comparable](got, want T) {
	if got != want {
		fail(fmt.Sprintf("got %v, want %v", got, want))
	}
}

// ok ends the scenario when condition does not hold.
func ok(condition bool, what string) {
	if !condition {
		fail(what)
	}
}

// must ends the scenario on an error, else returns the value.
func must[T any](value T, err error) T {
	if err != nil {
		fail(err.Error())
	}
	return value
}

// until asks again until condition holds: no fixed sleeps.
func until(condition func() bool, what string) {
	for end := time.Now().Add(10 * time.Second); !condition(); time.Sleep(5 * time.Millisecond) {
		ok(time.Now().Before(end), "waited in vain for "+what)
	}
}

func fail(what string) {
	place := ""
	for depth := 2; depth < 6; depth++ {
		if _, file, line, known := runtime.Caller(depth); known && !strings.HasSuffix(file, "report.go") {
			place = fmt.Sprintf(" at %s:%d", filepath.Base(file), line)
			break
		}
	}
	panic(what + place)
}
