//! Reports derived from a record: `report.json`, `junit.xml` and the table on the terminal.
