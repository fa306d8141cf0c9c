//! The harness's own place on the virtual network: router address, foreign clients, DNS server (smoltcp).
