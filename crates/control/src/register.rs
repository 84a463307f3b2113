//! Registration: from a key, an auth key or a URL to visit to a registered node, and back (protocol reference
//! §1.8).

use crate::Error;
use crate::ahead::Ahead;
use crate::backoff::Backoff;
use crate::context::Context;
use crate::messages::{Activity, Event, LoggedIn, Login, Persisted, SelfReport};
use crate::text::printable;
use crate::wire::requests::{Auth, RegisterRequest, RegisterResponse};
use gojson::{Indent, to_go_json};
use keys::{NodePrivate, NodePublic};
use netmap::{Timestamp, UserId, UserProfile};
use std::rc::Rc;
use std::time::Duration;

/// Longest answer, in bytes.
const LIMIT: usize = 1 << 20;
/// Longest URL that a user is asked to visit, in bytes.
const URL_LIMIT: usize = 2048;
/// A registration without a person in it is short.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Control holds a follow-up open until the user is done; it is asked anew now and then, because a connection
/// without traffic may be dead without anybody noticing.
const FOLLOWUP_TIMEOUT: Duration = Duration::from_secs(600);
const EXPIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// The moment in the past that stands for "log out".
const LOGOUT_EXPIRY: Timestamp = Timestamp::from_unix(123);
/// Longest patience that control may ask for; beyond it five to ten seconds are enough.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// One registration.
struct Attempt<'a> {
    node_key: NodePublic,
    old_node_key: NodePublic,
    keys: &'a Persisted,
    auth_key: Option<&'a str>,
    expiry: Timestamp,
    followup: &'a str,
}

/// Registers until control says yes (then the login is told to the daemon and returned, with what has been asked
/// for ahead of the answer) or a final no.
pub(crate) async fn login(
    context: Rc<Context>,
    keys: Persisted,
    login: Login,
) -> Option<(Box<LoggedIn>, Option<Ahead>)> {
    let context = &context;
    let mut auth_key = login.auth_key;
    let mut fresh = (login.new_key || keys.node_key.is_zero()).then(|| new_key(context));
    let mut expired = false;
    let mut followup = String::new();
    let mut backoff = Backoff::default();
    let mut refused = None;
    loop {
        let old = match fresh {
            Some(_) if !keys.node_key.is_zero() => keys.node_key.public(),
            _ => keys.old_node_key.public(),
        };
        let attempt = Attempt {
            node_key: fresh.as_ref().unwrap_or(&keys.node_key).public(),
            old_node_key: old,
            keys: &keys,
            auth_key: auth_key.as_deref(),
            expiry: login.expiry.unwrap_or_default(),
            followup: &followup,
        };
        let limit = if followup.is_empty() { TIMEOUT } else { FOLLOWUP_TIMEOUT };
        let hasty = attempt.auth_key.is_some() && fresh.is_some();
        let mut ahead = None;
        let asking = async {
            ahead = crate::ahead::ask(context, attempt.node_key).await;
            std::future::pending().await
        };
        let answer = tokio::select! {
            answer = tokio::time::timeout(limit, attempt.send(context)) => answer,
            () = asking, if hasty => continue,
            // The connection that a follow-up waits on may be dead: ask again on another.
            () = context.woken(), if !followup.is_empty() => {
                context.client.hang_up();
                continue;
            }
        };
        let answer = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(Error::RateLimited(wait))) => {
                context.failed(Activity::Login, Error::RateLimited(wait)).await;
                context.wait(wait).await;
                continue;
            }
            Ok(Err(e)) => {
                context.failed(Activity::Login, e.clone()).await;
                context.back_off_unreached(&mut backoff, &e).await;
                continue;
            }
            Err(_) => {
                context.client.hang_up();
                if followup.is_empty() {
                    let error = Error::Timeout("the answer to the registration");
                    context.failed(Activity::Login, error.clone()).await;
                    context.back_off_unreached(&mut backoff, &error).await;
                }
                continue;
            }
        };
        context.works(Activity::Login).await;

        if answer.node_key_expired && answer.error.is_empty() && fresh.is_none() {
            context.emit(Event::KeyExpired).await;
            expired = true;
            fresh = Some(new_key(context));
            continue;
        }
        // From here on control has judged the auth key: it is not used again.
        let had_auth_key = auth_key.take().is_some();
        match judge(&answer, |page| context.client.may_show(page)) {
            Ok(None) => {
                let rotated = fresh.is_some();
                let node_key = fresh.unwrap_or_else(|| keys.node_key.clone());
                let done = Box::new(logged_in(answer, node_key, rotated));
                context.emit(Event::LoggedIn(done.clone())).await;
                return Some((done, ahead));
            }
            Ok(Some(url)) if url == followup => context.back_off(&mut backoff).await,
            Ok(Some(url)) => {
                backoff.reset();
                refused = None;
                context.emit(Event::AuthUrl(url.clone())).await;
                followup = url;
            }
            Err(error) => {
                // A wrong auth key takes nothing from a node that control knows: it goes on with its own key.
                let own_key = had_auth_key && !keys.node_key.is_zero() && !expired;
                let retrying = own_key || (!had_auth_key && error != Error::TailnetLock);
                let news = (error, retrying);
                if refused.as_ref() != Some(&news) {
                    let error = news.0.clone();
                    log::warn!("control: login failed: {error}");
                    context.emit(Event::LoginFailed { error, retrying }).await;
                    refused = Some(news);
                }
                if !retrying {
                    return None;
                }
                if own_key {
                    fresh = None;
                } else {
                    followup.clear();
                    context.back_off(&mut backoff).await;
                }
            }
        }
    }
}

