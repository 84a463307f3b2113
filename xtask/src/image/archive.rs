//! A docker-archive, as `/container/add file=` of RouterOS takes it.
//!
//! What all its versions read is the classic form: one layer, not compressed, described by `manifest.json` and again
//! by the files of docker's first format; plain names (`manifest.json`, never `./manifest.json`), no folders among
//! the members.

use super::about::About;
use super::config::Platform;
use super::digest::Digest;
use super::layer::{Layer, header};
use anyhow::{Context, Result};
use serde_json::json;
use tar::Builder;

/// Name of the repository in archives.
const NAME: &str = "smalltail";

/// Version of docker's first format.
const FIRST_FORMAT: &[u8] = b"1.0";

/// File name of an archive.
pub(crate) fn file_name(about: &About, platform: Platform) -> String {
    format!("{NAME}-{}-{}.tar", about.tag(), platform.slug())
}

/// The archive's bytes. `config` is the configuration's JSON.
pub(crate) fn bytes(about: &About, platform: Platform, layer: &Layer, config: &[u8]) -> Result<Vec<u8>> {
    let id = layer.diff_id();
    let id = id.hex();
    let tag = about.tag();
    let config_name = format!("{}.json", Digest::of(config).hex());
    let layer_name = format!("{id}/layer.tar");
    let first = json!({
        "id": id,
        "created": about.created()?,
        "architecture": platform.architecture,
        "os": "linux",
    });
    let manifest =
        json!([{"Config": config_name, "RepoTags": [format!("{NAME}:{tag}")], "Layers": [layer_name]}]);
    let repositories = json!({NAME: {tag: id}});
    let members: [(&str, &[u8]); 6] = [
        (&config_name, config),
        (&format!("{id}/VERSION"), FIRST_FORMAT),
        (&format!("{id}/json"), &serde_json::to_vec(&first)?),
        (&layer_name, &layer.plain),
        ("manifest.json", &serde_json::to_vec(&manifest)?),
        ("repositories", &serde_json::to_vec(&repositories)?),
    ];
    let mut builder = Builder::new(Vec::with_capacity(layer.plain.len() + 16 * 1024));
    for (name, content) in members {
        let mut header = header();
        header.set_mode(0o644);
        header.set_size(content.len().try_into()?);
        header.set_path(name)?;
        header.set_cksum();
        builder.append(&header, content).with_context(|| format!("packing {name}"))?;
    }
    Ok(builder.into_inner()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::config;
    use crate::image::testing::{about, layer, platform};
    use serde_json::Value;
    use std::io::Read;

    #[test]
    fn member_by_member_what_routeros_reads() {
        let (about, platform, layer) = (about(), platform("armv7"), layer());
        let config = config::json(&about, platform, &layer).unwrap();
        let archive = bytes(&about, platform, &layer, &config).unwrap();
        let mut members = Vec::new();
        for entry in tar::Archive::new(archive.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            assert_eq!(entry.header().entry_type(), tar::EntryType::Regular);
            let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            members.push((name, content));
        }
        let id = Digest::of(&layer.plain);
        let id = id.hex();
        let config_name = format!("{}.json", Digest::of(&config).hex());
        let names: Vec<_> = members.iter().map(|(name, _)| name.clone()).collect();
        let wanted = [
            config_name.clone(),
            format!("{id}/VERSION"),
            format!("{id}/json"),
            format!("{id}/layer.tar"),
            "manifest.json".to_owned(),
            "repositories".to_owned(),
        ];
        assert_eq!(names, wanted);
        let json = |at: usize| serde_json::from_slice::<Value>(&members[at].1).unwrap();
        assert!(members[0].1 == config && members[3].1 == layer.plain && members[1].1 == b"1.0");
        assert_eq!(json(2)["id"], id);
        let manifest = json!([{
            "Config": config_name,
            "RepoTags": ["smalltail:1.2.3-router"],
            "Layers": [format!("{id}/layer.tar")],
        }]);
        assert_eq!(json(4), manifest);
        assert_eq!(json(5), json!({"smalltail": {"1.2.3-router": id}}));
        // One layer, and it is not compressed: the configuration names its very bytes.
        assert_eq!(json(0)["rootfs"]["diff_ids"], json!([format!("sha256:{id}")]));
        assert_eq!(file_name(&about, platform), "smalltail-1.2.3-router-armv7.tar");
        assert!(bytes(&about, platform, &layer, &config).unwrap() == archive, "the same bytes again");
    }
}
