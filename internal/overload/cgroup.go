package overload

import (
	"io/fs"
	"math"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

// ours is the portion of the memory of a container that the runtime may use: the rest is
// for what it does not count, such as the buffers of the kernel.
const ours = 0.9

// LimitMemory tells the runtime of the limit that the control group of the process has
// for memory, so that it collects garbage in time, and marks are portions of it. Nothing
// happens if the runtime has a limit already, by GOMEMLIMIT, or if there is none. Root is
// the root of the file system. It returns the limit in force, in bytes; 0 for none.
func LimitMemory(root fs.FS) int64 {
	now := debug.SetMemoryLimit(-1)
	if now < math.MaxInt64 {
		return now
	}
	most := containerLimit(root)
	if most == 0 {
		return 0
	}
	own := int64(float64(most) * ours)
	debug.SetMemoryLimit(own)
	return own
}

// containerLimit is the least limit of the control groups that the process is in, of
// version 2 or 1 (cgroups(7)); 0 for none.
func containerLimit(root fs.FS) int64 {
	text, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0
	}
	least := int64(0)
	for line := range strings.Lines(string(text)) { // id:controllers:path
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case len(parts) < 3:
		case parts[1] == "": // version 2
			least = lesser(least, chain(root, "sys/fs/cgroup", parts[2], "memory.max"))
		case strings.Contains(","+parts[1]+",", ",memory,"):
			least = lesser(least, chain(root, "sys/fs/cgroup/memory", parts[2], "memory.limit_in_bytes"))
		}
	}
	return least
}

// chain is the least limit of a group and of those above it. Within a container the path
// may be that of the host, of which only the root is to be seen.
func chain(root fs.FS, mount, group, file string) int64 {
	least := int64(0)
	for dir := path.Clean("/" + group); ; dir = path.Dir(dir) {
		if text, err := fs.ReadFile(root, path.Join(mount, dir, file)); err == nil {
			least = lesser(least, number(string(text)))
		}
		if dir == "/" {
			return least
		}
	}
}

// number reads a limit: "max", or one beyond any memory, is none.
func number(text string) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil || n <= 0 || n >= 1<<60 {
		return 0
	}
	return n
}

// lesser is the lesser of two limits, of which 0 is none.
func lesser(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}
