package metrics

import (
	"os"
	"strings"
	"syscall"
	"time"
)

// userHertz is the unit of times in /proc on every architecture that Go knows.
const userHertz = 100

// process asks the system for what it knows of this process, see proc(5). What it does not
// tell is left out.
func process(g *gathering, began time.Time) {
	var used syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &used) == nil {
		g.set("process_cpu_seconds_total", time.Duration(used.Utime.Nano()+used.Stime.Nano()).Seconds())
	}
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) == nil {
		g.set("process_max_fds", float64(limit.Cur))
	}
	if d, err := os.Open("/proc/self/fd"); err == nil {
		names, err := d.Readdirnames(-1)
		_ = d.Close() // it was only read
		if err == nil {
			g.set("process_open_fds", float64(len(names)-1)) // without the one that lists them
		}
	}
	if b, err := os.ReadFile("/proc/self/statm"); err == nil {
		if f := strings.Fields(string(b)); len(f) > 1 {
			page := float64(os.Getpagesize())
			g.set("process_virtual_memory_bytes", number(f[0])*page)
			g.set("process_resident_memory_bytes", number(f[1])*page)
		}
	}
	g.set("process_start_time_seconds", started(began))
}

// started is when the process began, or where the system does not tell, when its metrics
// did.
func started(began time.Time) float64 {
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return float64(began.UnixMilli()) / 1e3
	}
	all, err := os.ReadFile("/proc/stat")
	if err != nil {
		return float64(began.UnixMilli()) / 1e3
	}
	_, after, _ := strings.Cut(string(all), "\nbtime ")
	boot, _, _ := strings.Cut(after, "\n")
	text := string(stat)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:]) // the name before may hold anything
	const startTime = 22 - 3                                            // the first field here is the third
	if len(fields) <= startTime || number(boot) == 0 {
		return float64(began.UnixMilli()) / 1e3
	}
	return number(boot) + number(fields[startTime])/userHertz
}
