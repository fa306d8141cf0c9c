//! Real clients: SMTP as a foreign mail server, IMAP, the webmail log-in, SQL. One file a protocol.