/// Yes (`None`), a URL to visit that control `may_show`, or no.
fn judge(answer: &RegisterResponse, may_show: impl Fn(&str) -> bool) -> Result<Option<String>, Error> {
    if !answer.error.is_empty() {
        return Err(Error::Refused(printable(answer.error.as_bytes())));
    }
    if !answer.node_key_signature.is_empty() {
        return Err(Error::TailnetLock);
    }
    if answer.node_key_expired {
        return Err(Error::KeyExpired);
    }
    match answer.auth_url.as_str() {
        "" => Ok(None),
        url if url.len() <= URL_LIMIT && may_show(url) => Ok(Some(url.to_owned())),
        url => Err(Error::Refused(format!(
            "control sent a login URL that this node does not show: {}",
            printable(url.as_bytes())
        ))),
    }
}

fn new_key(context: &Context) -> NodePrivate {
    context.client.with_rng(|mut rng| NodePrivate::generate(&mut rng))
}

fn logged_in(answer: RegisterResponse, node_key: NodePrivate, rotated: bool) -> LoggedIn {
    let first = |a: Box<str>, b: Box<str>| if a.is_empty() { b } else { a };
    LoggedIn {
        node_key,
        rotated,
        user: UserProfile {
            id: UserId(if answer.user.id == 0 { answer.login.id } else { answer.user.id }),
            login_name: first(answer.login.login_name, answer.user.login_name),
            display_name: first(answer.login.display_name, answer.user.display_name),
            profile_pic_url: first(answer.login.profile_pic_url, answer.user.profile_pic_url),
            groups: Box::default(),
        },
        provider: answer.login.provider,
        machine_authorized: answer.machine_authorized,
    }
}

/// Ends the session of the current node key at control.
pub(crate) async fn logout(context: Rc<Context>, keys: Persisted) -> Result<(), Error> {
    expire(context, keys, LOGOUT_EXPIRY, "logging out").await
}

/// Registers the current node key once more, with another expiry. `what` says so in errors.
pub(crate) async fn expire(
    context: Rc<Context>,
    keys: Persisted,
    expiry: Timestamp,
    what: &'static str,
) -> Result<(), Error> {
    let attempt = Attempt {
        node_key: keys.node_key.public(),
        old_node_key: NodePublic::ZERO,
        keys: &keys,
        auth_key: None,
        expiry,
        followup: "",
    };
    let answer = tokio::time::timeout(EXPIRE_TIMEOUT, attempt.send(&context))
        .await
        .map_err(|_| Error::Timeout(what))??;
    match answer.error.as_str() {
        "" => Ok(()),
        error => Err(Error::Refused(printable(error.as_bytes()))),
    }
}

