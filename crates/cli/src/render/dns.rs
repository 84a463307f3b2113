//! The two commands of `dns` as text and JSON. Headings, labels and members are Go's.

use super::dns_message::Found;
use super::table::TIGHT;
use gojson::Map;

gojson::object! {
    /// A resolver.
    #[derive(Debug)]
    pub(crate) struct Upstream {
        pub(crate) addr: String => "Addr",
        pub(crate) bootstrap: Vec<String> => "BootstrapResolution" omit,
    }
}

gojson::object! {
    /// A record that the tailnet adds.
    #[derive(Debug)]
    pub(crate) struct Record {
        pub(crate) name: String => "Name",
        pub(crate) kind: String => "Type" omit,
        pub(crate) value: String => "Value",
    }
}

gojson::object! {
    /// What the machine has without Tailscale.
    #[derive(Debug)]
    pub(crate) struct System {
        pub(crate) nameservers: Option<Vec<String>> => "Nameservers" omit,
        pub(crate) search_domains: Option<Vec<String>> => "SearchDomains" omit,
        pub(crate) match_domains: Option<Vec<String>> => "MatchDomains" omit,
    }
}

gojson::object! {
    /// Names of the tailnet.
    #[derive(Debug)]
    pub(crate) struct Tailnet {
        pub(crate) magic: bool => "MagicDNSEnabled",
        pub(crate) suffix: String => "MagicDNSSuffix" omit,
        pub(crate) own_name: String => "SelfDNSName" omit,
    }
}

gojson::object! {
    /// Everything of `dns status`.
    #[derive(Debug)]
    pub(crate) struct Status {
        pub(crate) tailscale_dns: bool => "TailscaleDNS",
        pub(crate) tailnet: Option<Tailnet> => "CurrentTailnet" omit,
        pub(crate) resolvers: Vec<Upstream> => "Resolvers" omit,
        pub(crate) routes: Option<Map<String, Vec<Upstream>>> => "SplitDNSRoutes" omit,
        pub(crate) fallback: Vec<Upstream> => "FallbackResolvers" omit,
        pub(crate) search: Vec<String> => "SearchDomains" omit,
        pub(crate) nameservers: Vec<String> => "Nameservers" omit,
        pub(crate) cert_domains: Vec<String> => "CertDomains" omit,
        pub(crate) records: Vec<Record> => "ExtraRecords" omit,
        pub(crate) excepted: Vec<String> => "ExitNodeFilteredSet" omit,
        pub(crate) system: Option<System> => "SystemDNS" omit,
        pub(crate) system_error: String => "SystemDNSError" omit,
    }
}

gojson::object! {
    /// One record of an answer.
    #[derive(Debug)]
    pub(crate) struct Answer {
        pub(crate) name: String => "Name",
        pub(crate) ttl: u32 => "TTL",
        pub(crate) class: String => "Class",
        pub(crate) kind: String => "Type",
        pub(crate) body: String => "Body",
    }
}

gojson::object! {
    /// Everything of `dns query`.
    #[derive(Debug)]
    pub(crate) struct Query {
        pub(crate) name: String => "Name",
        pub(crate) kind: String => "QueryType",
        pub(crate) resolvers: Vec<Upstream> => "Resolvers" omit,
        pub(crate) code: String => "ResponseCode",
        pub(crate) answers: Option<Vec<Answer>> => "Answers" omit,
    }
}

impl From<Found> for Answer {
    fn from(found: Found) -> Self {
        let Found { name, ttl, class, kind, body } = found;
        Self { name, ttl, class, kind, body }
    }
}

impl std::fmt::Display for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.addr)?;
        if self.bootstrap.is_empty() {
            Ok(())
        } else {
            write!(f, " (bootstrap: [{}])", self.bootstrap.join(" "))
        }
    }
}

/// A heading, its lines, or the words for none.
fn list(out: &mut String, heading: &str, lines: impl IntoIterator<Item = String>, none: &str) {
    out.push_str(heading);
    out.push('\n');
    let before = out.len();
    for line in lines {
        out.push_str("  ");
        out.push_str(&line);
        out.push('\n');
    }
    if out.len() == before {
        out.push_str(&format!("  ({none})\n"));
    }
    out.push('\n');
}

fn dashed<T: ToString>(items: &[T]) -> impl Iterator<Item = String> + '_ {
    items.iter().map(|item| format!("- {}", item.to_string()))
}

