//! The statements of the SQL client, and the quoting that keeps marks and names what they are. Pure.

/// The table that the harness keeps in every replicated database.
pub const PROBE_TABLE: &str = "ledger_probe";

/// A string literal (MariaDB Knowledge Base, "String Literals"): quotes and backslashes are escaped, as are the bytes
/// that the `mariadb` client would act on.
pub fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('\'');
    for c in text.chars() {
        match c {
            '\'' => out.push_str("''"),
            '\\' => out.push_str("\\\\"),
            '\0' => out.push_str("\\0"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\x1a' => out.push_str("\\Z"),
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}

/// A quoted name of a database, table or column ("Identifier Names").
pub fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// Makes the probe table in each database, unless it is there already.
pub fn create_tables(databases: &[&str]) -> String {
    let statements = databases.iter().map(|database| {
        format!(
            "CREATE TABLE IF NOT EXISTS {}.{PROBE_TABLE} (\
             `id` BIGINT AUTO_INCREMENT PRIMARY KEY, \
             `mark` VARCHAR(64) NOT NULL UNIQUE, \
             `node` VARCHAR(64) NOT NULL, \
             `at` TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)\
             ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;\n",
            identifier(database)
        )
    });
    statements.collect()
}

/// Inserts a marked row; [`INSERTED`] is printed once it is acknowledged.
pub fn insert(database: &str, mark: &str, node: &str) -> String {
    format!(
        "INSERT INTO {}.{PROBE_TABLE} (`mark`, `node`) VALUES ({}, {});\nSELECT {};\n",
        identifier(database),
        literal(mark),
        literal(node),
        literal(INSERTED)
    )
}

/// What [`insert`] prints after the server's acknowledgement.
pub const INSERTED: &str = "row-acknowledged";

/// The marks in a database, in the order of their ids.
pub fn marks(database: &str) -> String {
    format!(
        "SELECT `mark` FROM {}.{PROBE_TABLE} ORDER BY `id`;\n",
        identifier(database)
    )
}

/// `CHECKSUM TABLE ... EXTENDED` of every base table of the databases, in one pass.
pub fn checksums(databases: &[&str]) -> String {
    let names: Vec<String> = databases.iter().map(|name| literal(name)).collect();
    let names = if names.is_empty() {
        "NULL".to_owned()
    } else {
        names.join(", ")
    };
    format!(
        "SET SESSION group_concat_max_len = 16777216;\n\
         SELECT GROUP_CONCAT('`', REPLACE(table_schema, '`', '``'), '`.`', REPLACE(table_name, '`', '``'), '`' \
         ORDER BY table_schema, table_name) INTO @tables FROM information_schema.tables \
         WHERE table_type = 'BASE TABLE' AND table_schema IN ({names});\n\
         EXECUTE IMMEDIATE IF(@tables IS NULL, 'DO 0', CONCAT('CHECKSUM TABLE ', @tables, ' EXTENDED'));\n"
    )
}

/// The state of the replica threads, and the node's position.
pub const REPLICA_STATUS: &str = "SHOW REPLICA STATUS\\G\nSELECT @@gtid_current_pos AS gtid_current_pos\\G\n";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_statements_are_these() {
        let text = [
            create_tables(&["vmail", "odd`name"]),
            insert("vmail", "m'1", "mail1"),
            marks("vmail"),
            checksums(&["vmail", "sogo"]),
            checksums(&[]),
            REPLICA_STATUS.to_owned(),
        ];
        insta::assert_snapshot!(text.join("\n"));
    }

    /// Reads a literal as the server does; `None` if it does not end with the text.
    fn read(literal: &str) -> Option<String> {
        let mut chars = literal.strip_prefix('\'')?.chars().peekable();
        let mut text = String::new();
        loop {
            match chars.next()? {
                '\'' if chars.peek() == Some(&'\'') => text.extend(chars.next()),
                '\'' => return chars.next().is_none().then_some(text),
                '\\' => text.push(match chars.next()? {
                    '0' => '\0',
                    'n' => '\n',
                    'r' => '\r',
                    'Z' => '\x1a',
                    c => c,
                }),
                c => text.push(c),
            }
        }
    }

    proptest! {
        #[test]
        fn a_literal_reads_back_and_nothing_leaks_out_of_it(text in any::<String>()) {
            prop_assert_eq!(read(&literal(&text)), Some(text));
        }

        #[test]
        fn a_literal_stays_on_one_line(text in "[a'\\\\\n\r\0]{0,20}") {
            prop_assert!(!literal(&text).contains(['\n', '\r', '\0']));
        }
    }
}
