//go:build !race

package h1

// raceEnabled says that costs are not what they are otherwise.
const raceEnabled = false
