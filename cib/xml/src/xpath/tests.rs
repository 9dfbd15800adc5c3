use super::{Found, Value, XPath, XPathError, path_of};
use crate::Doc;

const CIB: &str = r#"<cib epoch="3"><configuration><crm_config/><nodes><node id="1" uname="a"/><node id="2" uname="b"/></nodes>
<resources><group id="g"><primitive id="p1" class="ocf"/><primitive id="p2" class="ocf"><meta_attributes id="m"><nvpair id="n" name="is-managed" value="false"/></meta_attributes></primitive></group><primitive id="p3" class="systemd"/></resources></configuration><status/></cib>"#;

fn check(expression: &str, expect: &str) {
    let doc = Doc::parse(CIB).unwrap();
    let name = |f: &Found| match f {
        Found::Node(id) => {
            let n = doc.node(*id);
            n.attr("id").unwrap_or(n.name()).to_string()
        }
        Found::Attr(id, name) => format!("@{name}={}", doc.node(*id).attr(name).unwrap()),
        Found::Document => "/".to_string(),
    };
    let got = match XPath::parse(expression).and_then(|x| x.evaluate(&doc)) {
        Ok(Value::Nodes(found)) => found.iter().map(name).collect::<Vec<_>>().join(" "),
        Ok(Value::Boolean(b)) => b.to_string(),
        Ok(Value::Number(n)) => n.to_string(),
        Ok(Value::Text(t)) => t,
        Err(e) => format!("error: {e}"),
    };
    assert_eq!(got, expect, "{expression}");
}

#[test]
fn location_paths() {
    check("/cib/configuration/resources/*", "g p3");
    check("//primitive", "p1 p2 p3");
    check("//primitive[@class='ocf']", "p1 p2");
    check("//group//primitive[2]", "p2");
    check("//primitive[1]", "p1 p3");
    check("(//primitive)[1]", "p1");
    check("//primitive[last()]", "p2 p3");
    check("//nvpair/ancestor::primitive/@id", "@id=p2");
    check("//nvpair/ancestor::*[1]", "m");
    check("//primitive[@id='p1']/following-sibling::*", "p2");
    check("//primitive[@id='p3']/preceding::primitive", "p1 p2");
    check("//primitive[@id='p1']/following::primitive", "p2 p3");
    check("//node[@uname='b']/..", "nodes");
    check("//node | //group | //node", "1 2 g");
    check("/", "/");
    check("//@uname", "@uname=a @uname=b");
    check("//primitive[meta_attributes/nvpair[@name='is-managed' and @value='false']]", "p2");
    check("//*[@id='p1' or @id='n']", "p1 n");
    check("self::node()/cib/child::status", "status");
    check("id('p2 m')", "p2 m");
    check("//primitive[not(meta_attributes)][position() > 1]", "");
    check("//group/primitive[not(meta_attributes)][position() = 1]", "p1");
    check("//primitive[starts-with(@id, 'p')][contains(@class, 'sys')]", "p3");
}

#[test]
fn values() {
    check("count(//primitive)", "3");
    check("string(//nvpair/@value)", "false");
    check("1 + 2 * 3 - 4 div 2", "5");
    check("7 mod 3 = 1 and 'a' != 'b'", "true");
    check("//node/@id > 1", "true");
    check("//node/@id = '3'", "false");
    check("name(//*[@uname='a'])", "node");
    check("substring('12345', 2, 3)", "234");
    check("substring-before('a=b', '=')", "a");
    check("translate('bar', 'abc', 'AB')", "BAr");
    check("normalize-space('  a   b ')", "a b");
    check("concat('a', 1, true())", "a1true");
    check("boolean(//nothing)", "false");
    check("sum(//node/@id)", "3");
    check("string-length('äb')", "2");
    check("number('1e3')", "NaN");
    check("-round(-1.5)", "1");
}

#[test]
fn bad_expressions_are_refused() {
    for bad in ["", "//", "/cib[", "foo(", "nofunction()", "a b", "'x", "@", "/cib/", "1[1]", "$x"]
    {
        let doc = Doc::parse(CIB).unwrap();
        assert!(XPath::parse(bad).and_then(|x| x.evaluate(&doc)).is_err(), "{bad:?} was accepted");
    }
    let deep = format!("{}1{}", "(".repeat(100), ")".repeat(100));
    assert!(XPath::parse(&deep).is_err());
}

#[test]
fn paths_are_written_with_ids() {
    let doc = Doc::parse(CIB).unwrap();
    let node = doc.root().find_id("n").unwrap();
    let path = path_of(node);
    assert_eq!(
        path,
        "/cib/configuration/resources/group[@id='g']/primitive[@id='p2']/meta_attributes[@id='m']/nvpair[@id='n']"
    );
    assert_eq!(doc.xpath_elements(&path).unwrap(), vec![node.id()]);
}

/// A document with so many elements, each with an id and a text.
fn large(elements: usize) -> Doc {
    let element = |n: usize| format!("<e id=\"e{n}\">text</e>");
    Doc::parse(&format!("<cib>{}</cib>", (0..elements).map(element).collect::<String>())).unwrap()
}

#[test]
fn searches_within_searches_are_given_up_whatever_they_look_at() {
    let doc = large(2500);
    for expression in [
        "//*[//*]",
        "//e[preceding::e[@id='x']]",
        "//e[string(/)='x']",
        "//e[contains(/, 'x')]",
        "//e[. = //e/@id]",
        "//e[/cib = 'x']",
        "//e[count(following-sibling::e[@id='x']) > 1]",
        "//e[sum(//e) > 1]",
        "//e[id(//e)]",
        "//e[string-length(concat(/,/,/,/)) = 1]",
    ] {
        assert_eq!(doc.xpath(expression), Err(XPathError::TooLong), "{expression}");
    }
}

#[test]
fn a_search_of_the_largest_cib_is_far_from_the_limit() {
    let doc = large(200_000);
    assert_eq!(doc.xpath("//e[@id='e7']").unwrap().len(), 1);
    assert_eq!(doc.xpath("/cib/e[@id='e7' or text()='x']|//e[199999]").unwrap().len(), 2);
}

/// Names that would end the string that they are put in, and then select something else.
#[test]
fn a_quoted_name_is_found_and_nothing_else_whatever_is_in_it() {
    let alphabet = ['\'', '"', ']', '[', '/', '*', ' ', 'o', 'r', '=', '&', '<', ',', ')', 'é'];
    let mut state = 1_u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(state >> 33).unwrap_or(0) % below
    };
    let mut names: Vec<String> = (0..500)
        .map(|_| {
            let length = 1 + next(12);
            (0..length).map(|_| alphabet[next(alphabet.len())]).collect()
        })
        .collect();
    names.extend(["x' or '1'='1", "\" or \"\"=\"", "'\"", ""].map(str::to_owned));
    names.push("'\"".repeat(1000));
    for name in names {
        let mut doc = Doc::new("cib");
        let root = doc.root_id();
        for id in [name.as_str(), "another one"] {
            let element = doc.append_element(root, "e");
            doc.set_attr(element, "id", id);
        }
        let expression = format!("/cib/e[@id={}]", super::quoted(&name));
        let found = doc.xpath_elements(&expression).unwrap_or_else(|e| panic!("{expression}: {e}"));
        let ids: Vec<_> = found.iter().filter_map(|id| doc.node(*id).attr("id")).collect();
        assert_eq!(ids, [name.as_str()], "{expression}");
    }
}
