package basestation

import "github.com/prometheus/client_golang/prometheus"

// A measure is one metric, read when somebody asks.
type measure struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*Status) float64
}

func newMeasure(name, help string, kind prometheus.ValueType, value func(*Status) float64) measure {
	return measure{prometheus.NewDesc("latchkey_basestation_"+name, help, nil, nil), kind, value}
}

var measures = []measure{
	newMeasure("devices", "Attached devices.", prometheus.GaugeValue, func(s *Status) float64 { return float64(s.Devices) }),
	newMeasure("peers", "Connected peers, devices included.", prometheus.GaugeValue, func(s *Status) float64 { return float64(s.Peers) }),
	newMeasure("tcp_connections", "TCP connections of any kind.", prometheus.GaugeValue, func(s *Status) float64 { return float64(s.Streams) }),
	newMeasure("introductions", "Introductions that are not over.", prometheus.GaugeValue, func(s *Status) float64 { return float64(s.Introductions) }),
	newMeasure("waiting", "Clients that wait for a device.", prometheus.GaugeValue, func(s *Status) float64 { return float64(s.Waiting) }),
	newMeasure("gate_refused_total", "Clients that the gate refused.", prometheus.CounterValue, func(s *Status) float64 { return float64(s.Refused) }),
	newMeasure("introduced_total", "Clients that got a device's offer.", prometheus.CounterValue, func(s *Status) float64 { return float64(s.Introduced) }),
	newMeasure("not_introduced_total", "Clients whose device refused or did not answer.", prometheus.CounterValue, func(s *Status) float64 { return float64(s.NotIntroduced) }),
	newMeasure("relay_grants", "Sessions that may use the relay.", prometheus.GaugeValue, func(s *Status) float64 { return float64(s.Relay.Grants) }),
	newMeasure("relay_allocations", "Relayed addresses in use.", prometheus.GaugeValue, func(s *Status) float64 { return float64(s.Relay.Allocations) }),
	newMeasure("relay_packets_total", "Datagrams relayed.", prometheus.CounterValue, func(s *Status) float64 { return float64(s.Relay.Packets) }),
	newMeasure("relay_bytes_total", "Payload relayed, in bytes.", prometheus.CounterValue, func(s *Status) float64 { return float64(s.Relay.Bytes) }),
	newMeasure("relay_dropped_total", "Datagrams that the relay dropped.", prometheus.CounterValue, func(s *Status) float64 { return float64(s.Relay.Dropped) }),
	newMeasure("answers_refused_total", "Answers that the budget of their prefix did not allow.", prometheus.CounterValue, func(s *Status) float64 { return float64(s.Relay.Refused) }),
}

// A collector reads the metrics of a station.
type collector struct{ s *station }

// Describe implements prometheus.Collector.
func (collector) Describe(out chan<- *prometheus.Desc) {
	for _, m := range measures {
		out <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	status := c.s.status()
	for _, m := range measures {
		out <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(&status))
	}
}
