use super::split;

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    assert_eq!(split(text).as_deref().expect(text), expected);
}

#[test]
fn words() {
    check("", &[]);
    check("  -e A=1   -v /a:/b ", &["-e", "A=1", "-v", "/a:/b"]);
    check("-e 'A=one two' \"x y\"z", &["-e", "A=one two", "x yz"]);
    check(r#"a\ b "c\"d" 'e\f' ''"#, &["a b", "c\"d", "e\\f", ""]);
}

#[test]
fn unfinished_quotes_are_refused() {
    assert_eq!(split("'a"), None);
    assert_eq!(split("a \"b"), None);
    assert_eq!(split("a\\"), None);
}
