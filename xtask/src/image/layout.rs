//! The OCI layout in `dist/oci`: blobs by their digest, and an index that names one image per tag, each an index of
//! its platforms.
//!
//! Several images share one layout (`router`, `tiny-shell` …). Blobs are written before the index names them; the index
//! is replaced in one step; what nobody names any more goes last.

use super::about::{About, REVISION};
use super::config::Platform;
use super::digest::Digest;
use super::layer::Layer;
use super::store;
use anyhow::{Context, Result, ensure};
use oci_spec::image::{
    ANNOTATION_REF_NAME, Descriptor, DescriptorBuilder, ImageIndex, ImageIndexBuilder, ImageManifest,
    ImageManifestBuilder, MediaType, Os, PlatformBuilder, SCHEMA_VERSION,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// One blob: a name and what it names.
pub(crate) type Blobs = BTreeMap<Digest, Vec<u8>>;

/// An image for several platforms, ready to be written: its blobs and the index's descriptor.
pub(crate) struct Image {
    pub(crate) blobs: Blobs,
    pub(crate) index: Descriptor,
    pub(crate) digest: Digest,
}

/// Puts together the image of `about` from each platform's layer and configuration.
pub(crate) fn image(about: &About, parts: &[(Platform, &Layer, &[u8])]) -> Result<Image> {
    let mut blobs = Blobs::new();
    let annotations: HashMap<_, _> = about.annotations()?.into_iter().collect();
    let mut manifests = Vec::new();
    for (platform, layer, config) in parts {
        let config = add(&mut blobs, MediaType::ImageConfig, config.to_vec())?;
        let layer = add(&mut blobs, MediaType::ImageLayerGzip, layer.compressed.clone())?;
        let manifest = ImageManifestBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageManifest)
            .config(config)
            .layers(vec![layer])
            .annotations(annotations.clone())
            .build()?;
        let mut descriptor = add(&mut blobs, MediaType::ImageManifest, sorted(&manifest)?)?;
        let built = PlatformBuilder::default().architecture(platform.oci()).os(Os::Linux);
        let built = match platform.variant {
            Some(variant) => built.variant(variant),
            None => built,
        };
        descriptor.set_platform(Some(built.build()?));
        manifests.push(descriptor);
    }
    let index = ImageIndexBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageIndex)
        .manifests(manifests)
        .annotations(annotations)
        .build()?;
    let mut index = add(&mut blobs, MediaType::ImageIndex, sorted(&index)?)?;
    index.set_annotations(Some(HashMap::from([(ANNOTATION_REF_NAME.to_owned(), about.tag())])));
    let digest = index.digest().to_string().parse()?;
    Ok(Image { blobs, index, digest })
}

fn add(blobs: &mut Blobs, kind: MediaType, bytes: Vec<u8>) -> Result<Descriptor> {
    let digest = Digest::of(&bytes);
    let builder = DescriptorBuilder::default().media_type(kind).digest(digest.oci()?);
    let descriptor = builder.size(u64::try_from(bytes.len())?).build()?;
    blobs.insert(digest, bytes);
    Ok(descriptor)
}

/// JSON with sorted keys: annotations are in hash maps, which have another order each time.
fn sorted(value: &impl Serialize) -> Result<Vec<u8>> {
    Ok(serde_json::to_vec(&serde_json::to_value(value)?)?)
}

