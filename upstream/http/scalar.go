package http

// UnmarshalText reads settings that are written as a URL alone:
//
//	records: { http: http://records:9000 }
func (c *Config) UnmarshalText(text []byte) error {
	c.URL = string(text)
	return nil
}
