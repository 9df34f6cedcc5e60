//go:build race

package server

// raceEnabled says that costs are not what they are otherwise.
const raceEnabled = true
