//! Pushes to a real registry, over lines that are cut, and to one that refuses in every way there is.

use super::client::{Client, Patience};
use super::credentials::{Credentials, Secret};
use super::place::{Place, Tag};
use super::testing::{Asked, Line, PASSWORD, Registry, Said, Scripted, USER, agreeable};
use super::{Push, named};
use crate::image::about::{About, Commit};
use crate::image::digest::Digest;
use crate::image::testing::{PLATFORMS, about, image, installed};
use serde_json::Value;
use std::process::Command;
use std::time::Duration;

/// Bytes of the binary in images that are pushed: each layer takes several chunks.
const BINARY: usize = 1_300_000;

/// Bytes of one that need not be large.
const SMALL: usize = 3000;

/// Pauses for tests.
const QUICK: Patience = Patience { tries: 4, pause: Duration::from_millis(2) };

fn client(port: u16, credentials: Credentials) -> Client {
    let place = Place::parse(&format!("127.0.0.1:{port}/team/smalltail"), false).unwrap();
    Client::new(place, credentials, QUICK).unwrap()
}

fn known(password: &str) -> Credentials {
    let secret = Secret::Password { user: USER.to_owned(), password: password.to_owned() };
    Credentials { secret, origin: "the test".to_owned() }
}

fn push_of(about: &About, size: usize, tags: &[&str]) -> Push {
    let tags = tags.iter().map(|tag| Tag::parse(tag).unwrap()).collect();
    Push::new(image(about, size).image, tags, false).unwrap()
}

/// Pushes to `port` as nobody.
fn push(port: u16, size: usize, tags: &[&str]) -> anyhow::Result<()> {
    push_of(&about(), size, tags).run(&mut client(port, Credentials::nobody()))
}

fn tag_of(port: u16, tag: &str) -> Option<Digest> {
    named(&mut client(port, Credentials::nobody()), tag, "a test looks").unwrap()
}

