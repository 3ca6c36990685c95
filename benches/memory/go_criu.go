// The peer in Go: reads the memory of a task with go-criu's MemoryReader.
//
// Prints seconds, and how many pages do not begin with their own address.
package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/checkpoint-restore/go-criu/v7/crit"
)

func main() {
	if len(os.Args) != 5 {
		check(fmt.Errorf("usage: go_criu FOLDER PID START PAGES"))
	}
	pid, err := strconv.ParseUint(os.Args[2], 10, 32)
	check(err)
	address, err := strconv.ParseUint(os.Args[3], 10, 64)
	check(err)
	pages, err := strconv.ParseUint(os.Args[4], 10, 64)
	check(err)
	start := time.Now()
	reader, err := crit.NewMemoryReader(os.Args[1], uint32(pid), 4096)
	check(err)
	// One byte less: the page after the last is not asked for.
	content, err := reader.GetMemPages(address, address+pages*4096-1)
	check(err)
	seconds := time.Since(start).Seconds()
	wrong := 0
	for page := uint64(0); page < pages; page++ {
		if binary.LittleEndian.Uint64(content.Bytes()[page*4096:]) != address+page*4096 {
			wrong++
		}
	}
	fmt.Println(seconds, wrong)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
