package trace

// RejectedIn is for tests outside, which the gateway is in.
var RejectedIn = rejectedIn
