//! Judges a finished record: the mail ledger, outage budgets, replication. Pure: no I/O, no clock.
