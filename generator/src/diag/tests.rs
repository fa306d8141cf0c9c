use super::*;
use crate::spec::Cluster;

const PAIR: &str = include_str!("../../examples/pair.toml");

/// The message for the pair with one line replaced.
fn told(from: &str, to: &str) -> String {
    assert!(PAIR.contains(from), "the example has changed: {from}");
    let source = PAIR.replacen(from, to, 1);
    let diagnostics = parse::<Cluster>(&source).expect_err("this must not parse");
    render(&diagnostics, "cluster.toml", &source, false)
}

#[test]
fn an_unknown_key_is_shown_with_the_nearest_one() {
    insta::assert_snapshot!(told("router =", "ruoter ="));
}

#[test]
fn an_unknown_table_is_shown_with_all_names_if_none_is_near() {
    insta::assert_snapshot!(told("[webmail]", "[blog]"));
}

#[test]
fn an_unknown_key_in_a_list_of_tables_names_the_entry() {
    insta::assert_snapshot!(told("address = \"192.168.1.11\"", "adress = \"192.168.1.11\""));
}

#[test]
fn an_unknown_role_is_shown_with_the_roles() {
    insta::assert_snapshot!(told("role = \"load-balancer\"", "role = \"loadbalancer\""));
}

#[test]
fn a_missing_key_points_at_its_table() {
    insta::assert_snapshot!(told("router = \"192.168.1.1\"\n", ""));
}

#[test]
fn a_missing_table_points_at_the_file() {
    insta::assert_snapshot!(told(
        "[webmail]\nhost = \"webmail.example.org\"\ncheck = \"classic\"\n",
        ""
    ));
}

#[test]
fn a_wrong_type_says_what_was_expected() {
    insta::assert_snapshot!(told("primary = true", "primary = \"yes\""));
}

#[test]
fn single_brackets_for_a_list_are_explained() {
    let source = "[cluster]\nname = \"x\"\ndomain = \"example.org\"\n[node]\nname = \"mail1\"\n";
    let diagnostics = parse::<Cluster>(source).unwrap_err();
    insta::assert_snapshot!(render(&diagnostics, "cluster.toml", source, false));
}

#[test]
fn a_bad_address_is_shown_with_the_form() {
    insta::assert_snapshot!(told("192.168.1.11", "192.168.1.256"));
}

#[test]
fn a_bad_network_is_shown_with_the_form() {
    insta::assert_snapshot!(told("192.168.1.0/24", "192.168.1.0/33"));
}

#[test]
fn a_slip_in_the_syntax_points_at_it() {
    insta::assert_snapshot!(told("name = \"pair\"", "name = \"pair"));
}

#[test]
fn without_a_place_the_file_is_named() {
    let warning = Diagnostic::warning("odd", "something is odd")
        .why("it matters")
        .help("mend it");
    insta::assert_snapshot!(render(&[warning.clone(), warning], "cluster.toml", "", false));
}

#[test]
fn json_carries_line_column_and_words() {
    let source = "a = 1\nä = 2\n";
    let at = source.find('2').unwrap();
    let found = Diagnostic::error("odd", "m")
        .at(Some(at..at + 1), "l")
        .related(Some(0..1), "r")
        .help("h");
    insta::assert_snapshot!(serde_json::to_string_pretty(&to_json(&[found], "f.toml", source)).unwrap());
}

proptest::proptest! {
    #[test]
    fn no_span_and_no_text_make_rendering_panic(source in "\\PC*|[\\x00-\\x20a=\"\\[\\]é\\r\\n]*", start in 0usize..40, length in 0usize..40) {
        let fix = |span, replacement: &str| Fix { span, replacement: replacement.to_owned() };
        let found = Diagnostic::error("x", "m")
            .at(Some(start..start + length), "l")
            .related(Some(length..start), "r")
            .help("h")
            .fix([fix(start..start + length, ""), fix(length..start, "x\ny"), fix(start..start, "")]);
        render(std::slice::from_ref(&found), "f.toml", &source, false);
        apply(&source, &found.fixes);
        to_json(&[found], "f.toml", &source);
    }
}
