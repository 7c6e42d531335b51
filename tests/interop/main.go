// Interop reads a transparency log over HTTP and verifies one leaf of it, with tree, proof and signature code that
// shares nothing with the tlog package: golang.org/x/mod/sumdb/tlog and golang.org/x/mod/sumdb/note.
//
// It implements the client's side of C2SP signed-note, tlog-checkpoint and tlog-tiles as far as one leaf and one older
// checkpoint need it. It leaves out cosignatures, the entry's JSON, and every leaf outside the leaf's own entry bundle.
package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	tileHeight    = 8
	tileWidth     = 1 << tileHeight
	maxTile       = tileWidth * tlog.HashSize
	maxBundle     = tileWidth * (2 + 65535) // tlog-tiles: each entry follows its uint16 length
	maxCheckpoint = 1 << 20
	// maxSize keeps x/mod's 64-bit storage indexes (about twice the tree size) from overflowing.
	maxSize = 1 << 60
)

var errNotFound = errors.New("404 Not Found")

// report is the line printed on success; everything in it has been verified.
type report struct {
	Origin         string    `json:"origin"`
	Size           int64     `json:"size"`
	Root           tlog.Hash `json:"root"`
	Index          int64     `json:"index"`
	LeafHash       tlog.Hash `json:"leafHash"`
	BundleEntries  int       `json:"bundleEntries"`            // entries that hash to their level 0 tile
	EntryCompared  bool      `json:"entryCompared"`            // the leaf is the bytes given by -entry
	ConsistentFrom *int64    `json:"consistentFrom,omitempty"` // size of the checkpoint given by -old
}

func main() {
	switch err := run(os.Args[1:], os.Stdout); {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "interop:", err)
		os.Exit(1)
	}
}

