// The peer in Go: reads a pagemap with go-criu, to values or to JSON.
//
// Prints seconds, and KiB of memory at most.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/checkpoint-restore/go-criu/v7/crit"
	"github.com/checkpoint-restore/go-criu/v7/crit/images/pagemap"
)

func main() {
	if len(os.Args) != 3 {
		check(fmt.Errorf("usage: go_criu entries|json FILE"))
	}
	file, err := os.Open(os.Args[2])
	check(err)
	start := time.Now()
	image, err := crit.New(file, nil, "", false, false).Decode(&pagemap.PagemapEntry{})
	check(err)
	if os.Args[1] == "json" {
		text, err := json.Marshal(image)
		check(err)
		check(os.WriteFile(os.DevNull, text, 0))
	}
	seconds := time.Since(start).Seconds()
	var usage syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	fmt.Println(seconds, usage.Maxrss)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
