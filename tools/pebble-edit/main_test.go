package main

import (
	"runtime"
	"strings"
	"testing"

	"github.com/letsencrypt/pebble/v2/acme"
	"github.com/letsencrypt/pebble/v2/core"
	"github.com/letsencrypt/pebble/v2/db"
)

// The store must stay open to writers while a search waits for an authorization. This holds only
// in an edited Pebble, so the test fails if what is compiled is not the edited copy.
func TestSearchWaitingForAnAuthorizationLeavesTheStoreUnlocked(t *testing.T) {
	store := db.NewMemoryStore()
	authz := &core.Authorization{ID: "one"}
	if _, err := store.AddAuthorization(authz); err != nil {
		t.Fatal(err)
	}

	authz.Lock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		store.FindValidAuthorization("account", acme.Identifier{})
	}()
	for !searchWaitsForALock() {
		runtime.Gosched()
	}
	free := store.TryLock()
	if free {
		store.Unlock()
	}
	authz.Unlock()
	<-done

	if !free {
		t.Fatal("FindValidAuthorization holds the store's lock while it waits for an authorization's")
	}
}

// searchWaitsForALock tells whether some goroutine stands in FindValidAuthorization, blocked in RLock.
func searchWaitsForALock() bool {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for _, goroutine := range strings.Split(string(stacks), "\n\n") {
		if strings.Contains(goroutine, "[sync.RWMutex.RLock") && strings.Contains(goroutine, "FindValidAuthorization") {
			return true
		}
	}
	return false
}

func TestUnexpectedTextIsRefused(t *testing.T) {
	for name, source := range map[string]string{
		"changed":  strings.Replace(shipped, "defer ", "", 1),
		"edited":   repaired,
		"empty":    "",
		"repeated": shipped + shipped,
	} {
		if _, err := edit(source); err == nil {
			t.Errorf("%s text was accepted", name)
		}
	}
}
