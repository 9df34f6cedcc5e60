package metrics

func processDescriptions() []Description {
	return []Description{
		{"process_cpu_seconds_total", Counter, nil, "Processor time that the process has used, in user and system mode."},
		{"process_max_fds", Gauge, nil, "File descriptors that the process may have."},
		{"process_open_fds", Gauge, nil, "File descriptors that the process has."},
		{"process_resident_memory_bytes", Gauge, nil, "Memory of the process that is in RAM."},
		{"process_start_time_seconds", Gauge, nil, "When the process began, in seconds since 1970."},
		{"process_virtual_memory_bytes", Gauge, nil, "Address space of the process."},
	}
}
