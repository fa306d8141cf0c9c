//! The layer-2 network of the machines, inside this process: learning switch, links that can be cut, hit counters.
