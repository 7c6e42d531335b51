package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// convict reads a fork file (docs/reference/formats.md, "Fork") and returns nil if and only if it shows that the key
// signed two histories: the proof leads from another root hash than the first note's to the second note's tree.
func convict(file string, verifier note.Verifier) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var fork struct {
		First, Second string
		Root          tlog.Hash
		Proof         []tlog.Hash
	}
	if err := json.Unmarshal(data, &fork); err != nil {
		return err
	}
	first, err := openCheckpoint([]byte(fork.First), verifier)
	if err != nil {
		return err
	}
	second, err := openCheckpoint([]byte(fork.Second), verifier)
	if err != nil {
		return err
	}
	if first.N < 1 || first.N > second.N {
		return fmt.Errorf("sizes %d and %d", first.N, second.N)
	}
	if err := tlog.CheckTree(fork.Proof, second.N, second.Hash, first.N, fork.Root); err != nil {
		return err
	}
	if fork.Root == first.Hash {
		return errors.New("the second tree continues the first one")
	}
	return nil
}
