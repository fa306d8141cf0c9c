use std::sync::Mutex;

use async_trait::async_trait;

use super::*;

/// A node that gives one prepared answer and keeps what it was asked.
struct Node {
    answer: Result<ExecOutput, ExecError>,
    asked: Mutex<Vec<(Vec<String>, String)>>,
}

#[async_trait]
impl Exec for Node {
    async fn exec(&self, argv: &[String], stdin: &[u8], _: Duration) -> Result<ExecOutput, ExecError> {
        self.asked
            .lock()
            .unwrap()
            .push((argv.to_vec(), String::from_utf8_lossy(stdin).into_owned()));
        self.answer.clone()
    }
}

const TEN_SECONDS: Duration = Duration::from_secs(10);

fn node(status: i32, stdout: &str, stderr: &str) -> Node {
    let answer = Ok(ExecOutput {
        status,
        stdout: stdout.into(),
        stderr: stderr.into(),
    });
    Node {
        answer,
        asked: Mutex::default(),
    }
}

fn on(exec: &Node) -> Database<'_> {
    Database { exec, node: "mail1" }
}

async fn insert_on(node: &Node) -> Outcome {
    on(node).insert("vmail", "m1", TEN_SECONDS).await
}

#[tokio::test]
async fn an_acknowledged_row_is_ok() {
    let outcome = insert_on(&node(0, "row-acknowledged\n", "")).await;
    assert_eq!(
        outcome,
        Outcome::Ok {
            served_by: Some("mail1".into())
        }
    );
}

#[tokio::test]
async fn a_row_that_the_server_refused_is_a_fail() {
    let refused = node(
        1,
        "",
        "ERROR 1062 (23000) at line 1: Duplicate entry 'm1' for key 'mark'\n",
    );
    let Outcome::Fail { reason } = insert_on(&refused).await else {
        panic!("no fail")
    };
    insta::assert_snapshot!(reason, @r#"mail1: insert: 1062: Duplicate entry 'm1' for key 'mark' (deadline 10s; last line: "ERROR 1062 (23000) at line 1: Duplicate entry 'm1' for key 'mark'")"#);
}

#[tokio::test]
async fn a_row_sent_to_no_server_is_a_fail() {
    let down = node(
        1,
        "",
        "ERROR 2002 (HY000): Can't connect to local server through socket '/run/mysqld/mysqld.sock' (2)\n",
    );
    assert!(matches!(insert_on(&down).await, Outcome::Fail { .. }));
    let unreached = Node {
        answer: Err(ExecError::NotStarted("machine off".into())),
        asked: Mutex::default(),
    };
    assert!(matches!(insert_on(&unreached).await, Outcome::Fail { .. }));
}

#[tokio::test]
async fn a_row_whose_acknowledgement_was_not_seen_is_unknown() {
    let lost = node(
        1,
        "",
        "ERROR 2013 (HY000) at line 1: Lost connection to server during query\n",
    );
    let killed = node(137, "", "");
    let mute = node(0, "", "");
    let odd = node(3, "", "");
    let unfinished = Node {
        answer: Err(ExecError::Unfinished("power cut".into())),
        asked: Mutex::default(),
    };
    for node in [lost, killed, mute, odd, unfinished] {
        let outcome = insert_on(&node).await;
        assert!(
            matches!(outcome, Outcome::Unknown { .. }),
            "{:?}: {outcome:?}",
            node.answer
        );
    }
}

#[tokio::test]
async fn marks_are_the_lines_of_the_answer() {
    assert_eq!(
        on(&node(0, "m1\nm2\n", "")).marks("vmail", TEN_SECONDS).await.unwrap(),
        ["m1", "m2"]
    );
}

#[tokio::test]
async fn an_error_while_reading_is_never_an_empty_answer() {
    let broken = node(
        1,
        "",
        "ERROR 1146 (42S02) at line 1: Table 'vmail.ledger_probe' doesn't exist\n",
    );
    let error = on(&broken).marks("vmail", TEN_SECONDS).await.unwrap_err();
    assert!(
        matches!(error.cause, SqlCause::Server(ServerError { code: 1146, .. })),
        "{error}"
    );
    assert!(on(&broken).checksums(&["vmail"], TEN_SECONDS).await.is_err());
    assert!(on(&broken).query("vmail", "SELECT 1", TEN_SECONDS).await.is_err());
    assert!(on(&broken).replication_status(TEN_SECONDS).await.is_err());
}

#[tokio::test]
async fn a_query_runs_read_only_and_ends_on_the_node_before_the_deadline() {
    let node = node(0, "a\t1\nb\t2\n", "");
    let rows = on(&node)
        .query("vmail", "SELECT name, n FROM t", TEN_SECONDS)
        .await
        .unwrap();
    assert_eq!(rows, ["a\t1", "b\t2"]);
    insta::assert_debug_snapshot!(node.asked.lock().unwrap());
}
