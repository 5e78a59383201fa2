// Command pebble-edit makes a copy of Pebble's source that does not deadlock.
//
// Usage: pebble-edit MODULE_DIR COPY_DIR
//
// MODULE_DIR holds the source of github.com/letsencrypt/pebble/v2 and is only read. COPY_DIR becomes
// a copy of it with one function of db/memorystore.go changed; it must not exist yet. A copy it is
// because `go build -overlay` refuses to replace files of the module cache.
//
// It fails where the text is not exactly the one this edit was made for: whoever moves to another
// Pebble then looks at it again instead of building something nobody has read.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: pebble-edit MODULE_DIR COPY_DIR")
		os.Exit(2)
	}
	if err := copyEdited(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintf(os.Stderr, "pebble-edit: %v\n", err)
		os.Exit(1)
	}
}

// copyEdited copies the module and then edits the copy.
func copyEdited(moduleDir, copyDir string) error {
	if err := os.CopyFS(copyDir, os.DirFS(moduleDir)); err != nil {
		return err
	}
	file := filepath.Join(copyDir, "db", "memorystore.go")
	source, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	text, err := edit(string(source))
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, []byte(text), 0o644)
}

// edit returns the source with the locks of FindValidAuthorization taken one after the other.
func edit(source string) (string, error) {
	if n := strings.Count(source, shipped); n != 1 {
		return "", fmt.Errorf("FindValidAuthorization does not read as this edit expects (%d matches, 1 wanted); "+
			"see whether the deadlock is still there, then renew or drop the edit in tools/pebble-edit", n)
	}
	return strings.Replace(source, shipped, repaired, 1), nil
}

// shipped is the start of the function as it is in Pebble 2.10.1. It keeps the store's read lock
// while it waits for an authorization's lock. The handler of an authorization holds that one while
// it waits for the store's read lock, and a writer queued on the store keeps both waiting for ever.
const shipped = `
func (m *MemoryStore) FindValidAuthorization(accountID string, identifier acme.Identifier) *core.Authorization {
	m.RLock()
	defer m.RUnlock()
	for _, authz := range m.authorizationsByID {
		// Lock is needed as Authorizations can be mutated outside the scope of the MemoryStore lock.
		// Racey code path is exercised through the test in va/va_test.go, which should be considered
		// for removal in the event that there's a by-value refactoring of MemoryStore.
		authz.RLock()
		if authz.Status == acme.StatusValid && identifier.Equals(authz.Identifier) &&
			authz.Order != nil && authz.Order.AccountID == accountID &&
			authz.ExpiresDate.After(time.Now()) {
			authz.RUnlock()
			return authz
		}
		authz.RUnlock()
	}
	return nil
}
`

// repaired is the same function with the store's lock let go before an authorization's is taken.
// The order of the slice is the map's, so which one of several valid authorizations is found is as
// random as before.
const repaired = `
func (m *MemoryStore) FindValidAuthorization(accountID string, identifier acme.Identifier) *core.Authorization {
	m.RLock()
	authorizations := make([]*core.Authorization, 0, len(m.authorizationsByID))
	for _, authz := range m.authorizationsByID {
		authorizations = append(authorizations, authz)
	}
	m.RUnlock()
	for _, authz := range authorizations {
		// Lock is needed as Authorizations can be mutated outside the scope of the MemoryStore lock.
		// Racey code path is exercised through the test in va/va_test.go, which should be considered
		// for removal in the event that there's a by-value refactoring of MemoryStore.
		authz.RLock()
		if authz.Status == acme.StatusValid && identifier.Equals(authz.Identifier) &&
			authz.Order != nil && authz.Order.AccountID == accountID &&
			authz.ExpiresDate.After(time.Now()) {
			authz.RUnlock()
			return authz
		}
		authz.RUnlock()
	}
	return nil
}
`