/// Output of skopeo.
fn skopeo(words: &[&str]) -> Vec<u8> {
    let output = Command::new("skopeo").args(words).output().unwrap();
    assert!(output.status.success(), "skopeo {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn what_is_pushed_skopeo_reads_back_for_each_platform() {
    if !installed("docker-registry") || !installed("skopeo") {
        return;
    }
    let registry = Registry::start(false);
    let made = image(&about(), BINARY);
    push(registry.port, BINARY, &["1.2.3", "stable"]).unwrap();
    let name = |tag: &str| format!("docker://127.0.0.1:{}/team/smalltail:{tag}", registry.port);
    for tag in ["1.2.3", "stable"] {
        let raw = skopeo(&["inspect", "--raw", "--tls-verify=false", &name(tag)]);
        assert_eq!(Digest::of(&raw), made.image.digest);
    }
    let dir = tempfile::tempdir().unwrap();
    for platform in PLATFORMS {
        let tar = dir.path().join(platform.slug());
        let to = format!("docker-archive:{}:x:y", tar.display());
        let mut words = vec!["copy", "--quiet", "--src-tls-verify=false", "--override-os", "linux"];
        words.extend(["--override-arch", platform.architecture]);
        if let Some(variant) = platform.variant {
            words.extend(["--override-variant", variant]);
        }
        let from = name("stable");
        words.extend([from.as_str(), to.as_str()]);
        skopeo(&words);
        let mut config = None;
        for entry in tar::Archive::new(std::fs::File::open(&tar).unwrap()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            if name.ends_with(".json") && name != "manifest.json" {
                let mut text = Vec::new();
                std::io::Read::read_to_end(&mut entry, &mut text).unwrap();
                config = Some(text);
            }
        }
        // The configuration is the very one, and it names the layer's very bytes.
        let config = config.unwrap();
        assert!(made.image.blobs.contains_key(&Digest::of(&config)), "{}", platform.slug());
        let config: Value = serde_json::from_slice(&config).unwrap();
        assert_eq!(config["architecture"], platform.architecture);
        assert_eq!(config["variant"].as_str(), platform.variant);
        assert_eq!(config["config"]["Healthcheck"]["Test"][1], "/usr/bin/containerboot");
    }
}

#[test]
fn what_is_there_is_not_sent_again() {
    if !installed("docker-registry") {
        return;
    }
    let registry = Registry::start(false);
    let line = Line::to(registry.port, usize::MAX, false);
    push(line.port, BINARY, &["1.2.3"]).unwrap();
    let first = line.sent();
    assert!(first > 4 * BINARY, "{first}");
    push(line.port, BINARY, &["1.2.3", "stable"]).unwrap();
    assert!(line.sent() - first < BINARY / 20, "{} bytes for another tag", line.sent() - first);
    assert_eq!(tag_of(registry.port, "stable"), tag_of(registry.port, "1.2.3"));
}

#[test]
fn a_version_keeps_its_image_and_stable_moves() {
    if !installed("docker-registry") {
        return;
    }
    let registry = Registry::start(false);
    push(registry.port, SMALL, &["1.2.3", "stable"]).unwrap();
    let first = tag_of(registry.port, "1.2.3").unwrap();
    let kept = registry.kept();
    let error = push(registry.port, SMALL + 1, &["stable", "1.2.3"]).unwrap_err();
    let text = format!("{error:#}");
    assert!(text.contains("tag 1.2.3 names another image for ever"), "{text}");
    assert!(text.contains(&first.to_string()), "{text}");
    assert_eq!(registry.kept(), kept, "nothing was sent before the refusal");
    assert_eq!(tag_of(registry.port, "stable"), Some(first.clone()), "not even stable");
    push(registry.port, SMALL + 1, &["stable", "1.2.4"]).unwrap();
    assert_eq!(tag_of(registry.port, "1.2.3"), Some(first.clone()));
    assert_eq!(tag_of(registry.port, "stable"), tag_of(registry.port, "1.2.4"));
    assert_ne!(tag_of(registry.port, "stable"), Some(first));
}

#[test]
fn a_line_that_is_cut_costs_a_chunk_and_not_the_push() {
    if !installed("docker-registry") {
        return;
    }
    let registry = Registry::start(false);
    let whole = Line::to(registry.port, usize::MAX, false);
    push(whole.port, BINARY, &["1.0.0"]).unwrap();
    let registry = Registry::start(false);
    // In the middle of the second chunk of the first layer.
    let cut = Line::to(registry.port, 800_000, false);
    push(cut.port, BINARY, &["1.0.0"]).unwrap();
    assert!(tag_of(registry.port, "1.0.0").is_some());
    assert!(cut.connections() > whole.connections(), "the line was cut");
    let more = cut.sent().saturating_sub(whole.sent());
    // One layer at most, and once more where the machine is so busy that the line fails a second time.
    assert!(more < 2 * BINARY, "{more} bytes were sent again");
}

#[test]
fn a_line_that_is_cut_again_and_again_ends_the_push_cleanly() {
    if !installed("docker-registry") {
        return;
    }
    let registry = Registry::start(false);
    let cut = Line::to(registry.port, 200_000, true);
    let error = format!("{:#}", push(cut.port, BINARY, &["1.0.0", "stable"]).unwrap_err());
    assert!(error.contains("given up after 4 tries") && error.contains("blob sha256:"), "{error}");
    assert_eq!((tag_of(registry.port, "1.0.0"), tag_of(registry.port, "stable")), (None, None));
    // The same command over a sound line ends it.
    push(registry.port, BINARY, &["1.0.0", "stable"]).unwrap();
    assert!(tag_of(registry.port, "stable").is_some());
}

#[test]
fn passwords_right_and_wrong() {
    if !installed("docker-registry") {
        return;
    }
    let registry = Registry::start(true);
    let tried = |credentials| {
        let mut client = client(registry.port, credentials);
        push_of(&about(), SMALL, &["1.0.0"]).run(&mut client).map_err(|error| format!("{error:#}"))
    };
    let wrong = tried(known("guess-42")).unwrap_err();
    assert!(wrong.contains("does not accept the credentials from the test"), "{wrong}");
    assert!(!wrong.contains("guess-42"), "{wrong}");
    let nobody = tried(Credentials::nobody()).unwrap_err();
    assert!(nobody.contains("wants to know who pushes"), "{nobody}");
    tried(known(PASSWORD)).unwrap();
}

#[test]
fn a_token_is_fetched_once_and_goes_nowhere_else() {
    let scripted = Scripted::start(|asked, port| {
        if asked.path.starts_with("/token?") {
            return (200, Vec::new(), r#"{"token": "t0k3n"}"#.to_owned());
        }
        if asked.header("authorization") != Some("Bearer t0k3n") {
            let challenge = format!("Bearer realm=\"http://127.0.0.1:{port}/token\",service=\"here\"");
            return (401, vec![("WWW-Authenticate", challenge)], String::new());
        }
        agreeable(asked)
    });
    let elsewhere = Scripted::start(|asked, _| agreeable(asked));
    let mut client = client(scripted.port, known(PASSWORD));
    push_of(&about(), SMALL, &["1.0.0"]).run(&mut client).unwrap();
    let asked = scripted.asked();
    let tokens: Vec<_> = asked.iter().filter(|asked| asked.path.starts_with("/token?")).collect();
    assert_eq!(tokens.len(), 1);
    assert!(
        tokens[0].path.contains("scope=repository%3Ateam%2Fsmalltail%3Apull%2Cpush"),
        "{}",
        tokens[0].path
    );
    assert!(tokens[0].path.contains("service=here"));
    assert!(tokens[0].header("authorization").unwrap().starts_with("Basic "));
    let password =
        |asked: &&Asked| asked.header("authorization").is_some_and(|head| head.starts_with("Basic "));
    assert_eq!(asked.iter().filter(password).count(), 1, "the password goes to the token's place alone");
    // Four platforms, each with a configuration and a layer of its own.
    assert_eq!(asked.iter().filter(|asked| asked.path.contains("digest=")).count(), 8);
    assert_eq!(
        asked.iter().filter(|asked| asked.path.contains("/manifests/") && asked.method == "PUT").count(),
        5
    );

    // Where the registry sends us with a blob, the token does not go along.
    let port = elsewhere.port;
    let sending = Scripted::start(move |asked, own| match asked.method.as_str() {
        _ if asked.header("authorization").is_none() && !asked.path.starts_with("/token") => {
            let challenge = format!("Bearer realm=\"http://127.0.0.1:{own}/token\"");
            (401, vec![("WWW-Authenticate", challenge)], String::new())
        }
        "GET" => (200, Vec::new(), r#"{"access_token": "t0k3n"}"#.to_owned()),
        "POST" => {
            (202, vec![("Location", format!("http://127.0.0.1:{port}/v2/team/smalltail/up"))], String::new())
        }
        _ => agreeable(asked),
    });
    let mut client = self::client(sending.port, known(PASSWORD));
    push_of(&about(), SMALL, &["1.0.0"]).run(&mut client).ok();
    assert!(!elsewhere.asked().is_empty());
    assert!(elsewhere.asked().iter().all(|asked| asked.header("authorization").is_none()));
}

#[test]
fn refusals_say_what_to_do() {
    let said = |status: u16, method: &'static str| {
        let scripted = Scripted::start(move |asked, _| {
            let words = r#"{"errors": [{"code": "NOPE", "message": "because"}]}"#;
            if asked.method == method { (status, Vec::new(), words.to_owned()) } else { agreeable(asked) }
        });
        let error = push(scripted.port, SMALL, &["1.0.0"]).unwrap_err();
        (format!("{error:#}"), scripted.asked().len())
    };
    for (status, method, words) in [
        (403, "POST", "does not let us push to team/smalltail"),
        (404, "POST", "has no repository team/smalltail, or is no registry"),
        (413, "PUT", "whose limit for a request must be raised"),
        (400, "PUT", "refuses with status 400 (it says: NOPE because)"),
        (418, "POST", "refuses with status 418"),
        (503, "POST", "is in trouble: status 503"),
    ] {
        let (error, asked) = said(status, method);
        assert!(error.contains(words), "{error}");
        // What passes is tried again, what does not is not.
        assert!(asked < 10, "{error}: asked {asked} times");
        assert_eq!(error.contains("given up after 4 tries"), status == 503, "{error}");
    }
}

#[test]
fn a_registry_in_trouble_is_asked_again() {
    let state = std::sync::Mutex::new(0);
    let scripted = Scripted::start(move |asked, _| {
        let mut count = state.lock().unwrap();
        *count += 1;
        if *count % 5 == 0 {
            (502, vec![("Retry-After", "0".to_owned())], String::new())
        } else {
            agreeable(asked)
        }
    });
    push(scripted.port, SMALL, &["1.0.0"]).unwrap();
}

#[test]
fn a_session_goes_on_where_the_registry_says_it_is() {
    let size = 600_000;
    let session = std::sync::Mutex::new((Vec::new(), 0));
    let scripted = Scripted::start(move |asked, _| {
        let mut session = session.lock().unwrap();
        let (kept, failures) = &mut *session;
        let mut said = agreeable(asked);
        match asked.method.as_str() {
            "POST" => kept.clear(),
            "PATCH" => {
                let start: usize =
                    asked.header("content-range").unwrap().split('-').next().unwrap().parse().unwrap();
                assert_eq!(start, kept.len());
                // The line breaks in the middle of a chunk, twice in all; what came is kept.
                let breaks = asked.body.len() > 100_000 && *failures < 2;
                kept.extend_from_slice(&asked.body[..if breaks { 70_001 } else { asked.body.len() }]);
                if breaks {
                    *failures += 1;
                    said = (502, Vec::new(), String::new());
                }
            }
            "GET" => {
                let range = ("Range", format!("0-{}", kept.len() - 1));
                said = (204, vec![range], String::new());
            }
            "PUT" if asked.path.contains("digest=") => {
                let digest: Digest = asked.path.split("digest=").nth(1).unwrap().parse().unwrap();
                let whole = Digest::of(kept) == digest && asked.body.is_empty();
                said.0 = if whole { 201 } else { 400 };
            }
            _ => {}
        }
        said
    });
    push(scripted.port, size, &["1.0.0"]).unwrap();
    let asked = scripted.asked();
    assert_eq!(asked.iter().filter(|asked| asked.method == "POST").count(), 8, "a session for each blob");
    let patches = asked.iter().filter(|asked| asked.method == "PATCH");
    let starts: Vec<_> = patches.filter_map(|asked| asked.header("content-range")).collect();
    let second = |text: &&&str| text.starts_with("70001-");
    let third = |text: &&&str| text.starts_with("140002-");
    assert_eq!(
        (starts.iter().filter(second).count(), starts.iter().filter(third).count()),
        (1, 1),
        "{starts:?}"
    );
}

#[test]
fn a_registry_without_chunks_gets_the_blob_whole() {
    let scripted = Scripted::start(|asked, _| -> Said {
        if asked.method == "PATCH" { (405, Vec::new(), String::new()) } else { agreeable(asked) }
    });
    push(scripted.port, BINARY, &["1.0.0"]).unwrap();
    let blobs = image(&about(), BINARY).image.blobs;
    let whole = scripted.asked().into_iter().filter(|asked| asked.path.contains("digest="));
    for asked in whole {
        let digest: Digest = asked.path.split("digest=").nth(1).unwrap().parse().unwrap();
        assert!(asked.body == blobs[&digest], "{digest}");
    }
}

#[test]
fn a_registry_that_keeps_nothing_of_a_chunk_is_given_up() {
    let patches = std::sync::atomic::AtomicU32::new(0);
    let scripted = Scripted::start(move |asked, _| {
        let (status, mut heads, body) = agreeable(asked);
        if asked.method == "PATCH" {
            heads.retain(|(name, _)| *name != "Range");
            heads.push(("Range", "0-0".to_owned()));
            // Whoever has not given up by now would go on for ever: the blob is let in whole.
            if patches.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 20 {
                return (405, Vec::new(), String::new());
            }
        }
        (status, heads, body)
    });
    let error = format!("{:#}", push(scripted.port, SMALL, &["1.0.0"]).unwrap_err());
    assert!(error.contains("given up after 4 tries") && error.contains("has kept nothing"), "{error}");
    assert_eq!(scripted.asked().iter().filter(|asked| asked.method == "PATCH").count(), 4);
}

#[test]
fn what_no_commit_has_gets_no_tag_for_ever() {
    let of = |revision: &str, tags: &[&str]| {
        let about = About { commit: Commit { revision: revision.to_owned(), ..about().commit }, ..about() };
        let tags = tags.iter().map(|tag| Tag::parse(tag).unwrap()).collect();
        Push::new(image(&about, SMALL).image, tags, false).map(|_| ()).map_err(|error| error.to_string())
    };
    for revision in ["0123abcd-dirty", "unknown"] {
        let error = of(revision, &["stable", "1.2.3"]).unwrap_err();
        assert!(error.contains(revision) && error.contains("tag 1.2.3"), "{error}");
        assert!(error.contains("commit") && error.contains("cargo xtask image --all"), "{error}");
        of(revision, &["stable", "edge-tiny"]).unwrap();
    }
    of("0123abcd", &["stable", "1.2.3"]).unwrap();
}

#[test]
fn a_dry_run_connects_to_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let about = About { version: env!("CARGO_PKG_VERSION").to_owned(), ..about() };
    image(&about, SMALL).write(dir.path()).unwrap();
    let scripted = Scripted::start(|asked, _| agreeable(asked));
    let line = Line::to(scripted.port, usize::MAX, false);
    let registry = format!("127.0.0.1:{}/team/smalltail", line.port);
    let dist = dir.path().display().to_string();
    let mut words =
        vec!["publish", "--registry", &registry, "--tag", "1.0.0,stable", "--dist", &dist, "--dry-run"];
    super::run(&super::command().get_matches_from(&words)).unwrap();
    assert_eq!((line.connections(), scripted.asked().len()), (0, 0));
    // The same without `--dry-run` does connect.
    words.pop();
    super::run(&super::command().get_matches_from(&words)).unwrap();
    assert!(line.connections() > 0);
    let plan = push_of(&about, SMALL, &["stable", "1.0.0"]).plan().unwrap().join("\n");
    assert_eq!(plan.matches("blob ").count(), 8, "{plan}");
    assert_eq!(plan.matches("manifest ").count(), 4, "{plan}");
    assert!(plan.ends_with("  moves") && plan.contains("must be new or the same"), "{plan}");
}

#[test]
fn half_an_image_is_not_pushed_by_accident() {
    let made = crate::image::testing::partial(&about(), &PLATFORMS[..1], SMALL);
    let tags = || vec![Tag::parse("stable").unwrap()];
    let error = Push::new(made.image, tags(), false).err().unwrap().to_string();
    assert!(error.contains("nothing for arm64, arm/v7, arm/v5"), "{error}");
    let made = crate::image::testing::partial(&about(), &PLATFORMS[..1], SMALL);
    assert!(Push::new(made.image, tags(), true).is_ok());
}