/// A layout in a folder.
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Adds `image`, in the place of one with the same tag.
    ///
    /// # Errors
    /// Then the layout holds what it held before.
    pub(crate) fn put(&self, image: &Image) -> Result<()> {
        let mut fresh = Vec::new();
        let written = self.put_blobs(image, &mut fresh).and_then(|()| self.put_index(image));
        if written.is_err() {
            // Room for another attempt, and nothing that no index names.
            for path in fresh {
                std::fs::remove_file(path).ok();
            }
        }
        written?;
        self.sweep();
        Ok(())
    }

    fn put_blobs(&self, image: &Image, fresh: &mut Vec<PathBuf>) -> Result<()> {
        for (digest, bytes) in &image.blobs {
            let path = self.blob_path(digest);
            if std::fs::read(&path).is_ok_and(|there| there == *bytes) {
                continue;
            }
            store::write(&path, bytes)?;
            fresh.push(path);
        }
        Ok(())
    }

    fn put_index(&self, image: &Image) -> Result<()> {
        store::write(&self.root.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        let mut images = self.images()?;
        images.retain(|other| tag(other) != tag(&image.index));
        images.push(image.index.clone());
        images.sort_by(|one, other| tag(one).cmp(&tag(other)));
        let index = ImageIndexBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageIndex)
            .manifests(images)
            .build()?;
        store::write(&self.root.join("index.json"), &sorted(&index)?)
    }

    /// Descriptors of the images that are there, by tag.
    fn images(&self) -> Result<Vec<Descriptor>> {
        let path = self.root.join("index.json");
        match std::fs::read(&path) {
            Ok(bytes) => {
                let index: ImageIndex =
                    serde_json::from_slice(&bytes).with_context(|| path.display().to_string())?;
                Ok(index.manifests().clone())
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    /// The tags that are there.
    pub(crate) fn tags(&self) -> Result<Vec<String>> {
        Ok(self.images()?.iter().filter_map(tag).map(str::to_owned).collect())
    }

    /// The image with this tag, with all its blobs, each checked against its name.
    ///
    /// # Errors
    /// Names the tags there are, or the blob that is missing or has other contents.
    pub(crate) fn get(&self, name: &str) -> Result<Image> {
        let found = self.images()?.into_iter().find(|descriptor| tag(descriptor) == Some(name));
        let Some(index) = found else {
            let tags = self.tags()?.join(", ");
            let root = self.root.display();
            anyhow::bail!("no image {name} in {root} (there: {tags}): make it with `cargo xtask image`")
        };
        let mut blobs = Blobs::new();
        let bytes = self.load(&mut blobs, &index)?;
        for manifest in parse::<ImageIndex>(&index, &bytes)?.manifests() {
            let bytes = self.load(&mut blobs, manifest)?;
            let parsed: ImageManifest = parse(manifest, &bytes)?;
            self.load(&mut blobs, parsed.config())?;
            for layer in parsed.layers() {
                self.load(&mut blobs, layer)?;
            }
        }
        let digest = index.digest().to_string().parse()?;
        Ok(Image { blobs, index, digest })
    }

    fn load(&self, blobs: &mut Blobs, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let digest: Digest = descriptor.digest().to_string().parse()?;
        let path = self.blob_path(&digest);
        let bytes = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        ensure!(Digest::of(&bytes) == digest, "{} has not the contents of its name", path.display());
        blobs.insert(digest, bytes.clone());
        Ok(bytes)
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    /// Removes blobs that no image names. What cannot be read or removed is told and passed over: the new image is there.
    fn sweep(&self) {
        let mut named = BTreeSet::new();
        let images = match self.images() {
            Ok(images) => images,
            Err(error) => return println!("nothing was swept: {error:#}"),
        };
        for index in &images {
            let name = tag(index).unwrap_or("an image without a tag");
            named.insert(hex(index));
            match self.read::<ImageIndex>(index) {
                Ok(index) => self.name(name, &index, &mut named),
                Err(error) => damaged(name, &error),
            }
        }
        if let Err(error) = self.remove_but(&named) {
            println!("some that no image names any more was left: {error:#}");
        }
    }

    /// Adds what belongs to an image to `named`, as far as it can be told.
    fn name(&self, name: &str, index: &ImageIndex, named: &mut BTreeSet<String>) {
        for descriptor in index.manifests() {
            named.insert(hex(descriptor));
            match self.read::<ImageManifest>(descriptor) {
                Ok(manifest) => {
                    named.insert(hex(manifest.config()));
                    named.extend(manifest.layers().iter().map(hex));
                }
                Err(error) => damaged(name, &error),
            }
        }
    }

    fn read<T: serde::de::DeserializeOwned>(&self, descriptor: &Descriptor) -> Result<T> {
        parse(descriptor, &self.load(&mut Blobs::new(), descriptor)?)
    }

    fn remove_but(&self, named: &BTreeSet<String>) -> Result<()> {
        for entry in std::fs::read_dir(self.root.join("blobs/sha256"))? {
            let path = entry?.path();
            if !path.file_name().is_some_and(|name| named.contains(name.to_string_lossy().as_ref())) {
                std::fs::remove_file(&path).with_context(|| path.display().to_string())?;
            }
        }
        Ok(())
    }
}

fn hex(descriptor: &Descriptor) -> String {
    descriptor.digest().digest().to_owned()
}

fn damaged(name: &str, error: &anyhow::Error) {
    println!("{name} is damaged ({error:#}): make it again");
}

fn parse<'a, T: serde::Deserialize<'a>>(descriptor: &Descriptor, bytes: &'a [u8]) -> Result<T> {
    serde_json::from_slice(bytes).with_context(|| format!("{}", descriptor.digest()))
}

fn tag(descriptor: &Descriptor) -> Option<&str> {
    descriptor.annotations().as_ref()?.get(ANNOTATION_REF_NAME).map(String::as_str)
}

/// Media types of what is pushed under a name.
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Platforms of an image, as people write them.
pub(crate) fn platforms(image: &Image) -> Result<Vec<String>> {
    Ok(parts(image)?.manifests.into_iter().map(|(platform, _)| platform).collect())
}

/// The commit that an image says it is made from.
pub(crate) fn revision(image: &Image) -> Result<Option<String>> {
    let bytes = image.blobs.get(&image.digest).with_context(|| format!("{} is missing", image.digest))?;
    let index: ImageIndex = parse(&image.index, bytes)?;
    Ok(index.annotations().as_ref().and_then(|all| all.get(REVISION)).cloned())
}

/// What an image is put together from, each with a word for it, in the order in which a registry wants it.
pub(crate) struct Parts {
    /// Configurations and layers, none twice.
    pub(crate) blobs: Vec<(String, Digest)>,
    /// By platform: `arm/v7`.
    pub(crate) manifests: Vec<(String, Digest)>,
}

/// The parts of `image`.
pub(crate) fn parts(image: &Image) -> Result<Parts> {
    let bytes = |digest: &Digest| image.blobs.get(digest).with_context(|| format!("{digest} is missing"));
    let index: ImageIndex = parse(&image.index, bytes(&image.digest)?)?;
    let mut parts = Parts { blobs: Vec::new(), manifests: Vec::new() };
    for descriptor in index.manifests() {
        let platform = descriptor.platform().as_ref().map_or_else(String::new, |platform| {
            let variant = platform.variant().as_ref().map(|variant| format!("/{variant}"));
            format!("{}{}", platform.architecture(), variant.unwrap_or_default())
        });
        let digest: Digest = descriptor.digest().to_string().parse()?;
        let manifest: ImageManifest = parse(descriptor, bytes(&digest)?)?;
        let config = (format!("{platform} configuration"), manifest.config());
        let layers = manifest.layers().iter().map(|layer| (format!("{platform} layer"), layer));
        for (name, descriptor) in std::iter::once(config).chain(layers) {
            let digest: Digest = descriptor.digest().to_string().parse()?;
            if !parts.blobs.iter().any(|(_, other)| *other == digest) {
                parts.blobs.push((name, digest));
            }
        }
        parts.manifests.push((platform, digest));
    }
    Ok(parts)
}
