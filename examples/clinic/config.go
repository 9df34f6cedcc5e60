package clinic

import _ "embed"

// Config is airside.yaml, the configuration of the gateway for this clinic. It
// listens on 127.0.0.1:8080 and 127.0.0.1:8443, and takes the agents to be at
// 127.0.0.1:9001 (records), :9002 (symptoms) and :9003 (treatment).
//
//go:embed airside.yaml
var Config []byte
