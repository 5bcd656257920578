//! Makes a bundle out of its items.

use bytes::Bytes;
use contracts_logs::v1::{BundleManifest, BundleMissing, BundleMissingStatus, BundleSection};
use runspine_types::{Digest, Micros};

use super::{SECTIONS, line::Line, section_digest};
use crate::bytes::{FORMAT, encode, timestamp};

/// What a manifest says of its bundle as a whole.
#[derive(Debug, Clone)]
pub struct Head {
    /// Id of the bundle.
    pub bundle_id: String,
    /// The tenant.
    pub tenant_id: String,
    /// The run.
    pub run_id: String,
    /// When it is made.
    pub created_at: Micros,
    /// Who asked for it.
    pub created_by: String,
    /// The software that makes it.
    pub exporter: String,
    /// Why it was asked for.
    pub reason: String,
}

/// One item of a section.
#[derive(Debug, Clone, Default)]
pub struct Item {
    /// Its type.
    pub t: String,
    /// The attempt, where it belongs to one.
    pub attempt: Option<u32>,
    /// The addendum, for items of a trace.
    pub addendum: Option<u32>,
    /// Its bytes.
    pub bytes: Bytes,
    /// Its link, where the row has one that the file can prove.
    pub link: Option<Digest>,
}

/// The lines of a file, written as they are taken.
pub type FileLines = Box<dyn Iterator<Item = Vec<u8>> + Send>;

/// Collects the items of a bundle, section by section.
pub struct Builder {
    head: Head,
    sections: [Vec<Item>; SECTIONS.len()],
    missing: Vec<BundleMissing>,
}

impl Builder {
    /// An empty bundle.
    #[must_use]
    pub fn new(head: Head) -> Self {
        Self { head, sections: Default::default(), missing: Vec::new() }
    }

    /// Adds an item to a section. A section that does not exist gets nothing.
    pub fn push(&mut self, section: &str, item: Item) {
        let place = SECTIONS.iter().position(|name| *name == section);
        if let Some(items) = place.and_then(|place| self.sections.get_mut(place)) {
            items.push(item);
        }
    }

    /// Notes what is not in the bundle.
    pub fn missing(&mut self, section: &str, status: BundleMissingStatus, reason: &str) {
        self.missing.push(BundleMissing {
            section: section.to_owned(),
            status: status as i32,
            reason: reason.to_owned(),
        });
    }

    /// Signs the manifest and gives the lines of the file, one by one. `sign` gets the manifest's bytes and gives the
    /// name of the key and the signature.
    pub fn finish<E>(
        self,
        sign: impl FnOnce(&[u8]) -> Result<(String, [u8; 64]), E>,
    ) -> Result<FileLines, E> {
        let manifest = encode(&self.manifest());
        let (key_id, signature) = sign(&manifest)?;
        let first = Line { s: "manifest".to_owned(), ..Line::default() }.with_bytes(&manifest);
        let second = Line { s: "manifest_signature".to_owned(), t: Some(key_id), ..Line::default() };
        let second = second.with_bytes(&signature);
        let count: usize = self.sections.iter().map(Vec::len).sum();
        let end = Line { s: "end".to_owned(), n: count as u64 + 3, ..Line::default() };
        let items = SECTIONS
            .into_iter()
            .zip(self.sections)
            .flat_map(|(name, items)| items.into_iter().zip(0..).map(move |(item, n)| line(name, n, &item)));
        let lines = [first, second].into_iter().chain(items).chain([end]);
        Ok(Box::new(lines.map(|line| line.write())))
    }

    fn manifest(&self) -> BundleManifest {
        let head = &self.head;
        BundleManifest {
            format: FORMAT,
            bundle_id: head.bundle_id.clone(),
            tenant_id: head.tenant_id.clone(),
            run_id: head.run_id.clone(),
            created_at: Some(timestamp(head.created_at)),
            created_by: head.created_by.clone(),
            exporter: head.exporter.clone(),
            sections: SECTIONS
                .iter()
                .zip(&self.sections)
                .filter(|(_, items)| !items.is_empty())
                .map(section)
                .collect(),
            missing: self.missing.clone(),
            complete: self.missing.is_empty(),
            payloads_included: self.sections.last().is_some_and(|payloads| !payloads.is_empty()),
            reason: head.reason.clone(),
        }
    }
}

fn section((name, items): (&&str, &Vec<Item>)) -> BundleSection {
    BundleSection {
        name: (*name).to_owned(),
        count: items.len() as u64,
        bytes: items.iter().map(|item| item.bytes.len() as u64).sum(),
        digest: Bytes::copy_from_slice(section_digest(items.iter().map(|item| &item.bytes)).as_bytes()),
    }
}

fn line(section: &str, n: u64, item: &Item) -> Line {
    Line {
        s: section.to_owned(),
        n,
        t: Some(item.t.clone()),
        a: item.attempt,
        d: item.addendum,
        b: None,
        l: item.link.map(Digest::to_hex),
    }
    .with_bytes(&item.bytes)
}
