package app

import (
	"github.com/airside-gateway/airside/internal/config"
	"github.com/airside-gateway/airside/internal/overload"
)

// overloadMarks turns the overload part of a configuration into what the guard takes.
func overloadMarks(o *config.Overload) overload.Marks {
	if o.Off {
		return overload.Marks{}
	}
	return overload.Marks{Heavy: float64(o.Memory.Heavy) / 100, All: float64(o.Memory.All) / 100, Wait: o.Wait}
}
