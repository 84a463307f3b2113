//! `cargo xtask publish`: an image of `dist/oci` to a registry, under tags.
//!
//! Owns: the order of things. First all tags are looked at, so that a tag which names another image for ever is
//! refused before anything is sent; then blobs, then the platforms' manifests, then the index under each tag, `stable`
//! and its like last. A push that broke off is continued by the same command: what is there is not sent again. Leaves
//! out: making images (`image`).

mod challenge;
mod client;
mod credentials;
mod place;
mod progress;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod upload;

use crate::image;
use crate::image::about;
use crate::image::digest::Digest;
use crate::image::layout::{self, Image};
use anyhow::{Context, Result, bail, ensure};
use clap::{Arg, ArgAction, ArgMatches, Command};
use client::{Call, Client, Patience};
use credentials::Credentials;
use place::{Place, Tag};
use progress::Progress;
use ureq::http::Method;

/// What we accept when we ask what a tag names.
const KINDS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
                     application/vnd.docker.distribution.manifest.list.v2+json, \
                     application/vnd.docker.distribution.manifest.v2+json";

/// Platforms that one tag serves: a router that does not find its own takes another's and dies of it.
const PLATFORMS: [&str; 4] = ["amd64", "arm64", "arm/v7", "arm/v5"];

/// What the command line of `publish` says.
pub(crate) fn command() -> Command {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    Command::new("publish")
        .about("Push an image of dist/ to a registry")
        .arg(Arg::new("registry").long("registry").value_name("HOST/REPO").required(true).help("where to"))
        .arg(
            Arg::new("tag")
                .long("tag")
                .value_name("TAG")
                .required(true)
                .action(ArgAction::Append)
                .value_delimiter(',')
                .help("a version, which never changes its image, or stable, testing, edge, nightly, latest"),
        )
        .arg(Arg::new("image").long("image").value_name("NAME").help("which image; default: the router's"))
        .arg(flag("dry-run", "say what would be pushed, and send nothing"))
        .arg(flag("partial", "push an image that lacks some of the four platforms"))
        .arg(flag("plain-http", "without TLS"))
        .arg(Arg::new("dist").long("dist").value_name("DIR").help("where images are; default: dist/"))
}

/// Pushes what the command line says.
pub(crate) fn run(matches: &ArgMatches) -> Result<()> {
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let place = Place::parse(&text("registry").unwrap_or_default(), matches.get_flag("plain-http"))?;
    let tags = matches.get_many::<String>("tag").into_iter().flatten();
    let tags = tags.map(|tag| Tag::parse(tag)).collect::<Result<Vec<_>>>()?;
    let name = text("image").unwrap_or_else(|| format!("{}-router", env!("CARGO_PKG_VERSION")));
    let push =
        Push::new(image::layout(&image::dist(matches)).get(&name)?, tags, matches.get_flag("partial"))?;
    println!("{name} ({}) to {}/{}", push.image.digest, place.host, place.repository);
    if matches.get_flag("dry-run") {
        push.plan()?.iter().for_each(|line| println!("{line}"));
        println!("nothing was sent");
        return Ok(());
    }
    let credentials = Credentials::load(&place.host)?;
    let mut client = Client::new(place, credentials, Patience::default())?;
    push.run(&mut client)
}

/// An image and what it is to be called.
struct Push {
    image: Image,
    parts: layout::Parts,
    tags: Vec<Tag>,
}

impl Push {
    fn new(image: Image, mut tags: Vec<Tag>, partial: bool) -> Result<Self> {
        let there = layout::platforms(&image)?;
        let missing: Vec<_> =
            PLATFORMS.into_iter().filter(|name| !there.iter().any(|one| one == name)).collect();
        ensure!(
            partial || missing.is_empty(),
            "the image has nothing for {}: make it with `cargo xtask image --all`, or push it with --partial",
            missing.join(", ")
        );
        if let Some(tag) = tags.iter().find(|tag| !tag.moves()) {
            let revision = layout::revision(&image)?;
            ensure!(
                revision.as_deref().is_some_and(about::is_commit),
                "tag {} never changes its image, and no commit has what this one is made from ({}): commit, and make \
                 it again with `cargo xtask image --all`, or give it only tags that move",
                tag.name(),
                revision.as_deref().unwrap_or("it names none")
            );
        }
        // `stable` follows when all the rest is there.
        tags.sort_by_key(Tag::moves);
        Ok(Self { parts: layout::parts(&image)?, image, tags })
    }

