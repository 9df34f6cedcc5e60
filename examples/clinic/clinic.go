// Package clinic is a sample clinic: three agents that are real HTTP services
// over made-up data, for the demonstration of the gateway and for its tests.
//
//   - records serves FHIR R4 resources of twelve synthetic patients,
//   - symptoms says how urgent a complaint is, by a table of rules,
//   - treatment suggests what may help, given a record and an assessment, and
//     says what it ruled out because of allergies, interactions and findings.
//
// None of it is medical advice: rules.json and treatments.json are invented.
package clinic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"
)

// Bounds of the servers that [Agent.Serve] runs.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second
	writeTimeout  = 30 * time.Second
	idleTimeout   = 2 * time.Minute
	grace         = 5 * time.Second
	maxHeader     = 32 << 10
)

// An Agent is one service of the clinic. It logs nothing.
type Agent struct {
	Name    string // "records", "symptoms" or "treatment"
	Handler http.Handler
}

// Agents returns the three agents, in the order records, symptoms, treatment.
// Each call makes new ones, which share nothing.
func Agents() []Agent {
	return []Agent{
		{Name: "records", Handler: newRecords()},
		{Name: "symptoms", Handler: newSymptoms()},
		{Name: "treatment", Handler: newTreatment(time.Now)},
	}
}

// AgentNamed returns the agent of that name, or an error that lists the names.
func AgentNamed(name string) (Agent, error) {
	var names []string
	for _, a := range Agents() {
		if a.Name == name {
			return a, nil
		}
		names = append(names, a.Name)
	}
	return Agent{}, fmt.Errorf("there is no agent %q: the agents are %q", name, names)
}

// Serve serves the agent on ln until ctx ends, then lets requests under way
// finish, for at most five seconds. It closes ln. It returns nil after an
// orderly end.
func (a Agent) Serve(ctx context.Context, ln net.Listener) error {
	s := &http.Server{
		Handler:           a.Handler,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve %s: %w", a.Name, err)
	case <-ctx.Done():
	}
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err := s.Shutdown(within)
	if err != nil {
		err = errors.Join(fmt.Errorf("stop %s: %w", a.Name, err), s.Close())
	}
	if end := <-served; !errors.Is(end, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("serve %s: %w", a.Name, end))
	}
	return err
}
