use super::*;

/// One event of each shape, as it lies in the file.
#[test]
fn lines_of_the_file_are_flat_json() {
    let cut = Fault::LinkCut {
        from: "mail1".into(),
        to: "mail2".into(),
        both_ways: true,
    };
    let receipt = Receipt {
        source: "switch".into(),
        observed: "12 frames dropped".into(),
    };
    let send = Operation::SendMail {
        mail: mark("r1", 7),
        to: "alice@example.org".into(),
    };
    let whats = [
        What::Begin {
            scenario: "failover".into(),
            seed: u64::MAX,
            run: "r1".into(),
            steps: 3,
        },
        What::Invoke { id: 7, operation: send },
        What::Done {
            id: 7,
            outcome: Outcome::Ok { served_by: None },
        },
        What::Done {
            id: 8,
            outcome: Outcome::Ok {
                served_by: Some("mail2".into()),
            },
        },
        What::Done {
            id: 9,
            outcome: Outcome::Unknown {
                reason: "broke after the final dot".into(),
            },
        },
        What::StepBegin {
            step: 0,
            kind: "webmail".into(),
            title: "webmail is served by mail2".into(),
        },
        What::StepEnd {
            step: 0,
            result: StepResult::Held {
                detail: "after 9 s".into(),
            },
        },
        What::Inject { fault: cut.clone() },
        What::Injected { fault: cut, receipt },
        What::NotConverged {
            after: 1,
            differs: "vmail.mailbox".into(),
        },
        What::TrafficEnd,
        What::End,
    ];
    let mut lines = String::new();
    for (at, what) in whats.into_iter().enumerate() {
        let event = Event { at: at as Micros, what };
        let line = serde_json::to_string(&event).expect("event to JSON");
        assert_eq!(serde_json::from_str::<Event>(&line).expect(&line), event);
        lines.push_str(&line);
        lines.push('\n');
    }
    insta::assert_snapshot!(lines);
}
