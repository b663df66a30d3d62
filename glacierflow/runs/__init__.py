"""A run on paper: units, slots, records, states, failures. No network, no clients."""
