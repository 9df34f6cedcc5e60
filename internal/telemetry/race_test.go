//go:build race

package telemetry

// raceEnabled says that costs are not what they are otherwise.
const raceEnabled = true
