//! When rows come from disk instead of memory: the `[data.stream]` table of the configuration.

use optmsm_core::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Rows of a block: a few hundred kilobytes, which a disk reads in one go.
pub const BLOCK_ROWS: usize = 8192;

/// Files larger than this stream when nothing else is said.
const LARGE: u64 = 256 << 20;

/// Encoded rows that take more bytes than this stream, too, however small the files are that hold them.
const HELD: usize = 1 << 30;

/// When and how rows come from disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StreamConfig {
    /// When.
    pub mode: StreamMode,
    /// Folder of the caches of encoded rows.
    pub folder: String,
    /// Rows that are held and shuffled together; as many more are read meanwhile.
    pub shuffle_rows: usize,
}

/// When rows come from disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StreamMode {
    /// From files above 256 MiB of text, or 64 MiB of packed or columnar data ([`Source::text_bytes`](crate::Source::text_bytes)), and
    /// from those whose encoded rows turn out to take more than 1 GiB.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never: all rows are held in memory, and shuffled as a whole.
    Never,
}

impl Default for StreamConfig {
    fn default() -> Self {
        Self { mode: StreamMode::Auto, folder: ".optmsm-cache".into(), shuffle_rows: 1 << 18 }
    }
}

impl StreamConfig {
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether rows of files of so many bytes of text come from disk.
    pub fn streams(&self, bytes: u64) -> bool {
        match self.mode {
            StreamMode::Auto => bytes > LARGE,
            StreamMode::Always => true,
            StreamMode::Never => false,
        }
    }

    /// The most bytes of encoded rows that memory may hold, of files that do not stream by their size.
    pub fn most_bytes(&self) -> usize {
        if self.mode == StreamMode::Auto { HELD } else { usize::MAX }
    }

    /// Blocks that are held and shuffled together, at least 1.
    pub fn window(&self) -> usize {
        (self.shuffle_rows / BLOCK_ROWS).max(1)
    }

    pub(crate) fn validate(&self) -> Result<()> {
        if self.folder.is_empty() {
            return Err(Error::config("data.stream.folder", "is empty", "name a folder, or leave it out"));
        }
        if self.shuffle_rows < BLOCK_ROWS {
            let problem = format!("must be at least {BLOCK_ROWS}, got {}", self.shuffle_rows);
            return Err(Error::config("data.stream.shuffle_rows", problem, "raise it"));
        }
        Ok(())
    }
}