func run(args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("interop", flag.ContinueOnError)
	baseURL := flags.String("url", "", "log `prefix`, such as http://127.0.0.1:8080 (loopback only)")
	vkey := flags.String("vkey", "", "the log's verifier `key`; its name is the expected origin")
	index := flags.Int64("index", -1, "leaf `index` to verify")
	entryFile := flags.String("entry", "", "`file` with the bytes the leaf must have (optional)")
	oldFile := flags.String("old", "", "`file` with an older checkpoint of the log (optional)")
	forkFile := flags.String("fork", "", "`file` that convicts the key of two histories; nothing else is looked at (optional)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	verifier, err := note.NewVerifier(*vkey)
	if err != nil {
		return fmt.Errorf("-vkey: %w", err)
	}
	if *forkFile != "" {
		return convict(*forkFile, verifier)
	}
	log, err := newLog(*baseURL)
	if err != nil {
		return fmt.Errorf("-url: %w", err)
	}
	signed, err := log.fetch("checkpoint", maxCheckpoint)
	if err != nil {
		return err
	}
	tree, err := openCheckpoint(signed, verifier)
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	verified := report{Origin: verifier.Name(), Size: tree.N, Root: tree.Hash, Index: *index}
	if err := verifyLeaf(log, tree, *entryFile, &verified); err != nil {
		return err
	}
	if *oldFile != "" {
		if err := verifyGrowth(log, tree, verifier, *oldFile, &verified); err != nil {
			return err
		}
	}
	return json.NewEncoder(stdout).Encode(verified)
}

// openCheckpoint verifies the note's signature and reads its text: exactly three lines, each in its only spelling.
// tlog.ParseTree is of no use here: it expects the origin of the Go checksum database.
func openCheckpoint(signed []byte, verifier note.Verifier) (tlog.Tree, error) {
	opened, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[3] != "" {
		return tlog.Tree{}, errors.New("note text is not exactly three lines")
	}
	if lines[0] != verifier.Name() {
		return tlog.Tree{}, fmt.Errorf("origin %q is not the key's name %q", lines[0], verifier.Name())
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || size > maxSize || strconv.FormatInt(size, 10) != lines[1] {
		return tlog.Tree{}, fmt.Errorf("tree size %q is malformed or too large", lines[1])
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil || root.String() != lines[2] {
		return tlog.Tree{}, fmt.Errorf("root hash %q is malformed", lines[2])
	}
	return tlog.Tree{N: size, Hash: root}, nil
}

// verifyLeaf checks the leaf's entry bundle against the authenticated level 0 tile, and the leaf against the root.
func verifyLeaf(log *remoteLog, tree tlog.Tree, entryFile string, verified *report) error {
	index := verified.Index
	if index < 0 || index >= tree.N {
		return fmt.Errorf("index %d is not in a tree of size %d", index, tree.N)
	}
	bundle := tlog.Tile{H: tileHeight, L: -1, N: index / tileWidth}
	first := bundle.N * tileWidth
	bundle.W = int(min(tileWidth, tree.N-first))
	entries, err := log.readEntries(bundle)
	if err != nil {
		return err
	}
	stored := make([]int64, len(entries))
	for i := range stored {
		stored[i] = tlog.StoredHashIndex(0, first+int64(i))
	}
	hashes := tlog.TileHashReader(tree, log)
	leaves, err := hashes.ReadHashes(stored)
	if err != nil {
		return fmt.Errorf("tiles: %w", err)
	}
	for i, entry := range entries {
		if tlog.RecordHash(entry) != leaves[i] {
			return fmt.Errorf("entry %d does not hash to its leaf in the level 0 tile", first+int64(i))
		}
	}
	entry := entries[index-first]
	verified.LeafHash, verified.BundleEntries = tlog.RecordHash(entry), len(entries)
	if entryFile != "" {
		expected, err := os.ReadFile(entryFile)
		if err != nil {
			return fmt.Errorf("-entry: %w", err)
		}
		if !bytes.Equal(expected, entry) {
			return fmt.Errorf("entry %d is not the bytes given by -entry", index)
		}
		verified.EntryCompared = true
	}
	proof, err := tlog.ProveRecord(tree.N, index, hashes)
	if err != nil {
		return fmt.Errorf("inclusion proof: %w", err)
	}
	if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, verified.LeafHash); err != nil {
		return fmt.Errorf("inclusion proof: %w", err)
	}
	return nil
}

// verifyGrowth checks that the tree of the older checkpoint is a prefix of tree.
func verifyGrowth(log *remoteLog, tree tlog.Tree, verifier note.Verifier, oldFile string, verified *report) error {
	signed, err := os.ReadFile(oldFile)
	if err != nil {
		return fmt.Errorf("-old: %w", err)
	}
	old, err := openCheckpoint(signed, verifier)
	if err != nil {
		return fmt.Errorf("-old: %w", err)
	}
	if old.N > tree.N {
		return fmt.Errorf("the log shrank: -old has size %d, the served checkpoint %d", old.N, tree.N)
	}
	if old.N == 0 {
		// x/mod proves nothing from size 0. RFC 6962 section 2.1: the empty tree's root is the hash of nothing.
		if empty, err := tlog.TreeHash(0, nil); err != nil || empty != old.Hash {
			return errors.New("-old: a tree of size 0 with a root other than the empty tree's")
		}
	} else {
		proof, err := tlog.ProveTree(tree.N, old.N, tlog.TileHashReader(tree, log))
		if err != nil {
			return fmt.Errorf("consistency proof: %w", err)
		}
		if err := tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash); err != nil {
			return fmt.Errorf("consistency proof: %w", err)
		}
	}
	verified.ConsistentFrom = &old.N
	return nil
}

// remoteLog fetches a log's resources from a loopback address. It is a tlog.TileReader.
type remoteLog struct {
	prefix string
	client *http.Client
}

func newLog(prefix string) (*remoteLog, error) {
	parsed, err := url.Parse(prefix)
	if err != nil {
		return nil, err
	}
	address, err := netip.ParseAddr(parsed.Hostname())
	if err != nil || !address.IsLoopback() || parsed.Scheme != "http" {
		return nil, fmt.Errorf("%q is not http:// with a loopback IP address", prefix)
	}
	if parsed.User != nil || parsed.RawQuery != "" || parsed.Fragment != "" {
		return nil, fmt.Errorf("%q has more than a host, a port and a path", prefix)
	}
	clean := "http://" + parsed.Host + strings.TrimRight(parsed.EscapedPath(), "/")
	return &remoteLog{clean, &http.Client{
		Timeout:       10 * time.Second,
		Transport:     &http.Transport{Proxy: nil},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// fetch returns a resource of at most limit bytes; the error wraps errNotFound where the log does not have it.
func (log *remoteLog) fetch(path string, limit int64) ([]byte, error) {
	response, err := log.client.Get(log.prefix + "/" + path)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return nil, fmt.Errorf("%s: %w", path, errNotFound)
	default:
		return nil, fmt.Errorf("%s: %s", path, response.Status)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if int64(len(body)) > limit {
		return nil, fmt.Errorf("%s: more than %d bytes", path, limit)
	}
	return body, nil
}

// fetchTile returns the resource of a tile and the tile it is: the full one where the log no longer has the partial
// one (tlog-tiles, Partial Tiles).
func (log *remoteLog) fetchTile(tile tlog.Tile, limit int64) ([]byte, tlog.Tile, error) {
	data, err := log.fetch(tilePath(tile), limit)
	if tile.W < tileWidth && errors.Is(err, errNotFound) {
		tile.W = tileWidth
		data, err = log.fetch(tilePath(tile), limit)
	}
	return data, tile, err
}

// tilePath turns x/mod's tile/8/<L>/<N> and tile/8/data/<N> into C2SP's tile/<L>/<N> and tile/entries/<N>.
func tilePath(tile tlog.Tile) string {
	path := strings.TrimPrefix(tile.Path(), fmt.Sprintf("tile/%d/", tileHeight))
	if data, found := strings.CutPrefix(path, "data/"); found {
		path = "entries/" + data
	}
	return "tile/" + path
}

// readEntries returns the entries of a bundle, which must be consumed to its last byte.
func (log *remoteLog) readEntries(bundle tlog.Tile) ([][]byte, error) {
	data, fetched, err := log.fetchTile(bundle, maxBundle)
	if err != nil {
		return nil, err
	}
	entries := make([][]byte, fetched.W)
	for i := range entries {
		if len(data) < 2 || len(data)-2 < int(binary.BigEndian.Uint16(data)) {
			return nil, fmt.Errorf("%s: ends within its entry %d", tilePath(fetched), i)
		}
		end := 2 + int(binary.BigEndian.Uint16(data))
		entries[i], data = data[2:end], data[end:]
	}
	if len(data) > 0 {
		return nil, fmt.Errorf("%s: %d bytes after its last entry", tilePath(fetched), len(data))
	}
	return entries[:bundle.W], nil
}

// Height is the tile height of C2SP tlog-tiles.
func (log *remoteLog) Height() int { return tileHeight }

// SaveTiles keeps nothing: one run reads few tiles, and each read is authenticated again.
func (log *remoteLog) SaveTiles([]tlog.Tile, [][]byte) {}

// ReadTiles fetches hash tiles, each exactly as long as its width says.
func (log *remoteLog) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	read := make([][]byte, len(tiles))
	for i, tile := range tiles {
		data, fetched, err := log.fetchTile(tile, maxTile)
		if err != nil {
			return nil, err
		}
		if len(data) != fetched.W*tlog.HashSize {
			return nil, fmt.Errorf("%s: %d bytes instead of %d", tilePath(fetched), len(data), fetched.W*tlog.HashSize)
		}
		read[i] = data[:tile.W*tlog.HashSize]
	}
	return read, nil
}