    fn bytes(&self, digest: &Digest) -> Result<&[u8]> {
        self.image
            .blobs
            .get(digest)
            .map(Vec::as_slice)
            .with_context(|| format!("{digest} is not in the image"))
    }

    /// A line for everything that would be sent.
    fn plan(&self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        for (name, digest) in &self.parts.blobs {
            lines.push(format!("blob      {digest} {:>9} bytes  {name}", self.bytes(digest)?.len()));
        }
        for (name, digest) in &self.parts.manifests {
            lines.push(format!("manifest  {digest} {:>9} bytes  {name}", self.bytes(digest)?.len()));
        }
        for tag in &self.tags {
            let kind = if tag.moves() { "moves" } else { "must be new or the same" };
            lines.push(format!("tag       {} -> {}  {kind}", tag.name(), self.image.digest));
        }
        Ok(lines)
    }

    fn run(&self, client: &mut Client) -> Result<()> {
        let mut open = Vec::new();
        for tag in &self.tags {
            match self.look(client, tag)? {
                Some(there) if there == self.image.digest => {
                    println!("{}: names this image already", tag.name())
                }
                _ => open.push(tag),
            }
        }
        if open.is_empty() {
            return Ok(());
        }
        let progress = Progress::new();
        for (name, digest) in &self.parts.blobs {
            let bytes = self.bytes(digest)?;
            let piece = progress.piece(name, bytes.len());
            let fate = upload::blob(client, digest, bytes, &|at| piece.at(at))?;
            piece.done(fate);
        }
        for (name, digest) in &self.parts.manifests {
            self.manifest(client, &digest.to_string(), digest, layout::MANIFEST)
                .with_context(|| format!("manifest of {name}"))?;
        }
        for tag in open {
            // Somebody may have been quicker in the meantime.
            self.look(client, tag)?;
            self.manifest(client, tag.name(), &self.image.digest, layout::INDEX)?;
            println!(
                "{}/{}:{} is {}",
                client.place.host,
                client.place.repository,
                tag.name(),
                self.image.digest
            );
        }
        Ok(())
    }

    /// What a tag names now.
    ///
    /// # Errors
    /// When it names another image and is one that never changes.
    fn look(&self, client: &mut Client, tag: &Tag) -> Result<Option<Digest>> {
        let what = format!("tag {}", tag.name());
        let there = named(client, tag.name(), &what)?;
        if let Some(there) = there.as_ref().filter(|there| **there != self.image.digest && !tag.moves()) {
            bail!(
                "{what} names another image for ever ({there}; this one is {}): choose another version; only {} move",
                self.image.digest,
                "stable, testing, edge, nightly and latest"
            );
        }
        Ok(there)
    }

    fn manifest(&self, client: &mut Client, name: &str, digest: &Digest, kind: &str) -> Result<()> {
        let what = format!("manifest {name}");
        let url = client.url(&format!("manifests/{name}"));
        let headers = [("content-type", kind)];
        let call = Call {
            method: &Method::PUT,
            url: &url,
            headers: &headers,
            body: self.bytes(digest)?,
            what: &what,
        };
        let answer = client.send(call)?;
        let answer = client.expect(&what, answer, &[201])?;
        let stored = answer.header("docker-content-digest");
        ensure!(
            stored.is_none_or(|stored| stored == digest.to_string()),
            "{what}: {} stored something else than was sent",
            client.place.host
        );
        Ok(())
    }
}

/// The digest of what a tag names; `None` when it names nothing.
fn named(client: &mut Client, tag: &str, what: &str) -> Result<Option<Digest>> {
    let url = client.url(&format!("manifests/{tag}"));
    let headers = [("accept", KINDS)];
    let answer =
        client.send(Call { method: &Method::HEAD, url: &url, headers: &headers, body: &[], what })?;
    if answer.status == 404 {
        return Ok(None);
    }
    let answer = client.expect(what, answer, &[200])?;
    if let Some(digest) = answer.header("docker-content-digest") {
        return Ok(Some(digest.parse().with_context(|| what.to_owned())?));
    }
    // A registry may leave the digest out of its heads: then it is that of the contents.
    let answer = client.send(Call { method: &Method::GET, url: &url, headers: &headers, body: &[], what })?;
    let answer = client.expect(what, answer, &[200])?;
    Ok(Some(Digest::of(&answer.body)))
}
