package app

// start begins what upstreams do by themselves, such as looking for their endpoints. It
// is not done while a configuration is only checked, nor for one that is refused.
func (gen *generation) start() {
	for _, t := range gen.targets {
		if s, ok := t.Handler.(interface{ Start() }); ok {
			s.Start()
		}
	}
}