/// `dns status`; `all` with what is rarely set.
pub(crate) fn status(status: &Status, all: bool) -> String {
    let mut out = "\n=== 'Use Tailscale DNS' status ===\n\n".to_owned();
    out.push_str(match status.tailscale_dns {
        true => {
            "Tailscale DNS: enabled.\n\nPrograms on this machine find names with Tailscale's help.\n\
             To leave this machine's DNS alone: tailscale set --accept-dns=false\n"
        }
        false => {
            "Tailscale DNS: disabled.\n\n\
             (To find names with Tailscale's help: tailscale set --accept-dns=true)\n"
        }
    });
    out.push_str("\n=== MagicDNS configuration ===\n\nWhat the coordination server gave this device.\n\n");
    let Some(tailnet) = &status.tailnet else {
        out.push_str("No tailnet information available; log in first.\n");
        return out;
    };
    match tailnet.magic {
        true => out.push_str(&format!(
            "MagicDNS: enabled tailnet-wide (suffix = {})\n\nOther devices of the tailnet find this one as {}\n\n",
            tailnet.suffix, tailnet.own_name
        )),
        false => out.push_str("MagicDNS: disabled tailnet-wide.\n\n"),
    }
    let none = "no resolvers configured, those of the machine are used: see 'System DNS configuration' below";
    list(&mut out, "Resolvers (in preference order):", dashed(&status.resolvers), none);
    let routes = status.routes.iter().flat_map(|routes| routes.iter());
    let routes =
        routes.flat_map(|(suffix, list)| list.iter().map(move |one| format!("- {suffix:<30} -> {one}")));
    list(&mut out, "Split DNS Routes:", routes, "no routes configured: split DNS disabled");
    if all {
        let numbered = status.fallback.iter().enumerate().map(|(at, one)| format!("{at}: {one}"));
        list(&mut out, "Fallback Resolvers:", numbered, "no fallback resolvers configured");
    }
    list(&mut out, "Search Domains:", dashed(&status.search), "no search domains configured");
    if all {
        list(&mut out, "Nameservers IP Addresses:", dashed(&status.nameservers), "none were provided");
        let none = "no certificate domains are configured";
        list(&mut out, "Certificate Domains:", dashed(&status.cert_domains), none);
        let records = status.records.iter().map(|record| match record.kind.as_str() {
            "" => format!("- {:<50} -> {}", record.name, record.value),
            kind => format!("- [{kind}] {:<50} -> {}", record.name, record.value),
        });
        list(&mut out, "Additional DNS Records:", records, "no extra records are configured");
        let heading = "Filtered suffixes when forwarding DNS queries as an exit node:";
        list(&mut out, heading, dashed(&status.excepted), "no suffixes are filtered");
    }
    out.push_str("=== System DNS configuration ===\n\n");
    out.push_str("What this machine would use without Tailscale, and what Tailscale asks where the tailnet names nobody.\n\n");
    match &status.system {
        _ if !status.system_error.is_empty() => {
            out.push_str(&format!(
                "  (failed to read system DNS configuration: {})\n\n",
                status.system_error
            ));
        }
        None => out.push_str("  (no OS DNS configuration available)\n\n"),
        Some(system) => {
            let items = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
            let none = "no nameservers found, so that other names cannot be resolved unless the tailnet has resolvers";
            list(&mut out, "Nameservers:", dashed(&items(&system.nameservers)), none);
            list(
                &mut out,
                "Search domains:",
                dashed(&items(&system.search_domains)),
                "no search domains found",
            );
            if all {
                list(
                    &mut out,
                    "Match domains:",
                    dashed(&items(&system.match_domains)),
                    "no match domains found",
                );
            }
        }
    }
    out
}

/// `dns query`.
pub(crate) fn query(query: &Query) -> String {
    let mut out = format!("DNS query for {:?} ({}) using internal resolver:\n\n", query.name, query.kind);
    match query.resolvers.as_slice() {
        [one] => out.push_str(&format!("Forwarding to resolver: {one}\n")),
        all => {
            out.push_str("Multiple resolvers available:\n");
            all.iter().for_each(|one| out.push_str(&format!("  - {one}\n")));
        }
    }
    out.push_str(&format!("\nResponse code: {}\n\n", query.code));
    let Some(answers) = &query.answers else {
        out.push_str("No answers were returned.\n");
        return out;
    };
    if answers.is_empty() {
        out.push_str("  (no answers found)\n");
    }
    let mut rows = "Name\tTTL\tClass\tType\tBody\n----\t---\t-----\t----\t----\n".to_owned();
    for answer in answers {
        let Answer { name, ttl, class, kind, body } = answer;
        rows.push_str(&format!("{name}\t{ttl}\t{class}\t{kind}\t{body}\n"));
    }
    out.push_str(&TIGHT.layout(&rows));
    out.push('\n');
    out
}
