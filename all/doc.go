// Package all links every policy, upstream and protocol of this repository into
// the program that imports it, and knows what their settings mean. Its other
// files are generated.
package all

//go:generate go run ../internal/tool/generate -root ..
