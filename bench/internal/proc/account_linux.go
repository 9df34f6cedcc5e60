// Package proc starts processes on a given processor and reads what the kernel
// accounts to them. It needs Linux.
package proc

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ticks is how often a second the kernel counts in /proc/PID/stat (USER_HZ).
const ticks = 100

// CPU is the processor time that the processes have used so far, dead threads
// included, to the nanosecond: the clock of each process (CPUCLOCK_SCHED,
// clock_getcpuclockid(3)). A process that is gone counts as nothing.
func CPU(pids []int) time.Duration {
	var sum time.Duration
	for _, pid := range pids {
		var ts unix.Timespec
		clock := int32(^pid<<3 | 2) //nolint:gosec // process ids have at most 22 bits
		if err := unix.ClockGettime(clock, &ts); err == nil {
			sum += time.Duration(ts.Nano())
		}
	}
	return sum
}

// UserSystem splits the processor time into user and system, to 10 ms.
func UserSystem(pids []int) (user, system time.Duration) {
	for _, pid := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		u, s := parseStat(b)
		user, system = user+u, system+s
	}
	return user, system
}

// parseStat reads utime and stime, the 14th and 15th fields (proc_pid_stat(5)).
func parseStat(b []byte) (user, system time.Duration) {
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:]) // the name may hold anything
	if len(f) < 13 {
		return 0, 0
	}
	return parseTicks(f[11]), parseTicks(f[12])
}

func parseTicks(b []byte) time.Duration {
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Second / ticks
}

// Memory is the resident and the proportional set size of the processes, in KiB.
func Memory(pids []int) (rss, pss int64) {
	for _, pid := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			continue
		}
		rss += sumOf(string(b), "Rss:")
		pss += sumOf(string(b), "Pss:")
	}
	return rss, pss
}

// Switches counts the context switches of all threads of the processes.
func Switches(pids []int) int64 {
	var sum int64
	for _, pid := range pids {
		dir := fmt.Sprintf("/proc/%d/task", pid)
		threads, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, t := range threads {
			b, err := os.ReadFile(dir + "/" + t.Name() + "/status")
			if err == nil {
				sum += sumOf(string(b), "voluntary_ctxt_switches:") + sumOf(string(b), "nonvoluntary_ctxt_switches:")
			}
		}
	}
	return sum
}

// sumOf adds up the numbers of the lines that begin with key.
func sumOf(text, key string) int64 {
	var sum int64
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, key)
		if !ok {
			continue
		}
		if f := strings.Fields(rest); len(f) > 0 {
			n, err := strconv.ParseInt(f[0], 10, 64)
			if err == nil {
				sum += n
			}
		}
	}
	return sum
}

// Tree lists pid and all its descendants.
func Tree(pid int) []int {
	list := []int{pid}
	for i := 0; i < len(list); i++ {
		dir := fmt.Sprintf("/proc/%d/task", list[i])
		threads, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, t := range threads {
			b, err := os.ReadFile(dir + "/" + t.Name() + "/children")
			if err != nil {
				continue
			}
			list = append(list, numbers(string(b))...)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func numbers(s string) []int {
	var list []int
	for f := range strings.FieldsSeq(s) {
		if n, err := strconv.Atoi(f); err == nil {
			list = append(list, n)
		}
	}
	return list
}