impl Attempt<'_> {
    async fn send(&self, context: &Context) -> Result<RegisterResponse, Error> {
        let report: Rc<SelfReport> = context.report().unwrap_or_default();
        // A key with a Tailnet Lock signature attached: this node cannot use the signature, only the key.
        let auth_key = self.auth_key.map(|key| key.split_once("--TL").map_or(key, |(key, _)| key));
        let request = RegisterRequest {
            version: context.client.version(),
            node_key: self.node_key,
            old_node_key: self.old_node_key,
            nl_key: self.keys.nl_key.public(),
            auth: auth_key.map(|auth_key| Auth { auth_key }),
            expiry: self.expiry,
            followup: self.followup,
            hostinfo: &report.hostinfo,
            ephemeral: report.ephemeral,
        };
        let body = to_go_json(&request, Indent::None).into_bytes();
        let hints = [self.old_node_key, self.node_key];
        let mut answer = context.client.post("/machine/register", body, &hints).await?;
        match answer.status {
            200 => {}
            429 => {
                let random = context.client.with_rng(|rng| rng.next_u32());
                return Err(Error::RateLimited(retry_after(&answer.retry_after, &answer.date, random)));
            }
            _ => return Err(answer.error("the registration").await),
        }
        let body = answer.whole("the answer to the registration", LIMIT).await?;
        gojson::from_slice(&body).map_err(|e| Error::Json {
            what: "the answer to the registration".to_owned(),
            why: e.to_string(),
        })
    }
}

/// How long control asks to wait: seconds, or a date relative to that of the answer; if it does not say or
/// exaggerates, five to ten seconds.
fn retry_after(after: &str, answered: &str, random: u32) -> Duration {
    let seconds = match after.trim().parse::<i64>() {
        Ok(seconds) => Some(seconds),
        Err(_) => date(after).zip(date(answered)).map(|(after, answered)| after - answered),
    };
    match seconds.map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0))) {
        Some(wait) if !wait.is_zero() && wait <= LONGEST_RETRY_AFTER => wait,
        _ => Duration::from_millis(5000 + u64::from(random % 5000)),
    }
}

/// Seconds since 1970 of a date as HTTP writes it: `Wed, 21 Oct 2015 07:28:00 GMT`.
fn date(text: &str) -> Option<i64> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let mut words = text.split_ascii_whitespace().skip(1);
    let (day, name, year, time) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let month = MONTHS.find(name).filter(|at| at % 3 == 0 && name.len() == 3)? / 3 + 1;
    Timestamp::parse(&format!("{year}-{month:02}-{day}T{time}Z")).map(Timestamp::unix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience() {
        let date = "Wed, 21 Oct 2015 07:28:00 GMT";
        let wait = |after, date| retry_after(after, date, 4999).as_millis();
        assert_eq!(wait("7", ""), 7000);
        assert_eq!(wait("Wed, 21 Oct 2015 07:28:30 GMT", date), 30_000);
        assert_eq!(wait("Sun, 01 Nov 2015 00:00:05 GMT", "Sat, 31 Oct 2015 23:59:55 GMT"), 10_000);
        for bad in [
            "Wed, 21 ctN 2015 07:28:30 GMT",
            "Wed, 21 Oc 2015 07:28:30 GMT",
            "Wed, 21 Oct 2015",
            "0",
            "-1",
            "3601",
            "soon",
            "Wed, 21 Oct 2015 07:27:30 GMT",
            "99999999999999999999",
            "",
        ] {
            assert_eq!(wait(bad, date), 9999, "{bad}");
        }
        assert_eq!(wait("Wed, 21 Oct 2015 07:28:30 GMT", ""), 9999);
        assert_eq!(wait("", ""), 9999);
    }

    #[test]
    fn judgements() {
        let judge =
            |json: &str| judge(&gojson::from_str(json).expect("json"), |url| url.starts_with("https://"));
        assert_eq!(judge("{}"), Ok(None));
        assert_eq!(judge(r#"{"AuthURL":"https://x/y"}"#), Ok(Some("https://x/y".into())));
        let Err(Error::Refused(text)) = judge(r#"{"AuthURL":"ftp://x/\u001b[2J"}"#) else { panic!() };
        assert!(text.contains("ftp://x/") && !text.contains('\u{1b}'), "{text}");
        assert!(judge(&format!(r#"{{"AuthURL":"https://{}"}}"#, "x".repeat(URL_LIMIT))).is_err());
        assert_eq!(judge(r#"{"Error":"no","AuthURL":"u"}"#), Err(Error::Refused("no".into())));
        assert_eq!(judge(r#"{"NodeKeyExpired":true}"#), Err(Error::KeyExpired));
        assert_eq!(judge(r#"{"NodeKeySignature":"AAAA"}"#), Err(Error::TailnetLock));
    }
}
