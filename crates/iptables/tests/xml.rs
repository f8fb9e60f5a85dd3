//! `iptables-xml`: what the real one (1.8.9) prints for these lines.

use fielato_iptables::xml::{self, XmlOptions};

fn written(text: &str, options: XmlOptions) -> (String, Option<String>) {
    let mut out = String::new();
    let error = xml::write(text, options, &mut out).err();
    (out, error.map(|error| error.render(&xml::program())))
}

const RULES: &str = "\
# a -- b
*filter
:INPUT ACCEPT [1:2]
:users - [0:0]
[3:4] -A INPUT ! -s 1.2.3.4 -m comment --comment \"<a> -j\" -j MARK --set-mark 1
[5:6] -A INPUT ! -s 1.2.3.4 -m comment --comment \"<a> -j\" -j users
COMMIT
";

#[test]
fn rules_become_nested_elements() {
    let conditions = "       <conditions>\n        <match >\n          <s  invert=\"1\">1.2.3.4</s>\n        </match>\n        \
                      <comment >\n          <comment >&quot;&lt;a&gt; -j&quot;</comment>\n        </comment>\n       \
                      </conditions>\n";
    let mark = "        <MARK >\n          <set-mark >1</set-mark>\n        </MARK>\n";
    let call = "        <call >\n          <users />\n        </call>\n";
    let end = "       </actions>\n\n      </rule>\n\n";
    let head = "<iptables-rules version=\"1.0\">\n<!-- # a *- *- b -->\n  <table name=\"filter\" >\n    \
                <chain name=\"INPUT\" policy=\"ACCEPT\" packet-count=\"1\" byte-count=\"2\" >\n      \
                <rule packet-count=\"3\" byte-count=\"4\" >\n";
    let foot = "    </chain>\n    <chain name=\"users\" packet-count=\"0\" byte-count=\"0\" />\n  </table>\n</iptables-rules>\n";
    let apart = format!(
        "{head}{conditions}       <actions>\n{mark}{end}      <rule packet-count=\"5\" byte-count=\"6\" >\n\
         {conditions}       <actions>\n{call}{end}{foot}"
    );
    let joined = format!("{head}{conditions}       <actions>\n{mark}<!-- Combine action from next rule -->\n{call}{end}{foot}");
    for (combine, wanted) in [(false, apart), (true, joined)] {
        let options = XmlOptions { combine, verbose: false };
        assert_eq!(written(RULES, options), (wanted, None), "combine: {combine}");
    }
}

#[test]
fn lines_that_are_none() {
    for (text, message) in [
        ("-A INPUT\n", "iptables-xml: line 1 failed\n"),
        ("*filter\n-X a\n", "iptables-xml: line 2 failed - no chain found\n"),
        ("*filter\n", "iptables-xml: COMMIT expected at line 2\n"),
    ] {
        assert_eq!(written(text, XmlOptions::default()).1.as_deref(), Some(message), "{text}");
    }
}
