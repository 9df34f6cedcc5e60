package server

// A ring holds the last of some streams.
type ring struct {
	ids [128]uint32
	at  int
}

func (r *ring) add(id uint32) {
	r.ids[r.at] = id
	r.at = (r.at + 1) % len(r.ids)
}

func (r *ring) has(id uint32) bool {
	for _, old := range r.ids {
		if old == id {
			return true
		}
	}
	return false
}
