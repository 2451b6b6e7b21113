//! The image of the agent for each architecture, and the index of several.

use kinject_bundle::CarriedAgent;
use kinject_image::{Image, Parts, digest, gzip};
use oci_client::Reference;
use oci_client::manifest::{
    IMAGE_CONFIG_MEDIA_TYPE, IMAGE_LAYER_GZIP_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE,
};
use serde_json::{Value, json};
use std::io;

/// The image of one agent.
pub(super) struct AgentImage {
    architecture: &'static str,
    layer: Vec<u8>,
    config: Vec<u8>,
    /// It names the other two by their digests.
    pub(super) manifest: Manifest,
}

impl AgentImage {
    /// Packs an agent as the image of this name.
    pub(super) fn new(reference: &Reference, agent: &CarriedAgent) -> io::Result<Self> {
        let architecture = agent.architecture.kubernetes_name();
        let image = Image::of_program(&reference.whole(), "kinject-agent", agent.unpack()?);
        let Parts { layer, config } = image.parts(architecture)?;
        let layer = gzip(&layer)?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_IMAGE_MEDIA_TYPE,
            "config": descriptor(IMAGE_CONFIG_MEDIA_TYPE, &config),
            "layers": [descriptor(IMAGE_LAYER_GZIP_MEDIA_TYPE, &layer)],
        });
        Ok(Self {
            architecture,
            layer,
            config,
            manifest: Manifest::new(OCI_IMAGE_MEDIA_TYPE, &manifest),
        })
    }

    /// The layer and the configuration, each with its digest. The registry needs them before the manifest.
    pub(super) fn blobs(&self) -> [(String, &Vec<u8>); 2] {
        [&self.layer, &self.config].map(|blob| (sha256(blob), blob))
    }

    /// The size of the larger one.
    pub(super) fn size(&self) -> u64 {
        self.layer.len().max(self.config.len()) as u64
    }
}

/// The manifest of an image, or an index of images.
pub(super) struct Manifest {
    pub(super) media_type: &'static str,
    pub(super) content: Vec<u8>,
    pub(super) digest: String,
}

impl Manifest {
    fn new(media_type: &'static str, content: &Value) -> Self {
        let content = content.to_string().into_bytes();
        let digest = sha256(&content);
        Self {
            media_type,
            content,
            digest,
        }
    }

    /// The index of images for several architectures, which have to be in the registry before it.
    pub(super) fn index(images: &[AgentImage]) -> Self {
        let entries: Vec<Value> = images
            .iter()
            .map(|image| {
                json!({
                    "mediaType": image.manifest.media_type,
                    "digest": image.manifest.digest,
                    "size": image.manifest.content.len(),
                    "platform": {"os": "linux", "architecture": image.architecture},
                })
            })
            .collect();
        let index = json!({
            "schemaVersion": 2,
            "mediaType": OCI_IMAGE_INDEX_MEDIA_TYPE,
            "manifests": entries,
        });
        Self::new(OCI_IMAGE_INDEX_MEDIA_TYPE, &index)
    }
}

fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": sha256(content), "size": content.len()})
}

fn sha256(content: &[u8]) -> String {
    format!("sha256:{}", digest(content))
}
